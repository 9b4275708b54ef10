"""Bring a model's configuration into one form: Hugging Face's keys, defaults filled in, checked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from ferrylm.errors import SourceError

_MAX_LAYERS = 4096
_MAX_DIMENSION = 1 << 24
_MAX_CONTEXT = 1 << 30


def normalize_config(raw: Mapping[str, object], what: str) -> dict[str, object]:
    """Return a copy of `raw` in which these keys are there, of these types and in range.

    model_type (str), hidden_size, intermediate_size, num_hidden_layers, num_attention_heads,
    num_key_value_heads, head_dim, vocab_size, max_position_embeddings (int), rms_norm_eps,
    rope_theta (float), rope_scaling (None or dict with rope_type), tie_word_embeddings,
    attention_bias (bool), sliding_window (int or None). Absent ones get the defaults that
    transformers gives them for Llama, Mistral and Qwen. All other keys stay as they are.

    Raises SourceError; `what` names the file in the message.
    """
    fields = _Fields(raw, what)
    config = dict(raw)
    config["model_type"] = model_type = fields.text("model_type")
    for key in ("hidden_size", "intermediate_size", "vocab_size"):
        config[key] = fields.integer(key, _MAX_DIMENSION)
    config["num_hidden_layers"] = fields.integer("num_hidden_layers", _MAX_LAYERS)
    config["max_position_embeddings"] = fields.integer("max_position_embeddings", _MAX_CONTEXT)
    config.update(_heads(fields))
    config["rms_norm_eps"] = fields.number("rms_norm_eps", 0.0, 1.0, default=1e-6)
    config.update(_rope(fields))
    tied = model_type.startswith("gemma")  # unless its configuration says otherwise
    config["tie_word_embeddings"] = fields.flag("tie_word_embeddings", default=tied)
    # Qwen2 has biases on q, k and v that its configuration does not mention.
    config["attention_bias"] = fields.flag("attention_bias", default=model_type == "qwen2")
    config["sliding_window"] = _sliding_window(fields)
    return config


def bias_flags(tensor_names: Iterable[str]) -> dict[str, bool]:
    """Tell by a source's tensors which biases it has; configurations often do not say."""
    biases = [name for name in tensor_names if name.endswith("_proj.bias")]
    return {
        "attention_bias": any(".self_attn." in name for name in biases),
        "attention_out_bias": any(".self_attn.o_proj." in name for name in biases),
        "mlp_bias": any(".mlp." in name for name in biases),
    }


def _heads(fields: _Fields) -> dict[str, int]:
    heads = fields.integer("num_attention_heads", _MAX_DIMENSION)
    kv_heads = fields.integer("num_key_value_heads", heads, default=heads)
    default_dim = fields.integer("hidden_size", _MAX_DIMENSION) // heads
    head_dim = fields.integer("head_dim", _MAX_DIMENSION, default=default_dim)
    if heads % kv_heads or head_dim % 2:
        raise fields.refusal(
            f"{heads} heads, {kv_heads} key-value heads and head_dim {head_dim}",
            "heads that share key-value heads evenly, and an even head_dim",
        )
    return {
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
    }


def _rope(fields: _Fields) -> dict[str, object]:
    """Read rope_theta and rope_scaling, or rope_parameters, transformers 5's name for both."""
    theta_source = fields
    scaling = fields.table("rope_scaling")
    parameters = fields.table("rope_parameters")
    if parameters is not None:
        if type(parameters.get("full_attention")) is dict:
            return _two_ropes(parameters, fields.what)
        theta_source = _Fields(parameters, fields.what)
        scaling = {key: value for key, value in parameters.items() if key != "rope_theta"}
        if "rope_theta" not in parameters:
            theta_source = fields
    if scaling is not None:
        scaling = _scaling(_Fields(scaling, fields.what))
    theta = theta_source.number("rope_theta", 1.0, 1e12, default=10000.0)
    return {"rope_theta": theta, "rope_scaling": scaling}


def _two_ropes(parameters: Mapping[str, object], what: str) -> dict[str, object]:
    """Read rope_parameters of a model whose sliding layers rotate in another way, as Gemma 3's."""
    found = _rope(_Fields({"rope_parameters": parameters["full_attention"]}, what))
    local = _Fields(parameters, what).table("sliding_attention")
    if local is not None:
        theirs = _rope(_Fields({"rope_parameters": local}, what))
        if theirs["rope_scaling"] is not None:
            raise _Fields(parameters, what).refusal(
                "a scaled RoPE of sliding layers", "a plain one"
            )
        found["rope_local_base_freq"] = theirs["rope_theta"]
    return found


def _scaling(fields: _Fields) -> dict[str, object] | None:
    kind = fields.text("rope_type" if "rope_type" in fields.raw else "type")
    if kind == "default":
        return None
    scaling: dict[str, object] = {"rope_type": kind}
    for key, value in fields.raw.items():
        if key in ("type", "rope_type"):
            continue
        if isinstance(value, float) and not math.isfinite(value):
            raise fields.refusal(f"rope scaling {key} = {value}", "a finite number")
        scaling[key] = value
    return scaling


def _sliding_window(fields: _Fields) -> int | None:
    """Read sliding_window; Qwen2 configurations carry one that use_sliding_window turns off."""
    if fields.raw.get("sliding_window") is None:
        return None
    # transformers switches it off in every Qwen that does not say otherwise.
    qwen = str(fields.raw.get("model_type")).startswith("qwen")
    if not fields.flag("use_sliding_window", default=not qwen):
        return None
    return fields.integer("sliding_window", _MAX_CONTEXT)


class _Fields:
    """Typed access to a JSON object; a null counts as absent."""

    def __init__(self, raw: Mapping[str, object], what: str) -> None:
        self.raw = raw
        self.what = what

    def refusal(self, found: str, wanted: str) -> SourceError:
        return SourceError(
            f"{self.what}: {found}", wanted=wanted, fix="check that the file belongs to the model"
        )

    def integer(self, key: str, most: int, default: int | None = None) -> int:
        value = self._value(key, default)
        if type(value) is not int or not 1 <= value <= most:
            raise self.refusal(f"{key} is {_shown(value)}", f"a whole number from 1 to {most}")
        return value

    def number(self, key: str, least: float, most: float, default: float) -> float:
        value = self._value(key, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise self.refusal(f"{key} is {_shown(value)}", "a number")
        if not (math.isfinite(value) and least <= value <= most):
            raise self.refusal(f"{key} is {value}", f"a number from {least} to {most}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._value(key, default)
        if type(value) is not bool:
            raise self.refusal(f"{key} is {_shown(value)}", "true or false")
        return value

    def text(self, key: str) -> str:
        value = self._value(key, None)
        if type(value) is not str or not value:
            raise self.refusal(f"{key} is {_shown(value)}", "a text")
        return value

    def table(self, key: str) -> dict[str, object] | None:
        value = self.raw.get(key)
        if value is not None and type(value) is not dict:
            raise self.refusal(f"{key} is {_shown(value)}", "an object or null")
        return value

    def _value(self, key: str, default: object) -> object:
        value = self.raw.get(key)
        return default if value is None else value


def _shown(value: object) -> str:
    return "absent" if value is None else ascii(value)[:80]

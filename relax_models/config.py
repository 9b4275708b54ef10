"""From a normalized Hugging Face config to the shape of a model that can be compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ferrylm.errors import UnsupportedModelError
from ferrylm.relax_models import FAMILIES
from ferrylm.relax_models.attention_variants import attention_variants
from ferrylm.relax_models.family import GEGLU, SWIGLU
from ferrylm.relax_models.refusals import refuse_biases
from ferrylm.runtime.manifest import ModelConfig, RopeConfig

ROPE_KINDS = ("default", "linear", "llama3", "yarn")
# Gemma's first configurations say gelu and mean its approximation, as transformers does.
_ACTIVATIONS = {SWIGLU: ("silu", "swish"), GEGLU: ("gelu_pytorch_tanh", "gelu")}


def model_config(config: Mapping[str, Any], context_length: int | None = None) -> ModelConfig:
    """Return the model's shape; `context_length` shortens the maker's own.

    Raises UnsupportedModelError for what the schedules do not compute.
    """
    longest = int(config["max_position_embeddings"])
    context = longest if context_length is None else min(context_length, longest)
    family = FAMILIES[str(config["model_type"])]
    refuse_biases(config, "mlp_bias")
    _check_activation(config, family.activation)
    base = ModelConfig(
        family=str(config["model_type"]),
        hidden_size=int(config["hidden_size"]),
        intermediate_size=int(config["intermediate_size"]),
        num_layers=int(config["num_hidden_layers"]),
        num_heads=int(config["num_attention_heads"]),
        num_kv_heads=int(config["num_key_value_heads"]),
        head_dim=int(config["head_dim"]),
        vocab_size=int(config["vocab_size"]),
        context_length=context,
        norm_eps=float(config["rms_norm_eps"]),
        tied_embedding=bool(config["tie_word_embeddings"]),
        rope=_rope(config),
        attention=attention_variants(config, context),
    )
    return family.adapt(base, config)


def _check_activation(config: Mapping[str, Any], kind: str) -> None:
    wanted = _ACTIVATIONS[kind]
    given = config.get("hidden_activation") or config.get("hidden_act") or wanted[0]
    if given not in wanted:
        raise UnsupportedModelError(
            f"the activation {ascii(given)[:80]}",
            wanted=" or ".join(wanted),
            fix="choose a model with one of these",
        )


def _rope(config: Mapping[str, Any]) -> RopeConfig:
    scaling = dict(config.get("rope_scaling") or {})
    kind = str(scaling.pop("rope_type", scaling.pop("type", "default")))
    if kind not in ROPE_KINDS:
        raise UnsupportedModelError(
            f"the RoPE scaling {kind!r}",
            wanted="one of " + ", ".join(ROPE_KINDS),
            fix="choose a model with one of these",
        )
    if config.get("rope_frequency_factors") and kind == "default":
        raise UnsupportedModelError(
            "RoPE frequency factors of no known scaling",
            wanted="those of llama3",
            fix="compile from the Hugging Face folder",
        )
    numbers = {
        key: float(value)
        for key, value in sorted(scaling.items())
        if isinstance(value, (int, float))
    }
    if kind == "yarn":
        numbers.setdefault(
            "original_max_position_embeddings", float(config["max_position_embeddings"])
        )
    return RopeConfig(kind, float(config["rope_theta"]), numbers)

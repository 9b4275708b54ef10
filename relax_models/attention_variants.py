"""Which attention each layer of a model has, read off its Hugging Face config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ferrylm.errors import UnsupportedModelError
from ferrylm.runtime.manifest import PLAIN_ATTENTION, AttentionVariant

_SLIDING, _FULL = "sliding_attention", "full_attention"


def attention_variants(config: Mapping[str, Any], context: int) -> tuple[AttentionVariant, ...]:
    """Return the variant of each layer, or nothing where all layers are plain.

    Reads sliding_window, layer_types, max_window_layers, attn_logit_softcapping and
    query_pre_attn_scalar. A window that `context` never fills is none. Raises
    UnsupportedModelError for values that no model has.
    """
    cap = _positive(config, "attn_logit_softcapping")
    scalar = _positive(config, "query_pre_attn_scalar")
    scale = None if scalar in (None, float(config["head_dim"])) else float(scalar or 1.0) ** -0.5
    layers = int(config["num_hidden_layers"])
    window = config.get("sliding_window")
    if window is not None and int(window) >= context:
        window = None
    kinds = _layer_types(config, layers)
    slides = [False] * layers if window is None else _sliding_layers(config, kinds, layers)
    found = tuple(
        AttentionVariant(int(window or 0) if sliding else None, cap, score_scale=scale)
        for sliding in slides
    )
    return () if all(variant == PLAIN_ATTENTION for variant in found) else found


def sliding_layers(config: Mapping[str, Any]) -> list[bool]:
    """Return which layers are made for a window, whether the context fills it or not."""
    layers = int(config["num_hidden_layers"])
    return _sliding_layers(config, _layer_types(config, layers), layers)


def _layer_types(config: Mapping[str, Any], layers: int) -> list[str] | None:
    """Return which attention each layer has, if the config says it."""
    kinds = config.get("layer_types")
    if kinds is None:
        return None
    if (
        not isinstance(kinds, list)
        or len(kinds) != layers
        or any(kind not in (_SLIDING, _FULL) for kind in kinds)
    ):
        raise _refused("layer_types", kinds, f"{_FULL} or {_SLIDING} for each layer")
    return kinds


def _sliding_layers(config: Mapping[str, Any], kinds: list[str] | None, layers: int) -> list[bool]:
    """Return which layers have the window, as transformers decides it."""
    if kinds is not None:
        return [kind == _SLIDING for kind in kinds]
    family = str(config["model_type"])
    if family.startswith("qwen"):
        first = config.get("max_window_layers")
        if type(first) is not int or first < 0:
            raise _refused("max_window_layers", first, "the number of layers without the window")
        return [layer >= first for layer in range(layers)]
    if family == "gemma2":
        return [layer % 2 == 0 for layer in range(layers)]
    if family == "gemma3_text":
        return [(layer + 1) % _gemma3_pattern(config) != 0 for layer in range(layers)]
    return [True] * layers


def _gemma3_pattern(config: Mapping[str, Any]) -> int:
    """Return which layers of a Gemma 3 see everything: every sixth, unless its config says else."""
    pattern = config.get("sliding_window_pattern", 6)
    if type(pattern) is not int or pattern < 1:
        raise _refused("sliding_window_pattern", pattern, "a whole number")
    return pattern


def _positive(config: Mapping[str, Any], key: str) -> float | None:
    value = config.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        raise _refused(key, value, "a positive number")
    return float(value)


def _refused(key: str, value: object, wanted: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"a configuration with {key} = {ascii(value)[:80]}",
        wanted=wanted,
        fix="check that the file belongs to the model",
    )

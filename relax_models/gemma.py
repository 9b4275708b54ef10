"""Gemma, 2 and 3: gains stored less one, GeGLU, scaled embeddings (arXiv 2403.08295, 2408.00118).

Gemma 2 has norms of what is added to the residual and capped logits as well, Gemma 3 (2503.19786)
norms of heads instead of caps, and layers with a window rotate by a RoPE of their own. How layers
attend is read by attention_variants.py. What can be is folded into the canonical weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ferrylm.errors import UnsupportedModelError
from ferrylm.relax_models.attention_variants import sliding_layers
from ferrylm.relax_models.refusals import refuse_biases
from ferrylm.runtime.manifest import ModelConfig, RopeConfig

_CAPS = ("attn_logit_softcapping", "final_logit_softcapping")  # null switches one off
_NUMBERS = ("query_pre_attn_scalar", "sliding_window")
_LOCAL_BASE = "rope_local_base_freq"


def adapt_first(base: ModelConfig, config: Mapping[str, Any]) -> ModelConfig:
    """Return the shape of a Gemma; raises UnsupportedModelError for biases."""
    refuse_biases(config, "attention_bias")
    return replace(base, activation="geglu")


def adapt_second(base: ModelConfig, config: Mapping[str, Any]) -> ModelConfig:
    """Return the shape of a Gemma 2; raises UnsupportedModelError where its config is not whole."""
    missing = [key for key in _CAPS if key not in config]
    _refuse_missing("Gemma 2", missing, config, _NUMBERS)
    return _with_post_norms(base, config)


def adapt_third(base: ModelConfig, config: Mapping[str, Any]) -> ModelConfig:
    """Return the shape of a Gemma 3 that reads text; raises as `adapt_second` does."""
    _refuse_missing("Gemma 3", [], config, (*_NUMBERS, _LOCAL_BASE))
    theta = config[_LOCAL_BASE]
    if type(theta) not in (int, float) or not 1 <= theta <= 1e12:
        raise UnsupportedModelError(
            f"{_LOCAL_BASE} = {ascii(theta)[:80]}",
            wanted="a number from 1 to 1e12",
            fix="check that the file belongs to the model",
        )
    attention = tuple(
        replace(base.layer_attention(layer), local_rope=sliding)
        for layer, sliding in enumerate(sliding_layers(config))
    )
    return replace(
        _with_post_norms(base, config), head_norm=True, attention=attention,
        local_rope=RopeConfig("default", float(theta)),
    )  # fmt: skip


def _refuse_missing(
    name: str, missing: list[str], config: Mapping[str, Any], needed: tuple[str, ...]
) -> None:
    """Refuse a config that leaves out what transformers would fill in by itself."""
    found = [*missing, *(key for key in needed if config.get(key) is None)]
    if found:
        raise UnsupportedModelError(
            f"a configuration of {name} without " + ", ".join(found),
            wanted="all of its own settings",
            fix="take the config.json of the model's maker",
        )


def _with_post_norms(base: ModelConfig, config: Mapping[str, Any]) -> ModelConfig:
    cap = config.get("final_logit_softcapping")
    if cap is not None and (type(cap) not in (int, float) or not 0 < cap < 1e9):
        raise UnsupportedModelError(
            f"final_logit_softcapping = {ascii(cap)[:80]}",
            wanted="a positive number or null",
            fix="check that the file belongs to the model",
        )
    first = adapt_first(base, config)
    return replace(first, post_norms=True, logit_cap=None if cap is None else float(cap))

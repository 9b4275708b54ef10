"""Gemma, Gemma 2: gains stored less one, GeGLU, scaled embeddings (arXiv 2403.08295, 2408.00118).

Gemma 2 has norms of what is added to the residual and capped logits as well; attention_variants.py
reads how its layers attend. What can be is folded into the canonical weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ferrylm.errors import UnsupportedModelError
from ferrylm.relax_models.refusals import refuse_biases
from ferrylm.runtime.manifest import ModelConfig

_CAPS = ("attn_logit_softcapping", "final_logit_softcapping")  # null switches one off
_NUMBERS = ("query_pre_attn_scalar", "sliding_window")


def adapt_first(base: ModelConfig, config: Mapping[str, Any]) -> ModelConfig:
    """Return the shape of a Gemma; raises UnsupportedModelError for biases."""
    refuse_biases(config, "attention_bias")
    return replace(base, activation="geglu")


def adapt_second(base: ModelConfig, config: Mapping[str, Any]) -> ModelConfig:
    """Return the shape of a Gemma 2; raises UnsupportedModelError where its config is not whole."""
    missing = [key for key in _CAPS if key not in config]
    missing += [key for key in _NUMBERS if config.get(key) is None]
    if missing:
        raise UnsupportedModelError(
            "a configuration of Gemma 2 without " + ", ".join(missing),
            wanted="all of its own settings",
            fix="take the config.json of the model's maker",
        )
    cap = config["final_logit_softcapping"]
    if cap is not None and (type(cap) not in (int, float) or not 0 < cap < 1e9):
        raise UnsupportedModelError(
            f"final_logit_softcapping = {ascii(cap)[:80]}",
            wanted="a positive number or null",
            fix="check that the file belongs to the model",
        )
    first = adapt_first(base, config)
    return replace(first, post_norms=True, logit_cap=None if cap is None else float(cap))

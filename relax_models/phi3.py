"""Phi-3: q, k, v stored as one matrix, gate and up as one (arXiv 2404.14219).

Its longer contexts have a RoPE scaling of their own, longrope, which is refused with other kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ferrylm.errors import UnsupportedModelError
from ferrylm.relax_models.refusals import refuse_biases
from ferrylm.runtime.manifest import ModelConfig


def adapt(base: ModelConfig, config: Mapping[str, Any]) -> ModelConfig:
    """Return the shape; raises UnsupportedModelError for heads that RoPE rotates in part."""
    refuse_biases(config, "attention_bias")
    share = config.get("partial_rotary_factor")
    if share is not None and share != 1:
        raise UnsupportedModelError(
            f"heads that RoPE rotates in part (partial_rotary_factor = {ascii(share)[:80]})",
            wanted="whole heads",
            fix="choose another model",
        )
    return base

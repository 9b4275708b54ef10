"""Qwen3: a norm of each query and key head before RoPE, and no biases (arXiv 2505.09388)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ferrylm.relax_models.refusals import refuse_biases
from ferrylm.runtime.manifest import ModelConfig


def adapt(base: ModelConfig, config: Mapping[str, Any]) -> ModelConfig:
    """Return the model's shape; raises UnsupportedModelError for biases, which Qwen3 may have."""
    refuse_biases(config, "attention_bias")
    return replace(base, head_norm=True)

"""Qwen2 and Qwen2.5: biases on queries, keys and values (arXiv 2407.10671, 2412.15115)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ferrylm.relax_models.refusals import refuse_biases
from ferrylm.runtime.manifest import ModelConfig


def adapt(base: ModelConfig, config: Mapping[str, Any]) -> ModelConfig:
    """Return the model's shape; raises UnsupportedModelError for a bias after attention."""
    refuse_biases(config, "attention_out_bias")
    return replace(base, qkv_bias=bool(config.get("attention_bias", True)))

"""Llama and Mistral: the decoder with nothing added (arXiv 2302.13971, 2310.06825)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ferrylm.relax_models.refusals import refuse_biases
from ferrylm.runtime.manifest import ModelConfig


def adapt(base: ModelConfig, config: Mapping[str, Any]) -> ModelConfig:
    """Return the model's shape; raises UnsupportedModelError for biases, which Llama may have."""
    refuse_biases(config, "attention_bias")
    return base

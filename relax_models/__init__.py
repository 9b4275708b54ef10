"""Model definitions: the decoder that families share, and a file for what each of them adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ferrylm.relax_models import llama, qwen2, qwen3
from ferrylm.runtime.manifest import ModelConfig

Adapt = Callable[[ModelConfig, Mapping[str, Any]], ModelConfig]

# Hugging Face's model_type -> what adds the family's own to the shape that all models have.
FAMILIES: dict[str, Adapt] = {
    "llama": llama.adapt,
    "mistral": llama.adapt,
    "qwen2": qwen2.adapt,
    "qwen3": qwen3.adapt,
}

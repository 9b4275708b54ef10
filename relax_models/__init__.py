"""Model definitions; a file per family, named as Hugging Face's model_type."""

from __future__ import annotations

from types import ModuleType

from ferrylm.relax_models import llama

# Mistral without a sliding window is Llama.
FAMILIES: dict[str, ModuleType] = {"llama": llama, "mistral": llama}

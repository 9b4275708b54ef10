"""Model definitions: the decoder that families share, and a file for what each of them adds."""

from __future__ import annotations

from ferrylm.relax_models import gemma, llama, phi3, qwen2, qwen3
from ferrylm.relax_models.family import GEGLU, Family

# By Hugging Face's model_type.
FAMILIES: dict[str, Family] = {
    "llama": Family(llama.adapt),
    "mistral": Family(llama.adapt),
    "qwen2": Family(qwen2.adapt),
    "qwen3": Family(qwen3.adapt),
    "phi3": Family(phi3.adapt, fused=True),
    "gemma": Family(gemma.adapt_first, GEGLU, gain_offset=1.0, scaled_embedding=True),
    "gemma2": Family(gemma.adapt_second, GEGLU, gain_offset=1.0, scaled_embedding=True),
    "gemma3_text": Family(gemma.adapt_third, GEGLU, gain_offset=1.0, scaled_embedding=True),
}

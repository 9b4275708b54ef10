"""GGUF metadata to the keys of Hugging Face's config.json."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ferrylm.compile.sources.gguf_metadata import Metadata
from ferrylm.errors import UnsupportedModelError
from ferrylm.runtime.manifest import GenerationDefaults

# general.architecture -> model_type. Mistral's files say llama too: the computation is the same.
ARCHITECTURES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}

_MOST = 1 << 30


def gguf_config(
    metadata: Metadata, vocab_size: int, rope_factors: NDArray[np.float32] | None
) -> dict[str, object]:
    """Translate the metadata; `vocab_size` is the number of rows of the embedding.

    `rope_factors` is the tensor rope_freqs.weight, what each rotary frequency is divided by. They
    become rope_scaling of type llama3 where that gives the same numbers; they are kept under
    rope_frequency_factors in any case.

    Raises SourceError, or UnsupportedModelError for another architecture.
    """
    architecture = metadata.text("general.architecture")
    if architecture not in ARCHITECTURES:
        raise _unsupported(
            f"architecture {ascii(architecture)[:60]}", "one of " + ", ".join(ARCHITECTURES)
        )
    _refuse_unknown_features(metadata, architecture)

    def size(key: str, default: int | None = None) -> int:
        return metadata.integer(f"{architecture}.{key}", least=1, most=_MOST, default=default)

    heads = size("attention.head_count")
    hidden = size("embedding_length")
    head_dim = size("attention.key_length", default=max(1, hidden // heads))
    for key in ("attention.value_length", "rope.dimension_count"):
        if size(key, default=head_dim) != head_dim:
            raise _unsupported(f"{key} other than the head dimension {head_dim}", "them equal")
    theta = metadata.number(f"{architecture}.rope.freq_base", least=1, most=1e12, default=10000.0)
    config: dict[str, object] = {
        "model_type": ARCHITECTURES[architecture],
        "hidden_size": hidden,
        "intermediate_size": size("feed_forward_length"),
        "num_hidden_layers": size("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": size("attention.head_count_kv", default=heads),
        "head_dim": head_dim,
        "vocab_size": vocab_size,
        "max_position_embeddings": size("context_length"),
        "rms_norm_eps": metadata.number(
            f"{architecture}.attention.layer_norm_rms_epsilon", least=0, most=1
        ),
        "rope_theta": theta,
        "rope_scaling": _rope_scaling(metadata, architecture),
        "sliding_window": metadata.optional_integer(
            f"{architecture}.attention.sliding_window", least=1, most=_MOST
        ),
        "hidden_act": "silu",
    }
    if rope_factors is not None and (rope_factors != 1).any():
        if config["rope_scaling"] is not None:
            raise _unsupported("both rope_freqs.weight and a rope scaling", "one of them")
        config["rope_frequency_factors"] = [float(factor) for factor in rope_factors]
        config["rope_scaling"] = llama3_scaling(rope_factors, theta)
    return config


def gguf_generation(metadata: Metadata) -> GenerationDefaults:
    """Read the sampling settings that newer converters store."""

    def number(key: str, most: float) -> float | None:
        name = f"general.sampling.{key}"
        return metadata.number(name, least=0, most=most) if name in metadata else None

    return GenerationDefaults(
        temperature=number("temp", 100),
        top_k=metadata.optional_integer("general.sampling.top_k", least=0, most=_MOST),
        top_p=number("top_p", 1),
        min_p=number("min_p", 1),
        repetition_penalty=number("penalty_repeat", 100),
    )


def llama3_scaling(factors: NDArray[np.float32], theta: float) -> dict[str, object] | None:
    """Find the llama3 rope scaling that gives these factors, or None.

    Llama 3 keeps short wavelengths, divides the frequency of long ones by `factor` and blends in
    between: 1 / f = (1 - s) / factor + s, s = (context / wavelength - low) / (high - low). So s
    is a line over 1 / wavelength. Only two of context, low and high are determined; low is 1, as
    Llama's own files have it.
    """
    count = len(factors)
    wavelengths = 2 * math.pi * theta ** (np.arange(count) / count)
    wide = factors.astype(np.float64)
    factor = float(wide.max())
    blended = (wide > 1.0001) & (wide < factor * 0.9999)
    if factor <= 1 or blended.sum() < 2:
        return None
    smooth = (1 / wide[blended] - 1 / factor) / (1 - 1 / factor)
    slope, offset = np.polyfit(1 / wavelengths[blended], smooth, 1)
    if not (np.isfinite([slope, offset]).all() and offset < 0 < slope):
        return None
    high = round(1 - 1 / float(offset), 3)
    context = round(float(slope) * (high - 1))
    guess = llama3_factors(wavelengths, factor, 1.0, high, context)
    if high <= 1 or not np.allclose(guess, wide, rtol=1e-5, atol=0):
        return None
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": high,
        "original_max_position_embeddings": context,
    }


def llama3_factors(
    wavelengths: NDArray[np.float64], factor: float, low: float, high: float, context: int
) -> NDArray[np.float64]:
    """Return what llama3 rope scaling divides the frequency of each wavelength by."""
    smooth = np.clip((context / wavelengths - low) / (high - low), 0, 1)
    result: NDArray[np.float64] = 1 / ((1 - smooth) / factor + smooth)
    return result


def _rope_scaling(metadata: Metadata, architecture: str) -> dict[str, object] | None:
    prefix = f"{architecture}.rope.scaling"
    kind = metadata.text(f"{prefix}.type", default="")
    old_key = f"{architecture}.rope.scale_linear"
    if not kind and old_key in metadata:
        kind, factor = "linear", metadata.number(old_key, least=1e-3, most=1e6)
    else:
        factor = metadata.number(f"{prefix}.factor", least=0, most=1e6, default=1.0)
    if kind in ("", "none"):
        return None
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor} if factor not in (0.0, 1.0) else None
    if kind != "yarn":
        raise _unsupported(f"rope scaling {ascii(kind)[:40]}", "none, linear or yarn")
    if metadata.number(f"{prefix}.attn_factor", least=0, most=1e6, default=1.0) != 1.0:
        raise _unsupported("a yarn attention factor of its own", "the usual one")
    context = metadata.integer(f"{prefix}.original_context_length", least=1, most=_MOST)
    scaling = {"rope_type": kind, "factor": factor, "original_max_position_embeddings": context}
    for key in ("beta_fast", "beta_slow"):
        if f"{prefix}.yarn_{key}" in metadata:
            scaling[key] = metadata.number(f"{prefix}.yarn_{key}", least=0, most=1e6)
    return scaling


def _refuse_unknown_features(metadata: Metadata, architecture: str) -> None:
    """Refuse what would make the model compute something else than its namesake."""
    parts = metadata.integer("split.count", least=0, most=1 << 16, default=1)
    if parts > 1:
        raise _unsupported(f"one of {parts} parts of a model", "a whole model")
    if metadata.integer(f"{architecture}.expert_count", least=0, most=_MOST, default=0):
        raise _unsupported("a mixture of experts", "a dense model")


def _unsupported(found: str, wanted: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"GGUF file with {found}",
        wanted=wanted,
        fix="merge the parts with llama-gguf-split"
        if "parts" in found
        else "use a model of a supported kind; see docs/models.md",
    )

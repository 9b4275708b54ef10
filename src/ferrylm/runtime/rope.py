"""Tables of cosines and sines for rotary position embedding, made at load in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ferrylm.runtime.manifest import ModelConfig, RopeConfig

Floats = npt.NDArray[np.float64]
Table = npt.NDArray[np.float32]


def rope_tables(
    rope: RopeConfig, head_dim: int, positions: int, context: int
) -> tuple[Table, Table]:
    """Return cos and sin, float32 (positions, head_dim / 2), of position times frequency.

    `context` is the model's own context length, which yarn falls back on when it has no factor.
    """
    frequencies, scale = _frequencies(rope, head_dim, context)
    angles = np.arange(positions, dtype=np.float64)[:, None] * frequencies
    cos, sin = np.cos(angles) * scale, np.sin(angles) * scale
    return cos.astype(np.float32), sin.astype(np.float32)


def model_tables(model: ModelConfig, positions: int) -> tuple[Table, Table]:
    """Return cos and sin, float32 (positions, model.rope_width), of all of a model's RoPEs."""
    tables = [
        rope_tables(rope, model.head_dim, positions, model.context_length) for rope in model.ropes
    ]
    cos, sin = zip(*tables, strict=True)
    return np.concatenate(cos, axis=1), np.concatenate(sin, axis=1)


def _frequencies(rope: RopeConfig, head_dim: int, context: int) -> tuple[Floats, float]:
    """Return radians per position of each pair, and the factor on cosine and sine."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float64) / head_dim
    plain = rope.theta**-exponents
    values = rope.parameters
    if rope.kind == "linear":
        return plain / values["factor"], 1.0
    if rope.kind == "llama3":
        return _llama3(plain, values), 1.0
    if rope.kind == "yarn":
        return _yarn(plain, rope.theta, values, head_dim, context)
    return plain, 1.0


def _llama3(plain: Floats, values: Mapping[str, float]) -> Floats:
    """Stretch long wavelengths by the factor, keep short ones, blend between (Llama 3.1)."""
    low, high = values["low_freq_factor"], values["high_freq_factor"]
    cycles = values["original_max_position_embeddings"] * plain / (2 * math.pi)
    blend = np.clip((cycles - low) / (high - low), 0.0, 1.0)
    return (1 - blend) * plain / values["factor"] + blend * plain


def _yarn(
    plain: Floats, theta: float, values: Mapping[str, float], head_dim: int, context: int
) -> tuple[Floats, float]:
    """Interpolate by parts: YaRN, arXiv 2309.00071, sections 3.2 and 3.4."""
    original = values["original_max_position_embeddings"]
    factor = values.get("factor") or context / original

    def pair_with(cycles: float) -> float:
        return head_dim * math.log(original / (cycles * 2 * math.pi)) / (2 * math.log(theta))

    first = pair_with(values.get("beta_fast") or 32.0)
    last = pair_with(values.get("beta_slow") or 1.0)
    if values.get("truncate", 1.0):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, head_dim - 1)
    width = last - first if last != first else 0.001
    stretched = np.clip((np.arange(head_dim // 2) - first) / width, 0.0, 1.0)
    return plain * (1 - stretched) + plain / factor * stretched, _yarn_scale(values, factor)


def _yarn_scale(values: Mapping[str, float], factor: float) -> float:
    given = values.get("attention_factor")
    if given:
        return given

    def magnitude(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    scale, all_dimensions = values.get("mscale"), values.get("mscale_all_dim")
    if scale and all_dimensions:
        return magnitude(scale) / magnitude(all_dimensions)
    return magnitude(1.0)

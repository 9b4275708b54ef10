"""What the kernels must compute, in float64 numpy, written from the formulas.

Nothing here is shared with the schedules or with the runtime's tables, so that one mistake cannot
hide another. On the inputs of `golden_inputs` the sums of products are exact, and therefore the
same whatever the order in which a linear algebra library adds; the rest is done element by element.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ferrylm.runtime.manifest import (
    PLAIN_ATTENTION,
    AttentionVariant,
    RopeConfig,
)

Float64 = NDArray[np.float64]
GROUP = 32

# What the largest activation of a group becomes: seven bits, or two digits of base 254.
LARGEST_CODE = {"int8": 127, "int16": 127 * 254 + 126}


def decode(
    arrays: Mapping[str, NDArray[Any]], columns: int, dtype: type = np.float64
) -> NDArray[Any]:
    """Return the weights [rows, columns] that canonical arrays mean (docs/quantization.md).

    In float64 they are exact.
    """
    if "weight" in arrays:
        return arrays["weight"].astype(dtype)
    codes = arrays["codes"]
    scale: NDArray[Any] = arrays["scale"].astype(dtype)
    rows, groups = scale.shape
    levels: NDArray[Any] = np.empty((rows, groups, GROUP), dtype)
    if codes.dtype == np.uint8:
        packed = codes.reshape(rows, groups, GROUP // 2)
        levels[:, :, : GROUP // 2] = packed & 15
        levels[:, :, GROUP // 2 :] = packed >> 4
        if "minimum" not in arrays:
            levels -= 8
    else:
        levels[...] = codes.reshape(rows, groups, GROUP)
    levels *= scale[:, :, None]
    if "minimum" in arrays:
        levels += arrays["minimum"].astype(dtype)[:, :, None]
    return levels.reshape(rows, -1)[:, :columns]


def norm_factors(x: ArrayLike, eps: float) -> Float64:
    """Return 1 / sqrt(mean(x^2) + eps) of each row (Zhang and Sennrich, 2019): [rows, 1]."""
    wide = np.asarray(x, np.float64)
    mean_square = (wide * wide).sum(axis=1, keepdims=True) / wide.shape[1]
    factors: Float64 = 1.0 / np.sqrt(mean_square + eps)
    return factors


def norm_heads(x: Float64, gain: ArrayLike, eps: float) -> Float64:
    """Return x [rows, heads, head_dim] with an RMSNorm of each head, times the gain [head_dim]."""
    factors = norm_factors(x.reshape(-1, x.shape[-1]), eps)
    found: Float64 = x * factors.reshape(*x.shape[:-1], 1) * np.asarray(gain, np.float64)
    return found


def product(x: ArrayLike, factors: Float64 | None, weights: Float64, arithmetic: str) -> Float64:
    """Return (x times its row's factor) @ weights.T, rounding x first if the arithmetic does.

    By groups of 32 columns: scale = max|x| / L, code = x / scale half to even, L of LARGEST_CODE.
    f16 rounds activations and weights to float16; a tolerance stands for that.
    """
    wide = np.asarray(x, np.float64)
    row_factors = np.ones((len(wide), 1)) if factors is None else factors
    if arithmetic not in LARGEST_CODE:
        exact: Float64 = (wide @ weights.T) * row_factors
        return exact
    levels = float(LARGEST_CODE[arithmetic])
    total = np.zeros((len(wide), len(weights)))
    for start in range(0, wide.shape[1], GROUP):
        group = wide[:, start : start + GROUP]
        largest = np.abs(group).max(axis=1, keepdims=True)
        codes = np.rint(group * levels / np.where(largest == 0, 1.0, largest))
        dots = codes @ weights[:, start : start + GROUP].T
        total += dots * (largest * row_factors / levels)
    return total


def silu(x: Float64) -> Float64:
    """Return x / (1 + exp(-x)), without overflow."""
    decay = np.exp(-np.abs(x))
    return x * np.where(x >= 0, 1.0, decay) / (1.0 + decay)


def gelu(x: Float64) -> Float64:
    """Return x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))."""
    found: Float64 = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return found


def rope_frequencies(rope: RopeConfig, head_dim: int, context: int) -> tuple[Float64, float]:
    """Return the angle per position of each pair, and the factor on cosine and sine.

    By the definitions of rope_type default, linear, llama3 and yarn in Hugging Face's
    documentation; `context` matters to yarn without a factor alone.
    """
    base = np.array([rope.theta ** (-2.0 * i / head_dim) for i in range(head_dim // 2)])
    values = rope.parameters
    if rope.kind == "linear":
        return base / values["factor"], 1.0
    if rope.kind == "llama3":
        wavelength = 2 * math.pi / base
        original, low = values["original_max_position_embeddings"], values["low_freq_factor"]
        high = values["high_freq_factor"]
        smooth = (original / wavelength - low) / (high - low)
        scaled = base / values["factor"]
        mixed = (1 - smooth) * scaled + smooth * base
        long_ones = np.where(wavelength > original / low, scaled, mixed)
        return np.where(wavelength < original / high, base, long_ones), 1.0
    if rope.kind == "yarn":
        return _yarn(rope, base, head_dim, context)
    return base, 1.0


def _yarn(rope: RopeConfig, base: Float64, head_dim: int, context: int) -> tuple[Float64, float]:
    """Blend interpolated and plain frequencies by parts (Peng et al., 2023)."""
    values = rope.parameters
    original = values["original_max_position_embeddings"]
    factor = values.get("factor") or context / original
    ends = []
    for name, usual in (("beta_fast", 32.0), ("beta_slow", 1.0)):
        turns = values.get(name) or usual
        ends.append(
            head_dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))
        )
    if values.get("truncate", 1.0):
        ends = [float(math.floor(ends[0])), float(math.ceil(ends[1]))]
    low, high = max(ends[0], 0.0), min(ends[1], head_dim - 1.0)
    ramp = np.clip((np.arange(head_dim // 2) - low) / ((high - low) or 0.001), 0.0, 1.0)
    return base / factor * ramp + base * (1 - ramp), _yarn_factor(values, factor)


def _yarn_factor(values: Mapping[str, float], factor: float) -> float:
    if values.get("attention_factor"):
        return values["attention_factor"]

    def magnitude(multiplier: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * multiplier * math.log(factor) + 1.0

    if values.get("mscale") and values.get("mscale_all_dim"):
        return magnitude(values["mscale"]) / magnitude(values["mscale_all_dim"])
    return magnitude(1.0)


def rotate(x: Float64, positions: Sequence[int], rope: RopeConfig, context: int) -> Float64:
    """Rotate [rows, heads, head_dim] by the rows' positions; pairs lie head_dim / 2 apart."""
    frequencies, scale = rope_frequencies(rope, x.shape[-1], context)
    angles = np.asarray(positions, np.float64)[:, None, None] * frequencies
    cosine, sine = np.cos(angles) * scale, np.sin(angles) * scale
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    return np.concatenate([first * cosine - second * sine, first * sine + second * cosine], axis=-1)


def attend(
    query: Float64,
    keys: Float64,
    values: Float64,
    variant: AttentionVariant = PLAIN_ATTENTION,
    sinks: ArrayLike | None = None,
) -> Float64:
    """Attention of one query [heads, D] over keys and values [tokens, kv heads, D]: [heads, D].

    The query is that of the last token. Query head h reads KV head h // (heads / kv heads)
    (Ainslie et al., 2023). A variant with sinks has one number a head.
    """
    heads, tokens = query.shape[0], len(keys)
    repeats = heads // keys.shape[1]
    found = np.empty_like(query)
    behind = np.arange(tokens)[::-1]
    slopes, root = alibi_slopes(heads), math.sqrt(query.shape[1])
    for head in range(heads):
        scores = (keys[:, head // repeats] * query[head]).sum(axis=1)
        scores = scores / root if variant.score_scale is None else scores * variant.score_scale
        if variant.soft_cap is not None:
            scores = variant.soft_cap * np.tanh(scores / variant.soft_cap)
        if variant.alibi:
            scores = scores - slopes[head] * behind
        if variant.window_tokens is not None:
            scores = scores[behind < variant.window_tokens]
        sink = -math.inf if sinks is None else float(np.asarray(sinks)[head])
        largest = max(scores.max(), sink)
        powers = np.exp(scores - largest)
        weighted = powers[:, None] * values[-len(scores) :, head // repeats]
        found[head] = weighted.sum(axis=0) / (powers.sum() + math.exp(sink - largest))
    return found


def alibi_slopes(heads: int) -> list[float]:
    """Return the slope of each head (Press et al., arXiv 2108.12409, section 3).

    Of n = 2^k heads 2^(-8 / n) and its powers; others are every second one of 2 n heads.
    """
    whole = 1 << (heads.bit_length() - 1)
    slopes = [2.0 ** (-8.0 * (i + 1) / whole) for i in range(whole)]
    return slopes + [2.0 ** (-4.0 * (2 * i + 1) / whole) for i in range(heads - whole)]

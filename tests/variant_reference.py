"""The variants of attention in float64 numpy, written from their papers' formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ferrylm.runtime.manifest import AttentionVariant

Float64 = NDArray[np.float64]


def alibi_slopes(heads: int) -> list[float]:
    """Return the slopes of ALiBi, as section 3 and the code of arXiv 2108.12409 have them."""
    if heads & (heads - 1) == 0:
        start = 2.0 ** (-(2.0 ** -(math.log2(heads) - 3)))
        return [start ** (i + 1) for i in range(heads)]
    fewer = 1 << (heads.bit_length() - 1)
    return alibi_slopes(fewer) + alibi_slopes(2 * fewer)[0::2][: heads - fewer]


def attend(
    queries: ArrayLike,
    positions: ArrayLike,
    keys: NDArray[Any],
    values: NDArray[Any],
    variant: AttentionVariant,
    sinks: ArrayLike | None = None,
) -> Float64:
    """Attention of scaled queries [rows, heads, D] at positions over [tokens, KV heads, D]."""
    rows = np.asarray(queries, np.float64)
    found = np.zeros_like(rows)
    heads = rows.shape[1]
    repeats = heads // keys.shape[1]
    behind = np.asarray(positions)[:, None] - np.arange(len(keys))
    hidden = behind < 0
    if variant.window_tokens is not None:
        hidden |= behind >= variant.window_tokens
    for head in range(heads):
        scores = rows[:, head] @ keys[:, head // repeats].astype(np.float64).T
        if variant.soft_cap is not None:
            scores = variant.soft_cap * np.tanh(scores / variant.soft_cap)
        if variant.alibi:
            scores = scores - alibi_slopes(heads)[head] * behind
        scores = np.where(hidden, -np.inf, scores)
        sink = -math.inf
        if variant.sinks:
            assert sinks is not None
            sink = float(np.asarray(sinks)[head])
        largest = np.maximum(scores.max(axis=1, keepdims=True), sink)
        powers = np.exp(scores - largest)
        total = powers.sum(axis=1, keepdims=True) + np.exp(sink - largest)
        known = np.where(hidden.all(axis=0)[:, None], 0, values[:, head // repeats])
        found[:, head] = powers / total @ known.astype(np.float64)
    return found

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
    slopes = alibi_slopes(heads)
    for row, position in enumerate(np.asarray(positions)):
        first = 0
        if variant.window_tokens is not None:
            first = max(0, int(position) - variant.window_tokens + 1)
        tokens = np.arange(first, int(position) + 1)
        for head in range(heads):
            scores = keys[tokens, head // repeats].astype(np.float64) @ rows[row, head]
            if variant.soft_cap is not None:
                scores = variant.soft_cap * np.tanh(scores / variant.soft_cap)
            if variant.alibi:
                scores = scores - slopes[head] * (position - tokens)
            with_sink = scores
            if variant.sinks:
                assert sinks is not None
                with_sink = np.append(scores, np.asarray(sinks, np.float64)[head])
            powers = np.exp(scores - with_sink.max())
            total = np.exp(with_sink - with_sink.max()).sum()
            found[row, head] = powers @ values[tokens, head // repeats].astype(np.float64) / total
    return found

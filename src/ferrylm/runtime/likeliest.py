"""The largest of many logits, without sorting them all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.intp]
Logits = npt.NDArray[np.float32]
Weights = npt.NDArray[np.float64]

_BLOCK = 64
_FIRST_GUESS = 64
_GROWTH = 8


def likeliest(logits: Logits, count: int) -> Ids:
    """Return the ids of the `count` largest logits, largest first, of equals the lowest id first.

    `logits` is float32 [n] without NaN; all n ids come back if `count` is n or more.
    """
    if count <= 0:
        return np.empty(0, dtype=np.intp)
    if count >= logits.size:
        return np.argsort(-logits, kind="stable")
    bound = _lower_bound(logits, count)
    ids = np.flatnonzero(logits >= bound)
    order = np.argsort(-logits[ids], kind="stable")
    return ids[order[:count]]


def likeliest_with_mass(logits: Logits, weights: Weights, mass: float) -> tuple[Ids, Weights]:
    """Return the fewest largest logits whose weights sum to `mass`, and their weights.

    `weights` is float64 [n] and grows with `logits`. At least one token comes back.
    """
    guess = _FIRST_GUESS
    while True:
        ids = likeliest(logits, guess)
        kept = weights[ids]
        count = smallest_count(kept, mass)
        if count <= kept.size or guess >= logits.size:
            return ids[:count], kept[:count]
        guess *= _GROWTH


def smallest_count(weights: Weights, mass: float) -> int:
    """Return how many leading weights sum to `mass`: at least one; len + 1 if all do not."""
    return int(np.searchsorted(np.cumsum(weights), mass, side="left")) + 1


def _lower_bound(logits: Logits, count: int) -> np.float32:
    """Return a value that at least `count` logits reach, and few more.

    The count-th largest of the maxima of blocks is such a value, and finding it is ten times
    cheaper than partitioning all logits of a large vocabulary.
    """
    blocks = logits.size // _BLOCK
    if count <= blocks:
        maxima = logits[: blocks * _BLOCK].reshape(blocks, _BLOCK).max(axis=1)
        bound: np.float32 = np.partition(maxima, blocks - count)[blocks - count]
    else:
        bound = np.partition(logits, logits.size - count)[logits.size - count]
    return bound

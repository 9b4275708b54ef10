"""The largest of many logits, without sorting them all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.intp]
Logits = npt.NDArray[np.float32]
Weights = npt.NDArray[np.float64]

_BLOCK = 64


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


def fewest_with_mass(weights: Weights, mass: float) -> Ids:
    """Return, in ascending order, the fewest ids whose float64 weights sum to `mass`.

    Of equal weights the lowest ids are taken. At least one id comes back.
    """
    # What may be left out sums to at most this; so whatever is below its equal share can go,
    # which leaves little to sort unless the distribution is flat.
    spare = float(weights.sum()) - mass
    ids = np.flatnonzero(weights >= spare / weights.size)
    kept = weights[ids]
    falling = np.sort(kept)[::-1]
    count = min(smallest_count(falling, mass), kept.size)
    last = falling[count - 1]
    above = ids[kept > last]
    equal = ids[kept == last][: count - above.size]
    return np.union1d(above, equal)


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

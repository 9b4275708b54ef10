"""Comparing what a kernel gave with what it must give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """The outcome of one or more comparisons; `problem` names the first differing element."""

    count: int = 0
    worst: float = 0.0  # error as a share of what is allowed
    problem: str | None = None

    def joined(self, other: Comparison) -> Comparison:
        """Return both outcomes as one; the first problem stays."""
        problem = self.problem if self.problem is not None else other.problem
        return Comparison(self.count + other.count, max(self.worst, other.worst), problem)


def compare(
    found: npt.NDArray[np.generic], wanted: Float64, tolerance: float, what: str
) -> Comparison:
    """Compare row by row; `what` names the array.

    An element may be off by `tolerance` times the sum of its own magnitude and the root mean
    square of its row. NaN is always wrong.
    """
    if found.shape != wanted.shape:
        problem = f"{what} has the shape {list(found.shape)}, wanted {list(wanted.shape)}"
        return Comparison(wanted.size, float("inf"), problem)
    wide = found.astype(np.float64)
    level = np.sqrt(np.mean(wanted**2, axis=-1, keepdims=True))
    allowed = tolerance * (np.abs(wanted) + level) + np.finfo(np.float32).tiny
    with np.errstate(invalid="ignore", over="ignore"):
        shares = np.abs(wide - wanted) / allowed
    shares = np.where(np.isnan(shares), np.inf, shares)
    worst = float(shares.max(initial=0.0))
    if worst <= 1:
        return Comparison(wanted.size, worst)
    wrong = np.flatnonzero(shares > 1)
    index = np.unravel_index(int(wrong[0]), wanted.shape)
    where = ", ".join(str(int(i)) for i in index)
    problem = (
        f"{what}[{where}] is {wide[index]:.7g}, wanted {wanted[index]:.7g}"
        f" within {float(allowed[index]):.2g}; {len(wrong)} of {wanted.size} numbers differ"
    )
    return Comparison(wanted.size, worst, problem)

"""A matrix of quantized weights times one row: its tensors, and what it must answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

GROUP = 32
Array = np.ndarray


@dataclass(frozen=True)
class WeightProduct:
    """`bits` of a weight, with a minimum for each group of 32 columns or not."""

    bits: int
    minimum: bool
    rows: int
    columns: int

    @property
    def middle(self) -> int:
        """Return the code that stands for 0."""
        return 0 if self.minimum else 1 << (self.bits - 1)

    def tensors(self) -> list[tuple[tuple[int, ...], str]]:
        """Return shapes and dtypes of codes, scales, and minimums where there are any."""
        groups = self.columns // GROUP
        scales = [((self.rows, groups), "float16")] * (2 if self.minimum else 1)
        return [((self.rows, groups * self.bits), "uint32"), *scales]

    def random(self, generator: Any) -> list[Array]:
        """Return random tensors."""
        return [
            generator.integers(0, 1 << 32, shape, np.uint32)
            if dtype == "uint32"
            else (0.01 * generator.random(shape)).astype(dtype)
            for shape, dtype in self.tensors()
        ]

    def worst_error(self, found: Array, x: Array, arrays: list[Array]) -> float:
        """Return the largest error of a result, in parts of the sum of its terms' magnitudes."""
        shifts = np.arange(32 // self.bits, dtype=np.uint32) * self.bits
        worst = 0.0
        for start in range(0, self.rows, 4096):
            part = [array[start : start + 4096] for array in arrays]
            codes = (part[0][:, :, None] >> shifts) & ((1 << self.bits) - 1)
            weights = codes.reshape(len(codes), self.columns).astype(np.float64) - self.middle
            weights *= np.repeat(part[1].astype(np.float64), GROUP, 1)
            if self.minimum:
                weights += np.repeat(part[2].astype(np.float64), GROUP, 1)
            wanted, scale = weights @ x.astype(np.float64), np.abs(weights) @ np.abs(x)
            error = np.abs(found[start : start + 4096] - wanted) / scale
            worst = max(worst, float(np.max(error)))
        return worst

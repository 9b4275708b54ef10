"""Activations between kernels: float32, or quantized by the kernel that made them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ferrylm.schedules.gpu.layout import GROUP

Tensor = Any


@dataclass(frozen=True)
class Prepared:
    """Rows that are quantized for the product that follows; `x` holds them as float32 as well.

    `gain` is that of the norm between the two: the codes are those of x times gain.
    """

    codes: Tensor
    terms: Tensor
    x: Tensor | None = None
    gain: Tensor | None = None

    @property
    def shape(self) -> tuple[Any, Any]:
        """Return rows and columns of the float32 rows that this stands for."""
        return self.codes.shape[0], GROUP * self.codes.shape[2]


def plain(activation: Any) -> Tensor:
    """Return the float32 rows of an activation."""
    if not isinstance(activation, Prepared):
        return activation
    if activation.x is None:
        raise ValueError("the kernel that made these activations kept no float32 rows")
    return activation.x

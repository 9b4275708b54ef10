"""Activations between kernels: float32, or as their maker prepared them for the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ferrylm.schedules.gpu.layout import padded

Tensor = Any


@dataclass(frozen=True)
class Prepared:
    """Rows that are quantized for the product that follows; `x` holds them as float32 as well.

    There are `m` rows of `width` columns. `gain` is that of the norm between the two: the codes are
    those of x times gain.
    """

    codes: Tensor
    terms: Tensor
    m: Any
    width: int
    x: Tensor | None = None
    gain: Tensor | None = None

    @property
    def shape(self) -> tuple[Any, Any]:
        """Return rows and columns of the float32 rows that this stands for."""
        return self.m, padded(self.width)


@dataclass(frozen=True)
class Halves:
    """Rows as float16 in a layout for matrix units (halves.py); `m` rows of `width` columns.

    `plain` is that of HalvesLayout.
    """

    words: Tensor
    m: Any
    width: int
    plain: bool = False

    @property
    def shape(self) -> tuple[Any, Any]:
        """Return rows and columns of the float32 rows that this stands for."""
        return self.m, padded(self.width)


def has_floats(activation: Any) -> bool:
    """Return whether there are float32 rows of an activation.

    There are none of one that was prepared for a quantized matrix, whatever matrix follows.
    """
    if isinstance(activation, Prepared):
        return activation.x is not None
    return not isinstance(activation, Halves)


def plain(activation: Any) -> Tensor:
    """Return the float32 rows of an activation."""
    if not has_floats(activation):
        raise ValueError("the kernel that made these activations kept no float32 rows")
    return activation.x if isinstance(activation, Prepared) else activation

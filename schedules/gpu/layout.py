"""How the GPU kernels see weights, activations and pages.

Weights keep their canonical bytes, so that loading copies them as they are; kernels read them as
32-bit words. With G = ceil(K / 32):

    q4    codes  uint32 (N, G, 4)   word i of a group: low nibbles columns 4i .. 4i + 3,
                                    high nibbles columns 16 + 4i ..
    q8    codes  uint32 (N, G, 8)   word i: columns 4i .. 4i + 3, signed bytes
    both  scale, minimum  float16 (N, G)
    f16, f32  weight  (N, K)

Gate and up of a SwiGLU are rows 0 .. N / 2 and N / 2 .. N of one matrix.

Activations are rows of float32, `padded(K)` wide, zeros beyond K. Quantized ones are words
uint32 (M, 2P, G, 4): codes of part p of half h of a group's columns at index 2p + h, so that lanes
that hold neighbouring groups read neighbouring 16 bytes; and terms uint32 (M, G, 4) of a group:
the bits of a float32 scale, the int32 sum of its values, the bits of a float32 sum of squares, 0.
A value is its code (int8, P = 1), or RADIX times the first code plus the second (int16, P = 2), as
on CPUs. Where a norm follows, what is quantized is x times the norm's gain, and the squares are
those of x: whoever multiplies has all squares of a row at the end and scales its results by
1 / sqrt(mean square + eps).

Pages of attention hold keys as (P, Hkv, ceil(D / 8), page, 8), so that a lane reads 16 bytes of its
own token beside its neighbour's, and values as (P, Hkv, page, padded(D, 8)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.sym import Analyzer

GROUP = 32
RADIX = 254  # both codes of an int16 value lie in [-127, 127]
KEY_VECTOR = 8  # float16 elements in 16 bytes
MATRIX_ROWS = 8  # of a tile for matrix units


def groups(columns: int) -> int:
    """Return the number of 32-column groups that hold `columns` columns."""
    return -(-columns // GROUP)


def padded(size: int, multiple: int = GROUP) -> int:
    """Return the least multiple of `multiple` that is not below `size`."""
    return -(-size // multiple) * multiple


@dataclass(frozen=True)
class WeightFormat:
    """How one matrix of N rows and K columns is stored and multiplied."""

    rows: int
    columns: int
    storage: str  # q4, q8, f16, f32
    minimum: bool
    arithmetic: str  # int8, int16 or f32

    def __post_init__(self) -> None:
        if self.storage not in ("q4", "q8", "f16", "f32"):
            raise ValueError(f"unknown storage {self.storage!r}")
        if self.arithmetic not in ("int8", "int16", "f32"):
            raise ValueError(f"unknown arithmetic {self.arithmetic!r}")
        if self.integer and not self.grouped:
            raise ValueError(f"{self.storage} weights are multiplied in f32")

    @property
    def grouped(self) -> bool:
        """Whether columns are quantized in groups with a scale each."""
        return self.storage in ("q4", "q8")

    @property
    def integer(self) -> bool:
        """Whether activations are quantized and bytes multiplied."""
        return self.arithmetic != "f32"

    @property
    def parts(self) -> int:
        """Return P, the number of bytes of a quantized activation."""
        return 2 if self.arithmetic == "int16" else 1

    @property
    def words(self) -> int:
        """Return the 32-bit words of a group's codes."""
        return 4 if self.storage == "q4" else 8

    @property
    def vector(self) -> int:
        """Return how many columns of a plain matrix one load takes: 16 bytes if rows allow it."""
        widest = 8 if self.storage == "f16" else 4
        return next(n for n in (8, 4, 2, 1) if n <= widest and self.columns % n == 0)

    @property
    def tag(self) -> str:
        """A name part that tells formats apart."""
        return f"{self.storage}{'m' if self.minimum else ''}_{self.arithmetic}"

    def tensors(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return suffix -> (dtype, shape) of the tensors, in the order kernels take them."""
        if not self.grouped:
            dtype = "float16" if self.storage == "f16" else "float32"
            return {"weight": (dtype, (self.rows, self.columns))}
        g = groups(self.columns)
        found = {
            "codes": ("uint32", (self.rows, g, self.words)),
            "scale": ("float16", (self.rows, g)),
        }
        if self.minimum:
            found["minimum"] = ("float16", (self.rows, g))
        return found


def row_tiles(m: Any) -> Any:
    """Return the number of tiles of rows for matrix units that m rows are."""
    # A size that is a variable must be that variable: TVM solves no equations for it.
    return -(-m // MATRIX_ROWS) if isinstance(m, int) else Analyzer().simplify(m // MATRIX_ROWS)


@dataclass(frozen=True)
class ActivationLayout:
    """How quantized rows of `columns` columns lie in memory."""

    columns: int
    parts: int

    def codes_shape(self, m: Any) -> tuple[Any, ...]:
        """Return the shape of the codes of m rows."""
        return (m, 2 * self.parts, groups(self.columns), 4)

    def terms_shape(self, m: Any) -> tuple[Any, ...]:
        """Return the shape of the terms of m rows."""
        return (m, groups(self.columns), 4)

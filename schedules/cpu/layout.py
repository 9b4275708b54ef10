"""How the CPU kernels want weights and activations to lie in memory.

Rows of a weight (output features) are taken in blocks of 16, the last one padded with zeros, so
that one vector holds one column of 16 rows whatever the vector width. With NB = ceil(N / 16),
G = ceil(K / 32):

    q4, int    codes  uint8   (NB, G, 4, 64)   byte 4 * lane + j of octet o:
                                               low nibble column 8o + j, high nibble 8o + 4 + j
    q4, f32    codes  uint32  (NB, G, 4, 16)   the same bytes, a word a lane
    q8, int    codes  int8    (NB, G, 8, 64)   byte 4 * lane + j of quad o: column 4o + j
    q8, f32    codes  int8    (NB, G, 32, 16)
    both       scale, minimum  float16 (NB, G, 16)
    f16, f32   weight  (NB, K, 16)

The blocks of a pair of matrices, gate and up, alternate, and lie side by side within a group or
column, (NB / 2, G, 2, ...): a kernel that needs both reads one stream instead of two.

Activations are rows of float32, `padded(K, 16)` wide, or quantized by groups of 32: codes int8
(M, G, P * 32) and terms float32 (M, G, 2), the scale and the scale times the sum of the values. A
value is its code (int8, P = 1), or RADIX times the first code plus the one 32 further on (int16,
P = 2: 15 bits and a sign in two operands of the same byte instructions).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LANES = 16
GROUP = 32
RADIX = 254  # both codes of an int16 value lie in [-127, 127]
ARITHMETICS = ("int8", "int16", "f32")


def blocks(rows: int) -> int:
    """Return the number of 16-row blocks that hold `rows` rows."""
    return -(-rows // LANES)


def groups(columns: int) -> int:
    """Return the number of 32-column groups that hold `columns` columns."""
    return -(-columns // GROUP)


def padded(size: int, multiple: int = LANES) -> int:
    """Return the least multiple of `multiple` that is not below `size`."""
    return -(-size // multiple) * multiple


@dataclass(frozen=True)
class WeightFormat:
    """How one matrix of N rows and K columns is stored and multiplied."""

    rows: int
    columns: int
    storage: str  # q4, q8, f16, f32
    minimum: bool
    arithmetic: str  # one of ARITHMETICS: how activations are quantized, or not
    pairs: bool = False  # gate and up, in alternating blocks

    def __post_init__(self) -> None:
        if self.storage not in ("q4", "q8", "f16", "f32"):
            raise ValueError(f"unknown storage {self.storage!r}")
        if self.arithmetic not in ARITHMETICS:
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
    def tag(self) -> str:
        """A name part that tells formats apart."""
        return f"{self.storage}{'m' if self.minimum else ''}_{self.arithmetic}"

    def place(self, block: Any, column: Any, *inner: Any) -> tuple[Any, ...]:
        """Return the indices of an element of a block's group, or column, in a packed tensor."""
        lead = (block // 2, column, block % 2) if self.pairs else (block, column)
        return lead + inner

    def tensors(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return suffix -> (dtype, shape) of the packed tensors, in the order kernels take them."""
        nb, g = blocks(self.rows), groups(self.columns)

        def shape(column_count: int, *inner: int) -> tuple[int, ...]:
            return (nb // 2, column_count, 2, *inner) if self.pairs else (nb, column_count, *inner)

        if not self.grouped:
            dtype = "float16" if self.storage == "f16" else "float32"
            return {"weight": (dtype, shape(self.columns, LANES))}
        codes = {
            ("q4", True): ("uint8", shape(g, 4, 64)),
            ("q4", False): ("uint32", shape(g, 4, LANES)),
            ("q8", True): ("int8", shape(g, 8, 64)),
            ("q8", False): ("int8", shape(g, 32, LANES)),
        }[self.storage, self.integer]
        found = {"codes": codes, "scale": ("float16", shape(g, LANES))}
        if self.minimum:
            found["minimum"] = ("float16", shape(g, LANES))
        return found

"""Types of TensorIR as this generator sees them, and values of these types."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

_NAME = re.compile(r"(bool|int|uint|float|handle)(\d*)(?:x(\d+))?")
_BITS = {"int": (8, 16, 32, 64), "uint": (8, 16, 32, 64), "float": (16, 32, 64)}
MOST_LANES = 4  # of a SPIR-V vector


@dataclass(frozen=True)
class Scalar:
    """The type of one element: `code` is bool, int, uint, float or handle."""

    code: str
    bits: int

    @property
    def name(self) -> str:
        """Return TVM's name of it."""
        return self.code if self.code in ("bool", "handle") else f"{self.code}{self.bits}"

    @property
    def bytes(self) -> int:
        """Return its size in memory."""
        return self.bits // 8

    @property
    def is_float(self) -> bool:
        """Return whether it is a float type."""
        return self.code == "float"

    @property
    def is_signed(self) -> bool:
        """Return whether it is a signed integer."""
        return self.code == "int"

    @property
    def is_integer(self) -> bool:
        """Return whether it is an integer."""
        return self.code in ("int", "uint")


@dataclass(frozen=True)
class Value:
    """A value: `parts` are ids of vectors of four lanes, the last one may be shorter."""

    scalar: Scalar
    lanes: int
    parts: tuple[int, ...]

    def typed(self, scalar: Scalar) -> Value:
        """Return the same ids under another type that is represented alike."""
        return replace(self, scalar=scalar)


BOOL = Scalar("bool", 8)  # a byte in memory
INT32 = Scalar("int", 32)
UINT32 = Scalar("uint", 32)
INT64 = Scalar("int", 64)
UINT64 = Scalar("uint", 64)
FLOAT16 = Scalar("float", 16)
FLOAT32 = Scalar("float", 32)
HANDLE = Scalar("handle", 64)


@lru_cache(maxsize=512)
def parse_type(name: str) -> tuple[Scalar, int] | None:
    """Return the scalar and the lanes of a TVM type name, or None for one of another kind."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    code, bits, lanes = found[1], found[2], int(found[3] or 1)
    if code == "bool":
        return BOOL, lanes
    if code == "handle":
        return HANDLE, lanes
    if not bits or int(bits) not in _BITS[code]:
        return None
    return Scalar(code, int(bits)), lanes


def part_lanes(lanes: int) -> tuple[int, ...]:
    """Return the lanes of each SPIR-V vector that together hold `lanes` lanes."""
    whole, rest = divmod(lanes, MOST_LANES)
    return (MOST_LANES,) * whole + ((rest,) if rest else ())

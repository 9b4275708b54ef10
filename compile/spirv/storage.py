"""Where buffers live: global memory by address, arrays of a thread, arrays of a workgroup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ferrylm.compile.spirv.values import Scalar


@dataclass(frozen=True)
class GlobalMemory:
    """Memory at a 64-bit device address, whose id is `address`."""

    address: int


@dataclass(frozen=True)
class ArrayMemory:
    """An array variable; elements have the type `element_type`.

    These are vectors of `lanes` scalars in shared memory whose buffer has such elements. A Place
    in it then counts vectors, but for its `count`.
    """

    variable: int
    storage: int  # a StorageClass
    scalar: Scalar
    element_type: int
    narrow: bool  # elements are integers below 32 bits as such
    lanes: int = 1


@dataclass(frozen=True)
class WordMemory:
    """An array variable of 32-bit words that is seen as several types."""

    variable: int
    storage: int  # a StorageClass


Storage = GlobalMemory | ArrayMemory | WordMemory


@dataclass(frozen=True)
class BufferView:
    """A buffer as the code indexes it: `lanes` scalars an element, in some storage."""

    scalar: Scalar
    lanes: int
    storage: Storage
    bytes: int | None  # where known
    alignment_bytes: int
    read_only: bool


@dataclass(frozen=True)
class Place:
    """Consecutive scalars of a buffer: `count` from the scalar index `first` on.

    `multiple` is a power of two that divides the index.
    """

    first: Any  # a Value of one lane
    offset: int  # constant to add to the index
    count: int
    multiple: int


@dataclass(frozen=True)
class Tile:
    """A variable that holds a cooperative matrix."""

    variable: int
    type_id: int
    scalar: Scalar
    rows: int
    columns: int

"""The integers of a step: tokens, positions and page numbers, uploaded in one copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ferrylm.runtime.backends.base import MIRROR_ALIGNMENT_BYTES, Array, Backend, Tensor


class StepInputs:
    """Tokens (tiles, rows of a tile), positions (rows,), tables (sequences, width), last row (1,).

    Arrays are the host's side; `push` makes the tensors equal to them.
    """

    def __init__(self, backend: Backend, most_rows: int, most_table: int) -> None:
        """Take memory for steps of up to so many rows, and tables of so many page numbers."""
        sizes = (most_rows, most_rows, most_table, 1)
        self._starts = [sum(map(_aligned, sizes[:i])) for i in range(len(sizes))]
        self._mirror = backend.mirror(sum(map(_aligned, sizes)))
        self.arrays: list[Array] = []
        self.tensors: list[Tensor] = []

    def shape(self, tiles: int, tile: int, sequences: int, width: int) -> None:
        """Lay out the inputs of one step; arrays and tensors are new, their memory is not."""
        shapes: tuple[Sequence[int], ...] = (
            (tiles, tile), (tiles * tile,), (sequences, width), (1,),
        )  # fmt: skip
        pairs = [
            self._mirror.pair(start, shape)
            for start, shape in zip(self._starts, shapes, strict=True)
        ]
        self.arrays = [array for array, _ in pairs]
        self.tensors = [tensor for _, tensor in pairs]

    def write(self, ids: Array, positions: Any, pages: Sequence[Sequence[int]]) -> None:
        """Set the inputs and push them; what is left over is padding, at position -1."""
        tokens, where, tables, last_row = self.arrays
        count = len(ids)
        tokens.reshape(-1)[:count] = ids
        tokens.reshape(-1)[count:] = 0
        where[:count] = positions
        where[count:] = -1
        tables[...] = 0
        for row, numbers in enumerate(pages):
            tables[row, : len(numbers)] = numbers
        last_row[0] = count - 1
        self._mirror.push()


def input_bytes(most_rows: int, most_table: int) -> int:
    """Return the memory of such inputs on the device."""
    return sum(map(_aligned, (most_rows, most_rows, most_table, 1)))


def _aligned(count: int) -> int:
    item_bytes = np.dtype(np.int32).itemsize
    return -(-count * item_bytes // MIRROR_ALIGNMENT_BYTES) * MIRROR_ALIGNMENT_BYTES

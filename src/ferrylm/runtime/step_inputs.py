"""The integers of a step: tokens, positions, page numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ferrylm.errors import UsageError
from ferrylm.runtime.backends.base import Array, Backend, Tensor


class StepInputs:
    """Tokens (tiles, rows of a tile), positions (rows,), tables (sequences, width), last row (1,).

    Tensors keep their addresses whatever the shape, so that a step can be recorded.
    """

    def __init__(self, backend: Backend, most_rows: int, most_table: int) -> None:
        """Take memory for steps of up to so many rows, and tables of so many page numbers."""
        counts = (most_rows, most_rows, most_table, 1)
        self._mirrors = [backend.mirror(count) for count in counts]
        self._arrays: list[Array] = []
        self.tensors: list[Tensor] = []

    def shape(self, tiles: int, tile: int, sequences: int, width: int) -> None:
        """Lay out the inputs of one step."""
        shapes = ((tiles, tile), (tiles * tile,), (sequences, width), (1,))
        pairs = [m.shaped(shape) for m, shape in zip(self._mirrors, shapes, strict=True)]
        self._arrays = [array for array, _ in pairs]
        self.tensors = [tensor for _, tensor in pairs]

    def write(self, ids: Array, positions: Any, pages: Sequence[Sequence[int]]) -> None:
        """Set the inputs on the device; what is left over is padding, at position -1."""
        tokens, where, tables, last_row = self._arrays
        count = len(ids)
        tokens.reshape(-1)[:count] = ids
        tokens.reshape(-1)[count:] = 0
        where[:count] = positions
        where[count:] = -1
        tables[...] = 0
        for row, numbers in enumerate(pages):
            tables[row, : len(numbers)] = numbers
        last_row[0] = count - 1
        for mirror in self._mirrors:
            mirror.push()


def checked_tokens(vocab_size: int, token_ids: Array) -> npt.NDArray[np.int32]:
    """Return a row of tokens as int32. Raises UsageError for none, or unknown ones."""
    ids = np.ascontiguousarray(token_ids, np.int32)
    if ids.ndim != 1 or len(ids) == 0:
        raise UsageError(
            f"tokens of shape {ids.shape}", wanted="a row of one or more", fix="pass some"
        )
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocab_size:
        raise UsageError(
            f"token ids from {low} to {high}",
            wanted=f"0 to {vocab_size - 1}",
            fix="use the tokenizer of this model",
        )
    return ids

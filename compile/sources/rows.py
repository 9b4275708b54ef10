"""Views on the rows of a tensor: a slice of them, or in another order. They stay encoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ferrylm.compile.sources.source import Rows

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class SlicedRows:
    """The rows of `inner` from `first` on."""

    inner: Rows
    first: int

    def read(self, start: int, stop: int) -> Bytes:
        """Read rows start to stop of the slice."""
        return self.inner.read(self.first + start, self.first + stop)


@dataclass(frozen=True)
class RotaryPairsApart:
    """Rows of q or k in Hugging Face's order, read from a file in llama.cpp's.

    Within a head, llama.cpp's converter puts the two rows of each rotary pair next to each other
    (rows 2i and 2i+1); Hugging Face keeps them half a head apart (i and i + head_dim/2).
    """

    inner: Rows
    head_dim: int

    def read(self, start: int, stop: int) -> Bytes:
        """Read rows start to stop of Hugging Face's order."""
        if start == stop:
            return self.inner.read(start, stop)
        half = self.head_dim // 2
        sources = []
        for row in range(start, stop):
            within = row % self.head_dim
            sources.append(row - within + 2 * (within % half) + within // half)
        return np.concatenate([self.inner.read(row, row + 1) for row in sources])

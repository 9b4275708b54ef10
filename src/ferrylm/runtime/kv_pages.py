"""Keys and values of open sequences, in pages that every layer numbers alike."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ferrylm.errors import ContextOverflowError, UsageError
from ferrylm.runtime.device_tensors import Arena, Array, aligned_bytes, aligned_zeros
from ferrylm.runtime.manifest import ModelConfig


@dataclass
class Sequence:
    """One open sequence: how many tokens it holds, and in which pages."""

    length: int = 0
    pages: list[int] = field(default_factory=list)
    open: bool = True


def pool_bytes(model: ModelConfig, kv_dtype: str, pages: int, page_size: int) -> int:
    """Return the memory of the pools of all layers."""
    token = 2 * model.num_kv_heads * model.head_dim * np.dtype(kv_dtype).itemsize
    return model.num_layers * token * pages * page_size


class PagePool:
    """The pools of all layers and the pages that are free.

    keys (pages, Hkv, D, page), values (pages, Hkv, page, D), one array of each a layer.
    """

    def __init__(
        self, model: ModelConfig, kv_dtype: str, page_size: int, context: int, sequences: int
    ) -> None:
        self.page_size = page_size
        self.context = context
        self.max_sequences = sequences
        self._open = 0
        count = sequences * -(-context // page_size)
        heads, dim = model.num_kv_heads, model.head_dim
        layers = range(model.num_layers)
        key_shape, value_shape = (count, heads, dim, page_size), (count, heads, page_size, dim)
        arena = Arena(2 * model.num_layers * aligned_bytes(key_shape, kv_dtype))
        self.keys = [arena.take(key_shape, kv_dtype) for _ in layers]
        self.values = [arena.take(value_shape, kv_dtype) for _ in layers]
        self._free = list(range(count - 1, -1, -1))
        self._used_before: set[int] = set()

    @property
    def free_pages(self) -> int:
        """Return the number of pages that no sequence holds."""
        return len(self._free)

    def open_sequence(self) -> Sequence:
        """Open an empty sequence. Raises UsageError when all that fit are open."""
        if self._open == self.max_sequences:
            raise UsageError(
                f"{self._open} open sequences",
                wanted=f"at most {self.max_sequences}",
                fix="close one, or load the model with more max_sequences",
            )
        self._open += 1
        return Sequence()

    def check(self, sequence: Sequence, tokens: int) -> None:
        """Raise UsageError or ContextOverflowError if the sequence cannot take so many more."""
        if not sequence.open:
            raise UsageError("a closed sequence", wanted="an open one", fix="open another")
        if sequence.length + tokens > self.context:
            raise ContextOverflowError(
                f"{sequence.length} tokens and {tokens} more",
                wanted=f"at most {self.context}",
                fix="shorten the prompt or load the model with a longer context",
            )

    def reserve(self, sequence: Sequence, tokens: int) -> None:
        """Give the sequence pages for so many more tokens. Raises what `check` raises."""
        self.check(sequence, tokens)
        while len(sequence.pages) * self.page_size < sequence.length + tokens:
            sequence.pages.append(self._take())

    def close_sequence(self, sequence: Sequence) -> None:
        """Take the pages back; closing twice is harmless."""
        if not sequence.open:
            return
        sequence.open = False
        self._open -= 1
        self._free.extend(reversed(sequence.pages))
        sequence.pages.clear()

    def block_tables(self, sequences: list[Sequence], rows: int) -> npt.NDArray[np.int32]:
        """Return int32 (rows, W): each sequence's pages, then zeros; W fits the longest."""
        width = max(1, *(len(sequence.pages) for sequence in sequences))
        tables: Array = aligned_zeros((rows, width), "int32")
        for row, sequence in enumerate(sequences):
            tables[row, : len(sequence.pages)] = sequence.pages
        return tables

    def _take(self) -> int:
        page = self._free.pop()
        if page in self._used_before:
            # A masked slot is multiplied by zero, and zero times an old infinity is no number.
            for values in self.values:
                values[page] = 0
        self._used_before.add(page)
        return page

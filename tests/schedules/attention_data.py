"""Queries and paged keys and values of one attention case, and their result in float64."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ferrylm.runtime.device_tensors import aligned
from ferrylm.schedules.cpu.layout import padded
from tests import reference
from tests.schedules.cases import AttentionCase
from tests.schedules.kernel_runner import run

Array = np.ndarray
GARBAGE = 3e4  # large, and finite in float16


@dataclass(frozen=True)
class AttentionData:
    """One query for each position of a sequence whose pages are shuffled among foreign ones.

    What the sequence does not use holds GARBAGE: other pages, and the last page's later slots.
    """

    case: AttentionCase
    seed: int = 0

    @cached_property
    def queries(self) -> Array:
        """Return float32 (tokens, Hq, D), scaled as kernels want them."""
        generator = np.random.default_rng(self.seed)
        case = self.case
        shape = (case.tokens, case.num_heads, case.head_dim)
        scale = 1.5 / np.sqrt(case.head_dim)
        return (generator.standard_normal(shape) * scale).astype(np.float32)

    @cached_property
    def table(self) -> Array:
        """Return the numbers of the sequence's pages."""
        count = -(-self.case.tokens // self.case.page_size)
        generator = np.random.default_rng(self.seed + 1)
        return generator.permutation(count + 3)[:count].astype(np.int32)

    @cached_property
    def pages(self) -> tuple[Array, Array]:
        """Return keys (P, Hkv, D, page) and values (P, Hkv, page, D)."""
        case = self.case
        generator = np.random.default_rng(self.seed + 2)
        shape = (len(self.table) + 3, case.page_size, case.num_kv_heads, case.head_dim)
        keys, values = (np.full(shape, GARBAGE, case.kv_dtype) for _ in range(2))
        for pages in (keys, values):
            tokens = generator.standard_normal((case.tokens, *shape[2:]))
            for position, token in enumerate(tokens):
                page, slot = divmod(position, case.page_size)
                pages[self.table[page], slot] = token
        return (
            aligned(keys.transpose(0, 2, 3, 1)),
            aligned(values.transpose(0, 2, 1, 3)),
        )

    @property
    def beside(self) -> list[Array]:
        """Return the arguments of kernels before their output that only some variants have."""
        return []

    def expected(self, positions: list[int]) -> Array:
        """Return float64 (positions, Hq, D): attention of each position over those up to it."""
        keys, values = self.pages
        rows = self.queries[positions] * np.sqrt(float(self.case.head_dim))
        lengths = np.array(positions) + 1
        tables = np.repeat(self.table[None], len(positions), axis=0)
        return reference.paged_attention(
            rows, keys.transpose(0, 3, 1, 2), values.transpose(0, 2, 1, 3), tables, lengths
        )

    def run(self, function: object, positions: list[int], *, prefill: bool) -> Array:
        """Run a kernel on these positions, -1 for padding; return float32 (rows, Hq, D)."""
        case = self.case
        width = padded(case.num_heads * case.head_dim)
        tables = np.repeat(self.table[None], 1 if prefill else len(positions), axis=0)
        arguments = [
            self.queries[np.maximum(positions, 0)],
            *self.pages,
            tables,
            np.array(positions, np.int32),
            *self.beside,
        ]
        found = run(function, arguments, (len(positions), width), "float32")  # type: ignore[arg-type]
        shape = (len(positions), case.num_heads, case.head_dim)
        return found[:, : case.num_heads * case.head_dim].reshape(shape)

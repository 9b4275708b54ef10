# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Activations as rows of float16 for cooperative matrices, and the kernels that make them.

What is computed says rounded_rows.py; out is as CooperativeRows says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tvm.script import tirx as T

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import GROUP, groups, padded
from ferrylm.schedules.gpu.rounded_rows import WORDS, half_of, round_rows
from ferrylm.schedules.gpu.row_counts import row_count

_STAGE = 64  # columns that a product takes at once, or half of them


@dataclass(frozen=True)
class CooperativeRows:
    """Where the numbers of rows of `columns` columns lie: uint32 (M, words), zeros beyond.

    Word 4 i + q of a group holds columns 16 (q / 2) + 4 i + q % 2 and, in its upper half, the one
    two beyond. So the nibbles of word i of a group of weights (layout.py) become words 4 i .. 4 i +
    3 by masks and shifts of two nibbles at a time. A product does not mind the order of columns.
    """

    columns: int
    plain: ClassVar[bool] = False  # weights are quantized

    @property
    def width(self) -> int:
        """Return the number of columns with the zeros beyond."""
        return padded(self.columns, _STAGE)

    def shape(self, m: Any) -> tuple[Any, int]:
        """Return the shape of m rows."""
        return (m, self.width // 2)


@T.inline
def load_unit(x, gain, values, total, m, i, unit, width, normed):  # noqa: D103
    # Unit i of a lane: columns 4 i .. 4 i + 3 of both halves of a group.
    for j in T.unroll(2 * WORDS):
        values[i * 2 * WORDS + j] = T.float32(0)
    if unit // WORDS < groups(width):
        for half in T.unroll(2):
            first = T.meta_var(unit // WORDS * GROUP + half * (GROUP // 2) + unit % WORDS * 4)
            for j in T.vectorized(4):
                values[i * 2 * WORDS + half * 4 + j] = x[m, first + j]
            for j in T.unroll(4):
                at = T.meta_var(i * 2 * WORDS + half * 4 + j)
                if width % GROUP != 0:
                    values[at] = T.Select(first + j < width, values[at], T.float32(0))
                if normed:
                    total[0] = total[0] + values[at] * values[at]
                    values[at] = values[at] * gain[T.min(first + j, width - 1)]


@T.inline
def store_unit(values, out, factor, m, i, unit):  # noqa: D103
    words = T.alloc_buffer((WORDS,), "uint32", scope="local")
    halves = T.alloc_buffer((2,), "float16", scope="local")
    for q in T.unroll(WORDS):
        for h in T.unroll(2):
            halves[h] = T.cast(
                values[i * 2 * WORDS + q // 2 * 4 + q % 2 + 2 * h] * factor[0], "float16"
            )
        words[q] = T.reinterpret(halves[T.Ramp(0, 1, 2)], dtype="uint32")
    for j in T.vectorized(WORDS):
        out[m, unit * WORDS + j] = words[j]


def cooperative_rows(
    rows: Rows, width: int, threads: int, subgroup: int, eps: float | None = None
) -> Any:
    """Return the PrimFunc (x, [gain], out); with `eps` the norm comes first."""
    layout = CooperativeRows(width)

    @T.inline
    def load(x, gain, values, total, m, i, unit):
        load_unit(x, gain, values, total, m, i, unit, width, eps is not None)

    units = layout.width // (2 * WORDS)
    return round_rows(row_count(rows), layout, units, threads, subgroup, eps, load, store_unit)


def expose_rows(rows: Rows, width: int, threads: int) -> Any:
    """Return the PrimFunc (words, out), float32 (M, padded(H)), for checks; 0 beyond H."""
    extent, wide = row_count(rows), padded(width)
    layout = CooperativeRows(width)

    @T.prim_func(s_tir=True, private=True)
    def func(pwords: T.handle, pout: T.handle):
        T.func_attr({"tirx.noalias": True})
        words = T.match_buffer(pwords, layout.shape(extent), "uint32")
        out = T.match_buffer(pout, (extent, wide), "float32")
        for m in T.thread_binding(extent, thread="blockIdx.x"):
            for thread in T.thread_binding(threads, thread="threadIdx.x"):
                word = T.alloc_buffer((1,), "uint32", scope="local")
                for i in T.serial((wide + threads - 1) // threads):
                    k = T.meta_var(i * threads + thread)
                    if k < wide:
                        word[0] = words[
                            m, k // GROUP * 16 + k % 16 // 4 * 4 + k % GROUP // 16 * 2 + k % 2
                        ]
                        out[m, k] = half_of(word[0], k % 4 // 2)

    return func

# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Activations as rows of float16 for cooperative matrices, and the kernels that make them.

computes  out = UNIT * x, or UNIT * RMSNorm(x) * gain (arXiv 1910.07467), rounded to float16
shapes    x float32 (M, padded(H)); gain float32 (H,); out as CooperativeRows says
mapping   workgroup  a row;  lane  16 bytes of the result at a time

UNIT is that of halves.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.halves import UNIT
from ferrylm.schedules.gpu.layout import GROUP, groups, padded
from ferrylm.schedules.gpu.operations import subgroup_add
from ferrylm.schedules.gpu.row_counts import row_count
from ferrylm.schedules.gpu.signature import without

WORDS = 4  # of two halves: 16 bytes, what a word of 4-bit codes becomes
_STAGE = 64  # columns that a product takes at once, or half of them


@dataclass(frozen=True)
class CooperativeRows:
    """Where the numbers of rows of `columns` columns lie: uint32 (M, words), zeros beyond.

    Word 4 i + q of a group holds columns 16 (q / 2) + 4 i + q % 2 and, in its upper half, the one
    two beyond. So the nibbles of word i of a group of weights (layout.py) become words 4 i .. 4 i +
    3 by masks and shifts of two nibbles at a time. A product does not mind the order of columns.
    """

    columns: int

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
def add_squares(total, partial, thread, subgroup, subgroups):  # noqa: D103
    total[0] = subgroup_add(total[0])
    if thread % subgroup == 0:
        partial[thread // subgroup] = total[0]
    T.tvm_storage_sync("shared")
    total[0] = T.float32(0)
    for i in T.unroll(subgroups):
        total[0] = total[0] + partial[i]


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
    extent, layout, normed = row_count(rows), CooperativeRows(width), eps is not None
    epsilon, units = 0.0 if eps is None else eps, layout.width // (2 * WORDS)
    each = -(-units // threads)

    @T.prim_func(s_tir=True, private=True)
    def func(px: T.handle, gain: T.Buffer((width,), "float32"), pout: T.handle):
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": subgroup})
        x = T.match_buffer(px, (extent, padded(width)), "float32")
        out = T.match_buffer(pout, layout.shape(extent), "uint32")
        for m in T.thread_binding(extent, thread="blockIdx.x"):
            for thread in T.thread_binding(threads, thread="threadIdx.x"):
                values = T.alloc_buffer((each * 2 * WORDS,), "float32", scope="local")
                factor = T.alloc_buffer((1,), "float32", scope="local")
                partial = T.alloc_buffer((threads // subgroup,), "float32", scope="shared")
                factor[0] = T.float32(0)
                for i in T.unroll(each):
                    if i * threads + thread < units:
                        load_unit(
                            x, gain, values, factor, m, i, i * threads + thread, width, normed
                        )
                if normed:
                    add_squares(factor, partial, thread, subgroup, threads // subgroup)
                    factor[0] = T.float32(UNIT) / T.sqrt(
                        factor[0] * T.float32(1 / width) + T.float32(epsilon)
                    )
                else:
                    factor[0] = T.float32(UNIT)
                for i in T.unroll(each):
                    if i * threads + thread < units:
                        store_unit(values, out, factor, m, i, i * threads + thread)

    return func if normed else without(func, ["gain"])


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
                        out[m, k] = T.cast(
                            T.reinterpret(
                                T.cast(
                                    T.shift_right(word[0], T.cast(k % 4 // 2 * 16, "uint32")),
                                    "uint16",
                                ),
                                dtype="float16",
                            ),
                            "float32",
                        ) * T.float32(1 / UNIT)

    return func

# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Activations as float16 for matrix units, and the kernels that make them.

What is computed says rounded_rows.py; out is as HalvesLayout says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import MATRIX_ROWS, padded, row_tiles
from ferrylm.schedules.gpu.operations import half2_pack
from ferrylm.schedules.gpu.rounded_rows import WORDS, half_of, round_rows
from ferrylm.schedules.gpu.row_counts import tile_count

CHUNK = 128  # columns that are a fragment of eight instructions: four groups
STEPS = 8  # instructions of 16 columns
SIDES = 2  # an instruction's first and second 8 columns
LANES = 32


@dataclass(frozen=True)
class HalvesLayout:
    """Where the numbers of rows of `columns` columns lie, so that fragments are contiguous.

    `plain` says that the weights they meet are float16 and not quantized.

    uint32 (chunks of 128 columns, M / 8, 8 steps, 2 sides, 8 rows, 4 words). Word l of side j of
    step 2 i + h holds columns 32 l + 16 h + 4 i + j and, in its upper half, the one two beyond:
    lane l of four owns group l of the weights (layout.py), whose word i holds these columns, so
    weights become fragments without leaving their lane. For plain weights it holds columns
    32 i + 8 l + 4 h + 2 j and the next: a lane loads 8 columns, which are fragments as they are. A
    product does not mind the order of its columns. One side of one step of 8 rows is a core matrix
    of PTX (wgmma, no swizzle), and what 32 lanes load at once are 128 neighbouring bytes. A chunk
    of many rows is one piece of memory: one bulk copy brings it, and several would be begun one
    after another.
    """

    columns: int
    plain: bool = False

    @property
    def chunks(self) -> int:
        """Return the number of chunks; columns beyond the last are zeros."""
        return -(-self.columns // CHUNK)

    def shape(self, m: Any) -> tuple[Any, ...]:
        """Return the shape of m rows; what is beyond them in the last tile means nothing."""
        return (self.chunks, row_tiles(m), STEPS, SIDES, MATRIX_ROWS, WORDS)

    def column(self, step: Any, side: Any, word: Any, half: Any) -> Any:
        """Return the column of a chunk that a half of a word holds."""
        if self.plain:
            return step // 2 * 32 + word * 8 + step % 2 * 4 + side * 2 + half
        return word * 32 + step % 2 * 16 + step // 2 * 4 + half * 2 + side

    def place(self, column: Any) -> tuple[Any, Any, Any, Any]:
        """Return step, side, word and half of a chunk's column."""
        k = column
        if self.plain:
            return k // 32 * 2 + k % 8 // 4, k % 4 // 2, k % 32 // 8, k % 2
        return k % 16 // 4 * 2 + k % 32 // 16, k % 2, k // 32, k % 4 // 2


@T.inline
def load_unit(x, gain, values, total, m, i, unit, layout, normed):  # noqa: D103
    # Unit i of a lane: 16 bytes of the result, eight columns.
    for j in T.unroll(2 * WORDS):
        column = T.meta_var(
            unit // (STEPS * SIDES) * CHUNK
            + layout.column(unit // SIDES % STEPS, unit % SIDES, j // 2, j % 2)
        )
        values[i * 2 * WORDS + j] = T.float32(0)
        if column < layout.columns:
            values[i * 2 * WORDS + j] = x[m, column]
            if normed:
                total[0] = total[0] + values[i * 2 * WORDS + j] * values[i * 2 * WORDS + j]
                values[i * 2 * WORDS + j] = values[i * 2 * WORDS + j] * gain[column]


@T.inline
def store_unit(values, out, factor, m, i, unit):  # noqa: D103
    words = T.alloc_buffer((WORDS,), "uint32", scope="local")
    for j in T.unroll(WORDS):
        words[j] = half2_pack(
            values[i * 2 * WORDS + 2 * j] * factor[0],
            values[i * 2 * WORDS + 2 * j + 1] * factor[0],
        )
    for j in T.vectorized(WORDS):
        out[
            unit // (STEPS * SIDES),
            m // MATRIX_ROWS,
            unit // SIDES % STEPS,
            unit % SIDES,
            m % MATRIX_ROWS,
            j,
        ] = words[j]


def _extent(rows: Rows) -> Any:
    return tile_count(rows) * MATRIX_ROWS if rows.count is None else rows.count


def halve(rows: Rows, layout: HalvesLayout, threads: int, eps: float | None = None) -> Any:
    """Return the PrimFunc (x, [gain], out); with `eps` the norm comes first."""

    @T.inline
    def load(x, gain, values, total, m, i, unit):
        load_unit(x, gain, values, total, m, i, unit, layout, eps is not None)

    units = layout.chunks * STEPS * SIDES
    return round_rows(_extent(rows), layout, units, threads, LANES, eps, load, store_unit)


def expose_halves(rows: Rows, layout: HalvesLayout, threads: int) -> Any:
    """Return the PrimFunc (words, out), float32 (M, padded(H)), for checks; 0 beyond H."""
    extent, wide = _extent(rows), padded(layout.columns)

    @T.prim_func(s_tir=True, private=True)
    def func(pwords: T.handle, pout: T.handle):
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": LANES})
        words = T.match_buffer(pwords, layout.shape(extent), "uint32")
        out = T.match_buffer(pout, (extent, wide), "float32")
        for m in T.thread_binding(extent, thread="blockIdx.x"):
            for thread in T.thread_binding(threads, thread="threadIdx.x"):
                word = T.alloc_buffer((1,), "uint32", scope="local")
                for i in T.serial((wide + threads - 1) // threads):
                    k = T.meta_var(i * threads + thread)
                    place = T.meta_var(layout.place(k % CHUNK))
                    if k < wide:
                        word[0] = words[
                            k // CHUNK,
                            m // MATRIX_ROWS,
                            place[0],
                            place[1],
                            m % MATRIX_ROWS,
                            place[2],
                        ]
                        out[m, k] = half_of(word[0], place[3])

    return func

# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""The end of a product of halves: store rows of float32, or what a SwiGLU gives as halves.

Both are about one fragment: the four sums from 4 * index on, of a band and a tile of activations.
"""

from __future__ import annotations

from tvm.script import tirx as T

from ferrylm.schedules.gpu.halves import LANES
from ferrylm.schedules.gpu.layout import MATRIX_ROWS, padded
from ferrylm.schedules.gpu.matvec_epilogue import capped, gated
from ferrylm.schedules.gpu.operations import half2_pack, subgroup_shuffle_xor
from ferrylm.schedules.gpu.rounded_rows import UNIT


@T.inline
def store_rows(sums, residual, y, index, tile, extent, band, thread, rows):  # noqa: D103
    value = T.alloc_buffer((1,), "float32", scope="local")
    for half in T.unroll(2):
        output = T.meta_var(rows.output(band, thread, half))
        for i in T.unroll(2):
            m = T.meta_var(tile * MATRIX_ROWS + thread % 4 * 2 + i)
            if m < extent and output < padded(rows.product.outputs):
                value[0] = T.float32(0)
                if output < rows.product.outputs:
                    value[0] = capped(rows.product, sums[4 * index + 2 * half + i])
                    if rows.product.adds:
                        value[0] = value[0] + residual[rows.product.added_at(m, output)]
                y[m, output] = value[0]


@T.inline
def store_halves(sums, out, index, tile, tiles, band, thread, rows):  # noqa: D103
    # Lanes that differ in bit 2 hold neighbouring outputs of two rows: each makes a row's word.
    values = T.alloc_buffer((2,), "float32", scope="local")
    other = T.alloc_buffer((1,), "float32", scope="local")
    odd = T.meta_var(thread // 4 % 2 == 1)
    chunk, step, side = T.meta_var(rows.place(band))
    for i in T.unroll(2):
        values[i] = T.Select(
            rows.output(band, thread, 0) < rows.product.outputs,
            gated(rows.product, sums[4 * index + i]) * sums[4 * index + 2 + i] * T.float32(UNIT),
            T.float32(0),
        )
    other[0] = subgroup_shuffle_xor(T.Select(odd, values[0], values[1]), 4)
    if tile < tiles and chunk < rows.results.chunks:
        out[chunk, tile, step, side, thread % 4 * 2 + thread // 4 % 2, thread % LANES // 8] = (
            T.Select(odd, half2_pack(other[0], values[1]), half2_pack(values[0], other[0]))
        )

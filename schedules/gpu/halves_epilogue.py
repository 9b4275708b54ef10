# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""The end of a product of halves: store rows of float32, or what a SwiGLU gives as halves."""

from __future__ import annotations

from tvm.script import tirx as T

from ferrylm.schedules.gpu.halves import LANES, UNIT
from ferrylm.schedules.gpu.layout import MATRIX_ROWS, padded
from ferrylm.schedules.gpu.matvec_epilogue import silu
from ferrylm.schedules.gpu.operations import half2_pack, subgroup_shuffle_xor


@T.inline
def store_rows(sums, residual, y, block, extent, workgroup, thread, grid):  # noqa: D103
    value = T.alloc_buffer((1,), "float32", scope="local")
    for half in T.unroll(2):
        output = T.meta_var(grid.output(workgroup, thread, half))
        if output < padded(grid.product.outputs):
            for tile in T.unroll(grid.tile.row_tiles):
                for i in T.unroll(2):
                    m = T.meta_var(
                        (block * grid.tile.row_tiles + tile) * MATRIX_ROWS + thread % 4 * 2 + i
                    )
                    if m < extent:
                        value[0] = T.float32(0)
                        if output < grid.product.outputs:
                            value[0] = sums[4 * tile + 2 * half + i]
                            if grid.product.epilogue == "residual":
                                value[0] = value[0] + residual[m, output]
                        y[m, output] = value[0]


@T.inline
def store_halves(sums, out, block, tiles, workgroup, thread, grid):  # noqa: D103
    # Lanes that differ in bit 2 hold neighbouring outputs of two rows: each makes a row's word.
    values = T.alloc_buffer((2,), "float32", scope="local")
    other = T.alloc_buffer((1,), "float32", scope="local")
    odd = T.meta_var(thread // 4 % 2 == 1)
    chunk, step, side = T.meta_var(grid.place(workgroup, thread))
    valid = T.meta_var(grid.output(workgroup, thread, 0) < grid.product.outputs)
    for tile in T.unroll(grid.tile.row_tiles):
        for i in T.unroll(2):
            values[i] = T.Select(
                valid,
                silu(sums[4 * tile + i]) * sums[4 * tile + 2 + i] * T.float32(UNIT),
                T.float32(0),
            )
        other[0] = subgroup_shuffle_xor(T.Select(odd, values[0], values[1]), 4)
        if block * grid.tile.row_tiles + tile < tiles and chunk < grid.results.chunks:
            out[
                block * grid.tile.row_tiles + tile,
                chunk,
                step,
                side,
                thread % 4 * 2 + thread // 4 % 2,
                thread % LANES // 8,
            ] = T.Select(odd, half2_pack(other[0], values[1]), half2_pack(values[0], other[0]))

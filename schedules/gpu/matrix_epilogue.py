# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""The end of a product on matrix units: add up, apply norm and epilogue, store or quantize."""

from __future__ import annotations

from tvm.script import tirx as T

from ferrylm.schedules.gpu.layout import padded
from ferrylm.schedules.gpu.matrix_grid import COLUMNS
from ferrylm.schedules.gpu.matvec_epilogue import quantize_results, silu


@T.inline
def add_subgroups(sums, shared, thread, grid):  # noqa: D103
    # Lanes of the first subgroup of a team add what the same lanes of the others hold.
    for i in T.unroll(grid.sums):
        shared[i, thread] = sums[i]
    T.tvm_storage_sync("shared")
    if thread // grid.width % grid.tile.split == 0:
        for i in T.unroll(grid.sums):
            for s in T.serial(grid.tile.split - 1):
                sums[i] = sums[i] + shared[i, thread + (s + 1) * grid.width]


@T.inline
def apply_norm(sums, grid):  # noqa: D103
    factor = T.alloc_buffer((1,), "float32", scope="local")
    for c in T.unroll(grid.tile.column_tiles):
        for i in T.unroll(2):
            factor[0] = T.float32(1) / T.sqrt(
                sums[grid.square(c, i)] * T.float32(1 / grid.product.fmt.columns)
                + T.float32(grid.product.eps)
            )
            for t in T.unroll(grid.tile.row_tiles * 2):
                sums[grid.sum(t // 2, c, t % 2, i)] = (
                    sums[grid.sum(t // 2, c, t % 2, i)] * factor[0]
                )


@T.inline
def store_one(  # noqa: D103
    value, results, residual, y, place, column, first_m, end_m, workgroup, grid
):
    output = T.meta_var(workgroup * grid.workgroup_outputs + place)
    if grid.product.epilogue == "residual" and (
        output < grid.product.outputs and first_m + column < end_m
    ):
        value[0] = value[0] + residual[first_m + column, output]
    if output >= grid.product.outputs:
        value[0] = T.float32(0)
    if grid.product.kept and (output < padded(grid.product.outputs) and first_m + column < end_m):
        y[first_m + column, output] = value[0]
    if grid.product.parts > 0:
        results[column, place] = value[0]


@T.inline
def store_fragments(  # noqa: D103
    sums, shared, results, residual, gain, y, y_codes, y_terms, first_m, end_m, workgroup, thread,
    grid,
):  # fmt: skip
    value = T.alloc_buffer((1,), "float32", scope="local")
    if grid.tile.split > 1:
        add_subgroups(sums, shared, thread, grid)
    if thread // grid.width % grid.tile.split == 0:
        if grid.product.eps is not None:
            apply_norm(sums, grid)
        for t in T.unroll(grid.output_tiles * 2):
            for c in T.unroll(grid.tile.column_tiles):
                for i in T.unroll(2):
                    value[0] = sums[grid.sum(t // 2, c, t % 2, i)]
                    if grid.product.pairs:
                        value[0] = (
                            silu(value[0]) * sums[grid.sum(t // 2 + grid.output_tiles, c, t % 2, i)]
                        )
                    store_one(
                        value, results, residual, y, grid.place(thread, t // 2, t % 2),
                        c * COLUMNS + grid.lane(thread) % 4 * 2 + i, first_m, end_m, workgroup,
                        grid,
                    )  # fmt: skip
    if grid.product.parts > 0:
        T.tvm_storage_sync("shared")
        quantize_results(results, gain, y_codes, y_terms, first_m, end_m, workgroup, thread, grid)

# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""The end of a product on cooperative matrices, by way of shared memory.

A subgroup stores one row of its tiles of sums after another, and its lanes read them as rows.
"""

from __future__ import annotations

from tvm.script import tirx as T

from ferrylm.schedules.gpu.cooperative_operations import store_sums, subgroup_barrier
from ferrylm.schedules.gpu.layout import GROUP, padded
from ferrylm.schedules.gpu.matvec_epilogue import capped, gated
from ferrylm.schedules.gpu.rounded_rows import UNIT


@T.inline
def load_sums(staging, values, at, i):  # noqa: D103
    # Four sums of a row, freed of UNIT.
    values[T.Ramp(4 * i, 1, 4)] = T.reinterpret(staging[at], dtype="float32x4") * T.Broadcast(
        T.float32(1 / UNIT), 4
    )


@T.inline
def store_rows(staging, residual, y, first, m, last, output, unit, grid):  # noqa: D103
    # Four neighbouring outputs of a row.
    values = T.alloc_buffer((4,), "float32", scope="local")
    vectors = T.meta_var(grid.subgroup_rows // 4)
    outputs, wide = T.meta_var((grid.product.outputs, padded(grid.product.outputs)))
    place = T.meta_var(output + unit % vectors * 4)
    if m <= last and place < wide:
        load_sums(staging, values, first + unit // vectors * grid.sums_stride + unit % vectors, 0)
        if grid.product.adds:
            for j in T.unroll(4):
                values[j] = values[j] + residual[grid.product.added_at(m, place + j)]
        if grid.product.epilogue == "capped":
            for j in T.unroll(4):
                values[j] = capped(grid.product, values[j])
        if outputs != wide:
            for j in T.unroll(4):
                values[j] = T.Select(place + j < outputs, values[j], T.float32(0))
        for j in T.vectorized(4):
            y[m, place + j] = values[j]


@T.inline
def store_halves(staging, out, first, m, last, output, unit, grid):  # noqa: D103
    # Eight outputs of a row that are 16 bytes of the next product's activations.
    gate = T.alloc_buffer((8,), "float32", scope="local")
    up = T.alloc_buffer((8,), "float32", scope="local")
    pair = T.alloc_buffer((2,), "float16", scope="local")
    words = T.alloc_buffer((4,), "uint32", scope="local")
    units = T.meta_var(grid.subgroup_outputs // 8)
    group, word = T.meta_var((unit % units // 4, unit % 4))
    column = T.meta_var(output + group * GROUP + word * 4)
    at = T.meta_var(first + unit // units * grid.sums_stride + group * (GROUP // 4) + word)
    if m <= last and output + group * GROUP < grid.results.width:
        for i in T.unroll(2):
            load_sums(staging, gate, at + 4 * i, i)
            load_sums(staging, up, at + grid.subgroup_outputs // 4 + 4 * i, i)
        for q in T.unroll(4):
            for h in T.unroll(2):
                j = T.meta_var(q // 2 * 4 + q % 2 + 2 * h)
                pair[h] = T.cast(
                    T.Select(
                        column + q // 2 * (GROUP // 2) + q % 2 + 2 * h < grid.product.outputs,
                        gated(grid.product, gate[j]) * up[j] * T.float32(UNIT),
                        T.float32(0),
                    ),
                    "float16",
                )
            words[q] = T.reinterpret(pair[T.Ramp(0, 1, 2)], dtype="uint32")
        for j in T.vectorized(4):
            out[m, (output + group * GROUP) // 2 + word * 4 + j] = words[j]


@T.inline
def store_results(  # noqa: D103
    staging, sums, residual, y, out, first_row, last_row, workgroup, subgroup, lane, grid
):
    tile, shape, product = T.meta_var((grid.tile, grid.shape, grid.product))
    first = T.meta_var(subgroup * grid.sums_vectors)
    row = T.meta_var(first_row + subgroup // tile.output_subgroups * (tile.row_tiles * shape[0]))
    output = T.meta_var(
        (workgroup * tile.output_subgroups + subgroup % tile.output_subgroups)
        * grid.subgroup_outputs
    )
    units = T.meta_var(grid.subgroup_outputs // 8 if product.pairs else grid.subgroup_rows // 4)
    for i in T.unroll(tile.row_tiles):
        for j in T.unroll(tile.output_tiles):
            T.evaluate(
                store_sums(
                    sums[i * tile.output_tiles + j],
                    staging[first + j * (shape[1] // 4)],
                    grid.sums_stride,
                )
            )
        T.evaluate(subgroup_barrier())
        for k in T.serial(shape[0] * units // grid.width):
            unit = T.meta_var(k * grid.width + lane)
            m = T.meta_var(row + i * shape[0] + unit // units)
            if product.pairs:
                store_halves(staging, out, first, m, last_row, output, unit, grid)
            else:
                store_rows(staging, residual, y, first, m, last_row, output, unit, grid)
        T.evaluate(subgroup_barrier())

# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Products that decode grouped or plain weights to float32, for the kernel of matvec.py."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.layout import groups, padded
from ferrylm.schedules.gpu.matvec_epilogue import store
from ferrylm.schedules.gpu.matvec_grid import MatvecGrid, MatvecTile, Product
from ferrylm.schedules.gpu.matvec_integer import load_group
from ferrylm.schedules.gpu.operations import fma
from ferrylm.schedules.gpu.row_counts import row_count
from ferrylm.schedules.signature import without


@T.inline
def decode_group(words, weight, r, first, fmt):  # noqa: D103
    for j in T.unroll(32):
        if fmt.storage == "q4":
            weight[first + j] = T.cast(
                T.bitwise_and(
                    T.shift_right(
                        words[r * 4 + j % 16 // 4], T.uint32(8 * (j % 4) + 4 * (j // 16))
                    ),
                    T.uint32(15),
                ),
                "float32",
            )
        else:
            # Up and down again extends the byte's sign.
            weight[first + j] = T.cast(
                T.shift_right(
                    T.shift_left(
                        T.reinterpret(words[r * 8 + j // 4], dtype="int32"), 24 - 8 * (j % 4)
                    ),
                    24,
                ),
                "float32",
            )


@T.inline
def multiply_floats(weight, values, terms, totals, sums, r, m, columns, fmt):  # noqa: D103
    dot = T.alloc_buffer((1,), "float32", scope="local")
    dot[0] = T.float32(0)
    for j in T.unroll(32):
        dot[0] = fma(weight[j], values[m * 32 + j], dot[0])
    if fmt.storage == "q4" and not fmt.minimum:
        dot[0] = fma(totals[m], T.float32(-8), dot[0])
    sums[r * columns + m] = fma(dot[0], terms[r, 0], sums[r * columns + m])
    if fmt.minimum:
        sums[r * columns + m] = fma(totals[m], terms[r, 1], sums[r * columns + m])


def grouped_float(product: Product, tile: MatvecTile, width: int) -> Any:
    """Return the PrimFunc (x, weights..., residual, y) for weights with a scale per group."""
    rows, fmt = product.rows, product.fmt
    extent, columns, g = row_count(rows), rows.tile, groups(fmt.columns)
    grid, tensors = MatvecGrid(product, tile, width), fmt.tensors()
    codes_shape, scale_shape = tensors["codes"][1], tensors["scale"][1]
    steps = -(-g // grid.lanes)
    outputs, wide = padded(product.outputs), padded(fmt.columns)

    @T.prim_func(s_tir=True, private=True)
    def func(
        px: T.handle,
        codes: T.Buffer(codes_shape, "uint32"),
        scale: T.Buffer(scale_shape, "float16"),
        minimum: T.Buffer(scale_shape, "float16"),
        presidual: T.handle,
        py: T.handle,
    ):
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": width})
        x = T.match_buffer(px, (extent, wide), "float32")
        residual = T.match_buffer(presidual, product.added_shape(extent), "float32")
        y = T.match_buffer(py, (extent, outputs), "float32")
        for block in T.thread_binding(extent // columns, thread="blockIdx.y"):
            for workgroup in T.thread_binding(grid.workgroups, thread="blockIdx.x"):
                for thread in T.thread_binding(grid.threads, thread="threadIdx.x"):
                    shared = T.alloc_buffer(grid.shared_sums, "float32", scope="shared")
                    sums = T.alloc_buffer((grid.sums,), "float32", scope="local")
                    words = T.alloc_buffer((tile.rows * fmt.words,), "uint32", scope="local")
                    terms = T.alloc_buffer((tile.rows, 2), "float32", scope="local")
                    weight = T.alloc_buffer((32,), "float32", scope="local")
                    values = T.alloc_buffer((columns * 32,), "float32", scope="local")
                    totals = T.alloc_buffer((columns,), "float32", scope="local")
                    lane = T.meta_var(grid.lane(thread))
                    for i in T.unroll(grid.sums):
                        sums[i] = T.float32(0)
                    for step in T.serial(steps):
                        if step * grid.lanes + lane < g:
                            for r in T.unroll(tile.rows):
                                load_group(
                                    codes, scale, minimum, words, terms,
                                    grid.matrix_row(workgroup, thread, r),
                                    step * grid.lanes + lane, r, fmt,
                                )  # fmt: skip
                            for m in T.unroll(columns):
                                totals[m] = T.float32(0)
                                for q in T.unroll(8):
                                    for j in T.vectorized(4):
                                        values[m * 32 + q * 4 + j] = x[
                                            block * columns + m,
                                            (step * grid.lanes + lane) * 32 + q * 4 + j,
                                        ]
                                if fmt.storage == "q4":
                                    for j in T.unroll(32):
                                        totals[m] = totals[m] + values[m * 32 + j]
                            for r in T.unroll(tile.rows):
                                decode_group(words, weight, r, 0, fmt)
                                for m in T.unroll(columns):
                                    multiply_floats(
                                        weight, values, terms, totals, sums, r, m, columns, fmt
                                    )
                    store(
                        sums, shared, shared, residual, residual, x, x, y, y, y, block * columns,
                        workgroup, thread, grid,
                    )  # fmt: skip

    return without(func, {"minimum", "residual"} & set(product.unused()))


def plain_float(product: Product, tile: MatvecTile, width: int) -> Any:
    """Return the PrimFunc (x, weight, residual, y) for float16 or float32 weights."""
    rows, fmt = product.rows, product.fmt
    extent, columns, vector = row_count(rows), rows.tile, fmt.vector
    grid, (dtype, shape) = MatvecGrid(product, tile, width), fmt.tensors()["weight"]
    steps = -(-fmt.columns // (grid.lanes * vector))
    outputs, wide = padded(product.outputs), padded(fmt.columns)

    @T.prim_func(s_tir=True, private=True)
    def func(px: T.handle, weight: T.Buffer(shape, dtype), presidual: T.handle, py: T.handle):
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": width})
        x = T.match_buffer(px, (extent, wide), "float32")
        residual = T.match_buffer(presidual, product.added_shape(extent), "float32")
        y = T.match_buffer(py, (extent, outputs), "float32")
        for block in T.thread_binding(extent // columns, thread="blockIdx.y"):
            for workgroup in T.thread_binding(grid.workgroups, thread="blockIdx.x"):
                for thread in T.thread_binding(grid.threads, thread="threadIdx.x"):
                    shared = T.alloc_buffer(grid.shared_sums, "float32", scope="shared")
                    sums = T.alloc_buffer((grid.sums,), "float32", scope="local")
                    words = T.alloc_buffer((tile.rows * vector,), dtype, scope="local")
                    values = T.alloc_buffer((columns * vector,), "float32", scope="local")
                    lane = T.meta_var(grid.lane(thread))
                    for i in T.unroll(grid.sums):
                        sums[i] = T.float32(0)
                    for step in T.serial(steps):
                        if (step * grid.lanes + lane) * vector < fmt.columns:
                            for r in T.unroll(tile.rows):
                                for j in T.vectorized(vector):
                                    words[r * vector + j] = weight[
                                        grid.matrix_row(workgroup, thread, r),
                                        (step * grid.lanes + lane) * vector + j,
                                    ]
                            for m in T.unroll(columns):
                                for j in T.vectorized(vector):
                                    values[m * vector + j] = x[
                                        block * columns + m, (step * grid.lanes + lane) * vector + j
                                    ]
                            for r in T.unroll(tile.rows):
                                for m in T.unroll(columns):
                                    for j in T.unroll(vector):
                                        sums[r * columns + m] = fma(
                                            T.cast(words[r * vector + j], "float32"),
                                            values[m * vector + j],
                                            sums[r * columns + m],
                                        )
                    store(
                        sums, shared, shared, residual, residual, x, x, y, y, y, block * columns,
                        workgroup, thread, grid,
                    )  # fmt: skip

    return without(func, {"residual"} & set(product.unused()))

# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Product of a weight matrix and many rows of activations on matrix units, on GPUs that have them.

What is computed says matvec.py: int8 or int16 activations, int32 products of a group's bytes,
scaled and added in float32. Here 16 rows of weights times 8 rows of activations times a group are
one instruction (PTX ISA, mma.m16n8k32), two for int16.

mapping   workgroup  `row_tiles` * 16 rows of the matrix for each team of `split` subgroups,
                     `column_tiles` * 8 rows of activations
          subgroup   every split-th quartet of groups
          lane       in a fragment: rows l / 4 and 8 + l / 4, columns 2 (l % 4) and one more
traffic   the weights once per workgroup's rows of activations, 16 bytes a lane: a lane reads all
          four words of one group of a quartet, and lanes then trade them for one word of each group
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.layout import RADIX, groups, padded
from ferrylm.schedules.gpu.matrix_epilogue import store_fragments
from ferrylm.schedules.gpu.matrix_grid import COLUMNS, QUARTET, MatrixGrid, MatrixTile
from ferrylm.schedules.gpu.matvec_grid import Product
from ferrylm.schedules.gpu.matvec_integer import LOW
from ferrylm.schedules.gpu.operations import (
    fma,
    grid_dependency_wait,
    matrix_multiply,
    subgroup_shuffle_xor,
)
from ferrylm.schedules.gpu.overlap import overlapped
from ferrylm.schedules.gpu.row_counts import tile_count
from ferrylm.schedules.gpu.signature import without


@T.inline
def trade(words, first, lane):  # noqa: D103
    # Lane l of four holds words 0 .. 3 of group l, and wants word l of groups 0 .. 3.
    other = T.alloc_buffer((1,), "uint32", scope="local")
    for stage in T.unroll(2):
        for pair in T.unroll(2):
            low = T.meta_var(first + (pair if stage == 0 else 2 * pair))
            high = T.meta_var(low + (2 if stage == 0 else 1))
            bit = T.meta_var(T.bitwise_and(lane, 2 if stage == 0 else 1))
            other[0] = subgroup_shuffle_xor(
                T.Select(bit == 0, words[high], words[low]), 2 if stage == 0 else 1
            )
            words[low] = T.Select(bit == 0, words[low], other[0])
            words[high] = T.Select(bit == 0, other[0], words[high])


@T.inline
def load_rows(codes, scale, minimum, words, scales, workgroup, thread, quartet, grid):  # noqa: D103
    fmt = T.meta_var(grid.product.fmt)
    last = T.meta_var(groups(fmt.columns) - 1)
    for i in T.unroll(2 * grid.tile.row_tiles):
        row = T.meta_var(grid.matrix_row(workgroup, thread, i // 2, i % 2))
        for plane in T.unroll(fmt.words // QUARTET):
            for j in T.vectorized(QUARTET):
                words[(i * fmt.words // QUARTET + plane) * QUARTET + j] = codes[
                    row,
                    T.min(quartet * QUARTET + grid.lane(thread) % QUARTET, last),
                    plane * QUARTET + j,
                ]
        for j in T.unroll(QUARTET):
            scales[i, j, 0] = T.cast(scale[row, T.min(quartet * QUARTET + j, last)], "float32")
            if fmt.minimum:
                scales[i, j, 1] = T.cast(
                    minimum[row, T.min(quartet * QUARTET + j, last)], "float32"
                )
    for i in T.unroll(2 * grid.tile.row_tiles * fmt.words // QUARTET):
        trade(words, i * QUARTET, grid.lane(thread))


@T.inline
def make_fragment(words, fragment, tile, j, grid):  # noqa: D103
    # Registers: columns 0 .. 15 of row l / 4 and of row 8 + l / 4, then columns 16 .. 31 of both.
    for half in T.unroll(2):
        if grid.product.fmt.storage == "q4":
            fragment[half] = T.bitwise_and(words[(2 * tile + half) * QUARTET + j], T.uint32(LOW))
            fragment[2 + half] = T.bitwise_and(
                T.shift_right(words[(2 * tile + half) * QUARTET + j], T.uint32(4)), T.uint32(LOW)
            )
        else:
            fragment[half] = words[(2 * tile + half) * 2 * QUARTET + j]
            fragment[2 + half] = words[((2 * tile + half) * 2 + 1) * QUARTET + j]


@T.inline
def load_columns(  # noqa: D103
    x_codes, x_terms, x, x_scale, x_sum, sums, first_m, last_m, thread, group, c, grid
):
    fmt = T.meta_var(grid.product.fmt)
    terms = T.alloc_buffer((4,), "uint32", scope="local")
    lane = T.meta_var(grid.lane(thread))
    g = T.meta_var(T.min(group, groups(fmt.columns) - 1))
    m = T.meta_var(T.min(first_m + c * COLUMNS, last_m - COLUMNS + 1) // COLUMNS)
    for part in T.vectorized(2 * fmt.parts):
        x[part] = x_codes[m, g, lane // 4, lane % 4, part]
    for i in T.unroll(2):
        for j in T.vectorized(4):
            terms[j] = x_terms[m, g, lane % 4 * 2 + i, j]
        # Groups beyond the last repeat it; their share is nothing.
        x_scale[i] = T.Select(
            group < groups(fmt.columns), T.reinterpret(terms[0], dtype="float32"), T.float32(0)
        )
        x_sum[i] = T.reinterpret(terms[1], dtype="int32")
        if grid.product.eps is not None:
            sums[grid.square(c, i)] = sums[grid.square(c, i)] + T.Select(
                group < groups(fmt.columns), T.reinterpret(terms[2], dtype="float32"), T.float32(0)
            )


@T.inline
def multiply_fragment(fragment, x, x_scale, x_sum, scales, sums, tile, j, c, grid):  # noqa: D103
    fmt = T.meta_var(grid.product.fmt)
    dots = T.alloc_buffer((4 * fmt.parts,), "int32", scope="local")
    operand = T.alloc_buffer((2,), "uint32", scope="local")
    for part in T.unroll(fmt.parts):
        for i in T.unroll(4):
            # Starting at -8 * sum takes the bias out of the codes without another instruction.
            dots[part * 4 + i] = (
                x_sum[i % 2] * -8
                if fmt.storage == "q4" and not fmt.minimum and part == fmt.parts - 1
                else 0
            )
        operand[0] = x[2 * part]
        operand[1] = x[2 * part + 1]
        dots[T.ramp(part * 4, 1, 4)] = matrix_multiply(
            fragment[T.ramp(0, 1, 4)], operand[T.ramp(0, 1, 2)], dots[T.ramp(part * 4, 1, 4)]
        )
    for half in T.unroll(2):
        for i in T.unroll(2):
            if fmt.parts == 2:
                dots[2 * half + i] = dots[2 * half + i] * RADIX + dots[4 + 2 * half + i]
            sums[grid.sum(tile, c, half, i)] = fma(
                T.cast(dots[2 * half + i], "float32"),
                scales[2 * tile + half, j, 0] * x_scale[i],
                sums[grid.sum(tile, c, half, i)],
            )
            if fmt.minimum:
                sums[grid.sum(tile, c, half, i)] = fma(
                    scales[2 * tile + half, j, 1],
                    x_scale[i] * T.cast(x_sum[i], "float32"),
                    sums[grid.sum(tile, c, half, i)],
                )


@T.inline
def multiply_quartet(  # noqa: D103
    x_codes, x_terms, words, scales, sums, first_m, last_m, thread, quartet, grid
):
    fragments = T.alloc_buffer((4,), "uint32", scope="local")
    x = T.alloc_buffer((2 * grid.product.fmt.parts,), "uint32", scope="local")
    x_scale = T.alloc_buffer((2,), "float32", scope="local")
    x_sum = T.alloc_buffer((2,), "int32", scope="local")
    for j in T.unroll(QUARTET):
        for c in T.unroll(grid.tile.column_tiles):
            load_columns(
                x_codes, x_terms, x, x_scale, x_sum, sums, first_m, last_m, thread,
                quartet * QUARTET + j, c, grid,
            )  # fmt: skip
            for tile in T.unroll(grid.tile.row_tiles):
                make_fragment(words, fragments, tile, j, grid)
                multiply_fragment(fragments, x, x_scale, x_sum, scales, sums, tile, j, c, grid)


def matrix_matmul(product: Product, tile: MatrixTile, *, overlap: bool = False) -> Any:
    """Return the PrimFunc (x codes, x terms, weights..., [residual], [gain], [y], [codes, terms]).

    The rows of activations may be any number of row tiles; `overlap` is that of matvec.
    """
    rows, fmt = product.rows, product.fmt
    extent, grid = tile_count(rows) * rows.tile, MatrixGrid(product, tile)
    (_, codes_shape), (_, scale_shape) = fmt.tensors()["codes"], fmt.tensors()["scale"]
    outputs, columns = padded(product.outputs), grid.columns

    @T.prim_func(s_tir=True, private=True)
    def func(
        px_codes: T.handle,
        px_terms: T.handle,
        codes: T.Buffer(codes_shape, "uint32"),
        scale: T.Buffer(scale_shape, "float16"),
        minimum: T.Buffer(scale_shape, "float16"),
        presidual: T.handle,
        gain: T.Buffer((product.outputs,), "float32"),
        py: T.handle,
        py_codes: T.handle,
        py_terms: T.handle,
    ):
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": grid.width})
        x_codes = T.match_buffer(px_codes, product.inputs.codes_shape(extent), "uint32")
        x_terms = T.match_buffer(px_terms, product.inputs.terms_shape(extent), "uint32")
        residual = T.match_buffer(presidual, (extent, outputs), "float32")
        y = T.match_buffer(py, (extent, outputs), "float32")
        y_codes = T.match_buffer(py_codes, product.results.codes_shape(extent), "uint32")
        y_terms = T.match_buffer(py_terms, product.results.terms_shape(extent), "uint32")
        for block in T.thread_binding((extent + columns - 1) // columns, thread="blockIdx.y"):
            for workgroup in T.thread_binding(grid.workgroups, thread="blockIdx.x"):
                for thread in T.thread_binding(grid.threads, thread="threadIdx.x"):
                    shared = T.alloc_buffer(grid.shared_sums, "float32", scope="shared")
                    results = T.alloc_buffer(grid.shared_results, "float32", scope="shared")
                    sums = T.alloc_buffer((grid.sums,), "float32", scope="local")
                    words = T.alloc_buffer((grid.words,), "uint32", scope="local")
                    scales = T.alloc_buffer(
                        (2 * tile.row_tiles, QUARTET, 2), "float32", scope="local"
                    )
                    for i in T.unroll(grid.sums):
                        sums[i] = T.float32(0)
                    if overlap:
                        T.evaluate(grid_dependency_wait())
                    for step in T.serial(grid.steps):
                        load_rows(
                            codes, scale, minimum, words, scales, workgroup, thread,
                            grid.quartet(thread, step), grid,
                        )  # fmt: skip
                        multiply_quartet(
                            x_codes, x_terms, words, scales, sums, block * columns,
                            extent - 1, thread, grid.quartet(thread, step), grid,
                        )  # fmt: skip
                    store_fragments(
                        sums, shared, results, residual, gain, y, y_codes, y_terms,
                        block * columns, extent, workgroup, thread, grid,
                    )  # fmt: skip

    func = without(func, product.unused())
    return overlapped(func, waits=True) if overlap else func

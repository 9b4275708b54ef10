# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Products of quantized activations by dot products of bytes, for the kernel of matvec.py."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.activations import COLUMNS
from ferrylm.schedules.gpu.layout import RADIX, padded
from ferrylm.schedules.gpu.matvec_early import load_constants, wait_for_inputs
from ferrylm.schedules.gpu.matvec_epilogue import store
from ferrylm.schedules.gpu.matvec_grid import MatvecGrid, MatvecTile, Product
from ferrylm.schedules.gpu.matvec_rounding import load_input_gain, round_rows
from ferrylm.schedules.gpu.operations import dot4, fma
from ferrylm.schedules.gpu.row_counts import row_count
from ferrylm.schedules.signature import without

LOW = 0x0F0F0F0F  # the low nibble of each byte of a word


@T.inline
def unpack_bytes(words, bytes_, slot, fmt):  # noqa: D103
    if fmt.storage == "q4":
        for j in T.unroll(4):
            bytes_[slot * 8 + j] = T.bitwise_and(words[slot * 4 + j], T.uint32(LOW))
            bytes_[slot * 8 + 4 + j] = T.bitwise_and(
                T.shift_right(words[slot * 4 + j], T.uint32(4)), T.uint32(LOW)
            )
    else:
        for j in T.unroll(8):
            bytes_[slot * 8 + j] = words[slot * 8 + j]


@T.inline
def load_group(codes, scale, minimum, words, terms, row, group, slot, fmt):  # noqa: D103
    for j in T.vectorized(4):
        words[slot * fmt.words + j] = codes[row, group, j]
    if fmt.words == 8:
        for j in T.vectorized(4):
            words[slot * fmt.words + 4 + j] = codes[row, group, 4 + j]
    terms[slot, 0] = T.cast(scale[row, group], "float32")
    if fmt.minimum:
        terms[slot, 1] = T.cast(minimum[row, group], "float32")


@T.inline
def load_activations(x_codes, x_terms, x, x_words, m, group, fmt):  # noqa: D103
    for part in T.unroll(2 * fmt.parts):
        for j in T.vectorized(4):
            x[part * 4 + j] = x_codes[m, part, group, j]
    for j in T.vectorized(4):
        x_words[j] = x_terms[m, group, j]


@T.inline
def multiply_group(bytes_, terms, x, x_words, sums, first, m, valid, grid):  # noqa: D103
    dot = T.alloc_buffer((2,), "int32", scope="local")
    x_scale = T.alloc_buffer((1,), "float32", scope="local")
    fmt = T.meta_var(grid.product.fmt)
    # Lanes beyond the last group repeat it; their share is nothing.
    x_scale[0] = T.Select(valid, T.reinterpret(x_words[0], dtype="float32"), T.float32(0))
    if grid.normed:
        sums[grid.tile.rows * grid.columns + m] = sums[
            grid.tile.rows * grid.columns + m
        ] + T.Select(valid, T.reinterpret(x_words[2], dtype="float32"), T.float32(0))
    for r in T.unroll(grid.tile.rows):
        dot[0] = 0
        dot[1] = 0
        # Starting at -8 * sum takes the bias out of the codes without an instruction per row.
        if fmt.storage == "q4" and not fmt.minimum:
            dot[fmt.parts - 1] = T.reinterpret(x_words[1], dtype="int32") * -8
        for part in T.unroll(fmt.parts):
            for j in T.unroll(8):
                dot[part] = dot4(bytes_[(first + r) * 8 + j], x[part * 8 + j], dot[part])
        if fmt.parts == 2:
            dot[0] = dot[0] * RADIX + dot[1]
        sums[r * grid.columns + m] = fma(
            T.cast(dot[0], "float32"), terms[first + r, 0] * x_scale[0], sums[r * grid.columns + m]
        )
        if fmt.minimum:
            sums[r * grid.columns + m] = fma(
                terms[first + r, 1],
                x_scale[0] * T.cast(T.reinterpret(x_words[1], dtype="int32"), "float32"),
                sums[r * grid.columns + m],
            )


@T.inline
def load_step(codes, scale, minimum, words, terms, workgroup, thread, step, grid):  # noqa: D103
    for u in T.unroll(grid.tile.unroll):
        for r in T.unroll(grid.tile.rows):
            load_group(
                codes, scale, minimum, words, terms, grid.matrix_row(workgroup, thread, r),
                grid.group(thread, step, u), u * grid.tile.rows + r, grid.product.fmt,
            )  # fmt: skip


@T.inline
def multiply_step(  # noqa: D103
    x_codes, x_terms, words, terms, sums, first_m, thread, step, grid
):
    bytes_ = T.alloc_buffer((grid.slots * 8,), "uint32", scope="local")
    x = T.alloc_buffer((8 * grid.product.fmt.parts,), "uint32", scope="local")
    x_words = T.alloc_buffer((4,), "uint32", scope="local")
    for u in T.unroll(grid.tile.unroll):
        for r in T.unroll(grid.tile.rows):
            unpack_bytes(words, bytes_, u * grid.tile.rows + r, grid.product.fmt)
        for m in T.unroll(grid.columns):
            load_activations(
                x_codes, x_terms, x, x_words, first_m + m, grid.group(thread, step, u),
                grid.product.fmt,
            )  # fmt: skip
            multiply_group(
                bytes_, terms, x, x_words, sums, u * grid.tile.rows, m,
                grid.valid(thread, step, u), grid,
            )  # fmt: skip


@T.inline
def sum_groups(  # noqa: D103
    x_codes, x_terms, codes, scale, minimum, words, terms, sums, first_m, workgroup, thread, grid
):
    if grid.tile.ahead:
        held = T.alloc_buffer((grid.slots * grid.product.fmt.words,), "uint32", scope="local")
        held_terms = T.alloc_buffer((grid.slots, 2), "float32", scope="local")
        for step in T.serial(grid.steps - 1):
            for i in T.unroll(grid.slots * grid.product.fmt.words):
                held[i] = words[i]
            for i in T.unroll(grid.slots):
                for j in T.unroll(2 if grid.product.fmt.minimum else 1):
                    held_terms[i, j] = terms[i, j]
            load_step(codes, scale, minimum, words, terms, workgroup, thread, step + 1, grid)
            multiply_step(x_codes, x_terms, held, held_terms, sums, first_m, thread, step, grid)
        multiply_step(x_codes, x_terms, words, terms, sums, first_m, thread, grid.steps - 1, grid)
    else:
        if grid.begun:
            multiply_step(x_codes, x_terms, words, terms, sums, first_m, thread, 0, grid)
        for step in T.serial(grid.steps - int(grid.begun)):
            at = T.meta_var(step + int(grid.begun))
            load_step(codes, scale, minimum, words, terms, workgroup, thread, at, grid)
            multiply_step(x_codes, x_terms, words, terms, sums, first_m, thread, at, grid)


def integer_matvec(product: Product, tile: MatvecTile, width: int, *, overlap: bool = False) -> Any:
    """Return the PrimFunc (codes of x, terms of x, weights..., residual, gain, y, codes, terms).

    With `overlap` it waits for the kernel before it (overlap.py), weights already on their way.
    Of a product that `rounds`, x and the gain of its norm come instead of codes and terms.
    """
    rows, fmt = product.rows, product.fmt
    extent, columns = row_count(rows), rows.tile
    grid, tensors = MatvecGrid(product, tile, width, overlap), fmt.tensors()
    codes_shape, scale_shape = tensors["codes"][1], tensors["scale"][1]
    outputs = padded(product.outputs)

    @T.prim_func(s_tir=True, private=True)
    def func(
        px: T.handle,
        x_gain: T.Buffer((fmt.columns,), "float32"),
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
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": width})
        x = T.match_buffer(px, (extent, padded(fmt.columns)), "float32")
        x_codes = T.match_buffer(px_codes, product.inputs.codes_shape(extent), "uint32")
        x_terms = T.match_buffer(px_terms, product.inputs.terms_shape(extent), "uint32")
        residual = T.match_buffer(presidual, product.added_shape(extent), "float32")
        y = T.match_buffer(py, (extent, outputs), "float32")
        y_codes = T.match_buffer(py_codes, product.results.codes_shape(extent), "uint32")
        y_terms = T.match_buffer(py_terms, product.results.terms_shape(extent), "uint32")
        for block in T.thread_binding(extent // columns, thread="blockIdx.y"):
            for workgroup in T.thread_binding(grid.workgroups, thread="blockIdx.x"):
                for thread in T.thread_binding(grid.threads, thread="threadIdx.x"):
                    shared = T.alloc_buffer(grid.shared_sums, "float32", scope="shared")
                    results = T.alloc_buffer(grid.shared_results, "float32", scope="shared")
                    sums = T.alloc_buffer((grid.sums,), "float32", scope="local")
                    words = T.alloc_buffer((grid.slots * fmt.words,), "uint32", scope="local")
                    terms = T.alloc_buffer((grid.slots, 2), "float32", scope="local")
                    held = T.alloc_buffer((grid.held,), "float32", scope="local")
                    held_gain = T.alloc_buffer((COLUMNS,), "float32", scope="local")
                    for i in T.unroll(grid.sums):
                        sums[i] = T.float32(0)
                    load_constants(
                        residual, gain, held, held_gain, block * columns, workgroup, thread, grid
                    )
                    if grid.begun:
                        load_step(codes, scale, minimum, words, terms, workgroup, thread, 0, grid)
                    if product.rounds:
                        own_codes = T.alloc_buffer(grid.own_codes, "uint32", scope="shared")
                        own_terms = T.alloc_buffer(grid.own_terms, "uint32", scope="shared")
                        x_held = T.alloc_buffer((grid.x_held,), "float32", scope="local")
                        load_input_gain(x_gain, x_held, thread, grid)
                        wait_for_inputs(residual, held, block * columns, workgroup, thread, grid)
                        round_rows(x, x_held, own_codes, own_terms, block * columns, thread, grid)
                        sum_groups(
                            own_codes, own_terms, codes, scale, minimum, words, terms, sums, 0,
                            workgroup, thread, grid,
                        )  # fmt: skip
                    else:
                        wait_for_inputs(residual, held, block * columns, workgroup, thread, grid)
                        sum_groups(
                            x_codes, x_terms, codes, scale, minimum, words, terms, sums,
                            block * columns, workgroup, thread, grid,
                        )  # fmt: skip
                    store(
                        sums, shared, results, residual, held, gain, held_gain, y, y_codes,
                        y_terms, block * columns, workgroup, thread, grid,
                    )  # fmt: skip

    given = ["x_codes", "x_terms"] if product.rounds else ["x", "x_gain"]
    return without(func, [*given, *product.unused()])

# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Products of quantized activations by dot products of bytes, for the kernel of matvec.py."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import RADIX, WeightFormat, groups, padded
from ferrylm.schedules.gpu.matvec_grid import MatvecTile, grid_of, load_group, store
from ferrylm.schedules.gpu.operations import dot4, fma

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
def load_activations(x_codes, x_terms, x, x_scale, x_sum, m, group, valid, fmt):  # noqa: D103
    for part in T.unroll(2 * fmt.parts):
        for j in T.vectorized(4):
            x[part * 4 + j] = x_codes[m, part, group, j]
    # Lanes beyond the last group repeat it; their share is nothing.
    x_scale[0] = T.Select(valid, T.reinterpret(x_terms[m, group, 0], dtype="float32"), T.float32(0))
    x_sum[0] = T.reinterpret(x_terms[m, group, 1], dtype="int32")


@T.inline
def multiply_group(bytes_, terms, x, x_scale, x_sum, sums, first, m, grid, fmt):  # noqa: D103
    # Starting at -8 * sum takes the bias out of the codes without an instruction per row.
    dot = T.alloc_buffer((2,), "int32", scope="local")
    for r in T.unroll(grid.tile.rows):
        dot[0] = 0
        dot[1] = 0
        if fmt.storage == "q4" and not fmt.minimum:
            dot[fmt.parts - 1] = x_sum[0] * -8
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
                x_scale[0] * T.cast(x_sum[0], "float32"),
                sums[r * grid.columns + m],
            )


def integer_matvec(
    rows: Rows, fmt: WeightFormat, epilogue: str, tile: MatvecTile, width: int
) -> Any:
    """Return the PrimFunc (codes of x, terms of x, weights..., residual, y)."""
    extent, columns, g = rows.symbol(), rows.tile, groups(fmt.columns)
    grid, tensors = grid_of(rows, fmt, epilogue, tile, width), fmt.tensors()
    codes_shape, scale_shape = tensors["codes"][1], tensors["scale"][1]
    steps = -(-g // (grid.lanes * tile.unroll))
    whole = g % (grid.lanes * tile.unroll) == 0
    outputs, slots = padded(grid.outputs), tile.rows * tile.unroll

    @T.prim_func(s_tir=True, private=True)
    def func(
        px_codes: T.handle,
        px_terms: T.handle,
        codes: T.Buffer(codes_shape, "uint32"),
        scale: T.Buffer(scale_shape, "float16"),
        minimum: T.Buffer(scale_shape, "float16"),
        presidual: T.handle,
        py: T.handle,
    ):
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": width})
        x_codes = T.match_buffer(px_codes, (extent, 2 * fmt.parts, g, 4), "uint32")
        x_terms = T.match_buffer(px_terms, (extent, g, 2), "uint32")
        residual = T.match_buffer(presidual, (extent, outputs), "float32")
        y = T.match_buffer(py, (extent, outputs), "float32")
        for block in T.thread_binding(extent // columns, thread="blockIdx.y"):
            for workgroup in T.thread_binding(grid.workgroups, thread="blockIdx.x"):
                for thread in T.thread_binding(grid.threads, thread="threadIdx.x"):
                    shared = T.alloc_buffer((tile.subgroups, grid.sums), "float32", scope="shared")
                    sums = T.alloc_buffer((grid.sums,), "float32", scope="local")
                    words = T.alloc_buffer((slots * fmt.words,), "uint32", scope="local")
                    bytes_ = T.alloc_buffer((slots * 8,), "uint32", scope="local")
                    terms = T.alloc_buffer((slots, 2), "float32", scope="local")
                    x = T.alloc_buffer((8 * fmt.parts,), "uint32", scope="local")
                    x_scale = T.alloc_buffer((1,), "float32", scope="local")
                    x_sum = T.alloc_buffer((1,), "int32", scope="local")
                    for i in T.unroll(grid.sums):
                        sums[i] = T.float32(0)
                    for step in T.serial(steps):
                        for u in T.unroll(tile.unroll):
                            group = T.meta_var(
                                (step * tile.unroll + u) * grid.lanes + grid.lane(thread)
                            )
                            for r in T.unroll(tile.rows):
                                load_group(
                                    codes, scale, minimum, words, terms,
                                    grid.matrix_row(workgroup, thread, r),
                                    group if whole else T.min(group, g - 1),
                                    u * tile.rows + r, fmt,
                                )  # fmt: skip
                        for u in T.unroll(tile.unroll):
                            group = T.meta_var(
                                (step * tile.unroll + u) * grid.lanes + grid.lane(thread)
                            )
                            for r in T.unroll(tile.rows):
                                unpack_bytes(words, bytes_, u * tile.rows + r, fmt)
                            for m in T.unroll(columns):
                                load_activations(
                                    x_codes, x_terms, x, x_scale, x_sum, block * columns + m,
                                    group if whole else T.min(group, g - 1),
                                    True if whole else group < g, fmt,
                                )  # fmt: skip
                                multiply_group(
                                    bytes_, terms, x, x_scale, x_sum, sums, u * tile.rows, m,
                                    grid, fmt,
                                )  # fmt: skip
                    store(
                        sums, shared, residual, y, block * columns, workgroup, thread, grid,
                        epilogue,
                    )  # fmt: skip

    return func

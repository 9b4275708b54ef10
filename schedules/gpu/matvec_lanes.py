# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Products that decode grouped weights to float32, every lane with rows of its own.

For devices whose lanes load one by one, as a CPU that plays GPU does: there nothing is gained by
spreading a row over lanes, and activations, which are the same for all lanes, are loaded once for
a subgroup and broadcast. What is computed says matvec.py.

mapping   workgroup  W * subgroups * rows rows of the matrix, all M rows of a tile
          lane       `rows` rows, W apart
traffic   the weights once per tile of rows; activations once per W * rows rows
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.layout import groups, padded
from ferrylm.schedules.gpu.matvec_epilogue import capped, gated
from ferrylm.schedules.gpu.matvec_float import decode_group
from ferrylm.schedules.gpu.matvec_grid import MatvecGrid, MatvecTile, Product
from ferrylm.schedules.gpu.matvec_integer import load_group
from ferrylm.schedules.gpu.operations import fma, subgroup_broadcast
from ferrylm.schedules.gpu.row_counts import row_count
from ferrylm.schedules.signature import without


class LaneGrid(MatvecGrid):
    """A tile whose lanes have rows of their own."""

    @property
    def workgroup_outputs(self) -> int:
        """Return how many outputs a workgroup makes."""
        return self.rows * self.threads

    def output(self, workgroup: Any, thread: Any, r: Any) -> Any:
        """Return the index of a lane's output r: neighbours have neighbouring ones."""
        return workgroup * self.workgroup_outputs + r * self.threads + thread


@T.inline
def load_rows(x, values, first_m, group, lane, grid):  # noqa: D103
    for m in T.unroll(grid.columns):
        for i in T.unroll(32 // grid.width):
            values[m * 32 // grid.width + i] = x[first_m + m, group * 32 + i * grid.width + lane]


@T.inline
def multiply_rows(weights, values, terms, sums, m, grid):  # noqa: D103
    dots = T.alloc_buffer((grid.tile.rows + 1,), "float32", scope="local")
    value = T.alloc_buffer((1,), "float32", scope="local")
    for r in T.unroll(grid.tile.rows + 1):
        dots[r] = T.float32(0)
    for j in T.unroll(32):
        value[0] = subgroup_broadcast(
            values[m * 32 // grid.width + j // grid.width], j % grid.width
        )
        for r in T.unroll(grid.tile.rows):
            dots[r] = fma(weights[r * 32 + j], value[0], dots[r])
        if grid.product.fmt.storage == "q4":
            dots[grid.tile.rows] = dots[grid.tile.rows] + value[0]
    for r in T.unroll(grid.tile.rows):
        if grid.product.fmt.storage == "q4" and not grid.product.fmt.minimum:
            dots[r] = fma(dots[grid.tile.rows], T.float32(-8), dots[r])
        sums[r * grid.columns + m] = fma(dots[r], terms[r, 0], sums[r * grid.columns + m])
        if grid.product.fmt.minimum:
            sums[r * grid.columns + m] = fma(
                dots[grid.tile.rows], terms[r, 1], sums[r * grid.columns + m]
            )


@T.inline
def store_rows(sums, residual, y, first_m, workgroup, thread, grid):  # noqa: D103
    result = T.alloc_buffer((1,), "float32", scope="local")
    for r in T.unroll(grid.rows):
        for m in T.unroll(grid.columns):
            if grid.output(workgroup, thread, r) < padded(grid.product.outputs):
                result[0] = T.float32(0)
                if grid.output(workgroup, thread, r) < grid.product.outputs:
                    result[0] = capped(grid.product, sums[r * grid.columns + m])
                    if grid.product.pairs:
                        result[0] = (
                            gated(grid.product, result[0])
                            * sums[(grid.rows + r) * grid.columns + m]
                        )
                    if grid.product.adds:
                        result[0] = (
                            result[0]
                            + residual[
                                grid.product.added_at(
                                    first_m + m, grid.output(workgroup, thread, r)
                                )
                            ]
                        )
                y[first_m + m, grid.output(workgroup, thread, r)] = result[0]


def lane_matvec(product: Product, tile: MatvecTile, width: int) -> Any:
    """Return the PrimFunc (x, weights..., residual, y) for weights with a scale per group."""
    rows, fmt = product.rows, product.fmt
    extent, columns, g = row_count(rows), rows.tile, groups(fmt.columns)
    grid, tensors = LaneGrid(product, tile, width), fmt.tensors()
    codes_shape, scale_shape = tensors["codes"][1], tensors["scale"][1]
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
                    sums = T.alloc_buffer((grid.sums,), "float32", scope="local")
                    words = T.alloc_buffer((tile.rows * fmt.words,), "uint32", scope="local")
                    terms = T.alloc_buffer((tile.rows, 2), "float32", scope="local")
                    weights = T.alloc_buffer((tile.rows * 32,), "float32", scope="local")
                    values = T.alloc_buffer((columns * 32 // width,), "float32", scope="local")
                    for i in T.unroll(grid.sums):
                        sums[i] = T.float32(0)
                    for group in T.serial(g):
                        load_rows(x, values, block * columns, group, thread % width, grid)
                        for r in T.unroll(tile.rows):
                            load_group(
                                codes, scale, minimum, words, terms,
                                grid.matrix_row(workgroup, thread, r), group, r, fmt,
                            )  # fmt: skip
                        for r in T.unroll(tile.rows):
                            decode_group(words, weights, r, r * 32, fmt)
                        for m in T.unroll(columns):
                            multiply_rows(weights, values, terms, sums, m, grid)
                    store_rows(sums, residual, y, block * columns, workgroup, thread, grid)

    return without(func, {"minimum", "residual"} & set(product.unused()))

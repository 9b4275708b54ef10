# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""The end of a product: add up what lanes hold, apply norm and epilogue, store or quantize."""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.activations import COLUMNS, quantize_columns
from ferrylm.schedules.gpu.layout import padded
from ferrylm.schedules.gpu.matvec_grid import Product
from ferrylm.schedules.gpu.operations import clustered_add, subgroup_add
from ferrylm.schedules.math import gelu, tanh


def silu(x: Any) -> Any:
    """Return x / (1 + e**-x) for float32 x."""
    return x / (T.float32(1.0) + T.exp(T.float32(0.0) - x))


def gated(product: Product, gate: Any) -> Any:
    """Return what a gated product's up is multiplied by."""
    return gelu(gate, T.exp) if product.epilogue == "geglu" else silu(gate)


def capped(product: Product, y: Any) -> Any:
    """Return a result within the cap of a product, where it has one."""
    if product.epilogue != "capped":
        return y
    return T.float32(product.cap) * tanh(y * T.float32(1 / product.cap), T.exp)


@T.inline
def add_lanes(sums, shared, thread, grid):  # noqa: D103
    for i in T.unroll(grid.sums):
        if grid.width < grid.subgroup:
            sums[i] = clustered_add(sums[i], grid.width)
        else:
            sums[i] = subgroup_add(sums[i])
    if grid.tile.split > 1:
        if thread % grid.width == 0:
            for i in T.unroll(grid.sums):
                shared[thread // grid.width, i] = sums[i]
        T.tvm_storage_sync("shared")
        for i in T.unroll(grid.sums):
            sums[i] = T.float32(0)
            for s in T.unroll(grid.tile.split):
                sums[i] = sums[i] + shared[thread // grid.lanes * grid.tile.split + s, i]


@T.inline
def apply_norm(sums, grid):  # noqa: D103
    factor = T.alloc_buffer((1,), "float32", scope="local")
    for m in T.unroll(grid.columns):
        factor[0] = T.float32(1) / T.sqrt(
            sums[grid.tile.rows * grid.columns + m] * T.float32(1 / grid.product.fmt.columns)
            + T.float32(grid.product.eps)
        )
        for r in T.unroll(grid.tile.rows):
            sums[r * grid.columns + m] = sums[r * grid.columns + m] * factor[0]


@T.inline
def quantize_results(  # noqa: D103
    results, gain, held_gain, y_codes, y_terms, first_m, end_m, workgroup, thread, grid
):
    values = T.alloc_buffer((COLUMNS,), "float32", scope="local")
    squares = T.alloc_buffer((1,), "float32", scope="local")
    chunks = T.meta_var(grid.workgroup_outputs // COLUMNS)
    for i in T.serial((chunks * grid.columns + grid.threads - 1) // grid.threads):
        index = T.meta_var(i * grid.threads + thread)
        m = T.meta_var(index // chunks)
        chunk = T.meta_var(workgroup * chunks + index % chunks)
        if i * grid.threads + thread // grid.width * grid.width < chunks * grid.columns:
            squares[0] = T.float32(0)
            for j in T.unroll(COLUMNS):
                values[j] = T.float32(0)
                if index < chunks * grid.columns and chunk * COLUMNS + j < grid.product.outputs:
                    values[j] = results[m, index % chunks * COLUMNS + j]
                    squares[0] = squares[0] + values[j] * values[j]
                    if grid.product.gained:
                        values[j] = values[j] * (
                            held_gain[j] if grid.early else gain[chunk * COLUMNS + j]
                        )
            quantize_columns(
                values, squares, first_m + m, chunk,
                index < chunks * grid.columns
                and first_m + m < end_m
                and chunk < padded(grid.product.outputs) // COLUMNS,
                y_codes, y_terms, grid.product.results,
            )  # fmt: skip


@T.inline
def store(  # noqa: D103
    sums, shared, results, added, held, gain, held_gain, y, y_codes, y_terms, first_m, workgroup,
    thread, grid,
):  # fmt: skip
    result = T.alloc_buffer((1,), "float32", scope="local")
    add_lanes(sums, shared, thread, grid)
    if grid.normed:
        apply_norm(sums, grid)
    for r in T.unroll(grid.rows):
        for m in T.unroll(grid.columns):
            if grid.writes(thread, r, m) and grid.output(workgroup, thread, r) < padded(
                grid.product.outputs
            ):
                result[0] = T.float32(0)
                if grid.output(workgroup, thread, r) < grid.product.outputs:
                    result[0] = capped(grid.product, sums[r * grid.columns + m])
                    if grid.product.pairs:
                        result[0] = (
                            gated(grid.product, result[0])
                            * sums[(grid.rows + r) * grid.columns + m]
                        )
                    if grid.product.adds:
                        result[0] = result[0] + (
                            held[grid.held_at(r, m)]
                            if grid.early
                            else added[
                                grid.product.added_at(
                                    first_m + m, grid.output(workgroup, thread, r)
                                )
                            ]
                        )
                if grid.product.kept:
                    y[first_m + m, grid.output(workgroup, thread, r)] = result[0]
                if grid.product.parts > 0:
                    results[m, grid.place(thread, r)] = result[0]
    if grid.product.parts > 0:
        T.tvm_storage_sync("shared")
        quantize_results(
            results, gain, held_gain, y_codes, y_terms, first_m, first_m + grid.columns, workgroup,
            thread, grid,
        )  # fmt: skip

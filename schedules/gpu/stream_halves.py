# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Product of a quantized matrix and up to 16 rows of float16 activations on matrix units (NVIDIA).

What is computed and how it lies in memory says matmul_halves.py.

mapping   workgroup  teams of `split` subgroups; a team has `bands` of 16 rows of the matrix
          subgroup   every split-th chunk of the columns; teams add up in shared memory
          lane       rows l / 4 and 8 + l / 4 of a band, group l % 4 of a chunk
traffic   every weight once, the next chunk's on their way while this one is multiplied;
          activations from the L2 cache, once a subgroup and chunk
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.halves import LANES, SIDES, STEPS
from ferrylm.schedules.gpu.halves_epilogue import store_halves, store_rows
from ferrylm.schedules.gpu.halves_fragments import load_codes, make_batch
from ferrylm.schedules.gpu.halves_grid import BATCH, HalvesStreamGrid, HalvesStreamTile
from ferrylm.schedules.gpu.layout import padded
from ferrylm.schedules.gpu.matvec_grid import Product
from ferrylm.schedules.gpu.operations import (
    grid_dependency_wait,
    half2_broadcast,
    matrix_multiply_halves,
)
from ferrylm.schedules.gpu.overlap import overlapped
from ferrylm.schedules.gpu.rounded_rows import UNIT
from ferrylm.schedules.signature import without


@T.inline
def load_step(codes, scale, minimum, words, terms, workgroup, thread, step, grid):  # noqa: D103
    for band in T.unroll(grid.tile.bands):
        load_codes(
            codes, scale, minimum, words, terms, grid.band(workgroup, thread, band), thread,
            T.min(grid.chunk(thread, step), grid.rows.chunks - 1), band, grid.rows,
        )  # fmt: skip


@T.inline
def load_operand(x, operand, tile, thread, chunk, grid):  # noqa: D103
    for i in T.unroll(STEPS * SIDES):
        operand[tile * STEPS * SIDES + i] = x[
            T.min(chunk, grid.rows.chunks - 1),
            tile,
            i // SIDES,
            i % SIDES,
            thread % LANES // 4,
            thread % 4,
        ]
        # Chunks beyond the last repeat it; their share is nothing.
        if not grid.whole:
            operand[tile * STEPS * SIDES + i] = T.Select(
                chunk < grid.rows.chunks, operand[tile * STEPS * SIDES + i], T.uint32(0)
            )


@T.inline
def multiply_step(x, words, terms, sums, thread, step, grid):  # noqa: D103
    factors = T.alloc_buffer((2 * grid.tile.bands, 2), "uint32", scope="local")
    fragment = T.alloc_buffer((4 * BATCH,), "uint32", scope="local")
    operand = T.alloc_buffer((grid.row_tiles * STEPS * SIDES,), "uint32", scope="local")
    for tile in T.unroll(grid.row_tiles):
        load_operand(x, operand, tile, thread, grid.chunk(thread, step), grid)
    for i in T.unroll(2 * grid.tile.bands):
        for j in T.unroll(2 if grid.product.fmt.minimum else 1):
            factors[i, j] = half2_broadcast(terms[i, j])
    for batch in T.unroll(STEPS // BATCH):
        for band in T.unroll(grid.tile.bands):
            make_batch(words, factors, fragment, 0, batch, BATCH, band, grid.product.fmt)
            for i in T.unroll(BATCH):
                for tile in T.unroll(grid.row_tiles):
                    place = T.meta_var(4 * (band * grid.row_tiles + tile))
                    first = T.meta_var((tile * STEPS + batch * BATCH + i) * SIDES)
                    sums[T.ramp(place, 1, 4)] = matrix_multiply_halves(
                        fragment[T.ramp(4 * i, 1, 4)],
                        operand[T.ramp(first, 1, 2)],
                        sums[T.ramp(place, 1, 4)],
                    )


@T.inline
def multiply_steps(  # noqa: D103
    x, codes, scale, minimum, sums, workgroup, thread, grid, overlap
):
    words = T.alloc_buffer((grid.words,), "uint32", scope="local")
    terms = T.alloc_buffer((2 * grid.tile.bands, 2), "float16", scope="local")
    held = T.alloc_buffer((grid.words,), "uint32", scope="local")
    held_terms = T.alloc_buffer((2 * grid.tile.bands, 2), "float16", scope="local")
    load_step(codes, scale, minimum, words, terms, workgroup, thread, 0, grid)
    if overlap:
        T.evaluate(grid_dependency_wait())
    for step in T.serial(grid.steps - 1):
        for i in T.unroll(grid.words):
            held[i] = words[i]
        for i in T.unroll(2 * grid.tile.bands):
            for j in T.unroll(2 if grid.product.fmt.minimum else 1):
                held_terms[i, j] = terms[i, j]
        load_step(codes, scale, minimum, words, terms, workgroup, thread, step + 1, grid)
        multiply_step(x, held, held_terms, sums, thread, step, grid)
    multiply_step(x, words, terms, sums, thread, grid.steps - 1, grid)


@T.inline
def add_team(sums, shared, thread, grid):  # noqa: D103
    # Lanes of a team's first subgroup add what the same lanes of the others hold.
    for i in T.unroll(grid.sums):
        shared[i, thread] = sums[i]
    T.tvm_storage_sync("shared")
    if thread // LANES % grid.tile.split == 0:
        for i in T.unroll(grid.sums):
            for s in T.unroll(grid.tile.split - 1):
                sums[i] = sums[i] + shared[i, thread + (s + 1) * LANES]


def stream_halves(product: Product, tile: HalvesStreamTile, *, overlap: bool = False) -> Any:
    """Return the PrimFunc (x, weights..., [added], y or halves).

    Rows that fill up the last tile are whatever memory holds, and so are their results. `overlap`
    is that of matvec.
    """
    fmt, grid = product.fmt, HalvesStreamGrid(product, tile)
    rows, tiles, outputs = product.rows.count, grid.row_tiles, padded(product.outputs)
    (_, codes_shape), (_, scale_shape) = fmt.tensors()["codes"], fmt.tensors()["scale"]

    @T.prim_func(s_tir=True, private=True)
    def func(
        x: T.Buffer(grid.rows.inputs.shape(rows), "uint32"),
        codes: T.Buffer(codes_shape, "uint32"),
        scale: T.Buffer(scale_shape, "float16"),
        minimum: T.Buffer(scale_shape, "float16"),
        residual: T.Buffer(product.added_shape(rows), "float32"),
        y: T.Buffer((rows, outputs), "float32"),
        out: T.Buffer(grid.rows.results.shape(rows), "uint32"),
    ):
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": LANES})
        for workgroup in T.thread_binding(grid.workgroups, thread="blockIdx.x"):
            for thread in T.thread_binding(grid.threads, thread="threadIdx.x"):
                sums = T.alloc_buffer((grid.sums,), "float32", scope="local")
                shared = T.alloc_buffer(
                    (grid.sums, grid.threads) if tile.split > 1 else (1, 1),
                    "float32", scope="shared",
                )  # fmt: skip
                for i in T.unroll(grid.sums):
                    sums[i] = T.float32(0)
                multiply_steps(x, codes, scale, minimum, sums, workgroup, thread, grid, overlap)
                if tile.split > 1:
                    add_team(sums, shared, thread, grid)
                if thread // LANES % tile.split == 0:
                    for i in T.unroll(grid.sums):
                        sums[i] = sums[i] * T.float32(1 / UNIT)
                    for i in T.unroll(tile.bands * tiles):
                        band = T.meta_var(grid.band(workgroup, thread, i // tiles))
                        if product.pairs:
                            store_halves(sums, out, i, i % tiles, tiles, band, thread, grid.rows)
                        else:
                            store_rows(
                                sums, residual, y, i, i % tiles, rows, band, thread, grid.rows
                            )

    dropped = [name for name in product.unused() if name in ("minimum", "residual")]
    func = without(func, [*dropped, "y" if product.pairs else "out"])
    return overlapped(func, waits=True) if overlap else func

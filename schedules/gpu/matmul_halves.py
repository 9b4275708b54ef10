# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Product of a matrix and many rows of float16 activations on matrix units (NVIDIA).

computes  plain     y[m, n] = sum_k w[n, k] * x[m, k]
          residual  plus residual[m, n]
          bias      plus bias[n]
          swiglu    silu(gate[m, n]) * up[m, n], the rows n and N / 2 + n of the matrix, as halves
          geglu     the same with gelu
          capped    cap * tanh(y[m, n] / cap)
          w rounded to float16, x as halves.py says, sums in float32
shapes    x as HalvesLayout; weights as layout.py; residual, y float32 (M, padded(N))
mapping   workgroup  16 rows of the matrix a subgroup, `row_tiles` * 8 rows of activations
          lane       rows l / 4 and 8 + l / 4 of its subgroup's, group l % 4 of a chunk
traffic   weights straight to registers, once per workgroup's rows of activations, the next chunk's
          while this one is multiplied; activations through a ring in shared memory, which the copy
          engine fills from sm_90 on (operations_tiles.py). Fragments are made while the matrix
          units multiply those before
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.gpu.halves import SIDES, STEPS
from ferrylm.schedules.gpu.halves_epilogue import store_halves, store_rows
from ferrylm.schedules.gpu.halves_fragments import load_codes, load_plain, make_batch, take_plain
from ferrylm.schedules.gpu.halves_grid import HalvesGrid, HalvesTile
from ferrylm.schedules.gpu.launch_bounds import resident
from ferrylm.schedules.gpu.layout import MATRIX_ROWS, padded
from ferrylm.schedules.gpu.matvec_grid import Product
from ferrylm.schedules.gpu.operations import (
    copy_async_wait,
    grid_dependency_wait,
    half2_broadcast,
    multiply_end,
    multiply_tiles,
    multiply_wait,
    ring_begin,
    ring_load,
    ring_release,
    ring_wait,
)
from ferrylm.schedules.gpu.overlap import overlapped
from ferrylm.schedules.gpu.rounded_rows import UNIT, WORDS
from ferrylm.schedules.gpu.row_counts import tile_count
from ferrylm.schedules.signature import without

TOGETHER = 2  # steps of a chunk that one operation multiplies
BATCHES = STEPS // TOGETHER


@T.inline
def load_stage(x, ring, barriers, first_tile, tiles, iteration, grid):  # noqa: D103
    chunk = T.meta_var(T.min(iteration, grid.rows.chunks - 1))
    T.evaluate(
        ring_load(
            T.address_of(barriers[0]),
            T.address_of(ring[0]),
            T.address_of(x[chunk, first_tile, 0, 0, 0, 0]),
            tiles - first_tile,
            iteration,
            iteration < grid.rows.chunks,
            grid.tile.stages,
            grid.tile.row_tiles,
        )
    )


@T.inline
def first_weights(  # noqa: D103
    weight, codes, scale, minimum, words, terms, workgroup, thread, grid
):
    if grid.product.fmt.grouped:
        load_codes(
            codes, scale, minimum, words, terms, grid.band(workgroup, thread), thread, 0, 0,
            grid.rows,
        )  # fmt: skip
    else:
        for batch in T.unroll(2):
            load_plain(weight, words, grid.band(workgroup, thread), thread, 0, batch, grid.rows)


@T.inline
def next_codes(  # noqa: D103
    codes, scale, minimum, words, terms, workgroup, thread, chunk, grid
):
    if grid.product.fmt.grouped:
        load_codes(
            codes, scale, minimum, words, terms, grid.band(workgroup, thread), thread,
            T.min(chunk, grid.rows.chunks - 1), 0, grid.rows,
        )  # fmt: skip


@T.inline
def make_weights(  # noqa: D103
    weight, words, terms, held, factors, fragment, workgroup, thread, chunk, batch, grid
):
    place = T.meta_var(batch % 2 * 4 * TOGETHER)
    if grid.product.fmt.grouped:
        if batch == 0:
            for i in T.unroll(grid.words):
                held[i] = words[i]
            for half in T.unroll(2):
                for term in T.unroll(2 if grid.product.fmt.minimum else 1):
                    factors[half, term] = half2_broadcast(terms[half, term])
        make_batch(held, factors, fragment, place, batch, TOGETHER, 0, grid.product.fmt)
    else:
        take_plain(words, fragment, place, batch)
        load_plain(
            weight, words, grid.band(workgroup, thread), thread,
            T.min(chunk + (batch + 2) // BATCHES, grid.rows.chunks - 1), (batch + 2) % BATCHES,
            grid.rows,
        )  # fmt: skip


@T.inline
def multiply_batch(fragment, sums, ring, chunk, batch, grid):  # noqa: D103
    T.evaluate(
        multiply_tiles(
            T.address_of(sums[0]),
            T.address_of(fragment[batch % 2 * 4 * TOGETHER]),
            T.address_of(
                ring[
                    chunk % grid.tile.stages * grid.stage_words
                    + batch * TOGETHER * SIDES * MATRIX_ROWS * WORDS
                ]
            ),
            grid.tile.row_tiles,
        )
    )
    T.evaluate(multiply_wait())


@T.inline
def multiply_chunks(  # noqa: D103
    x, weight, codes, scale, minimum, ring, barriers, sums, words, terms, first_tile, tiles,
    workgroup, thread, grid,
):  # fmt: skip
    held = T.alloc_buffer((grid.words,), "uint32", scope="local")
    factors = T.alloc_buffer((2, 2), "uint32", scope="local")
    fragment = T.alloc_buffer((2 * 4 * TOGETHER,), "uint32", scope="local")
    make_weights(weight, words, terms, held, factors, fragment, workgroup, thread, 0, 0, grid)
    for chunk in T.serial(grid.rows.chunks):
        next_codes(codes, scale, minimum, words, terms, workgroup, thread, chunk + 1, grid)
        T.evaluate(copy_async_wait(grid.tile.lead - 1))
        T.evaluate(ring_wait(T.address_of(barriers[0]), chunk, grid.tile.stages))
        multiply_batch(fragment, sums, ring, chunk, 0, grid)
        if chunk > 0:
            T.evaluate(ring_release(T.address_of(barriers[0]), chunk - 1, grid.tile.stages))
        load_stage(x, ring, barriers, first_tile, tiles, chunk + grid.tile.lead, grid)
        for batch in T.unroll(1, BATCHES):
            make_weights(
                weight, words, terms, held, factors, fragment, workgroup, thread, chunk, batch, grid
            )
            multiply_batch(fragment, sums, ring, chunk, batch, grid)
        # Before the loop goes round: behind its end the compiler would wait for all products.
        make_weights(
            weight, words, terms, held, factors, fragment, workgroup, thread, chunk + 1, 0, grid
        )
    T.evaluate(multiply_end(T.address_of(sums[0]), grid.tile.row_tiles))


def halves_matmul(product: Product, tile: HalvesTile, *, overlap: bool = False) -> Any:
    """Return the PrimFunc (x, weights..., [added], y or halves).

    `overlap` is that of matvec.
    """
    fmt, grid = product.fmt, HalvesGrid(product, tile)
    tiles = tile_count(product.rows)
    extent, outputs = tiles * MATRIX_ROWS, padded(product.outputs)
    tensors, absent = fmt.tensors(), ("", (1, 1, 1))
    (_, codes_shape), (_, scale_shape) = tensors.get("codes", absent), tensors.get("scale", absent)

    @T.prim_func(s_tir=True, private=True)
    def func(
        px: T.handle,
        weight: T.Buffer((fmt.rows, fmt.columns), "float16"),
        codes: T.Buffer(codes_shape, "uint32"),
        scale: T.Buffer(scale_shape, "float16"),
        minimum: T.Buffer(scale_shape, "float16"),
        presidual: T.handle,
        py: T.handle,
        pout: T.handle,
    ):
        T.func_attr({"tirx.noalias": True, "ferrylm.subgroup_size": 32})
        x = T.match_buffer(px, grid.rows.inputs.shape(extent), "uint32")
        residual = T.match_buffer(presidual, product.added_shape(extent), "float32")
        y = T.match_buffer(py, (extent, outputs), "float32")
        out = T.match_buffer(pout, grid.rows.results.shape(extent), "uint32")
        for block in T.thread_binding(
            (tiles + tile.row_tiles - 1) // tile.row_tiles, thread="blockIdx.x"
        ):
            for workgroup in T.thread_binding(grid.workgroups, thread="blockIdx.y"):
                for thread in T.thread_binding(grid.threads, thread="threadIdx.x"):
                    ring = T.alloc_buffer((grid.shared_words,), "uint32", scope="shared.dyn")
                    barriers = T.alloc_buffer((2 * tile.stages,), "uint64", scope="shared")
                    sums = T.alloc_buffer((grid.sums,), "float32", scope="local")
                    for i in T.unroll(grid.sums):
                        sums[i] = T.float32(0)
                    words = T.alloc_buffer((grid.words,), "uint32", scope="local")
                    terms = T.alloc_buffer((2, 2), "float16", scope="local")
                    first_weights(
                        weight, codes, scale, minimum, words, terms, workgroup, thread, grid
                    )
                    T.evaluate(ring_begin(T.address_of(barriers[0]), tile.stages))
                    if overlap:
                        T.evaluate(grid_dependency_wait())
                    for stage in T.unroll(tile.lead):
                        load_stage(x, ring, barriers, block * tile.row_tiles, tiles, stage, grid)
                    multiply_chunks(
                        x, weight, codes, scale, minimum, ring, barriers, sums, words, terms,
                        block * tile.row_tiles, tiles, workgroup, thread, grid,
                    )  # fmt: skip
                    for i in T.unroll(grid.sums):
                        sums[i] = sums[i] * T.float32(1 / UNIT)
                    for t in T.unroll(tile.row_tiles):
                        if product.pairs:
                            store_halves(
                                sums, out, t, block * tile.row_tiles + t, tiles,
                                grid.band(workgroup, thread), thread, grid.rows,
                            )  # fmt: skip
                        else:
                            store_rows(
                                sums, residual, y, t, block * tile.row_tiles + t, extent,
                                grid.band(workgroup, thread), thread, grid.rows,
                            )  # fmt: skip

    dropped = {"weight", "codes", "scale", "minimum"} - set(tensors)
    dropped |= {"y" if product.pairs else "out"} | ({"residual"} & set(product.unused()))
    func = without(func, sorted(dropped))
    func = overlapped(func, waits=True) if overlap else func
    return resident(func, tile.workgroups)

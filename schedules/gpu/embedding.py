# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Rows of the embedding, decoded, on GPUs; and the choice of one row.

computes  embed   x[m, k] = w[tokens[m], k], zero for k >= H; perhaps counters[m, i] = 0
          select  y[0] = x[row[0]]
shapes    tokens int32 (T, rows per tile); weights as in layout.py; x float32 (M, padded(H))
mapping   workgroup  `threads` columns of a row; lane  a column
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.rows import Rows
from ferrylm.schedules.gpu.layout import WeightFormat, padded
from ferrylm.schedules.gpu.row_counts import row_count, tile_count
from ferrylm.schedules.signature import without


def _code(fmt: WeightFormat, codes: Any, row: Any, k: Any) -> Any:
    if fmt.storage == "q4":
        word = codes[row, k // 32, k % 16 // 4]
        shift = T.cast(8 * (k % 4) + 4 * (k % 32 // 16), "uint32")
        nibble = T.cast(T.bitwise_and(T.shift_right(word, shift), T.uint32(15)), "int32")
        return nibble if fmt.minimum else nibble - 8
    word = T.reinterpret(codes[row, k // 32, k % 32 // 4], dtype="int32")
    # Up and down again extends the byte's sign.
    return T.shift_right(T.shift_left(word, 24 - 8 * (k % 4)), 24)


@T.inline
def zero_row(zeroed, m, thread, counters, threads):  # noqa: D103
    for i in T.serial((counters + threads - 1) // threads):
        if i * threads + thread < counters:
            zeroed[m, i * threads + thread] = 0


def embed(rows: Rows, fmt: WeightFormat, threads: int, counters: int = 0) -> Any:
    """Return the PrimFunc (tokens, weights..., [counters], x).

    `counters` of a row, where there are any, are zeroed for the kernels of the step that comes.
    """
    make = _embed_grouped if fmt.grouped else _embed_plain
    func = make(rows, fmt, threads, counters)
    unused = ["minimum"] if fmt.grouped and not fmt.minimum else []
    return without(func, unused if counters else [*unused, "counters"])


def zero_counters(batch: int, counters: int, threads: int) -> Any:
    """Return the PrimFunc (counters): a kernel of its own for what `embed` does beside."""

    @T.prim_func(s_tir=True, private=True)
    def func(zeroed: T.Buffer((batch, counters), "int32")):
        T.func_attr({"tirx.noalias": True})
        for m in T.thread_binding(batch, thread="blockIdx.x"):
            for thread in T.thread_binding(threads, thread="threadIdx.x"):
                zero_row(zeroed, m, thread, counters, threads)

    return func


def _embed_plain(rows: Rows, fmt: WeightFormat, threads: int, zeros: int) -> Any:
    tiles, tile, wide = tile_count(rows), rows.tile, padded(fmt.columns)
    dtype, shape = fmt.tensors()["weight"]

    @T.prim_func(s_tir=True, private=True)
    def func(ptokens: T.handle, weight: T.Buffer(shape, dtype), pcounters: T.handle, px: T.handle):
        T.func_attr({"tirx.noalias": True})
        tokens = T.match_buffer(ptokens, (tiles, tile), "int32")
        counters = T.match_buffer(pcounters, (tiles * tile, max(zeros, 1)), "int32")
        x = T.match_buffer(px, (tiles * tile, wide), "float32")
        for m in T.thread_binding(tiles * tile, thread="blockIdx.y"):
            for block in T.thread_binding((wide + threads - 1) // threads, thread="blockIdx.x"):
                for thread in T.thread_binding(threads, thread="threadIdx.x"):
                    k = T.meta_var(block * threads + thread)
                    if block == 0 and zeros > 0:
                        zero_row(counters, m, thread, zeros, threads)
                    if k < fmt.columns:
                        x[m, k] = T.cast(weight[tokens[m // tile, m % tile], k], "float32")
                    else:
                        if k < wide:
                            x[m, k] = T.float32(0)

    return func


def _embed_grouped(rows: Rows, fmt: WeightFormat, threads: int, zeros: int) -> Any:
    tiles, tile, wide = tile_count(rows), rows.tile, padded(fmt.columns)
    tensors = fmt.tensors()
    codes_shape, scale_shape = tensors["codes"][1], tensors["scale"][1]

    @T.prim_func(s_tir=True, private=True)
    def func(
        ptokens: T.handle,
        codes: T.Buffer(codes_shape, "uint32"),
        scale: T.Buffer(scale_shape, "float16"),
        minimum: T.Buffer(scale_shape, "float16"),
        pcounters: T.handle,
        px: T.handle,
    ):
        T.func_attr({"tirx.noalias": True})
        tokens = T.match_buffer(ptokens, (tiles, tile), "int32")
        counters = T.match_buffer(pcounters, (tiles * tile, max(zeros, 1)), "int32")
        x = T.match_buffer(px, (tiles * tile, wide), "float32")
        for m in T.thread_binding(tiles * tile, thread="blockIdx.y"):
            for block in T.thread_binding((wide + threads - 1) // threads, thread="blockIdx.x"):
                for thread in T.thread_binding(threads, thread="threadIdx.x"):
                    k = T.meta_var(block * threads + thread)
                    row = T.meta_var(tokens[m // tile, m % tile])
                    if block == 0 and zeros > 0:
                        zero_row(counters, m, thread, zeros, threads)
                    if k < fmt.columns:
                        x[m, k] = T.cast(scale[row, k // 32], "float32") * T.cast(
                            _code(fmt, codes, row, k), "float32"
                        )
                        if fmt.minimum:
                            x[m, k] = x[m, k] + T.cast(minimum[row, k // 32], "float32")
                    else:
                        if k < wide:
                            x[m, k] = T.float32(0)

    return func


def select_row(rows: Rows, width: int, threads: int) -> Any:
    """Return the PrimFunc (x, row, y): y float32 (1, padded(width)) is the row `row[0]` of x."""
    extent, wide = row_count(rows), padded(width)

    @T.prim_func(s_tir=True, private=True)
    def func(px: T.handle, row: T.Buffer((1,), "int32"), y: T.Buffer((1, wide), "float32")):
        T.func_attr({"tirx.noalias": True})
        x = T.match_buffer(px, (extent, wide), "float32")
        for block in T.thread_binding((wide + threads - 1) // threads, thread="blockIdx.x"):
            for thread in T.thread_binding(threads, thread="threadIdx.x"):
                if block * threads + thread < wide:
                    y[0, block * threads + thread] = x[row[0], block * threads + thread]

    return func

# mypy: disable-error-code="untyped-decorator,no-untyped-def,valid-type"
"""Rows of the packed embedding, decoded, on CPUs; and the choice of one row.

computes  embed   x[m, k] = w[tokens[m], k], zero for k >= H
          select  y[0] = x[row[0]]
shapes    tokens int32 (T, rows per tile); weights as in layout.py; x float32 (M, padded(H, 16))
mapping   rows in parallel when there are many; the columns of a row lie 16 rows apart, so this
          reads a cache line for every four columns: it is one row a token
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.activations import row_loop
from ferrylm.schedules.cpu.layout import LANES, WeightFormat, padded
from ferrylm.schedules.cpu.rows import Rows

Expression = Any


def _code(fmt: WeightFormat, codes: Any, b: Expression, k: Expression, lane: Expression) -> Any:
    g, c = k // 32, k % 32
    if fmt.storage == "q8":
        if fmt.integer:
            return T.cast(codes[b, g, c // 4, lane * 4 + c % 4], "int32")
        return T.cast(codes[b, g, c, lane], "int32")
    high = c % 8 // 4
    if fmt.integer:
        byte = T.cast(codes[b, g, c // 8, lane * 4 + c % 4], "int32")
        nibble = T.bitwise_and(T.shift_right(byte, 4 * high), 15)
    else:
        word = codes[b, g, c // 8, lane]
        shift = T.cast(8 * (c % 4) + 4 * high, "uint32")
        nibble = T.cast(T.bitwise_and(T.shift_right(word, shift), T.uint32(15)), "int32")
    return nibble if fmt.minimum else nibble - 8


@T.inline
def decode_row(token, codes, scale, minimum, x, m, fmt, width):  # noqa: D103
    for k in T.serial(width):
        x[m, k] = T.float32(0)
    for k in T.serial(fmt.columns):
        x[m, k] = T.cast(scale[token // LANES, k // 32, token % LANES], "float32") * T.cast(
            _code(fmt, codes, token // LANES, k, token % LANES), "float32"
        )
        if fmt.minimum:
            x[m, k] = x[m, k] + T.cast(minimum[token // LANES, k // 32, token % LANES], "float32")


def embed(rows: Rows, fmt: WeightFormat) -> Any:
    """Return the PrimFunc (tokens, weights..., x)."""
    if not fmt.grouped:
        return _embed_plain(rows, fmt)
    return _embed_with_minimum(rows, fmt) if fmt.minimum else _embed_grouped(rows, fmt)


def _tokens_shape(rows: Rows) -> tuple[Any, int]:
    tiles = rows.tiles if rows.count is None else rows.count // rows.tile
    return tiles, rows.tile


def _embed_plain(rows: Rows, fmt: WeightFormat) -> Any:
    (tiles, tile), parallel = _tokens_shape(rows), row_loop(rows)
    dtype, shape = fmt.tensors()["weight"]
    width = padded(fmt.columns)

    @T.prim_func(s_tir=True, private=True)
    def func(ptokens: T.handle, pweight: T.handle, px: T.handle):
        T.func_attr({"tirx.noalias": True})
        tokens = T.match_buffer(ptokens, (tiles, tile), "int32")
        weight = T.match_buffer(pweight, shape, dtype)
        x = T.match_buffer(px, (tiles * tile, width), "float32")
        for m in parallel(tiles * tile):
            for k in T.serial(width):
                x[m, k] = T.float32(0)
            for k in T.serial(fmt.columns):
                x[m, k] = T.cast(
                    weight[
                        tokens[m // tile, m % tile] // LANES,
                        k,
                        tokens[m // tile, m % tile] % LANES,
                    ],
                    "float32",
                )

    return func


def _embed_grouped(rows: Rows, fmt: WeightFormat) -> Any:
    (tiles, tile), parallel = _tokens_shape(rows), row_loop(rows)
    tensors, width = fmt.tensors(), padded(fmt.columns)
    (codes_dtype, codes_shape), (_, scale_shape) = tensors["codes"], tensors["scale"]

    @T.prim_func(s_tir=True, private=True)
    def func(ptokens: T.handle, pcodes: T.handle, pscale: T.handle, px: T.handle):
        T.func_attr({"tirx.noalias": True})
        tokens = T.match_buffer(ptokens, (tiles, tile), "int32")
        codes = T.match_buffer(pcodes, codes_shape, codes_dtype)
        scale = T.match_buffer(pscale, scale_shape, "float16")
        x = T.match_buffer(px, (tiles * tile, width), "float32")
        for m in parallel(tiles * tile):
            decode_row(tokens[m // tile, m % tile], codes, scale, scale, x, m, fmt, width)

    return func


def _embed_with_minimum(rows: Rows, fmt: WeightFormat) -> Any:
    (tiles, tile), parallel = _tokens_shape(rows), row_loop(rows)
    tensors, width = fmt.tensors(), padded(fmt.columns)
    (codes_dtype, codes_shape), (_, scale_shape) = tensors["codes"], tensors["scale"]

    @T.prim_func(s_tir=True, private=True)
    def func(
        ptokens: T.handle, pcodes: T.handle, pscale: T.handle, pminimum: T.handle, px: T.handle
    ):
        T.func_attr({"tirx.noalias": True})
        tokens = T.match_buffer(ptokens, (tiles, tile), "int32")
        codes = T.match_buffer(pcodes, codes_shape, codes_dtype)
        scale = T.match_buffer(pscale, scale_shape, "float16")
        minimum = T.match_buffer(pminimum, scale_shape, "float16")
        x = T.match_buffer(px, (tiles * tile, width), "float32")
        for m in parallel(tiles * tile):
            decode_row(tokens[m // tile, m % tile], codes, scale, minimum, x, m, fmt, width)

    return func


def select_row(rows: Rows, width: int) -> Any:
    """Return the PrimFunc (x, row, y): y float32 (1, padded(width)) is the row `row[0]` of x."""
    extent, wide = rows.symbol(), padded(width)

    @T.prim_func(s_tir=True, private=True)
    def func(px: T.handle, row: T.Buffer((1,), "int32"), y: T.Buffer((1, wide), "float32")):
        T.func_attr({"tirx.noalias": True})
        x = T.match_buffer(px, (extent, wide), "float32")
        for k in T.serial(wide):
            y[0, k] = x[row[0], k]

    return func

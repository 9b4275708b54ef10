# mypy: disable-error-code="untyped-decorator,no-untyped-def"
"""Repacking of canonical weights into the layout of the CPU kernels, done once at load.

computes  the tensors of layout.py from the canonical ones of docs/quantization.md
shapes    canonical codes uint8 (N, 16 G) or int8 (N, 32 G); scale, minimum float16 (N, G);
          weight (N, K); packed as in layout.py, rows beyond N zero
pairs     the rows are two matrices of N / 2 rows, gate and up; their blocks lie side by side
mapping   row blocks in parallel
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tvm.script import tirx as T

from ferrylm.schedules.cpu.layout import LANES, WeightFormat

Expression = Any


def transform_name(fmt: WeightFormat, suffix: str) -> str:
    """Return the name under which a library offers the repacking of one tensor."""
    order = "int" if fmt.integer else "f32"
    kind = {"codes": f"{fmt.storage}_{order}", "weight": fmt.storage}.get(suffix, "group")
    return f"pack_{kind}{'_pairs' if fmt.pairs else ''}"


def transform(name: str) -> Any:
    """Return the repacking function (canonical, packed) of a name that `transform_name` gave."""
    kind = name.removeprefix("pack_")
    pairs = kind.endswith("_pairs")
    return _MAKERS[kind.removesuffix("_pairs")](name, pairs)


def _parts(pairs: bool) -> int:
    return 2 if pairs else 1


def _row(b: Expression, part: Expression, lane: Expression, rows: Expression, pairs: bool) -> Any:
    """Return the canonical row that lies in this lane; past the last one for a lane of padding."""
    return part * (rows // 2) + b * LANES + lane if pairs else b * LANES + lane


def _present(b: Expression, lane: Expression, rows: Expression, pairs: bool) -> Expression:
    return b * LANES + lane < rows // _parts(pairs)


def _at(
    pairs: bool, b: Expression, g: Expression, part: Expression, *inner: Expression
) -> tuple[Any, ...]:
    """Return the indices, or with sizes the shape, of a packed tensor."""
    return (b, g, part, *inner) if pairs else (b, g, *inner)


def _nibbles(codes: Any, row: Expression, g: Expression, o: Expression, j: Expression) -> Any:
    """Return the packed byte j of octet o: columns 8o + j (low nibble) and 8o + 4 + j (high)."""
    shift = T.cast(o // 2 * 4, "uint8")
    low = T.shift_right(codes[row, g * 16 + o % 2 * 8 + j], shift)
    high = T.shift_right(codes[row, g * 16 + o % 2 * 8 + 4 + j], shift)
    return T.bitwise_or(
        T.bitwise_and(low, T.uint8(15)), T.shift_left(T.bitwise_and(high, T.uint8(15)), T.uint8(4))
    )


def _pack_q4_bytes(name: str, pairs: bool) -> Any:
    @T.prim_func(s_tir=True, private=True)
    def func(psource: T.handle, ptarget: T.handle):
        T.func_attr({"tirx.noalias": True})
        rows, groups, blocks = T.int32(), T.int32(), T.int32()
        source = T.match_buffer(psource, (rows, groups * 16), "uint8")
        target = T.match_buffer(ptarget, _at(pairs, blocks, groups, _parts(pairs), 4, 64), "uint8")
        for b in T.parallel(blocks):
            for g, part, o, lane, j in T.grid(groups, _parts(pairs), 4, LANES, 4):
                target[_at(pairs, b, g, part, o, lane * 4 + j)] = T.uint8(0)
                if _present(b, lane, rows, pairs):
                    target[_at(pairs, b, g, part, o, lane * 4 + j)] = _nibbles(
                        source, _row(b, part, lane, rows, pairs), g, o, j
                    )

    return func.with_attr("global_symbol", name)


def _pack_q4_words(name: str, pairs: bool) -> Any:
    @T.prim_func(s_tir=True, private=True)
    def func(psource: T.handle, ptarget: T.handle):
        T.func_attr({"tirx.noalias": True})
        rows, groups, blocks = T.int32(), T.int32(), T.int32()
        source = T.match_buffer(psource, (rows, groups * 16), "uint8")
        target = T.match_buffer(
            ptarget, _at(pairs, blocks, groups, _parts(pairs), 4, LANES), "uint32"
        )
        for b in T.parallel(blocks):
            for g, part, o, lane in T.grid(groups, _parts(pairs), 4, LANES):
                target[_at(pairs, b, g, part, o, lane)] = T.uint32(0)
                if _present(b, lane, rows, pairs):
                    for j in T.serial(4):
                        target[_at(pairs, b, g, part, o, lane)] = T.bitwise_or(
                            target[_at(pairs, b, g, part, o, lane)],
                            T.shift_left(
                                T.cast(
                                    _nibbles(source, _row(b, part, lane, rows, pairs), g, o, j),
                                    "uint32",
                                ),
                                T.cast(8 * j, "uint32"),
                            ),
                        )

    return func.with_attr("global_symbol", name)


def _pack_q8_bytes(name: str, pairs: bool) -> Any:
    @T.prim_func(s_tir=True, private=True)
    def func(psource: T.handle, ptarget: T.handle):
        T.func_attr({"tirx.noalias": True})
        rows, groups, blocks = T.int32(), T.int32(), T.int32()
        source = T.match_buffer(psource, (rows, groups * 32), "int8")
        target = T.match_buffer(ptarget, _at(pairs, blocks, groups, _parts(pairs), 8, 64), "int8")
        for b in T.parallel(blocks):
            for g, part, o, lane, j in T.grid(groups, _parts(pairs), 8, LANES, 4):
                target[_at(pairs, b, g, part, o, lane * 4 + j)] = T.int8(0)
                if _present(b, lane, rows, pairs):
                    target[_at(pairs, b, g, part, o, lane * 4 + j)] = source[
                        _row(b, part, lane, rows, pairs), g * 32 + o * 4 + j
                    ]

    return func.with_attr("global_symbol", name)


def _pack_q8_columns(name: str, pairs: bool) -> Any:
    @T.prim_func(s_tir=True, private=True)
    def func(psource: T.handle, ptarget: T.handle):
        T.func_attr({"tirx.noalias": True})
        rows, groups, blocks = T.int32(), T.int32(), T.int32()
        source = T.match_buffer(psource, (rows, groups * 32), "int8")
        target = T.match_buffer(
            ptarget, _at(pairs, blocks, groups, _parts(pairs), 32, LANES), "int8"
        )
        for b in T.parallel(blocks):
            for g, part, c, lane in T.grid(groups, _parts(pairs), 32, LANES):
                target[_at(pairs, b, g, part, c, lane)] = T.int8(0)
                if _present(b, lane, rows, pairs):
                    target[_at(pairs, b, g, part, c, lane)] = source[
                        _row(b, part, lane, rows, pairs), g * 32 + c
                    ]

    return func.with_attr("global_symbol", name)


def _pack_columns(name: str, pairs: bool, dtype: str) -> Any:
    @T.prim_func(s_tir=True, private=True)
    def func(psource: T.handle, ptarget: T.handle):
        T.func_attr({"tirx.noalias": True})
        rows, columns, blocks = T.int32(), T.int32(), T.int32()
        source = T.match_buffer(psource, (rows, columns), dtype)
        target = T.match_buffer(ptarget, _at(pairs, blocks, columns, _parts(pairs), LANES), dtype)
        for b in T.parallel(blocks):
            for c, part, lane in T.grid(columns, _parts(pairs), LANES):
                target[_at(pairs, b, c, part, lane)] = T.cast(T.float32(0), dtype)
                if _present(b, lane, rows, pairs):
                    target[_at(pairs, b, c, part, lane)] = source[
                        _row(b, part, lane, rows, pairs), c
                    ]

    return func.with_attr("global_symbol", name)


_MAKERS: dict[str, Callable[[str, bool], Any]] = {
    "q4_int": _pack_q4_bytes,
    "q4_f32": _pack_q4_words,
    "q8_int": _pack_q8_bytes,
    "q8_f32": _pack_q8_columns,
    "group": partial(_pack_columns, dtype="float16"),
    "f16": partial(_pack_columns, dtype="float16"),
    "f32": partial(_pack_columns, dtype="float32"),
}

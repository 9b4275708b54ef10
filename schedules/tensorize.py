"""Replace a scheduled loop nest by machine instructions.

`Schedule.tensorize` of the 0.27 wheel ends in a segmentation fault for every intrinsic, its own
included. A schedule marks the loop instead (`mark`), and this pass puts the instruction there once
buffers are flat. What it replaces is

    for lane in range(L):  for j in range(4):
        C[c + lane] += cast(W[w + 4 * lane + j]) * cast(X[x + j])

the sum of four byte products per int32 lane. The strides are proved, never assumed: a nest of any
other form is an error at compile time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tvm
from tvm import sym, tirx
from tvm.script import tirx as T
from tvm_ffi import structural_map

MARK = "ferry.dot4"

Expression = Any
Dot = Callable[[Expression, Expression, Expression, int], Expression]


def mark(sch: Any, loop: Any, dot: str) -> None:
    """Ask that the nest under `loop` become the dot-product instruction `dot`."""
    sch.annotate(loop, MARK, dot)


def _llvm(name: str, dtype: str, *arguments: Expression) -> Expression:
    identifier = T.llvm_lookup_intrinsic_id(name)
    return T.call_llvm_pure_intrin(identifier, *arguments, dtype=dtype)


def _repeat_word(x: Expression, lanes: int) -> Expression:
    word = T.reinterpret(x, dtype="int32")
    return T.reinterpret(T.broadcast(word, lanes), dtype=f"int8x{4 * lanes}")


def _dot_avx512vnni(c: Expression, w: Expression, x: Expression, lanes: int) -> Expression:
    weights = T.reinterpret(w, dtype="int8x64")
    name = "llvm.x86.avx512.vpdpbusd.512"
    return _llvm(name, "int32x16", c, weights, _repeat_word(x, lanes))


def _dot_avxvnni(c: Expression, w: Expression, x: Expression, lanes: int) -> Expression:
    weights = T.reinterpret(w, dtype="int8x32")
    name = "llvm.x86.avx512.vpdpbusd.256"
    return _llvm(name, "int32x8", c, weights, _repeat_word(x, lanes))


def _dot_avx2(c: Expression, w: Expression, x: Expression, lanes: int) -> Expression:
    activations = _repeat_word(x, lanes)
    weights = w
    if w.ty.dtype == "int8x32":
        # PMADDUBSW wants one unsigned operand: |w| times x with the sign of w.
        weights = _llvm("llvm.abs", "int8x32", w, T.bool(False))
        activations = T.Select(w < T.broadcast(T.int8(0), 32), -activations, activations)
    weights = T.reinterpret(weights, dtype="int8x32")
    pairs = _llvm("llvm.x86.avx2.pmadd.ub.sw", "int16x16", weights, activations)
    ones = T.broadcast(T.int16(1), 16)
    return c + _llvm("llvm.x86.avx2.pmadd.wd", "int32x8", pairs, ones)


def _dot_sdot(c: Expression, w: Expression, x: Expression, lanes: int) -> Expression:
    weights = T.reinterpret(w, dtype="int8x16")
    return _llvm("llvm.aarch64.neon.sdot", "int32x4", c, weights, _repeat_word(x, lanes))


DOTS: dict[str, tuple[Dot, int]] = {
    "avx512vnni": (_dot_avx512vnni, 16),
    "avxvnni": (_dot_avxvnni, 8),
    "avx2": (_dot_avx2, 8),
    "sdot": (_dot_sdot, 4),
}


class _Nest:
    """The flat form of a marked nest: buffers, base indices, number of lanes."""

    def __init__(self, loop: Any) -> None:
        self.lane, inner = loop.loop_var, loop.body
        self.byte, store = inner.loop_var, inner.body
        self.lanes, self.bytes = int(loop.extent), int(inner.extent)
        self.analyzer = sym.Analyzer()
        product = store.value.b
        self.output = store.buffer
        self.weights, self.activations = product.a.value, product.b.value
        self.output_base = self._base(store.indices[0], 1, 0)
        self.weights_base = self._base(self.weights.indices[0], 4, 1)
        self.activations_base = self._base(self.activations.indices[0], 0, 1)
        if self.bytes != 4:
            raise ValueError(f"a dot product takes 4 bytes a lane, the nest has {self.bytes}")

    def _at(self, index: Expression, lane: int, byte: int) -> Expression:
        values = {self.lane: lane, self.byte: byte}

        def replace(variable: Any) -> Any:
            for known, value in values.items():
                if variable.same_as(known):
                    return T.int32(value)
            return variable

        return self.analyzer.simplify(structural_map(index, (tirx.Var, replace)))

    def _base(self, index: Expression, per_lane: int, per_byte: int) -> Expression:
        base = self._at(index, 0, 0)
        for lane, byte in ((1, 0), (0, 1), (self.lanes - 1, 3)):
            wanted = base + per_lane * lane + per_byte * byte
            if not self.analyzer.can_prove_equal(self._at(index, lane, byte), wanted):
                raise ValueError(f"index {index} is not that of a dot product of bytes")
        return base

    def replacement(self, dot: Dot, lanes: int) -> Any:
        """Return the instructions, one for each run of `lanes` lanes."""
        activations = tirx.BufferLoad(
            self.activations.source, [T.ramp(self.activations_base, 1, 4)]
        )
        stores = []
        for first in range(0, self.lanes, lanes):
            place = [T.ramp(self.output_base + first, 1, lanes)]
            weights = tirx.BufferLoad(
                self.weights.source, [T.ramp(self.weights_base + 4 * first, 1, 4 * lanes)]
            )
            value = dot(tirx.BufferLoad(self.output, place), weights, activations, lanes)
            stores.append(tirx.BufferStore(self.output, value, place))
        return stores[0] if len(stores) == 1 else tirx.SeqStmt(stores)


def _rewrite(loop: Any) -> Any:
    if MARK not in loop.annotations:
        return loop
    dot, lanes = DOTS[str(loop.annotations[MARK])]
    return _Nest(loop).replacement(dot, lanes)


@tvm.tirx.transform.prim_func_pass(opt_level=0)  # type: ignore[untyped-decorator]
def LowerMarkedNests(func: Any, _mod: Any, _context: Any) -> Any:
    """Put instructions where a schedule has marked a loop; runs on flat buffers."""
    return func.with_body(structural_map(func.body, (tirx.For, _rewrite)))

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
from tvm.ir.expr import TensorLoad
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


# name -> instruction, its int32 lanes, the types of weights that it takes
DOTS: dict[str, tuple[Dot, int, tuple[str, ...]]] = {
    "avx512vnni": (_dot_avx512vnni, 16, ("uint8",)),
    "avxvnni": (_dot_avxvnni, 8, ("uint8",)),
    "avx2": (_dot_avx2, 8, ("uint8", "int8")),
    "sdot": (_dot_sdot, 4, ("int8",)),
}


def _require(condition: bool, what: Any) -> None:
    if not condition:
        raise ValueError(f"a nest marked as a dot product of bytes holds {what}")


def _element(factor: Any, dtypes: tuple[str, ...]) -> Any:
    """Return the load of a byte that is widened to int32."""
    _require(isinstance(factor, tirx.Cast), factor)
    load = factor.value
    _require(isinstance(load, TensorLoad) and len(load.indices) == 1, load)
    _require(str(load.ty.dtype) in dtypes, f"{load} of {load.ty.dtype}")
    return load


class _Nest:
    """The flat form of a marked nest: buffers, base indices, number of lanes."""

    def __init__(self, loop: Any, weight_dtypes: tuple[str, ...]) -> None:
        inner = loop.body
        _require(isinstance(inner, tirx.For) and int(inner.extent) == 4, inner)
        store = inner.body
        _require(isinstance(store, tirx.BufferStore), store)
        total = store.value
        _require(isinstance(total, tirx.Add) and isinstance(total.b, tirx.Mul), total)
        self.lane, self.byte, self.lanes = loop.loop_var, inner.loop_var, int(loop.extent)
        self.analyzer = sym.Analyzer()
        self.output = store.buffer
        _require(len(store.indices) == 1, store)
        self.weights = _element(total.b.a, weight_dtypes)
        self.activations = _element(total.b.b, ("int8",))
        self.output_base = self._base(store.indices[0], 1, 0)
        self.weights_base = self._base(self.weights.indices[0], 4, 1)
        self.activations_base = self._base(self.activations.indices[0], 0, 1)
        _require(self._is_output(total.a, store.indices[0]), total.a)

    def _is_output(self, load: Any, index: Expression) -> bool:
        return (
            isinstance(load, TensorLoad)
            and load.source.same_as(self.output)
            and str(load.ty.dtype) == "int32"
            and self.analyzer.can_prove_equal(load.indices[0], index)
        )

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
    dot, lanes, weight_dtypes = DOTS[str(loop.annotations[MARK])]
    nest = _Nest(loop, weight_dtypes)
    _require(nest.lanes % lanes == 0, f"{nest.lanes} lanes for an instruction of {lanes}")
    return nest.replacement(dot, lanes)


@tvm.tirx.transform.prim_func_pass(opt_level=0)  # type: ignore[untyped-decorator]
def LowerMarkedNests(func: Any, _mod: Any, _context: Any) -> Any:
    """Put instructions where a schedule has marked a loop; runs on flat buffers."""
    return func.with_body(structural_map(func.body, (tirx.For, _rewrite)))

"""The conformance table: operations, their types and lanes, and what numpy says of them.

An operation is a function of TensorIR expressions; its reference is a function of numpy arrays,
floats in float64. `ulps` is the allowed error in units in the last place of the result, `absolute`
one that is allowed besides; 0 means equal bits (any NaN equals any NaN).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from spirv_cases import Case, Cast, Operation, Reference
from tvm.script import tirx as T

SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGERS = (*SIGNED, *UNSIGNED)
FLOATS = ("float16", "float32", "float64")
SINGLES = ("float16", "float32")
ALL_NUMBERS = (*INTEGERS, *FLOATS)


def _truncated_divide(a: Any, b: Any) -> Any:
    floor, rest = np.divmod(a, b)
    return np.where((rest != 0) & ((a < 0) != (b < 0)), floor + 1, floor).astype(a.dtype)


def _truncated_remainder(a: Any, b: Any) -> Any:
    return np.fmod(a, b)


def _round_away(x: Any) -> Any:
    return np.copysign(np.floor(np.abs(x) + 0.5), x)


def _leading_zeros(x: Any) -> Any:
    bits = x.dtype.itemsize * 8
    return np.array([bits - int(v).bit_length() for v in x.view(f"u{bits // 8}")])


def _ones(x: Any) -> Any:
    bits = x.dtype.itemsize * 8
    return np.array([int(v).bit_count() for v in x.view(f"u{bits // 8}")])


_erf = np.vectorize(math.erf, otypes=[np.float64])

ARITHMETIC = (
    Operation("add", lambda a, b: a + b, np.add, INTEGERS),
    Operation("subtract", lambda a, b: a - b, np.subtract, INTEGERS),
    Operation("multiply", lambda a, b: a * b, np.multiply, INTEGERS),
    Operation("add", lambda a, b: a + b, np.add, FLOATS, lanes=(1, 2, 4, 8)),
    Operation("subtract", lambda a, b: a - b, np.subtract, FLOATS),
    Operation("multiply", lambda a, b: a * b, np.multiply, FLOATS, lanes=(1, 2, 3, 4, 8)),
    Operation("divide", lambda a, b: a / b, np.divide, FLOATS, domain="ratio", ulps=2.5),
    Operation(
        "truncdiv", lambda a, b: T.truncdiv(a, b), _truncated_divide, INTEGERS, domain="divide"
    ),
    Operation(
        "truncmod", lambda a, b: T.truncmod(a, b), _truncated_remainder, INTEGERS, domain="divide"
    ),
    Operation(
        "floordiv", lambda a, b: T.floordiv(a, b), np.floor_divide, INTEGERS, domain="divide"
    ),
    Operation("floormod", lambda a, b: T.floormod(a, b), np.mod, INTEGERS, domain="divide"),
    Operation("min", lambda a, b: T.min(a, b), np.fmin, ALL_NUMBERS),
    Operation("max", lambda a, b: T.max(a, b), np.fmax, ALL_NUMBERS),
    Operation("negate", lambda a: -a, np.negative, (*SIGNED, *FLOATS), arity=1),
    Operation("fma", lambda a, b, c: T.fma(a, b, c), lambda a, b, c: a * b + c,
              ("float16", "float32"), arity=3, domain="positive", ulps=2),
)  # fmt: skip

_UNROLLED = {
    "floordiv_by_8": (lambda a: T.floordiv(a, T.Cast(a.ty, T.int32(8))), lambda a: a // 8),
    "floormod_by_7": (lambda a: T.floormod(a, T.Cast(a.ty, T.int32(7))), lambda a: a % 7),
    "floordiv_by_minus_3": (lambda a: T.floordiv(a, T.Cast(a.ty, T.int32(-3))), lambda a: a // -3),
}
CONSTANT_DIVISORS = tuple(
    Operation(name, build, reference, ("int8", "int32", "int64"), arity=1, lanes=(1,))
    for name, (build, reference) in _UNROLLED.items()
)

BITS = (
    Operation("and", lambda a, b: a & b, np.bitwise_and, INTEGERS),
    Operation("or", lambda a, b: a | b, np.bitwise_or, INTEGERS),
    Operation("xor", lambda a, b: a ^ b, np.bitwise_xor, INTEGERS, lanes=(1, 4, 16)),
    Operation("not", lambda a: ~a, np.invert, INTEGERS, arity=1),
    Operation("shift_left", lambda a, b: a << b, np.left_shift, INTEGERS, domain="shift"),
    Operation("shift_right", lambda a, b: a >> b, np.right_shift, INTEGERS, domain="shift"),
    Operation("popcount", lambda a: T.popcount(a), _ones, INTEGERS, arity=1, lanes=(1,)),
    Operation(
        "clz", lambda a: T.clz(a), _leading_zeros, ("int32", "uint32", "int64", "uint64"),
        arity=1, lanes=(1,), result="int32",
    ),
)  # fmt: skip

COMPARISONS = tuple(
    Operation(name, build, reference, ALL_NUMBERS, lanes=(1, 4), domain="ties", result="bool")
    for name, build, reference in (
        ("eq", lambda a, b: T.EQ(a, b), np.equal),
        ("ne", lambda a, b: T.NE(a, b), np.not_equal),
        ("lt", lambda a, b: T.LT(a, b), np.less),
        ("ge", lambda a, b: T.GE(a, b), np.greater_equal),
    )
) + tuple(
    Operation(name, build, reference, ("int32", "uint32", "float32"), (1,), 2, "ties", "bool")
    for name, build, reference in (
        ("le", lambda a, b: T.LE(a, b), np.less_equal),
        ("gt", lambda a, b: T.GT(a, b), np.greater),
    )
)

LOGIC = (
    Operation("and", lambda a, b: T.And(a, b), np.logical_and, ("bool",)),
    Operation("or", lambda a, b: T.Or(a, b), np.logical_or, ("bool",)),
    Operation("not", lambda a: T.Not(a), np.logical_not, ("bool",), arity=1),
)

SELECTION = (
    Operation("select", lambda a, b: T.Select(a > b, a, b), lambda a, b: np.where(a > b, a, b),
              ALL_NUMBERS, domain="ties"),
    Operation("if_then_else", lambda a, b: T.if_then_else(a > b, a, b),
              lambda a, b: np.where(a > b, a, b), ("int8", "int32", "float16", "float32"),
              lanes=(1,), domain="ties"),
)  # fmt: skip

ROUNDING = tuple(
    Operation(name, build, reference, FLOATS, arity=1, domain="halfway")
    for name, build, reference in (
        ("floor", lambda x: T.floor(x), np.floor),
        ("ceil", lambda x: T.ceil(x), np.ceil),
        ("trunc", lambda x: T.trunc(x), np.trunc),
        ("round", lambda x: T.round(x), _round_away),
        ("nearbyint", lambda x: T.nearbyint(x), np.rint),
        ("fabs", lambda x: T.fabs(x), np.abs),
    )
)

CLASSES = tuple(
    Operation(name, build, reference, FLOATS, (1,), 1, "any", "bool")
    for name, build, reference in (
        ("isnan", lambda x: T.isnan(x), np.isnan),
        ("isinf", lambda x: T.isinf(x), np.isinf),
        ("isfinite", lambda x: T.isfinite(x), np.isfinite),
    )
)


def _function(
    name: str,
    reference: Reference,
    domain: str,
    *,
    ulps: float,
    absolute: float = 0,
    arity: int = 1,
) -> tuple[Operation, Operation]:
    """Return the rows of a function: float32, and halves, whose error is that of rounding."""

    def build(*arguments: Any) -> Any:
        return getattr(T, name)(*arguments)

    return (
        Operation(name, build, reference, ("float32",), (1, 4), arity, domain, "", ulps, absolute),
        Operation(name, build, reference, ("float16",), (1,), arity, domain, "", 1, absolute),
    )


MATHEMATICS = (
    *_function("sqrt", np.sqrt, "positive", ulps=3),
    *_function("rsqrt", lambda x: 1 / np.sqrt(x), "positive", ulps=3),
    *_function("exp", np.exp, "exponent", ulps=30),
    *_function("exp2", np.exp2, "exponent", ulps=30),
    *_function("exp10", lambda x: 10.0**x, "small", ulps=40),
    *_function("log", np.log, "positive", ulps=4, absolute=3e-7),
    *_function("log2", np.log2, "positive", ulps=4, absolute=3e-7),
    *_function("log10", np.log10, "positive", ulps=5, absolute=3e-7),
    *_function("log1p", np.log1p, "above_minus_one", ulps=8),
    *_function("sin", np.sin, "angle", ulps=2, absolute=2e-7),
    *_function("cos", np.cos, "angle", ulps=2, absolute=2e-7),
    *_function("tan", np.tan, "small", ulps=16, absolute=4e-7),
    *_function("asin", np.arcsin, "unit", ulps=12, absolute=4e-7),
    *_function("acos", np.arccos, "unit", ulps=12, absolute=4e-7),
    *_function("atan", np.arctan, "tame", ulps=6),
    *_function("atan2", np.arctan2, "tame", ulps=8, arity=2),
    *_function("sinh", np.sinh, "exponent", ulps=40),
    *_function("cosh", np.cosh, "exponent", ulps=40),
    *_function("tanh", np.tanh, "exponent", ulps=8),
    *_function("asinh", np.arcsinh, "tame", ulps=12),
    *_function("acosh", np.arccosh, "above_one", ulps=12, absolute=1e-6),
    *_function("atanh", np.arctanh, "inside_unit", ulps=12),
    *_function("sigmoid", lambda x: 1 / (1 + np.exp(-x)), "exponent", ulps=40),
    *_function("erf", _erf, "small", ulps=6),
    *_function("pow", np.power, "power", ulps=160, arity=2),
    *_function("hypot", np.hypot, "tame", ulps=6, arity=2),
    *_function("copysign", np.copysign, "any", ulps=0, arity=2),
    *_function("fmod", np.fmod, "fmod", ulps=8, absolute=1e-5, arity=2),
)

OPERATIONS = (
    *ARITHMETIC,
    *CONSTANT_DIVISORS,
    *BITS,
    *COMPARISONS,
    *LOGIC,
    *SELECTION,
    *ROUNDING,
    *CLASSES,
    *MATHEMATICS,
)

CASES = tuple(
    Case(operation, dtype, lanes)
    for operation in OPERATIONS
    for dtype in operation.types
    for lanes in operation.lanes
)

# From every type to every other.
CASTS = tuple(
    Cast(source, to, lanes)
    for source in (*ALL_NUMBERS, "bool")
    for to in (*ALL_NUMBERS, "bool")
    for lanes in ((1, 4) if source in SINGLES or to in SINGLES else (1,))
    if source != to
)

# Bits between types of equal size.
REINTERPRETATIONS = (
    ("float32", 1, "int32", 1),
    ("int32", 4, "float32", 4),
    ("uint32", 1, "float16", 2),
    ("float16", 2, "uint32", 1),
    ("uint32", 4, "float16", 8),
    ("float16", 8, "uint32", 4),
    ("uint32", 1, "int8", 4),
    ("int8", 4, "int32", 1),
    ("uint8", 16, "uint32", 4),
    ("int16", 2, "uint32", 1),
    ("uint16", 4, "int64", 1),
    ("float64", 1, "uint64", 1),
    ("int64", 1, "float32", 2),
    ("float32", 2, "float64", 1),
    ("uint64", 2, "uint32", 4),
    ("float16", 1, "uint16", 1),
    ("int16", 4, "float16", 4),
    ("int8", 1, "uint8", 1),
    ("uint8", 2, "int16", 1),
    ("float16", 4, "uint8", 8),
)

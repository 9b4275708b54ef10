"""The cases of operation_cases.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm.script import tirx as T

from tests.compile.cuda.operation_cases import OperationCase, call
from tests.compile.cuda.reference_lanes import (
    dot4,
    from_lane,
    matrix_product,
    on_halves,
    over_lanes,
)

F32, I32, U32, F16 = ("float32", 1), ("int32", 1), ("uint32", 1), ("float16", 1)
HALVES = ("halves", 1)
_ADD_TOLERANCE = 32 * 4 * 2.0**-23  # a sum of 32 values below 4 in float32


def _reduction(name: str, dtype: str, lanes: int, function: Any, width: int = 32) -> OperationCase:
    """Return a case of a reduction over a subgroup, or a cluster where `width` is less."""
    operation = name + ("_clustered" if width < 32 else "")
    vector = dtype if lanes == 1 else f"{dtype}x{lanes}"
    more = (width,) if width < 32 else ()
    exact = dtype.endswith("int32") or function is np.max
    half = 32 * 4 * 2.0**-10
    return OperationCase(
        f"{operation}_{vector}",
        ((dtype, lanes),),
        (dtype, lanes),
        lambda a, b, c: call(operation, vector, a, *more),
        over_lanes(function, width),
        "REDUX" if dtype.endswith("int32") and width == 32 else "SHFL",
        operation,
        0.0 if exact else half if dtype == "float16" else _ADD_TOLERANCE,
    )


def _half2(name: str, count: int, function: Any, instruction: str) -> OperationCase:
    return OperationCase(
        f"half2_{name}",
        (HALVES,) * count,
        U32,
        lambda *values: call(f"half2_{name}", "uint32", *values[:count]),
        on_halves(function, count),
        instruction,
    )


REDUCTIONS = tuple(
    _reduction(name, dtype, lanes, function, width)
    for name, function in (("subgroup_add", np.sum), ("subgroup_max", np.max))
    for dtype, lanes, width in (
        ("float32", 1, 32), ("int32", 1, 32), ("uint32", 1, 32), ("float16", 1, 32),
        ("float32", 4, 32), ("float32", 1, 8), ("int32", 1, 4),
    )
)  # fmt: skip

MOVES = (
    OperationCase("subgroup_shuffle_xor", (F32,), F32,
                  lambda a, b, c: call("subgroup_shuffle_xor", "float32", a, 5),
                  from_lane(lambda lane: lane ^ 5), "SHFL"),
    OperationCase("subgroup_shuffle", (("uint32", 4),), ("uint32", 4),
                  lambda a, b, c: call("subgroup_shuffle", "uint32x4", a,
                                       31 - call("subgroup_lane", "int32")),
                  from_lane(lambda lane: 31 - lane), "SHFL"),
    OperationCase("subgroup_broadcast", (F16,), F16,
                  lambda a, b, c: call("subgroup_broadcast", "float16", a, 7),
                  from_lane(lambda lane: 0 * lane + 7), "SHFL"),
    OperationCase("subgroup_lane", (), I32, lambda a, b, c: call("subgroup_lane", "int32"),
                  lambda a, b, c: (np.arange(len(a), dtype=np.int32) % 32)[:, None]),
    OperationCase("subgroup_id", (), I32, lambda a, b, c: call("subgroup_id", "int32"),
                  lambda a, b, c: (np.arange(len(a), dtype=np.int32) // 32)[:, None]),
)  # fmt: skip


def _fma(dtype: str, lanes: int, instruction: str) -> OperationCase:
    vector = dtype if lanes == 1 else f"{dtype}x{lanes}"
    return OperationCase(
        f"fma_{vector}",
        ((dtype, lanes),) * 3,
        (dtype, lanes),
        lambda a, b, c: call("fma", vector, a, b, c),
        lambda a, b, c: (
            a.astype(np.longdouble) * b.astype(np.longdouble) + c.astype(np.longdouble)
        ).astype(a.dtype),
        instruction,
        "fma",
    )


ARITHMETIC = (
    OperationCase("dot4_i8", (U32, U32, I32), I32,
                  lambda a, b, c: call("dot4_i8", "int32", a, b, c),
                  dot4("int8", "int8"), "IDP"),
    OperationCase("dot4_u8_i8", (U32, U32, I32), I32,
                  lambda a, b, c: call("dot4_u8_i8", "int32", a, b, c),
                  dot4("uint8", "int8"), "IDP"),
    *(_fma(dtype, lanes, instruction) for dtype, lanes, instruction in (
        ("float32", 1, "FFMA"), ("float32", 2, "FFMA"), ("float32", 4, "FFMA"),
        ("float16", 1, "HFMA2"), ("float16", 2, "HFMA2"))),
    OperationCase("exp2_approximate", (F32,), F32,
                  lambda a, b, c: call("exp2_approximate", "float32", a),
                  lambda a, b, c: np.exp2(a.astype(np.float64)), "MUFU",
                  tolerance=16 * 2.0**-22),  # of results below 16
    OperationCase("unpack_half2", (HALVES,), ("float32", 2),
                  lambda a, b, c: call("unpack_half2", "float32x2", a),
                  lambda a, b, c: a.view(np.float16).astype(np.float32), "HADD2"),
    OperationCase("lop3", (U32, U32, U32), U32,
                  lambda a, b, c: call("lop3", "uint32", a, b, c, 0xEA),
                  lambda a, b, c: (a & b) | c, "LOP3"),
    _half2("fma", 3, lambda a, b, c: a * b + c, "HFMA2"),
    _half2("add", 2, lambda a, b: a + b, "HADD2|HFMA2"),
    _half2("sub", 2, lambda a, b: a - b, "HADD2|HFMA2"),
    _half2("mul", 2, lambda a, b: a * b, "HMUL2|HFMA2"),
    _half2("max", 2, np.maximum, "HMNMX2"),
    _half2("min", 2, np.minimum, "HMNMX2"),
    OperationCase("half2_pack", (F32, F32), U32,
                  lambda a, b, c: call("half2_pack", "uint32", a, b),
                  lambda a, b, c: np.hstack([a, b]).astype(np.float16).view(np.uint32), "F2FP"),
    OperationCase("half2_broadcast", (F16,), U32,
                  lambda a, b, c: call("half2_broadcast", "uint32", a),
                  lambda a, b, c: np.hstack([a, a]).view(np.uint32), "PRMT"),
)  # fmt: skip

MATRICES = (
    OperationCase("mma_m16n8k16_f16", (("halves", 4), ("halves", 2), ("float32", 4)),
                  ("float32", 4),
                  lambda a, b, c: call("mma_m16n8k16_f16", "float32x4", a, b, c),
                  matrix_product("float16", 16), "HMMA",
                  tolerance=256 * 16 * 2.0**-23),  # 16 partial sums below 256
    OperationCase("mma_m16n8k32_s8", (("uint32", 4), ("uint32", 2), ("int32", 4)), ("int32", 4),
                  lambda a, b, c: call("mma_m16n8k32_s8", "int32x4", a, b,
                                       T.shift_right(c, T.broadcast(T.int32(8), 4))),
                  lambda a, b, c: matrix_product("int8", 32)(a, b, c >> 8), "IMMA"),
)  # fmt: skip

OPERATION_CASES = (*REDUCTIONS, *MOVES, *ARITHMETIC, *MATRICES)

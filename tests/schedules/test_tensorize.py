from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tvm
from tvm.script import tirx as T

from ferrylm.schedules.tensorize import DOTS, MARK, LowerMarkedNests
from tests.schedules.kernel_runner import (
    HOST_PROFILES,
    build,
    contents,
    shared,
    skip_unless_host_runs,
)

Statement = Callable[..., None]
SIZE = 256


def nest(
    statement: Statement, dot: str = "avx2", lanes: int = 16, count: int = 4, weights: str = "uint8"
) -> Any:
    """Return a PrimFunc (C, W, X) with `statement` in a marked nest of lanes x count."""

    @T.prim_func(s_tir=True, private=True)
    def func(
        C: T.Buffer((SIZE,), "int32"),
        W: T.Buffer((SIZE,), weights),
        X: T.Buffer((SIZE,), "int8"),
    ):
        T.func_attr({"tirx.noalias": True})
        for start in T.serial(2):
            for lane in T.serial(lanes, annotations={MARK: dot}):
                for j in T.serial(count):
                    statement(C, W, X, start, lane, j)

    return func


@T.inline
def dot_product(C, W, X, start, lane, j):
    C[start * 16 + lane] = C[start * 16 + lane] + T.cast(
        W[start * 64 + lane * 4 + j], "int32"
    ) * T.cast(X[start * 4 + j], "int32")


def lower(func: Any) -> str:
    return str(LowerMarkedNests(tvm.IRModule({"main": func}))["main"].script())


def test_a_marked_nest_becomes_the_instruction() -> None:
    for dot, weights in (
        ("avx2", "uint8"),
        ("avx2", "int8"),
        ("avx512vnni", "uint8"),
        ("sdot", "int8"),
    ):
        text = lower(nest(dot_product, dot, weights=weights))
        assert "call_llvm_pure_intrin" in text, dot
        assert MARK not in text
    assert set(DOTS) == {"avx2", "avxvnni", "avx512vnni", "sdot"}


def test_a_nest_that_is_not_marked_is_left_alone() -> None:
    @T.prim_func(s_tir=True, private=True)
    def func(
        C: T.Buffer((SIZE,), "int32"), W: T.Buffer((SIZE,), "uint8"), X: T.Buffer((SIZE,), "int8")
    ):
        for lane in T.serial(16):
            for j in T.serial(4):
                dot_product(C, W, X, 0, lane, j)

    assert lower(func) == str(func.script())


@pytest.mark.parametrize("weights", ["uint8", "int8"])
def test_the_instruction_computes_what_the_nest_says(weights: str) -> None:
    profile = HOST_PROFILES[0]
    skip_unless_host_runs(profile)
    built = build(profile, {"kernel": nest(dot_product, weights=weights)})
    generator = np.random.default_rng(0)
    limits = (0, 16) if weights == "uint8" else (-128, 128)
    w = generator.integers(*limits, SIZE).astype(weights)
    x = generator.integers(-127, 128, SIZE).astype(np.int8)
    c = generator.integers(-1000, 1000, SIZE).astype(np.int32)
    tensors = shared(c, w, x)
    built["kernel"](*tensors)
    wanted = c.copy()
    for start in range(2):
        bytes_ = w[start * 64 : start * 64 + 64].reshape(16, 4).astype(np.int32)
        wanted[start * 16 : start * 16 + 16] += bytes_ @ x[start * 4 : start * 4 + 4].astype(
            np.int32
        )
    np.testing.assert_array_equal(contents(tensors[0]), wanted)


@T.inline
def strided_output(C, W, X, start, lane, j):
    C[lane * 2] = C[lane * 2] + T.cast(W[lane * 4 + j], "int32") * T.cast(X[j], "int32")


@T.inline
def strided_weights(C, W, X, start, lane, j):
    C[lane] = C[lane] + T.cast(W[lane + 16 * j], "int32") * T.cast(X[j], "int32")


@T.inline
def activations_by_lane(C, W, X, start, lane, j):
    C[lane] = C[lane] + T.cast(W[lane * 4 + j], "int32") * T.cast(X[lane + j], "int32")


@T.inline
def bytes_backwards(C, W, X, start, lane, j):
    C[lane] = C[lane] + T.cast(W[lane * 4 + j], "int32") * T.cast(X[3 - j], "int32")


@T.inline
def difference(C, W, X, start, lane, j):
    C[lane] = C[lane] - T.cast(W[lane * 4 + j], "int32") * T.cast(X[j], "int32")


@T.inline
def sum_of_bytes(C, W, X, start, lane, j):
    C[lane] = C[lane] + (T.cast(W[lane * 4 + j], "int32") + T.cast(X[j], "int32"))


@T.inline
def not_accumulated(C, W, X, start, lane, j):
    C[lane] = C[lane + 1] + T.cast(W[lane * 4 + j], "int32") * T.cast(X[j], "int32")


@T.inline
def scaled(C, W, X, start, lane, j):
    C[lane] = C[lane] + T.cast(W[lane * 4 + j], "int32") * 3


@T.inline
def operands_swapped(C, W, X, start, lane, j):
    C[lane] = C[lane] + T.cast(X[j], "int32") * T.cast(W[lane * 4 + j], "int32")


@T.inline
def narrow_product(C, W, X, start, lane, j):
    C[lane] = C[lane] + T.cast(T.cast(W[lane * 4 + j], "int8") * X[j], "int32")


OTHER_STATEMENTS = {
    "output with a stride": strided_output,
    "weights with another stride": strided_weights,
    "activations that differ by lane": activations_by_lane,
    "bytes backwards": bytes_backwards,
    "a difference": difference,
    "a sum of bytes": sum_of_bytes,
    "another element is added to": not_accumulated,
    "no second operand": scaled,
    "operands swapped": operands_swapped,
    "a product in bytes": narrow_product,
}


@pytest.mark.parametrize("statement", OTHER_STATEMENTS.values(), ids=OTHER_STATEMENTS.keys())
def test_a_nest_of_another_form_is_an_error(statement: Statement) -> None:
    with pytest.raises(ValueError, match="dot product"):
        lower(nest(statement))


def test_a_nest_of_another_size_or_type_is_an_error() -> None:
    for changes in (
        {"count": 3},
        {"count": 8},
        {"lanes": 12},
        {"lanes": 4},
        {"dot": "avx512vnni", "lanes": 8},
        {"dot": "avx512vnni", "weights": "int8"},
        {"dot": "sdot", "weights": "uint8"},
        {"weights": "int16"},
    ):
        with pytest.raises(ValueError, match="dot product"):
            lower(nest(dot_product, **changes))

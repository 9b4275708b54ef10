"""Random expressions of small integers, which wrap, beside the same expressions of numpy.

Not of int32 and int64: TVM takes these for indices and simplifies as if they never overflowed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from spirv_domains import COUNT, arguments
from spirv_kernels import elementwise
from spirv_run import FULL, build_all, check_valid, run
from tvm.script import tirx as T

TYPES = ("int8", "uint8", "int16", "uint16", "uint32", "uint64")
TREES = 12  # compiled together, as a module costs more than a kernel

Binary = tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]
BINARY: dict[str, Binary] = {
    "add": (lambda a, b: a + b, np.add),
    "sub": (lambda a, b: a - b, np.subtract),
    "mul": (lambda a, b: a * b, np.multiply),
    "and": (lambda a, b: a & b, np.bitwise_and),
    "or": (lambda a, b: a | b, np.bitwise_or),
    "xor": (lambda a, b: a ^ b, np.bitwise_xor),
    "min": (lambda a, b: T.min(a, b), np.minimum),
    "max": (lambda a, b: T.max(a, b), np.maximum),
    "select": (lambda a, b: T.Select(a < b, b, a), lambda a, b: np.where(a < b, b, a)),
    "lazy": (
        lambda a, b: T.if_then_else(a != b, a - b, b),
        lambda a, b: np.where(a != b, a - b, b),
    ),
}
LEAF = st.sampled_from(["x", "y", 1, 3, 77])


def _nodes(children: Any) -> Any:
    return st.one_of(
        st.tuples(st.sampled_from(sorted(BINARY)), children, children),
        st.tuples(st.sampled_from(["floordiv", "floormod", "shift"]), children, st.integers(1, 7)),
        st.tuples(st.just("through"), children, st.sampled_from(TYPES)),
    )


TREE = st.recursive(LEAF, _nodes, max_leaves=8)


def expression(tree: Any, x: Any, y: Any, dtype: str) -> Any:
    """Return a tree as an expression of TensorIR."""
    if isinstance(tree, str):
        return x if tree == "x" else y
    if isinstance(tree, int):
        return T.Cast(dtype, T.int32(tree))
    name, first, second = tree
    a = expression(first, x, y, dtype)
    if name in BINARY:
        return BINARY[name][0](a, expression(second, x, y, dtype))
    if name == "through":
        return T.Cast(dtype, T.Cast(second, a))
    constant = T.Cast(dtype, T.int32(second))
    if name == "shift":
        return T.shift_right(a, constant)
    return T.floordiv(a, constant) if name == "floordiv" else T.floormod(a, constant)


def value(tree: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return what numpy makes of a tree."""
    dtype = x.dtype
    if not isinstance(tree, tuple):
        return {"x": x, "y": y}[tree] if isinstance(tree, str) else np.full_like(x, tree)
    name, first, second = tree
    a = value(first, x, y)
    if name in BINARY:
        return np.asarray(BINARY[name][1](a, value(second, x, y)), dtype)
    if name == "through":
        return a.astype(second).astype(dtype)
    constant = dtype.type(second)
    operation = {"shift": np.right_shift, "floordiv": np.floor_divide, "floormod": np.mod}[name]
    return operation(a, constant)


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # shrinking compiles for minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    trees=st.lists(TREE, min_size=TREES, max_size=TREES),
    dtypes=st.lists(st.sampled_from(TYPES), min_size=TREES, max_size=TREES),
    lanes=st.sampled_from([1, 2, 4]),
)
def test_random_expressions_give_what_numpy_gives(
    vulkan: Any, trees: list[Any], dtypes: list[str], lanes: int
) -> None:
    cases = dict(enumerate(zip(trees, dtypes, strict=True)))
    functions = {
        f"tree{number}": elementwise(
            lambda x, y, tree=tree, dtype=dtype: expression(tree, x, y, dtype) + x * y,
            [dtype] * 2, dtype, COUNT, lanes,
        )
        for number, (tree, dtype) in cases.items()
    }  # fmt: skip
    built = build_all(functions, FULL)
    for number, (tree, dtype) in cases.items():
        x, y = arguments("any", dtype, 2, str(tree))
        check_valid(built, f"tree{number}")
        found = run(built, vulkan, [x, y, np.zeros_like(x)], f"tree{number}")[-1]
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(found, value(tree, x, y) + x * y, err_msg=str(tree))

"""Control flow and memory, on the device, beside numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import spirv_scripts as scripts
from spirv_case_table import ALL_NUMBERS, REINTERPRETATIONS
from spirv_run import FULL, PLAIN, answers, numbers
from spirv_scripts import COUNT

RANDOM = np.random.default_rng(7)


@pytest.mark.parametrize("options", [FULL, PLAIN], ids=["full", "plain"])
@pytest.mark.parametrize("case", REINTERPRETATIONS, ids=lambda case: "-".join(map(str, case)))
def test_reinterpret_keeps_every_bit(vulkan: Any, case: Any, options: Any) -> None:
    source, lanes, to, to_lanes = case
    raw = RANDOM.integers(0, 120, COUNT * lanes * 8, np.uint8)  # no NaN: its bits may change
    given = raw.view(source)[: COUNT * lanes].copy()
    out = np.zeros(COUNT * to_lanes, to)
    found = answers(vulkan, scripts.reinterpreting(*case), given, out, options=options)
    assert found.tobytes() == given.tobytes()


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (3, 130)])
def test_shapes_may_be_known_only_at_the_call(vulkan: Any, shape: tuple[int, int]) -> None:
    a = RANDOM.integers(-9, 9, shape).astype(np.float32)
    found = answers(vulkan, scripts.row_sums, a, np.zeros(shape[0], np.float32))
    np.testing.assert_array_equal(found, a.sum(1))


def _collatz(x: int) -> int:
    steps = 0
    while x != 1:
        x, steps = (x // 2 if x % 2 == 0 else 3 * x + 1), steps + 1
    return steps


def test_while_loops_end_at_different_times(vulkan: Any) -> None:
    a = np.arange(1, COUNT + 1, dtype=np.int32)
    found = answers(vulkan, scripts.collatz, a, np.zeros_like(a))
    assert found.tolist() == [_collatz(x) for x in a.tolist()]


def _nested(limit: int) -> int:
    total = 0
    for i in range(limit - 2):
        if i % 3 == 1:
            total += sum(j * i if j > 2 else -1 for j in range(i))
        elif i % 3 == 2:
            total += 100
    return total


def test_loops_and_conditions_nest(vulkan: Any) -> None:
    a = np.arange(COUNT, dtype=np.int32) % 23
    found = answers(vulkan, scripts.nested, a, np.zeros_like(a))
    assert found.tolist() == [_nested(x) for x in a.tolist()]


def test_break_and_continue(vulkan: Any) -> None:
    a = np.arange(COUNT, dtype=np.int32)
    found = answers(vulkan, scripts.early_exits, a, np.zeros_like(a))
    assert found.tolist() == [sum(range(1, min(x, 21), 2)) for x in a.tolist()]


@pytest.mark.parametrize("lazy", ["if_then_else", "nested", "and", "or"])
def test_what_a_condition_excludes_is_not_read(vulkan: Any, lazy: str) -> None:
    a = RANDOM.normal(0, 1, COUNT // 2).astype(np.float32)
    found = answers(vulkan, scripts.guarded(lazy), a, np.zeros(COUNT, np.float32))
    inside = {
        "if_then_else": a * 2,
        "nested": np.abs(a) + 1,
        "and": np.where(a > 0, 5, -1),
        "or": np.where(a > 0, 5, -1),
    }[lazy]
    beyond = 5 if lazy == "or" else -1
    np.testing.assert_array_equal(found[: len(a)], inside.astype(np.float32))
    np.testing.assert_array_equal(found[len(a) :], beyond)


@pytest.mark.parametrize("dtype", [*ALL_NUMBERS, "bool"])
def test_a_threads_array_takes_any_index(vulkan: Any, dtype: str) -> None:
    a, at = numbers(dtype), RANDOM.integers(0, 8, COUNT).astype(np.int32)
    found = answers(vulkan, scripts.local_table(dtype), a, at, np.zeros_like(a))
    rows = np.repeat(np.arange(COUNT // 8), 8)
    np.testing.assert_array_equal(found, a.reshape(-1, 8)[rows, at])


@pytest.mark.parametrize("options", [FULL, PLAIN], ids=["full", "plain"])
@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("dtype", [*ALL_NUMBERS, "bool"])
def test_shared_memory_between_barriers(vulkan: Any, dtype: str, lanes: int, options: Any) -> None:
    a = numbers(dtype)
    function = scripts.shared_transpose(dtype, lanes)
    found = answers(vulkan, function, a, np.zeros_like(a), options=options)
    np.testing.assert_array_equal(found, a.reshape(8, 8).T.reshape(-1))


@pytest.mark.parametrize("stride", [1, 5])
@pytest.mark.parametrize(("lanes", "first"), [(2, 1), (4, 2), (8, 3), (5, 0)])
@pytest.mark.parametrize("dtype", ["int8", "uint16", "float16", "float32", "int64"])
def test_vectors_that_are_not_aligned_or_not_dense(
    vulkan: Any, dtype: str, lanes: int, first: int, stride: int
) -> None:
    a = numbers(dtype, COUNT * 8 + 16)
    found = answers(vulkan, scripts.strided(dtype, lanes, stride, first), a, np.zeros_like(a))
    wanted = np.zeros_like(a)
    for t in range(8):
        part = a[t * lanes * stride + first :: stride][:lanes]
        wanted[t * lanes + first : t * lanes + first + lanes] = part[::-1]
    np.testing.assert_array_equal(found, wanted)


def test_shuffle_and_broadcast(vulkan: Any) -> None:
    a = numbers("float32")
    found = answers(vulkan, scripts.shuffled(), a, np.zeros_like(a))
    wanted = a.reshape(8, 8)[:, [7, 0, 4, 2, 3, 1, 1, 1]]
    np.testing.assert_array_equal(found.reshape(8, 8), wanted)


def test_sums_are_rounded_as_they_are_written(vulkan: Any) -> None:
    a = RANDOM.normal(0, 1000, COUNT).astype(np.float32)
    b = RANDOM.normal(0, 1e-3, COUNT).astype(np.float32)
    found = answers(vulkan, scripts.sums_kept, a, b, np.zeros(2 * COUNT, np.float32))
    np.testing.assert_array_equal(found[:COUNT], (a + b) - a)
    np.testing.assert_array_equal(found[COUNT:], np.rint(a))


def test_elements_of_buffers_may_be_vectors(vulkan: Any) -> None:
    a = numbers("float32", 4 * COUNT).reshape(COUNT, 4)
    found = answers(vulkan, scripts.vector_buffers(), a, np.zeros_like(a))
    np.testing.assert_array_equal(found, 2 * a.reshape(-1, 2, 4)[:, ::-1].reshape(COUNT, 4))

"""Control flow, memory, threads and arguments, on the device, beside numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import spirv_scripts as scripts
from spirv_case_table import ALL_NUMBERS, REINTERPRETATIONS
from spirv_run import FULL, PLAIN, VULKAN_1_3, Built, build, check_valid, run
from spirv_scripts import COUNT
from tvm.script import tirx as T

RANDOM = np.random.default_rng(7)


def answers(
    device: Any, function: Any, *arrays: np.ndarray | float, options: Any = FULL
) -> np.ndarray:
    """Return the last argument after a run of the validated kernel."""
    built = build(function, options)
    check_valid(built)
    return run(built, device, arrays)[-1]


def numbers(dtype: str, count: int = COUNT) -> np.ndarray:
    if dtype == "bool":
        return RANDOM.integers(0, 2, count).astype(bool)
    if np.dtype(dtype).kind == "f":
        return RANDOM.normal(0, 9, count).astype(dtype)
    return RANDOM.integers(0, 256, count * 8, np.uint8).view(dtype)[:count].copy()


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


@pytest.mark.parametrize("dtype", ["int32", "uint32", "float32"])
def test_atomic_additions_lose_nothing(vulkan: Any, dtype: str) -> None:
    a = RANDOM.integers(0, 100, COUNT).astype(dtype)
    function = scripts.atomic(dtype, "ferrylm.atomic_add")
    found = answers(vulkan, function, a, np.zeros(4, dtype))
    np.testing.assert_array_equal(found, a.reshape(-1, 4).sum(0))


def test_atomic_additions_in_shared_memory(vulkan: Any) -> None:
    a = RANDOM.integers(-100, 100, COUNT).astype(np.int32)
    found = answers(vulkan, scripts.shared_atomic, a, np.zeros(4, np.int32))
    np.testing.assert_array_equal(found, a.reshape(-1, 4).sum(0))


def _reduced(a: np.ndarray, kind: str, width: int) -> np.ndarray:
    parts = a.reshape(-1, width)
    found = parts.sum(1, dtype=a.dtype) if kind == "add" else parts.max(1)
    return np.repeat(found, width)


@pytest.mark.parametrize("kind", ["add", "max"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint32", "int8"])
def test_reductions_over_a_subgroup(vulkan: Any, dtype: str, kind: str) -> None:
    a = (numbers("int8") % 8).astype(dtype)
    function = scripts.subgroup(f"ferrylm.subgroup_{kind}", dtype)
    np.testing.assert_array_equal(answers(vulkan, function, a, a * 0), _reduced(a, kind, 8))


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["add", "max"])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_reductions_over_parts_of_a_subgroup(
    vulkan: Any, dtype: str, kind: str, width: int
) -> None:
    a = (numbers("int8") % 8).astype(dtype)
    function = scripts.subgroup(f"ferrylm.subgroup_{kind}_clustered", dtype, width)
    np.testing.assert_array_equal(answers(vulkan, function, a, a * 0), _reduced(a, kind, width))


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint32", "int16", "bool"])
@pytest.mark.parametrize(
    ("name", "argument", "source"),
    [
        ("subgroup_shuffle_xor", 3, lambda lane: lane ^ 3),
        ("subgroup_shuffle", 5, lambda lane: lane * 0 + 5),
        ("subgroup_broadcast", 6, lambda lane: lane * 0 + 6),
    ],
)
def test_exchanges_within_a_subgroup(
    vulkan: Any, dtype: str, name: str, argument: int, source: Any
) -> None:
    a = numbers(dtype)
    function = scripts.subgroup(f"ferrylm.{name}", dtype, argument)
    lane = np.arange(COUNT) % 8
    wanted = a[np.arange(COUNT) // 8 * 8 + source(lane)]
    np.testing.assert_array_equal(answers(vulkan, function, a, np.zeros_like(a)), wanted)


@pytest.mark.parametrize("width", [4, 8])
@pytest.mark.parametrize("name", ["down", "up", "xor", "any"])
def test_tvm_warp_shuffles(vulkan: Any, name: str, width: int) -> None:
    mask = T.uint32(0xFF)
    build_, source = {
        "down": (
            lambda x, t: T.tvm_warp_shuffle_down(mask, x, 2, width, 8),
            lambda i: np.where(i + 2 < width, i + 2, i),
        ),
        "up": (
            lambda x, t: T.tvm_warp_shuffle_up(mask, x, 1, width, 8),
            lambda i: np.where(i >= 1, i - 1, i),
        ),
        "xor": (
            lambda x, t: T.tvm_warp_shuffle_xor(mask, x, 1, width, 8),
            lambda i: i ^ 1,
        ),
        "any": (
            lambda x, t: T.tvm_warp_shuffle(mask, x, (t * 3) % 8, width, 8),
            lambda i: None,
        ),
    }[name]
    a = numbers("float32")
    found = answers(vulkan, scripts.warp_shuffle(build_), a, np.zeros_like(a))
    thread = np.arange(COUNT)
    inside = (thread * 3) % 8 % width if name == "any" else source(thread % width)
    np.testing.assert_array_equal(found, a[thread // width * width + inside])


def test_lane_and_subgroup_numbers(vulkan: Any) -> None:
    found = answers(vulkan, scripts.lanes_and_subgroups, np.zeros(2 * COUNT, np.int32))
    thread = np.arange(COUNT)
    np.testing.assert_array_equal(found, np.concatenate([thread % 8, thread // 8]))


@pytest.mark.parametrize("options", [FULL, PLAIN, VULKAN_1_3], ids=["full", "plain", "1.3"])
@pytest.mark.parametrize("signed", [True, False])
def test_dot_products_of_bytes(vulkan: Any, signed: bool, options: Any) -> None:
    a, b, c = numbers("uint32"), numbers("int32"), numbers("int32")
    name = "ferrylm.dot4_i8" if signed else "ferrylm.dot4_u8_i8"
    found = answers(vulkan, scripts.dot4(name), a, b, c, c * 0, options=options)
    first = a.view(np.int8 if signed else np.uint8).reshape(-1, 4).astype(np.int32)
    wanted = (first * b.view(np.int8).reshape(-1, 4)).sum(1, dtype=np.int32) + c
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("options", [FULL, PLAIN], ids=["full", "plain"])
def test_dp4a_of_tvm(vulkan: Any, options: Any) -> None:
    a, b = numbers("int8", 4 * COUNT), numbers("int8", 4 * COUNT)
    found = answers(vulkan, scripts.dp4a, a, b, np.zeros(COUNT, np.int32), options=options)
    wanted = (a.astype(np.int32) * b).reshape(-1, 4).sum(1) + 7
    np.testing.assert_array_equal(found, wanted)


def test_unpack_half2(vulkan: Any) -> None:
    halves = numbers("float16", 2 * COUNT)
    out = np.zeros(2 * COUNT, np.float32)
    found = answers(vulkan, scripts.unpack_half2, halves.view(np.uint32), out, options=PLAIN)
    np.testing.assert_array_equal(found, halves.astype(np.float32))


def test_grids_and_workgroups_of_three_dimensions(vulkan: Any) -> None:
    found = answers(vulkan, scripts.grid, np.zeros(3 * 4 * 5 * 2 * 3 * 2, np.int32))
    sizes = (5, 4, 3, 2, 3, 2)
    weights = np.array([100000, 10000, 1000, 100, 10, 1]).reshape(6, 1)
    wanted = (np.indices(sizes).reshape(6, -1) * weights).sum(0)
    np.testing.assert_array_equal(found, wanted)


def test_scalar_arguments_of_every_type(vulkan: Any) -> None:
    given = [-100, -30000, -5, -(1 << 40), 250, 4000000000, True, -0.5, 1.25, 1e300]
    found = answers(vulkan, scripts.scalars, *given, np.zeros(10))
    assert found.tolist() == [float(x) for x in given]


@pytest.mark.parametrize("count", [15, 16, 40])
def test_more_arguments_than_push_constants_hold(vulkan: Any, count: int) -> None:
    from spirv_kernels import elementwise

    function = elementwise(lambda *each: sum(each[1:], each[0]), ["int32"] * count, "int32", 64, 4)
    arrays = [numbers("int32", 64) for _ in range(count)]
    built: Built = build(function, FULL)
    assert built.kernel()[0]["argument_buffer"] == (count >= 16)
    check_valid(built)
    found = run(built, vulkan, [*arrays, np.zeros(64, np.int32)])[-1]
    np.testing.assert_array_equal(found, np.sum(arrays, 0, dtype=np.int32))


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


def test_extended_instructions_by_number(vulkan: Any) -> None:
    a = numbers("float32")
    floor = 8
    np.testing.assert_array_equal(
        answers(vulkan, scripts.by_number(floor), a, np.zeros_like(a)), np.floor(a)
    )

"""Subgroups, atomics, dot products and arguments, on the device, beside numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import spirv_thread_scripts as threads
from spirv_kernels import elementwise
from spirv_run import FULL, PLAIN, VULKAN_1_3, Built, answers, build, check_valid, numbers, run
from spirv_thread_scripts import COUNT
from tvm.script import tirx as T

RANDOM = np.random.default_rng(7)


@pytest.mark.parametrize("dtype", ["int32", "uint32", "float32"])
def test_atomic_additions_lose_nothing(vulkan: Any, dtype: str) -> None:
    a = RANDOM.integers(0, 100, COUNT).astype(dtype)
    function = threads.atomic(dtype, "ferrylm.atomic_add")
    found = answers(vulkan, function, a, np.zeros(4, dtype))
    np.testing.assert_array_equal(found, a.reshape(-1, 4).sum(0))


def test_atomic_additions_in_shared_memory(vulkan: Any) -> None:
    a = RANDOM.integers(-100, 100, COUNT).astype(np.int32)
    found = answers(vulkan, threads.shared_atomic, a, np.zeros(4, np.int32))
    np.testing.assert_array_equal(found, a.reshape(-1, 4).sum(0))


def test_the_last_workgroup_reads_what_all_others_wrote(vulkan: Any) -> None:
    a = RANDOM.integers(-100, 100, (threads.WORKGROUPS, COUNT)).astype(np.int32)
    built = build(threads.last_workgroup_sums, FULL)
    check_valid(built, "main")
    arrays = [a.reshape(-1), np.zeros(1, np.int32), a.reshape(-1) * 0, np.zeros(COUNT, np.int32)]
    for _ in range(3):  # each leaves the counter as it found it
        _, arrays[1], _, found = run(built, vulkan, arrays)
        np.testing.assert_array_equal(found, 2 * a.sum(0))
        assert arrays[1][0] == 0


def _reduced(a: np.ndarray, kind: str, width: int) -> np.ndarray:
    parts = a.reshape(-1, width)
    found = parts.sum(1, dtype=a.dtype) if kind == "add" else parts.max(1)
    return np.repeat(found, width)


@pytest.mark.parametrize("kind", ["add", "max"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "uint32", "int8"])
def test_reductions_over_a_subgroup(vulkan: Any, dtype: str, kind: str) -> None:
    a = (numbers("int8") % 8).astype(dtype)
    function = threads.subgroup(f"ferrylm.subgroup_{kind}", dtype)
    np.testing.assert_array_equal(answers(vulkan, function, a, a * 0), _reduced(a, kind, 8))


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["add", "max"])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_reductions_over_parts_of_a_subgroup(
    vulkan: Any, dtype: str, kind: str, width: int
) -> None:
    a = (numbers("int8") % 8).astype(dtype)
    function = threads.subgroup(f"ferrylm.subgroup_{kind}_clustered", dtype, width)
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
    function = threads.subgroup(f"ferrylm.{name}", dtype, argument)
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
    found = answers(vulkan, threads.warp_shuffle(build_), a, np.zeros_like(a))
    thread = np.arange(COUNT)
    inside = (thread * 3) % 8 % width if name == "any" else source(thread % width)
    np.testing.assert_array_equal(found, a[thread // width * width + inside])


def test_lane_and_subgroup_numbers(vulkan: Any) -> None:
    found = answers(vulkan, threads.lanes_and_subgroups, np.zeros(2 * COUNT, np.int32))
    thread = np.arange(COUNT)
    np.testing.assert_array_equal(found, np.concatenate([thread % 8, thread // 8]))


@pytest.mark.parametrize("options", [FULL, PLAIN, VULKAN_1_3], ids=["full", "plain", "1.3"])
@pytest.mark.parametrize("signed", [True, False])
def test_dot_products_of_bytes(vulkan: Any, signed: bool, options: Any) -> None:
    a, b, c = numbers("uint32"), numbers("int32"), numbers("int32")
    name = "ferrylm.dot4_i8" if signed else "ferrylm.dot4_u8_i8"
    found = answers(vulkan, threads.dot4(name), a, b, c, c * 0, options=options)
    first = a.view(np.int8 if signed else np.uint8).reshape(-1, 4).astype(np.int32)
    wanted = (first * b.view(np.int8).reshape(-1, 4)).sum(1, dtype=np.int32) + c
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("options", [FULL, PLAIN], ids=["full", "plain"])
def test_dp4a_of_tvm(vulkan: Any, options: Any) -> None:
    a, b = numbers("int8", 4 * COUNT), numbers("int8", 4 * COUNT)
    found = answers(vulkan, threads.dp4a, a, b, np.zeros(COUNT, np.int32), options=options)
    wanted = (a.astype(np.int32) * b).reshape(-1, 4).sum(1) + 7
    np.testing.assert_array_equal(found, wanted)


def test_unpack_half2(vulkan: Any) -> None:
    halves = numbers("float16", 2 * COUNT)
    out = np.zeros(2 * COUNT, np.float32)
    found = answers(vulkan, threads.unpack_half2, halves.view(np.uint32), out, options=PLAIN)
    np.testing.assert_array_equal(found, halves.astype(np.float32))


def test_grids_and_workgroups_of_three_dimensions(vulkan: Any) -> None:
    found = answers(vulkan, threads.grid, np.zeros(3 * 4 * 5 * 2 * 3 * 2, np.int32))
    sizes = (5, 4, 3, 2, 3, 2)
    weights = np.array([100000, 10000, 1000, 100, 10, 1]).reshape(6, 1)
    wanted = (np.indices(sizes).reshape(6, -1) * weights).sum(0)
    np.testing.assert_array_equal(found, wanted)


def test_scalar_arguments_of_every_type(vulkan: Any) -> None:
    given = [-100, -30000, -5, -(1 << 40), 250, 4000000000, True, -0.5, 1.25, 1e300]
    found = answers(vulkan, threads.scalars, *given, np.zeros(10))
    assert found.tolist() == [float(x) for x in given]


@pytest.mark.parametrize("count", [15, 16, 40])
def test_more_arguments_than_push_constants_hold(vulkan: Any, count: int) -> None:
    function = elementwise(lambda *each: sum(each[1:], each[0]), ["int32"] * count, "int32", 64, 4)
    arrays = [numbers("int32", 64) for _ in range(count)]
    built: Built = build(function, FULL)
    assert built.kernel()[0]["argument_buffer"] == (count >= 16)
    check_valid(built)
    found = run(built, vulkan, [*arrays, np.zeros(64, np.int32)])[-1]
    np.testing.assert_array_equal(found, np.sum(arrays, 0, dtype=np.int32))


def test_extended_instructions_by_number(vulkan: Any) -> None:
    a = numbers("float32")
    floor = 8
    np.testing.assert_array_equal(
        answers(vulkan, threads.by_number(floor), a, np.zeros_like(a)), np.floor(a)
    )

"""Barriers: where one access must wait for another, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from vulkan_containers import ADD, INCREMENT, SHIFT, THREADS, groups, module

from ferrylm.runtime import vulkan_backend

COUNT = 20_000


def uploaded(device: Any, seed: int) -> tuple[np.ndarray[Any, Any], Any]:
    values = np.random.default_rng(seed).standard_normal(COUNT).astype(np.float32)
    return values, tvm.runtime.tensor(values, device)


def barriers() -> tuple[int, int]:
    counters = vulkan_backend.counter_report()
    return counters["memory_barriers"], counters["execution_barriers"]


def made_since(before: tuple[int, int]) -> tuple[int, int]:
    memory, execution = barriers()
    return memory - before[0], execution - before[1]


def test_a_chain_of_reads_after_writes_is_right_with_one_barrier_for_each_link(
    device: Any,
) -> None:
    kernels = module(SHIFT)
    values, first = uploaded(device, 1)
    second = tvm.runtime.empty((COUNT,), "float32", device)
    device.sync()
    before = barriers()
    for _ in range(25):
        kernels["shift"](first, second, COUNT, groups(COUNT), THREADS)
        kernels["shift"](second, first, COUNT, groups(COUNT), THREADS)
    # The very first kernel follows no write; each other one reads what the last one wrote.
    assert made_since(before) == (49, 0)
    np.testing.assert_array_equal(first.numpy(), np.roll(values, -50))


def test_a_write_after_a_read_waits_without_flushing_memory(device: Any) -> None:
    kernels = module(SHIFT, ADD)
    values, source = uploaded(device, 2)
    other_values, other = uploaded(device, 3)
    target = tvm.runtime.empty((COUNT,), "float32", device)
    device.sync()
    before = barriers()
    kernels["shift"](source, target, COUNT, groups(COUNT), THREADS)
    kernels["add"](other, other, source, COUNT, groups(COUNT), THREADS)
    assert made_since(before) == (0, 1)
    np.testing.assert_array_equal(target.numpy(), np.roll(values, -1))
    np.testing.assert_array_equal(source.numpy(), other_values * 2)


def test_independent_kernels_have_no_barrier_between_them(device: Any) -> None:
    kernels = module(ADD)
    _, left = uploaded(device, 4)
    _, right = uploaded(device, 5)
    targets = [tvm.runtime.empty((COUNT,), "float32", device) for _ in range(20)]
    device.sync()
    before = barriers()
    for target in targets:
        kernels["add"](left, right, target, COUNT, groups(COUNT), THREADS)
    assert made_since(before) == (0, 0)
    wanted = left.numpy() + right.numpy()
    for target in targets:
        np.testing.assert_array_equal(target.numpy(), wanted)


def test_copies_take_part_in_the_order(device: Any) -> None:
    kernels = module(INCREMENT)
    values, tensor = uploaded(device, 6)
    copy = tvm.runtime.empty((COUNT,), "float32", device)
    kernels["increment"](tensor, COUNT, 1.0, groups(COUNT), THREADS)
    tensor.copyto(copy)
    kernels["increment"](tensor, COUNT, 1.0, groups(COUNT), THREADS)
    np.testing.assert_array_equal(copy.numpy(), values + np.float32(1))
    np.testing.assert_array_equal(tensor.numpy(), values + np.float32(1) + np.float32(1))


def test_memory_freed_while_the_device_uses_it_is_used_again_in_order(device: Any) -> None:
    kernels = module(ADD, INCREMENT)
    values, total = uploaded(device, 7)
    for step in range(200):
        # Each one takes the memory of the last, whose kernels may still run.
        passing = tvm.runtime.tensor(np.full(COUNT, step, np.float32), device)
        kernels["increment"](passing, COUNT, 1.0, groups(COUNT), THREADS)
        kernels["add"](passing, total, total, COUNT, groups(COUNT), THREADS)
        del passing
    wanted = values.copy()
    for step in range(200):
        wanted = np.float32(step + 1) + wanted
    np.testing.assert_array_equal(total.numpy(), wanted)

"""Recordings: a replay does what the recorded calls did, on whatever the memory holds by then."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import tvm
from vulkan_containers import ADD, INCREMENT, MANY, SHIFT, THREADS, groups, module

from ferrylm.runtime import vulkan_backend

COUNT = 5000
GRID = (groups(COUNT), THREADS)


@contextmanager
def recorded(result: list[Any]) -> Iterator[None]:
    """Record the body; the recording is appended to `result`."""
    vulkan_backend.call("record_begin", 0)
    try:
        yield
    except BaseException:
        vulkan_backend.call("record_cancel", 0)
        raise
    result.append(vulkan_backend.call("record_end", 0))


def values(seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(COUNT).astype(np.float32)


def empty(device: Any) -> Any:
    return tvm.runtime.empty((COUNT,), "float32", device)


def test_a_replay_equals_direct_execution_on_new_inputs(device: Any) -> None:
    kernels = module(ADD, INCREMENT, SHIFT)
    source, middle, out = (tvm.runtime.tensor(values(seed), device) for seed in (1, 2, 3))

    def step() -> None:
        kernels["shift"](source, middle, COUNT, *GRID)
        kernels["increment"](middle, COUNT, 0.5, *GRID)
        kernels["add"](source, middle, out, COUNT, *GRID)
        kernels["shift"](out, source, COUNT, *GRID)

    recording: list[Any] = []
    with recorded(recording):
        step()
    for seed in range(10, 20):
        fresh = values(seed)
        source.copyfrom(fresh)
        step()
        direct = source.numpy(), middle.numpy(), out.numpy()
        source.copyfrom(fresh)
        vulkan_backend.call("replay", recording[0])
        for tensor, wanted in zip((source, middle, out), direct, strict=True):
            np.testing.assert_array_equal(tensor.numpy(), wanted)


def test_what_is_recorded_is_executed_too(device: Any) -> None:
    kernels = module(INCREMENT)
    start = values(4)
    tensor = tvm.runtime.tensor(start, device)
    recording: list[Any] = []
    with recorded(recording):
        kernels["increment"](tensor, COUNT, 1.0, *GRID)
    np.testing.assert_array_equal(tensor.numpy(), start + np.float32(1))


def test_ten_thousand_replays_take_one_submission_each_and_no_memory(device: Any) -> None:
    kernels = module(INCREMENT)
    counter = tvm.runtime.tensor(np.zeros(THREADS, np.float32), device)
    recording: list[Any] = []
    with recorded(recording):
        passing = tvm.runtime.tensor(np.zeros(THREADS, np.float32), device)
        kernels["increment"](passing, THREADS, 1.0, 1, THREADS)
        kernels["increment"](counter, THREADS, 1.0, 1, THREADS)
        del passing
    vulkan_backend.call("replay", recording[0])
    device.sync()
    memory = vulkan_backend.memory_report()
    counters = vulkan_backend.counter_report()
    for _ in range(10_000):
        vulkan_backend.call("replay", recording[0])
    after = vulkan_backend.counter_report()
    assert after["submissions"] - counters["submissions"] == 10_000
    assert after["dispatches"] == counters["dispatches"]
    np.testing.assert_array_equal(counter.numpy(), np.full(THREADS, 10_002, np.float32))
    assert vulkan_backend.memory_report() == memory


def test_memory_freed_while_recording_stays_with_the_recording(device: Any) -> None:
    kernels = module(ADD)
    before = vulkan_backend.memory_report()
    left, right, out = (tvm.runtime.tensor(values(seed), device) for seed in (5, 6, 7))
    recording: list[Any] = []
    with recorded(recording):
        middle = empty(device)
        kernels["add"](left, right, middle, COUNT, *GRID)
        kernels["add"](middle, right, out, COUNT, *GRID)
        del middle
    # These would land in the freed memory if it had gone back.
    others = [tvm.runtime.tensor(np.full(COUNT, 9, np.float32), device) for _ in range(8)]
    vulkan_backend.call("replay", recording[0])
    np.testing.assert_array_equal(out.numpy(), values(5) + values(6) + values(6))
    for other in others:
        np.testing.assert_array_equal(other.numpy(), np.full(COUNT, 9, np.float32))
    del left, right, out, others, other
    recording.clear()
    gc.collect()
    assert vulkan_backend.memory_report()["used_bytes"] == before["used_bytes"]


def test_memory_freed_while_recording_serves_the_rest_of_it(device: Any) -> None:
    kernels = module(INCREMENT)
    total = tvm.runtime.tensor(values(8), device)
    before = vulkan_backend.memory_report()["used_bytes"]
    recording: list[Any] = []
    with recorded(recording):
        for _ in range(50):
            passing = empty(device)
            kernels["increment"](passing, COUNT, 1.0, *GRID)
            kernels["increment"](total, COUNT, 1.0, *GRID)
            del passing
    grown = vulkan_backend.memory_report()["used_bytes"] - before
    assert grown < 2 * COUNT * 4


def test_a_copy_to_the_device_is_replayed_with_its_bytes(device: Any) -> None:
    kernels = module(ADD)
    large = np.random.default_rng(9).standard_normal(40_000).astype(np.float32)
    target = tvm.runtime.empty((40_000,), "float32", device)
    small = tvm.runtime.empty((16,), "float32", device)
    recording: list[Any] = []
    with recorded(recording):
        target.copyfrom(large)
        small.copyfrom(large[:16])
        kernels["add"](target, target, target, 40_000, groups(40_000), THREADS)
    target.copyfrom(np.zeros(40_000, np.float32))
    small.copyfrom(np.zeros(16, np.float32))
    vulkan_backend.call("replay", recording[0])
    np.testing.assert_array_equal(target.numpy(), large * 2)
    np.testing.assert_array_equal(small.numpy(), large[:16])


def test_kernels_with_an_argument_buffer_are_replayed(device: Any) -> None:
    kernels = module(MANY)
    arrays = [tvm.runtime.tensor(values(seed), device) for seed in range(18)]
    out = empty(device)
    recording: list[Any] = []
    with recorded(recording):
        kernels["many"](*arrays, out, COUNT, *GRID)
    arrays[17].copyfrom(np.zeros(COUNT, np.float32))
    for _ in range(300):  # through all pages of the direct calls' argument buffers
        kernels["many"](*arrays, out, COUNT, *GRID)
    out.copyfrom(np.zeros(COUNT, np.float32))
    vulkan_backend.call("replay", recording[0])
    wanted = np.zeros(COUNT, np.float32)
    for seed in range(17):
        wanted = wanted + values(seed)
    np.testing.assert_array_equal(out.numpy(), wanted)


def test_a_recording_outlives_its_module_and_its_tensors(device: Any) -> None:
    kernels = module(INCREMENT)
    tensor = tvm.runtime.tensor(values(10), device)
    recording: list[Any] = []
    with recorded(recording):
        kernels["increment"](tensor, COUNT, 1.0, *GRID)
    del kernels, tensor
    gc.collect()
    for _ in range(3):
        vulkan_backend.call("replay", recording[0])
    device.sync()


def test_a_long_recording_is_replayed_in_several_short_submissions(device: Any) -> None:
    kernels = module(INCREMENT)
    count = 1 << 20
    tensor = tvm.runtime.tensor(np.zeros(count, np.float32), device)
    for _ in range(20):  # until the kernel's cost is known
        kernels["increment"](tensor, count, 1.0, groups(count), THREADS)
        device.sync()
    vulkan_backend.call("set_option", "submission_budget_us", 2000)
    try:
        recording: list[Any] = []
        with recorded(recording):
            for _ in range(40):
                kernels["increment"](tensor, count, 1.0, groups(count), THREADS)
        before = vulkan_backend.counter_report()["submissions"]
        vulkan_backend.call("replay", recording[0])
        submissions = vulkan_backend.counter_report()["submissions"] - before
    finally:
        vulkan_backend.call("set_option", "submission_budget_us", 500_000)
    assert submissions > 1
    np.testing.assert_array_equal(tensor.numpy(), np.full(count, 100, np.float32))


def test_a_copy_to_the_host_is_refused_while_recording(device: Any) -> None:
    tensor = tvm.runtime.tensor(values(11), device)
    with (
        pytest.raises(vulkan_backend.VulkanError, match="cannot be recorded"),
        recorded([]),
        vulkan_backend.typed_errors(),
    ):
        tensor.numpy()
    np.testing.assert_array_equal(tensor.numpy(), values(11))


def test_recordings_do_not_nest_and_do_not_end_unbegun(device: Any) -> None:
    with recorded([]), pytest.raises(vulkan_backend.VulkanError, match="already"):
        vulkan_backend.call("record_begin", 0)
    with pytest.raises(vulkan_backend.VulkanError, match="no recording"):
        vulkan_backend.call("record_end", 0)


def test_a_cancelled_recording_leaves_nothing(device: Any) -> None:
    kernels = module(INCREMENT)
    before = vulkan_backend.memory_report()["used_bytes"]

    def step() -> None:
        passing = tvm.runtime.tensor(values(12), device)
        kernels["increment"](passing, COUNT, 1.0, *GRID)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), recorded([]):
        step()
    gc.collect()
    device.sync()
    assert vulkan_backend.memory_report()["used_bytes"] == before

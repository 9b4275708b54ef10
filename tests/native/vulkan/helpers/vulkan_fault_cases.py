"""Cases that need a process of their own: `python vulkan_fault_cases.py NAME`.

The stand-in loader of the folder fault_layer is Vulkan here, so that calls can be made to fail.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import tvm
from vulkan_containers import ADD, INCREMENT, MANY, THREADS, groups, module

from ferrylm.errors import FerryError
from ferrylm.runtime import vulkan_backend as backend
from ferrylm.runtime.vulkan_outbox import VulkanOutbox

DEVICE_LOST, OUT_OF_DEVICE_MEMORY, OUT_OF_HOST_MEMORY, TIMEOUT = -4, -2, -1, 2
COUNT = 20_001
KINDS = ("memory", "buffer", "shader", "pipeline", "layout", "cache", "command pool", "semaphore")


class StandIn:
    """The switches of the stand-in loader."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(os.environ["FERRY_VULKAN_LOADER"])

    def fail(self, call: str, result: int, skip: int = 0, times: int = 1) -> None:
        self._library.ferry_fault(call.encode(), result, ctypes.c_long(skip), ctypes.c_long(times))

    def fail_no_more(self) -> None:
        self._library.ferry_no_faults()

    def calls(self, call: str) -> int:
        return int(self._library.ferry_calls(call.encode()))

    def living(self) -> dict[str, int]:
        return {kind: int(self._library.ferry_living(kind.encode())) for kind in KINDS}


def workload() -> None:
    """Use everything once: uploads, kernels, a recording, downloads; check the results."""
    device = tvm.vulkan(0)
    values = np.random.default_rng(1).standard_normal(COUNT).astype(np.float32)
    with backend.typed_errors():
        kernels = module(ADD, INCREMENT, MANY)
        left, out = tvm.runtime.tensor(values, device), tvm.runtime.tensor(values, device)
        large = tvm.runtime.empty((40 << 20,), "uint8", device)
        for _ in range(6):
            kernels["add"](left, left, out, COUNT, groups(COUNT), THREADS)
            kernels["increment"](out, COUNT, 1.0, groups(COUNT), THREADS)
        backend.call("record_begin", 0)
        try:
            kernels["many"](*[left] * 18, out, COUNT, groups(COUNT), THREADS)
            recording = backend.call("record_end", 0)
        except BaseException:
            backend.call("record_cancel", 0)
            raise
        out.copyfrom(np.zeros(COUNT, np.float32))
        backend.call("replay", recording)
        outbox = VulkanOutbox(0, 2, 8)
        seen = outbox.tensor._create_view((8,), "float32", 32)
        kernels["add"](left, left, seen, 8, groups(8), THREADS)
        outbox.post(1)
        backend.call("replay", recording)
        entry = outbox.take(1).view(np.float32)
        found = out.numpy()
        del large, outbox, seen
    np.testing.assert_allclose(found, 18 * values, rtol=1e-5)
    np.testing.assert_array_equal(entry, 2 * values[:8])


def reopen_if_lost() -> None:
    """Do what a user is told to do."""
    gc.collect()
    backend.select_device("")


def at_rest(stand_in: StandIn) -> dict[str, int]:
    """Return what lives when the staging and argument buffers are all there."""
    for _ in range(8):
        workload()
    gc.collect()
    backend.memory_report()  # gives empty blocks back
    return stand_in.living()


def sweep(calls: tuple[str, ...], results: dict[int, tuple[type[FerryError], ...]]) -> None:
    """Fail the n-th call of each function, for every n; each time the process must recover."""
    stand_in = StandIn()
    lively = at_rest(stand_in)
    failures = 0
    for call in calls:
        before = stand_in.calls(call)
        workload()
        count = min(stand_in.calls(call) - before, 6)
        for result, errors in results.items():
            for nth in range(max(count, 1)):
                stand_in.fail(call, result, skip=nth)
                try:
                    workload()
                except errors:
                    failures += 1
                stand_in.fail_no_more()
                reopen_if_lost()
                workload()
    assert failures >= len(calls), failures
    now = at_rest(stand_in)
    assert now == lively, (now, lively)
    assert backend.call("lost_tensor_count") == 0


def lost_device() -> None:
    sweep(
        ("vkQueueSubmit", "vkWaitSemaphores", "vkGetSemaphoreCounterValue"),
        {DEVICE_LOST: (backend.VulkanDeviceLostError,)},
    )


def out_of_memory() -> None:
    memory = (backend.VulkanMemoryError,)
    sweep(
        (
            "vkAllocateMemory",
            "vkCreateBuffer",
            "vkBindBufferMemory",
            "vkMapMemory",
            "vkQueueSubmit",
            "vkBeginCommandBuffer",
            "vkEndCommandBuffer",
            "vkCreateShaderModule",
            "vkCreateComputePipelines",
            "vkCreatePipelineCache",
        ),
        {OUT_OF_DEVICE_MEMORY: memory, OUT_OF_HOST_MEMORY: memory},
    )


def opening_fails() -> None:
    """Every object that an opened device is made of fails once; then it opens."""
    stand_in = StandIn()
    for call in (
        "vkCreatePipelineLayout",
        "vkCreateCommandPool",
        "vkCreateSemaphore",
    ):
        stand_in.fail(call, OUT_OF_HOST_MEMORY)
        with pytest.raises(backend.VulkanMemoryError):
            workload()
        stand_in.fail_no_more()
        gc.collect()
        assert not any(stand_in.living().values()), (call, stand_in.living())
    workload()


def timeouts() -> None:
    stand_in = StandIn()
    workload()
    backend.call("set_option", "timeout_ms", 50)
    stand_in.fail("vkWaitSemaphores", TIMEOUT, times=-1)
    with pytest.raises(backend.VulkanTimeoutError, match="within 50 ms"):
        workload()
    stand_in.fail_no_more()
    backend.call("record_cancel", 0)
    workload()


def tensors_of_a_lost_device() -> None:
    """They may be freed, and everything else with them is refused."""
    stand_in = StandIn()
    device = tvm.vulkan(0)
    kernels = module(ADD, INCREMENT)
    held = {"old": tvm.runtime.tensor(np.zeros(COUNT, np.float32), device)}
    stand_in.fail("vkQueueSubmit", DEVICE_LOST)
    kernels["increment"](held["old"], COUNT, 1.0, groups(COUNT), THREADS)
    for _ in range(2):
        with is_lost():
            device.sync()
    with is_lost():
        tvm.runtime.empty((5,), "int8", device)
    backend.select_device("")
    new = tvm.runtime.tensor(np.zeros(COUNT, np.float32), device)
    with is_lost():
        kernels["add"](held["old"], new, new, COUNT, groups(COUNT), THREADS)
    with is_lost():
        held["old"].numpy()
    kernels["increment"](new, COUNT, 1.0, groups(COUNT), THREADS)
    assert new.numpy().sum() == COUNT
    gc.collect()
    assert backend.call("lost_tensor_count") == 1
    held.clear()
    assert backend.call("lost_tensor_count") == 0
    workload()


@contextmanager
def is_lost() -> Iterator[None]:
    """Hold that the body meets a lost device."""
    with pytest.raises(backend.VulkanDeviceLostError), backend.typed_errors():
        yield


def all_of_the_memory() -> None:
    """Fill the device; the error gives each heap, and the memory is whole again afterwards."""
    device = tvm.vulkan(0)
    workload()
    gc.collect()
    used = backend.memory_report()["used_bytes"]
    kept: list[Any] = []

    def fill() -> None:
        while len(kept) < 200:
            kept.append(tvm.runtime.empty((3 << 20,), "uint8", device))

    with pytest.raises(backend.VulkanMemoryError) as raised, backend.typed_errors():
        fill()
    print(json.dumps({"count": len(kept), "message": str(raised.value)}))
    kept.clear()
    del raised
    gc.collect()
    assert backend.memory_report()["used_bytes"] == used
    small = tvm.runtime.tensor(np.arange(COUNT), device)
    assert (small.numpy() == np.arange(COUNT)).all()


def large_copies() -> None:
    """Copies of more than the staging ring holds, there and back, odd sizes and offsets."""
    device = tvm.vulkan(0)
    values = np.random.default_rng(2).integers(0, 256, (20 << 20) + 13, dtype=np.uint8)
    tensor = tvm.runtime.tensor(values, device)
    np.testing.assert_array_equal(tensor.numpy(), values)
    view = tensor._create_view((5_000_001,), "uint8", 4_194_303)
    np.testing.assert_array_equal(view.numpy(), values[4_194_303 : 4_194_303 + 5_000_001])
    view.copyfrom(values[:5_000_001])
    values[4_194_303 : 4_194_303 + 5_000_001] = values[:5_000_001].copy()
    np.testing.assert_array_equal(tensor.numpy(), values)
    workload()


def no_instance() -> None:
    """An instance that cannot be made is no end: the next try may succeed."""
    stand_in = StandIn()
    stand_in.fail("vkCreateInstance", -9)  # VK_ERROR_INCOMPATIBLE_DRIVER
    report = backend.loader_report()
    assert report["devices"] == []
    assert "no usable driver" in report["reason"], report["reason"]
    workload()


def no_loader() -> None:
    report = backend.loader_report()
    assert report["reason"].startswith("[vulkan:no-loader]"), report
    assert report["loader_attempts"], report
    assert not tvm.vulkan(0).exist
    with (
        pytest.raises(backend.VulkanUnavailableError, match="libvulkan"),
        backend.typed_errors(),
    ):
        tvm.runtime.empty((1,), "float32", tvm.vulkan(0))
    assert module(ADD).kind == "vulkan"
    assert tvm.runtime.tensor(np.ones(3), tvm.cpu()).numpy().sum() == 3


def chosen_device() -> None:
    print(json.dumps([found["name"] for found in backend.loader_report()["devices"]]))


if __name__ == "__main__":
    globals()[sys.argv[1]]()

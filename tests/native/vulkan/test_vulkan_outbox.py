"""What a device writes for the host to read while later work goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from vulkan_containers import INCREMENT, SHIFT, THREADS, groups, module

from ferrylm.runtime import vulkan_backend
from ferrylm.runtime.vulkan_outbox import VulkanOutbox

COUNT = 6
GRID = (groups(COUNT), THREADS)


def floats(outbox: VulkanOutbox) -> Any:
    return outbox.tensor._create_view((COUNT,), "float32")


def test_each_entry_is_what_the_work_before_its_post_wrote(device: Any) -> None:
    del device
    kernels, outbox = module(INCREMENT), VulkanOutbox(0, 3, 2)
    outbox._numbers[...] = 0  # nothing is under way
    for entry in range(3):
        kernels["increment"](floats(outbox), COUNT, 1.0, *GRID)
        outbox.post(entry)
    assert outbox.take(2).view(np.float32).tolist() == [3, 3]
    assert outbox.is_there(2)
    assert outbox.is_there(0)
    taken = outbox.take(0)
    kernels["increment"](floats(outbox), COUNT, 1.0, *GRID)
    outbox.post(0)
    assert outbox.take(0).view(np.float32).tolist() == [4, 4]
    assert taken.view(np.float32).tolist() == [3, 3], "what was taken is the caller's own"


def test_replays_write_entries_that_the_host_sees(device: Any) -> None:
    kernels, outbox = module(INCREMENT), VulkanOutbox(0, 3, 2)
    outbox._numbers[...] = 0
    vulkan_backend.call("record_begin", 0)
    kernels["increment"](floats(outbox), COUNT, 0.5, *GRID)
    recording = vulkan_backend.call("record_end", 0)
    for turn in range(2, 12):
        vulkan_backend.call("replay", recording)
        outbox.post(turn % 3)
        assert outbox.take(turn % 3).view(np.float32).tolist() == [turn / 2] * 2
    device.sync()


def test_an_outbox_is_memory_as_any_other(device: Any) -> None:
    """Kernels wait for what others write into it, and it is given back."""

    before = vulkan_backend.memory_report()["used_bytes"]
    kernels, outbox = module(INCREMENT, SHIFT), VulkanOutbox(0, 3, 2)
    source = tvm.runtime.tensor(np.arange(COUNT, dtype=np.float32), device)
    wanted = np.arange(COUNT, dtype=np.float32)
    for _ in range(20):
        kernels["shift"](source, floats(outbox), COUNT, *GRID)
        kernels["increment"](floats(outbox), COUNT, 1.0, *GRID)
        source_copy = floats(outbox).numpy()
        kernels["increment"](source, COUNT, 1.0, *GRID)
        again = floats(outbox).numpy()
        np.testing.assert_array_equal(source_copy, again)
        assert sorted(source_copy) == sorted(wanted + 1)
        wanted += 1
    del outbox, source
    device.sync()
    assert vulkan_backend.memory_report()["used_bytes"] == before


def test_an_outbox_of_nothing_is_refused(device: Any) -> None:
    del device
    with pytest.raises(vulkan_backend.VulkanError, match="at least one number"):
        VulkanOutbox(0, 0, 4)

"""Tensors on a Vulkan device: copies, views, sizes, and memory that comes back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm

from ferrylm.runtime import vulkan_backend


def uploaded(values: np.ndarray[Any, Any], device: Any) -> Any:
    return tvm.runtime.tensor(values, device)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 255, 4095, 65535, 65536, 65537, 5_000_001])
def test_bytes_of_any_number_come_back_as_they_went(device: Any, size: int) -> None:
    values = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    np.testing.assert_array_equal(uploaded(values, device).numpy(), values)


@pytest.mark.parametrize("offset", [0, 1, 2, 3, 4, 255, 256, 1023])
@pytest.mark.parametrize("size", [1, 3, 4, 777, 70_001])
def test_a_view_with_a_byte_offset_reads_and_writes_only_its_bytes(
    device: Any, offset: int, size: int
) -> None:
    whole = np.random.default_rng(1).integers(0, 256, offset + size + 9, dtype=np.uint8)
    tensor = uploaded(whole, device)
    view = tensor._create_view((size,), "uint8", offset)
    np.testing.assert_array_equal(view.numpy(), whole[offset : offset + size])
    fresh = np.random.default_rng(2).integers(0, 256, size, dtype=np.uint8)
    view.copyfrom(fresh)
    whole[offset : offset + size] = fresh
    np.testing.assert_array_equal(tensor.numpy(), whole)


@pytest.mark.parametrize(("source", "target"), [(0, 1), (3, 0), (5, 2), (256, 255)])
def test_views_copy_on_the_device_at_odd_offsets(device: Any, source: int, target: int) -> None:
    values = np.random.default_rng(3).integers(0, 256, 3000, dtype=np.uint8)
    first, second = uploaded(values, device), uploaded(np.zeros(3000, np.uint8), device)
    first._create_view((2001,), "uint8", source).copyto(
        second._create_view((2001,), "uint8", target)
    )
    wanted = np.zeros(3000, np.uint8)
    wanted[target : target + 2001] = values[source : source + 2001]
    np.testing.assert_array_equal(second.numpy(), wanted)


def test_a_tensor_above_128_mib_keeps_its_ends(device: Any) -> None:
    values = np.arange(34 << 20, dtype=np.uint32)  # 136 MiB
    tensor = uploaded(values, device)
    back = tensor.numpy()
    np.testing.assert_array_equal(back[:1000], values[:1000])
    np.testing.assert_array_equal(back[-1000:], values[-1000:])
    assert back.sum(dtype=np.uint64) == values.sum(dtype=np.uint64)


def test_memory_returns_exactly_after_ten_thousand_allocations(device: Any) -> None:
    tvm.runtime.empty((8,), "float32", device)
    before = vulkan_backend.memory_report()
    sizes = np.random.default_rng(4).integers(1, 200_000, 10_000)
    kept: list[Any] = []
    for index, size in enumerate(sizes):
        kept.append(tvm.runtime.empty((int(size),), "uint8", device))
        if index % 3:
            kept.pop(int(size) % len(kept))
    kept.clear()
    assert vulkan_backend.memory_report() == before


def test_large_tensors_go_back_to_the_driver_at_once(device: Any) -> None:
    tvm.runtime.empty((8,), "float32", device)
    before = vulkan_backend.memory_report()
    tensor = tvm.runtime.empty((100 << 20,), "uint8", device)
    grown = vulkan_backend.memory_report()
    assert grown["driver_bytes"] - before["driver_bytes"] == 100 << 20
    del tensor
    assert vulkan_backend.memory_report() == before


def test_a_tensor_beyond_the_device_is_refused_with_the_numbers(device: Any) -> None:
    limit = vulkan_backend.device_report()["limits"]["max_allocation_bytes"]
    with (
        pytest.raises(
            (vulkan_backend.VulkanFeatureError, vulkan_backend.VulkanMemoryError), match="GiB"
        ),
        vulkan_backend.typed_errors(),
    ):
        tvm.runtime.empty((limit + 1,), "uint8", device)


def test_the_device_tells_tvm_what_it_is(device: Any) -> None:
    report = vulkan_backend.device_report()
    assert device.device_name == report["name"]
    assert device.warp_size == report["subgroup_size"]
    assert device.max_shared_memory_per_block == report["limits"]["max_shared_bytes"]
    assert 0 < device.available_global_memory <= device.total_global_memory
    assert not tvm.vulkan(1000).exist

"""Understands what the native library reports of Vulkan devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ferrylm.runtime.devices import CLASSES, VIRTUAL, GpuDevice, GpuProbe

# The report's names of limits, and Vulkan's, which manifests use.
_LIMITS = {
    "max_shared_bytes": "maxComputeSharedMemorySize",
    "max_workgroup_invocations": "maxComputeWorkGroupInvocations",
    "max_push_constant_bytes": "maxPushConstantsSize",
    "max_buffer_bytes": "maxBufferSize",
    "max_allocation_bytes": "maxMemoryAllocationSize",
}


def probe_of(report: Mapping[str, Any]) -> GpuProbe:
    """Return the usable devices of a loader's report, in TVM's order, or why there are none."""
    usable = [found for found in report["devices"] if found["usable"]]
    if usable:
        return GpuProbe(tuple(device_of(found, index) for index, found in enumerate(usable)))
    reasons = [str(report["reason"] or "there is no Vulkan device")]
    reasons += [f"{found['name']} cannot be used: {found['reason']}" for found in report["devices"]]
    return GpuProbe((), "; ".join(without_tag(reason) for reason in reasons))


def device_of(report: Mapping[str, Any], index: int) -> GpuDevice:
    """Return one device of a report."""
    sizes = ("min_subgroup_size", "max_subgroup_size")
    if not report["can_require_subgroup_size"]:
        sizes = ("subgroup_size", "subgroup_size")  # the one that kernels get unasked
    heaps = _counting_heaps(report)
    return GpuDevice(
        kind="vulkan",
        index=index,
        name=str(report["name"]),
        uuid=str(report["uuid"]),
        # "other" is what no class describes: better than the CPU, no better than a virtual GPU.
        device_class=report["type"] if report["type"] in CLASSES else VIRTUAL,
        driver=str(report["driver"]),
        api_version=str(report["api_version"]),
        free_bytes=sum(int(heap["free_bytes"]) for heap in heaps),
        total_bytes=sum(int(heap["size_bytes"]) for heap in heaps),
        features=frozenset(str(name) for name in report["features"]),
        subgroup_sizes=(int(report[sizes[0]]), int(report[sizes[1]])),
        limits={
            vulkans: int(report["limits"][ours])
            for ours, vulkans in _LIMITS.items()
            if ours in report["limits"]
        },
    )


def without_tag(sentence: str) -> str:
    """Return a sentence of the native library without its tag in brackets."""
    return sentence.partition("] ")[2] if sentence.startswith("[vulkan:") else sentence


def _counting_heaps(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the heaps that tensors may lie in.

    With memory of its own a GPU is slow on the host's; an integrated one uses all of its heaps.
    """
    heaps = list(report["heaps"])
    if report["unified_memory"]:
        return heaps
    return [heap for heap in heaps if heap["device_local"]] or heaps

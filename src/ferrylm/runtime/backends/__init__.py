"""Where a library runs: one module for each kind of device, behind the interface in `base`."""

from __future__ import annotations

from ferrylm.errors import DeviceError
from ferrylm.runtime.backends.base import Backend
from ferrylm.runtime.devices import GpuDevice, GpuProbe


def open_backend(device: GpuDevice | None, threads: int) -> Backend:
    """Return the backend of a device that was chosen; None is the CPU.

    Raises DeviceError.
    """
    if device is None:
        from ferrylm.runtime.backends.cpu import CpuBackend

        return CpuBackend(threads)
    if device.kind == "vulkan":
        from ferrylm.runtime.backends.vulkan import VulkanBackend

        return VulkanBackend(device)
    if device.kind == "cuda":
        from ferrylm.runtime.cuda_backend import CudaBackend

        return CudaBackend(device)
    if device.kind == "rocm":
        from ferrylm.runtime.backends.rocm import RocmBackend

        return RocmBackend(device)
    raise DeviceError(
        f"a {device.kind} device",
        wanted="a kind that this version runs: cpu, vulkan, cuda or rocm",
        fix="choose another device",
    )


def probe_kind(kind: str) -> GpuProbe:
    """Return the devices of a kind of GPU, or the reason why there are none; never raises."""
    if kind == "vulkan":
        from ferrylm.runtime.backends.vulkan import probe as probe_vulkan

        return probe_vulkan()
    if kind == "cuda":
        from ferrylm.runtime.cuda_backend import probe as probe_cuda
        from ferrylm.runtime.cuda_libraries import usable

        return usable(probe_cuda())
    if kind == "rocm":
        from ferrylm.runtime.backends.rocm import probe as probe_rocm

        return probe_rocm()
    return GpuProbe((), f"this version runs no {kind} device")

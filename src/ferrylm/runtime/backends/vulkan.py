"""A Vulkan device, through the native library of this package."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

from ferrylm.runtime import vulkan_backend
from ferrylm.runtime.backends.base import Outbox, Step, Tensor
from ferrylm.runtime.backends.gpu import DeviceMemory
from ferrylm.runtime.backends.steps import repeated_step
from ferrylm.runtime.backends.vulkan_report import device_of, probe_of
from ferrylm.runtime.devices import GpuDevice, GpuProbe
from ferrylm.runtime.tvm_runtime import prefer_runtime_only
from ferrylm.runtime.vulkan_outbox import VulkanOutbox


def probe() -> GpuProbe:
    """Return the usable Vulkan devices, or why there are none; never raises."""
    prefer_runtime_only()
    try:
        return probe_of(vulkan_backend.loader_report())
    except Exception as problem:
        return GpuProbe((), getattr(problem, "found", None) or str(problem))


class VulkanBackend(DeviceMemory):
    """One Vulkan device."""

    kind = "vulkan"

    def __init__(self, device: GpuDevice) -> None:
        """Take a device of `probe`; it is opened at its first use."""
        prefer_runtime_only()
        from tvm.runtime import device as tvm_device

        super().__init__(tvm_device("vulkan", device.index))
        self.name, self._index = device.name, device.index
        self.description = f"{device.name} ({device.driver}, Vulkan {device.api_version})"

    def report(self) -> GpuDevice | None:
        """Return what the device is and has now."""
        return device_of(vulkan_backend.device_report(self._index), self._index)

    def used_bytes(self) -> int:
        """Return what this process has taken from the driver."""
        return int(vulkan_backend.memory_report(self._index)["driver_bytes"])

    def load(self, module: Any) -> Any:
        """Return a virtual machine on the device."""
        from tvm.runtime.vm import VirtualMachine

        return VirtualMachine(module, self.device)

    def repeated(self, call: Callable[[], Tensor]) -> Step:
        """Return a step whose commands the device keeps."""
        return repeated_step(call, self._record, lambda kept: vulkan_backend.call("replay", kept))

    def _record(self, call: Callable[[], Tensor]) -> tuple[Any, Tensor]:
        vulkan_backend.call("record_begin", self._index)
        try:
            result = call()
        except BaseException:
            vulkan_backend.call("record_cancel", self._index)
            raise
        return vulkan_backend.call("record_end", self._index), result

    def outbox(self, entries: int, size: int) -> Outbox:
        """Return numbers that the host reads while the device goes on."""
        return VulkanOutbox(self._index, entries, size)

    def calling(self) -> AbstractContextManager[object]:
        """Make the device's errors typed."""
        return vulkan_backend.typed_errors()

    def profile(self, call: Callable[[], object]) -> list[dict[str, object]]:
        """Return kernel, milliseconds and grid of each launch of a call."""
        vulkan_backend.call("profile_begin", self._index)
        try:
            call()
        finally:
            launches: list[dict[str, object]] = json.loads(
                str(vulkan_backend.call("profile_end", self._index))
            )
        return launches

    def close(self) -> None:
        """Let go of what the backend itself holds, once the device is done."""
        with suppress(Exception):  # a lost device has nothing to wait for
            self.synchronize()
        self.forget()

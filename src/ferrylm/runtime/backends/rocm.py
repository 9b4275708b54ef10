"""An AMD GPU through HIP and the native library of this package."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

from ferrylm.runtime import hip_backend
from ferrylm.runtime.backends.base import Outbox, Step, Tensor
from ferrylm.runtime.backends.gpu import DeviceMemory
from ferrylm.runtime.backends.steps import repeated_step
from ferrylm.runtime.devices import DISCRETE, INTEGRATED, GpuDevice, GpuProbe
from ferrylm.runtime.hip_outbox import HipOutbox
from ferrylm.runtime.tvm_runtime import prefer_runtime_only


def probe() -> GpuProbe:
    """Return the AMD GPUs that HIP offers, or why there are none; never raises."""
    prefer_runtime_only()
    try:
        report = hip_backend.loader_report()
        driver = str(report.get("version", ""))
        devices = tuple(device_of(found, driver) for found in report["devices"])
    except Exception as problem:
        return GpuProbe((), getattr(problem, "found", None) or str(problem))
    if devices:
        return GpuProbe(devices)
    error = hip_backend.error_from_message(str(report["problem"]))
    problem_text = error.found if error is not None else str(report["problem"])
    return GpuProbe((), problem_text or "there is no AMD GPU")


def device_of(report: dict[str, Any], driver: str) -> GpuDevice:
    """Return one device of HIP's report, with the memory that is free at the moment."""
    index, total = int(report["index"]), int(report["memory_bytes"])
    free = total
    with suppress(Exception):  # the free memory of a device in bad order is not known
        free = int(hip_backend.memory_report(index)["free_bytes"])
    wave = int(report["wave"])
    return GpuDevice(
        kind="rocm",
        index=index,
        name=str(report["name"]),
        uuid=str(report["uuid"]),
        device_class=INTEGRATED if report["integrated"] else DISCRETE,
        driver=driver,
        api_version="",
        free_bytes=free,
        total_bytes=total,
        architecture=str(report["chip"]),
        subgroup_sizes=(wave, wave),
    )


class RocmBackend(DeviceMemory):
    """One AMD GPU."""

    kind = "rocm"

    def __init__(self, device: GpuDevice) -> None:
        """Take a device of `probe`."""
        prefer_runtime_only()
        from tvm.runtime import device as tvm_device

        super().__init__(tvm_device("rocm", device.index))
        self.name, self._index, self._driver = device.name, device.index, device.driver
        self.description = f"{device.name} ({device.architecture}, HIP {device.driver})"

    def report(self) -> GpuDevice | None:
        """Return what the device is and has now."""
        return device_of(hip_backend.device_report(self._index), self._driver)

    def used_bytes(self) -> int:
        """Return what this process has taken from the driver."""
        return int(hip_backend.memory_report(self._index)["allocated_bytes"])

    def load(self, module: Any) -> Any:
        """Return a virtual machine on the device."""
        from tvm.runtime.vm import VirtualMachine

        return VirtualMachine(module, self.device)

    def repeated(self, call: Callable[[], Tensor]) -> Step:
        """Return a step that becomes a graph."""
        return repeated_step(call, self._record, hip_backend.replay)

    def _record(self, call: Callable[[], Tensor]) -> tuple[Any, Tensor]:
        call()  # loads kernels and takes memory, neither of which a capture may do
        with hip_backend.recording(self._index) as made:
            result = call()
        return made[0], result

    def outbox(self, entries: int, size: int) -> Outbox:
        """Return numbers that the host reads while the device goes on."""
        return HipOutbox(self._index, entries, size)

    def calling(self) -> AbstractContextManager[object]:
        """Make the device's errors typed."""
        return hip_backend.typed_errors()

    def profile(self, call: Callable[[], object]) -> list[dict[str, object]]:
        """Return nothing: rocprof knows more."""
        call()
        return []

    def close(self) -> None:
        """Let go of what the backend itself holds, once the device is done."""
        with suppress(Exception):  # a lost device has nothing to wait for
            self.synchronize()
        self.forget()

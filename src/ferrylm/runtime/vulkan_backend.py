"""Loads the native Vulkan library and turns its tagged errors into typed ones."""

from __future__ import annotations

import atexit
from functools import cache
from pathlib import Path
from typing import Any

from ferrylm.errors import DeviceError, MemoryLimitError
from ferrylm.runtime.native_library import Meaning, NativeLibrary, report
from ferrylm.runtime.tvm_runtime import import_failure


class VulkanError(DeviceError):
    """A failure of the Vulkan runtime that fits no narrower class."""


class VulkanUnavailableError(VulkanError):
    """No Vulkan on this machine: no native library, loader, driver or device."""


class VulkanFeatureError(VulkanError):
    """A device that lacks a feature or limit that a kernel needs."""


class VulkanDeviceLostError(VulkanError):
    """A device that was reset; what it held is gone, but it can be selected again."""


class VulkanTimeoutError(VulkanError):
    """A device on which nothing finished for a long time."""


class VulkanMemoryError(MemoryLimitError):
    """Device memory that is not there: the message gives the free bytes of each heap."""


_MEANINGS = {
    "no-loader": Meaning(
        VulkanUnavailableError, "a Vulkan loader", "run `ferry doctor`, or use --device cpu"
    ),
    "no-device": Meaning(
        VulkanUnavailableError, "a Vulkan device", "run `ferry doctor`, or use --device cpu"
    ),
    "feature": Meaning(
        VulkanFeatureError,
        "a device with what the kernels need",
        "update its driver, or compile for another target",
    ),
    "limit": Meaning(
        VulkanFeatureError,
        "work within the device's limits",
        "use a smaller model or context, or another device",
    ),
    "out-of-memory": Meaning(
        VulkanMemoryError,
        "enough free device memory",
        "close other programs, or use a smaller model or context",
    ),
    "device-lost": Meaning(
        VulkanDeviceLostError, "a device that answers", "load the model again; update the driver"
    ),
    "timeout": Meaning(
        VulkanTimeoutError, "a device that answers in time", "update the driver, or try again"
    ),
    "container": Meaning(
        VulkanError, "a whole module of this version", "compile the artifact again"
    ),
}
_OTHER = Meaning(VulkanError, "a Vulkan call that succeeds", "run `ferry doctor` and report this")
_LIBRARY = NativeLibrary(
    "vulkan", meanings=_MEANINGS, other=_OTHER, unavailable=VulkanUnavailableError
)
LIBRARY_NAME = _LIBRARY.file_name
typed_errors, error_from_message = _LIBRARY.typed_errors, _LIBRARY.error_from_message


def autoload() -> None:
    """Load the library when TVM is imported (entry point of `tvm.backends`).

    Silent when it cannot be loaded: the CPU needs none of it, and `ferry doctor` shows
    `load_failure()`.
    """
    load_failure()


def load_failure() -> str:
    """Load TVM and the library once and return why that failed; empty when it is loaded."""
    # TVM's import comes back here through `autoload`, so it stays out of what is done once.
    return import_failure() or _load_once()


@cache
def _load_once() -> str:
    failure = _LIBRARY.open(library_path())
    if not failure:
        # The driver's threads must be at rest before the process takes its libraries apart.
        atexit.register(_LIBRARY.function("shut_down"))
    return failure


def library_path() -> Path | None:
    """Return the native library of this installation (wheel or editable), or None."""
    return _LIBRARY.path()


def call(name: str, *arguments: Any) -> Any:
    """Call the native function `ferrylm.vulkan.NAME` with typed errors.

    Raises VulkanUnavailableError when the library is not loaded.
    """
    return _LIBRARY.call(load_failure(), name, *arguments)


def loader_report() -> dict[str, Any]:
    """Return what was found of Vulkan: loader, driver files, devices, or the reason for none."""
    return report(call("loader_report"))


def device_report(index: int = 0) -> dict[str, Any]:
    """Return identity, subgroup sizes, features, limits and heaps of a device."""
    return report(call("device_report", index))


def memory_report(index: int = 0) -> dict[str, Any]:
    """Return the bytes taken from the driver and in use, in all and for each heap."""
    return report(call("memory_report", index))


def counter_report(index: int = 0) -> dict[str, int]:
    """Return how many dispatches, barriers, submissions and replays a device has seen."""
    return report(call("counter_report", index))


def select_device(spec: str) -> None:
    """Make the device with this index, name part or UUID number 0; reopen it if it was lost."""
    call("select_device", spec)

"""Loads the native Vulkan library and turns its tagged errors into typed ones."""

from __future__ import annotations

import atexit
import ctypes
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ferrylm.errors import DeviceError, FerryError, MemoryLimitError
from ferrylm.runtime.tvm_runtime import import_failure

LIBRARY_NAME = "libferrylm_vulkan.so"

_TAG = re.compile(r"\[vulkan:([a-z-]+)\] (.*)", re.DOTALL)


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


@dataclass(frozen=True)
class _Meaning:
    error: type[FerryError]
    wanted: str
    fix: str


_MEANINGS = {
    "no-loader": _Meaning(
        VulkanUnavailableError, "a Vulkan loader", "run `ferry doctor`, or use --device cpu"
    ),
    "no-device": _Meaning(
        VulkanUnavailableError, "a Vulkan device", "run `ferry doctor`, or use --device cpu"
    ),
    "feature": _Meaning(
        VulkanFeatureError,
        "a device with what the kernels need",
        "update its driver, or compile for another target",
    ),
    "limit": _Meaning(
        VulkanFeatureError,
        "work within the device's limits",
        "use a smaller model or context, or another device",
    ),
    "out-of-memory": _Meaning(
        VulkanMemoryError,
        "enough free device memory",
        "close other programs, or use a smaller model or context",
    ),
    "device-lost": _Meaning(
        VulkanDeviceLostError, "a device that answers", "load the model again; update the driver"
    ),
    "timeout": _Meaning(
        VulkanTimeoutError, "a device that answers in time", "update the driver, or try again"
    ),
    "container": _Meaning(
        VulkanError, "a whole module of this version", "compile the artifact again"
    ),
}
_OTHER = _Meaning(VulkanError, "a Vulkan call that succeeds", "run `ferry doctor` and report this")


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
    path = library_path()
    if path is None:
        return f"{LIBRARY_NAME} was not built with this installation of ferrylm"
    try:
        ctypes.CDLL(str(path), ctypes.RTLD_LOCAL)
    except OSError as error:
        return str(error)
    # The driver's threads must be at rest before the process takes its libraries apart.
    atexit.register(_function("shut_down"))
    return ""


def library_path() -> Path | None:
    """Return the native library of this installation (wheel or editable), or None."""
    folders = [Path(__file__).resolve().parent.parent]
    with suppress(metadata.PackageNotFoundError):
        folders.append(Path(str(metadata.distribution("ferrylm").locate_file("ferrylm"))))
    for folder in folders:
        candidate = folder / "native" / LIBRARY_NAME
        if candidate.is_file():
            return candidate
    return None


@contextmanager
def typed_errors() -> Iterator[None]:
    """Raise the typed error of a tagged message of the native library; others pass."""
    try:
        yield
    except FerryError:
        raise
    except Exception as error:
        typed = error_from_message(str(error))
        if typed is None:
            raise
        raise typed from error


def error_from_message(message: str) -> FerryError | None:
    """Return the typed error that a message of the native library stands for, if it is one."""
    match = _TAG.search(message)
    if match is None:
        return None
    meaning = _MEANINGS.get(match[1], _OTHER)
    sentence = " ".join(match[2].split())
    return meaning.error(sentence, wanted=meaning.wanted, fix=meaning.fix)


def call(name: str, *arguments: Any) -> Any:
    """Call the native function `ferrylm.vulkan.NAME` with typed errors.

    Raises VulkanUnavailableError when the library is not loaded.
    """
    failure = load_failure()
    if failure:
        raise VulkanUnavailableError(
            f"the native Vulkan library cannot be used: {failure}",
            wanted="an installation with it",
            fix="install ferrylm again where a C++ compiler is, or use --device cpu",
        )
    with typed_errors():
        return _function(name)(*arguments)


def loader_report() -> dict[str, Any]:
    """Return what was found of Vulkan: loader, driver files, devices, or the reason for none."""
    return _object(call("loader_report"))


def device_report(index: int = 0) -> dict[str, Any]:
    """Return identity, subgroup sizes, features, limits and heaps of a device."""
    return _object(call("device_report", index))


def memory_report(index: int = 0) -> dict[str, Any]:
    """Return the bytes taken from the driver and in use, in all and for each heap."""
    return _object(call("memory_report", index))


def counter_report(index: int = 0) -> dict[str, int]:
    """Return how many dispatches, barriers, submissions and replays a device has seen."""
    return _object(call("counter_report", index))


def select_device(spec: str) -> None:
    """Make the device with this index, name part or UUID number 0; reopen it if it was lost."""
    call("select_device", spec)


def _function(name: str) -> Callable[..., Any]:
    import tvm_ffi

    found: Callable[..., Any] = tvm_ffi.get_global_func(f"ferrylm.vulkan.{name}")
    return found


def _object(text: Any) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(str(text))
    return value

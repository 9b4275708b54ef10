"""Loads the native HIP library and turns its tagged errors into typed ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ferrylm.errors import DeviceError, MemoryLimitError
from ferrylm.runtime.native_library import Meaning, NativeLibrary, report
from ferrylm.runtime.tvm_runtime import import_failure

_ROCM_PACKAGE = "_rocm_sdk_core"  # of the distribution rocm-sdk-core


class HipError(DeviceError):
    """A failure of the HIP runtime that fits no narrower class."""


class HipUnavailableError(HipError):
    """No HIP on this machine: no native library, no ROCm, no AMD GPU."""


class HipArchitectureError(HipError):
    """A library without code that this GPU, or this ROCm, can run."""


class HipLaunchError(HipError):
    """A kernel that could not be launched, or that failed."""


class HipRecordingError(HipError):
    """Work that cannot be part of a recording."""


class HipMemoryError(MemoryLimitError):
    """Device memory that is not there: the message gives what is free."""


_NO_GPU_FIX = "run `ferry doctor`, or use --device cpu"
_MEANINGS = {
    "no-driver": Meaning(HipUnavailableError, "the HIP runtime of ROCm 6.0 or newer", _NO_GPU_FIX),
    "old-driver": Meaning(HipUnavailableError, "ROCm 6.0 or newer", "update ROCm"),
    "no-device": Meaning(HipUnavailableError, "an AMD GPU", _NO_GPU_FIX),
    "no-code": Meaning(
        HipArchitectureError,
        "a library with code for this GPU",
        "compile the model with --rocm-arch and the GPU's name",
    ),
    "out-of-memory": Meaning(
        HipMemoryError,
        "enough free device memory",
        "close other programs, or use a smaller model or context",
    ),
    "launch": Meaning(
        HipLaunchError, "a kernel that the GPU runs", "load the model again; report this"
    ),
    "timeout": Meaning(
        HipLaunchError, "a GPU that answers in time", "update the driver, or try again"
    ),
    "recording": Meaning(
        HipRecordingError, "work of the device only in a recording", "report this"
    ),
    "module": Meaning(HipError, "a whole module of this version", "compile the artifact again"),
}
_OTHER = Meaning(HipError, "a HIP call that succeeds", "run `ferry doctor` and report this")
_LIBRARY = NativeLibrary("hip", meanings=_MEANINGS, other=_OTHER, unavailable=HipUnavailableError)
LIBRARY_NAME = _LIBRARY.file_name
typed_errors, error_from_message = _LIBRARY.typed_errors, _LIBRARY.error_from_message


def autoload() -> None:
    """Load the library when TVM is imported (entry point of `tvm.backends`).

    Silent when it cannot be loaded: other devices need none of it, and `ferry doctor` shows
    `load_failure()`. ROCm itself is looked for at the first use of a device.
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
        for driver in packaged_drivers():
            _LIBRARY.function("add_library_path")(str(driver))
    return failure


def packaged_drivers() -> list[Path]:
    """Return the libamdhip64 of the ROCm packages that pip installs, without importing them."""
    spec = find_spec(_ROCM_PACKAGE)
    folders = (spec.submodule_search_locations or []) if spec is not None else []
    return sorted(
        path for folder in folders for path in (Path(folder) / "lib").glob("libamdhip64.so*")
    )


def library_path() -> Path | None:
    """Return the native library of this installation (wheel or editable), or None."""
    return _LIBRARY.path()


def call(name: str, *arguments: Any) -> Any:
    """Call the native function `ferrylm.hip.NAME` with typed errors.

    Raises HipUnavailableError when the library is not loaded.
    """
    return _LIBRARY.call(load_failure(), name, *arguments)


def loader_report() -> dict[str, Any]:
    """Return what was found of ROCm: library, version, devices, or the reason for none."""
    return report(call("loader_report"))


def device_report(index: int = 0) -> dict[str, Any]:
    """Return name, architecture, wave size, limits and memory of a device."""
    return report(call("device_report", index))


def memory_report(index: int = 0) -> dict[str, Any]:
    """Return the bytes taken from the driver, cached, in use and free."""
    return report(call("memory_report", index))


@contextmanager
def recording(index: int = 0) -> Iterator[list[Any]]:
    """Record the device's work inside the block; the recording is the list's only element after.

    An error in the block drops the recording. Raises HipRecordingError.
    """
    made: list[Any] = []
    call("record_begin", index)
    try:
        yield made
    except BaseException:
        call("record_abort", index)
        raise
    made.append(call("record_end", index))


def replay(recorded: Any) -> None:
    """Run a recording once more."""
    call("replay", recorded)

"""Loads the native HIP library and turns its tagged errors into typed ones."""

from __future__ import annotations

import ctypes
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ferrylm.errors import DeviceError, FerryError, MemoryLimitError
from ferrylm.runtime.tvm_runtime import import_failure

LIBRARY_NAME = "libferrylm_hip.so"
_ROCM_PACKAGE = "_rocm_sdk_core"  # of the distribution rocm-sdk-core

_TAG = re.compile(r"\[hip:([a-z-]+)\] (.*)", re.DOTALL)


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


@dataclass(frozen=True)
class _Meaning:
    error: type[FerryError]
    wanted: str
    fix: str


_NO_GPU_FIX = "run `ferry doctor`, or use --device cpu"
_MEANINGS = {
    "no-driver": _Meaning(HipUnavailableError, "the HIP runtime of ROCm 6.0 or newer", _NO_GPU_FIX),
    "old-driver": _Meaning(HipUnavailableError, "ROCm 6.0 or newer", "update ROCm"),
    "no-device": _Meaning(HipUnavailableError, "an AMD GPU", _NO_GPU_FIX),
    "no-code": _Meaning(
        HipArchitectureError,
        "a library with code for this GPU",
        "compile the model with --rocm-arch and the GPU's name",
    ),
    "out-of-memory": _Meaning(
        HipMemoryError,
        "enough free device memory",
        "close other programs, or use a smaller model or context",
    ),
    "launch": _Meaning(
        HipLaunchError, "a kernel that the GPU runs", "load the model again; report this"
    ),
    "timeout": _Meaning(
        HipLaunchError, "a GPU that answers in time", "update the driver, or try again"
    ),
    "recording": _Meaning(
        HipRecordingError, "work of the device only in a recording", "report this"
    ),
    "module": _Meaning(HipError, "a whole module of this version", "compile the artifact again"),
}
_OTHER = _Meaning(HipError, "a HIP call that succeeds", "run `ferry doctor` and report this")


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
    path = library_path()
    if path is None:
        return f"{LIBRARY_NAME} was not built with this installation of ferrylm"
    try:
        ctypes.CDLL(str(path), ctypes.RTLD_LOCAL)
    except OSError as error:
        return str(error)
    for driver in packaged_drivers():
        _function("add_library_path")(str(driver))
    return ""


def packaged_drivers() -> list[Path]:
    """Return the libamdhip64 of the ROCm packages that pip installs, without importing them."""
    spec = find_spec(_ROCM_PACKAGE)
    folders = (spec.submodule_search_locations or []) if spec is not None else []
    return sorted(
        path for folder in folders for path in (Path(folder) / "lib").glob("libamdhip64.so*")
    )


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
    """Return the typed error that a message of the native library stands for, if it is one.

    A message of the form "found; wanted ...; fix" keeps its own words.
    """
    match = _TAG.search(message)
    if match is None:
        return None
    meaning = _MEANINGS.get(match[1], _OTHER)
    sentence = " ".join(match[2].split())
    found, wanted, fix = sentence, meaning.wanted, meaning.fix
    if "; wanted " in sentence:
        found, rest = sentence.split("; wanted ", 1)
        wanted, _, own_fix = rest.partition("; ")
        fix = own_fix or fix
    return meaning.error(found, wanted=wanted, fix=fix)


def call(name: str, *arguments: Any) -> Any:
    """Call the native function `ferrylm.hip.NAME` with typed errors.

    Raises HipUnavailableError when the library is not loaded.
    """
    failure = load_failure()
    if failure:
        raise HipUnavailableError(
            f"the native HIP library cannot be used: {failure}",
            wanted="an installation with it",
            fix="install ferrylm again where a C++ compiler is, or use --device cpu",
        )
    with typed_errors():
        return _function(name)(*arguments)


def loader_report() -> dict[str, Any]:
    """Return what was found of ROCm: library, version, devices, or the reason for none."""
    return _object(call("loader_report"))


def device_report(index: int = 0) -> dict[str, Any]:
    """Return name, architecture, wave size, limits and memory of a device."""
    return _object(call("device_report", index))


def memory_report(index: int = 0) -> dict[str, Any]:
    """Return the bytes taken from the driver, cached, in use and free."""
    return _object(call("memory_report", index))


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


def _function(name: str) -> Callable[..., Any]:
    import tvm_ffi

    found: Callable[..., Any] = tvm_ffi.get_global_func(f"ferrylm.hip.{name}")
    return found


def _object(text: Any) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(str(text))
    return value

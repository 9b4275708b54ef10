"""Find out in a process of its own what loads here, so that a crash is a finding, not the end.

Run as `python -m ferrylm.cli.doctor_probe`; prints one JSON document.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ferrylm.cli.units import binary_size
from ferrylm.runtime.devices import GpuDevice

TIMEOUT_S = 120
KINDS = ("cuda", "rocm")  # of GPUs with a line for each device; Vulkan has a page


@dataclass(frozen=True)
class GpuKind:
    """The GPUs of one kind, a line of text each, or why there are none that can be used."""

    devices: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class LibraryVerdict:
    """Whether a library of an artifact runs here, and on what or why not."""

    target: str
    runnable: bool
    reason: str


@dataclass(frozen=True)
class Probe:
    """What loaded and what did not."""

    tvm_version: str | None
    tvm_ffi_version: str | None
    tvm_problem: str | None
    has_compiler: bool  # libtvm_compiler with LLVM, not only the runtime
    backend_entry_points: tuple[str, ...]  # names of the group tvm.backends
    backend_problems: tuple[str, ...]  # TVM turns their failures into warnings
    gpus: Mapping[str, GpuKind] = field(default_factory=dict)  # by KINDS
    verdicts: tuple[LibraryVerdict, ...] = ()  # on the libraries of the bundle that asks
    vulkan: dict[str, Any] | None = None  # what the native library reports of loader and devices
    vulkan_problem: str = ""  # why it reports nothing


def probe() -> Probe:
    """Load everything in this very process."""
    entry_points = importlib.metadata.entry_points(group="tvm.backends")
    names = tuple(sorted(entry_point.name for entry_point in entry_points))
    problem, has_compiler = None, False
    problems: tuple[str, ...] = ()
    tvm_version = tvm_ffi_version = None
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import tvm
            import tvm_ffi
        tvm_version, tvm_ffi_version = str(tvm.__version__), str(tvm_ffi.__version__)
        problems = tuple(str(w.message) for w in caught if "backend" in str(w.message))
        has_compiler = tvm.get_global_func("target.build.llvm", allow_missing=True) is not None
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    vulkan, vulkan_problem = _vulkan() if problem is None else (None, problem)
    return Probe(
        tvm_version=tvm_version,
        tvm_ffi_version=tvm_ffi_version,
        tvm_problem=problem,
        has_compiler=has_compiler,
        backend_entry_points=names,
        backend_problems=problems,
        gpus={kind: _gpus(kind) for kind in KINDS},
        verdicts=_verdicts() if problem is None else (),
        vulkan=vulkan,
        vulkan_problem=vulkan_problem,
    )


def _gpus(kind: str) -> GpuKind:
    from ferrylm.runtime.backends import probe_kind

    found = probe_kind(kind)
    devices = tuple(_describe(device) for device in found.devices)
    return GpuKind(devices, "" if devices else found.problem or f"no {kind} device")


def _describe(device: GpuDevice) -> str:
    api = f" for CUDA {device.api_version}" if device.kind == "cuda" else ""
    memory = f"{binary_size(device.free_bytes)} free of {binary_size(device.total_bytes)}"
    return f"{device.name} ({device.architecture}), driver {device.driver}{api}, {memory}"


def _verdicts() -> tuple[LibraryVerdict, ...]:
    """Judge the libraries of the bundle that this process belongs to; none without a bundle."""
    from ferrylm.cli.bundle_here import running_bundle
    from ferrylm.runtime.artifact import Artifact
    from ferrylm.runtime.machine import this_machine
    from ferrylm.runtime.selection import judge_libraries, wanted_kinds

    bundle = running_bundle()
    if bundle is None:
        return ()
    with Artifact.open(bundle.artifact) as artifact:
        manifest = artifact.manifest
    found = judge_libraries(manifest, this_machine(wanted_kinds(manifest)))
    return tuple(LibraryVerdict(one.target, one.runnable, one.reason) for one in found)


def _vulkan() -> tuple[dict[str, Any] | None, str]:
    """Return the native library's report, or why there is none; a driver may crash in it."""
    from ferrylm.runtime import vulkan_backend

    try:
        return vulkan_backend.loader_report(), ""
    except Exception as error:
        return None, getattr(error, "found", None) or str(error)


def probe_in_child() -> Probe:
    """Run `probe` in a child process; a crash or a hang becomes the problem it reports."""
    command = [sys.executable, "-m", "ferrylm.cli.doctor_probe"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return _failed(f"loading did not end within {TIMEOUT_S} s")
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        return _failed(f"loading ended with code {done.returncode}: {lines[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    for name in ("backend_entry_points", "backend_problems"):
        found[name] = tuple(found[name])
    found["verdicts"] = tuple(LibraryVerdict(**one) for one in found["verdicts"])
    found["gpus"] = {
        kind: GpuKind(tuple(one["devices"]), one["problem"]) for kind, one in found["gpus"].items()
    }
    return Probe(**found)


def _failed(problem: str) -> Probe:
    return Probe(None, None, problem, False, (), ())


def installed(module: str) -> bool:
    """Say whether a module can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None


if __name__ == "__main__":
    print(json.dumps(asdict(probe())))

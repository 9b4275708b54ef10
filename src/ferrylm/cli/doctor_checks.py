"""The single checks of `ferry doctor`; each returns lines of ok, warn or fail with a fix."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from ferrylm import __version__
from ferrylm.cli.doctor_probe import Probe, installed
from ferrylm.cli.units import binary_size
from ferrylm.cli.version import installed_version

OK, WARN, FAIL = "ok", "warn", "fail"
WANTED_TVM = "0.27"
LOW_MEMORY_BYTES = 2 << 30
LOW_DISK_BYTES = 2 << 30
_REINSTALL = "run `pip install --force-reinstall ferrylm` in this environment"
_SHOWN_FEATURES = (
    "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16",
    "amx_int8", "asimd", "asimddp", "i8mm", "sve",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One finding; `fix` is empty where there is nothing to do."""

    name: str
    status: str
    detail: str
    fix: str = ""


def check_versions(probe: Probe, repair: str = _REINSTALL) -> list[Line]:
    """Check Python, this package, TVM and its FFI; `repair` mends what does not load."""
    python_ok = sys.version_info >= (3, 10)
    lines = [
        Line("python", OK if python_ok else FAIL, f"{platform.python_version()} {sys.executable}",
             "" if python_ok else "install Python 3.10 or newer"),
        Line("ferrylm", OK, __version__),
    ]  # fmt: skip
    if probe.tvm_problem or probe.tvm_version is None:
        return [*lines, Line("tvm", FAIL, probe.tvm_problem or "does not load", repair)]
    matches = probe.tvm_version.startswith(f"{WANTED_TVM}.")
    fix = "" if matches else f"run `pip install 'apache-tvm=={WANTED_TVM}.*'`"
    return [
        *lines,
        Line("tvm", OK if matches else WARN, probe.tvm_version, fix),
        Line("tvm-ffi", OK, probe.tvm_ffi_version or ""),
    ]


def check_backends(probe: Probe) -> list[Line]:
    """Report the entry points that TVM calls at import; it only warns when one fails."""
    failed = [
        Line("tvm backend", FAIL, problem, "reinstall or remove the package that provides it")
        for problem in probe.backend_problems
    ]
    if failed:
        return failed
    names = ", ".join(probe.backend_entry_points) or "none installed"
    return [Line("tvm backends", OK, names)]


def check_compiler(probe: Probe) -> list[Line]:
    """Check what `ferry compile` needs; running an artifact needs none of it."""
    compiler = Line("compiler", OK, "TVM with LLVM")
    if not probe.has_compiler:
        compiler = Line("compiler", WARN, "TVM without its compiler: runs, does not compile",
                        "install the full apache-tvm, and unset TVM_USE_RUNTIME_LIB")  # fmt: skip
    missing = [name for name in ("ziglang", "safetensors") if not installed(name)]
    if missing:
        fix = "run `pip install 'ferrylm[compile]'` to compile models"
        return [compiler, Line("linker", WARN, f"{' and '.join(missing)} not installed", fix)]
    return [compiler, Line("linker", OK, f"ziglang {installed_version('ziglang')}")]


def check_cpu() -> list[Line]:
    """Name the processor and the features that libraries are made for."""
    from ferrylm.runtime.cpu_features import host_cpu

    host = host_cpu()
    shown = [name for name in _SHOWN_FEATURES if name in host.features]
    cores = f"{host.physical_cores} cores, {host.logical_cores} threads"
    if usable_cpus() < host.logical_cores:
        cores += f", {usable_cpus()} of them for this process"
    has_features = bool(host.features)
    return [
        Line("cpu", OK, f"{host.model_name} ({host.machine}), {cores}"),
        Line("cpu features", OK if has_features else WARN, " ".join(shown) or "none known",
             "" if has_features else "mount /proc: libraries are chosen by /proc/cpuinfo"),
    ]  # fmt: skip


def usable_cpus() -> int:
    """Return how many logical processors this process may run on."""
    return len(os.sched_getaffinity(0))


def check_memory() -> list[Line]:
    """Compare the free memory with what a small model takes."""
    import psutil  # type: ignore[import-untyped]

    memory = psutil.virtual_memory()
    detail = f"{binary_size(memory.available)} free of {binary_size(memory.total)}"
    if memory.available < LOW_MEMORY_BYTES:
        return [Line("memory", WARN, detail, "close programs, or take a smaller --context")]
    return [Line("memory", OK, detail)]


def check_disk() -> list[Line]:
    """Check that the working folder and the cache can be written and have room."""
    return [_disk_line("disk here", Path.cwd()), *check_cache()]


def check_cache() -> list[Line]:
    """Check the folder that compiled GPU kernels are kept in."""
    import platformdirs

    return [_disk_line("disk cache", Path(platformdirs.user_cache_dir("ferrylm")))]


def _disk_line(name: str, folder: Path) -> Line:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_bytes = shutil.disk_usage(existing).free
    detail = f"{binary_size(free_bytes)} free in {folder}"
    if not os.access(existing, os.W_OK):
        return Line(name, WARN, f"{existing} cannot be written", "work in a folder of your own")
    if free_bytes < LOW_DISK_BYTES:
        return Line(name, WARN, detail, "free some disk space")
    return Line(name, OK, detail)


def check_bandwidth(thread_counts: list[int]) -> list[Line]:
    """Measure the read bandwidth, which bounds the speed of generation."""
    from ferrylm.errors import MemoryLimitError
    from ferrylm.runtime.bandwidth import measure_read_bandwidth

    lines = []
    for count in thread_counts:
        name = f"read bandwidth, {count} thread{'s' if count > 1 else ''}"
        try:
            measured = measure_read_bandwidth(count)
        except MemoryLimitError as error:
            return [Line(name, WARN, error.found, error.fix)]
        detail = f"{measured.gb_s:.1f} GB/s, a lower bound ({measured.method})"
        lines.append(Line(name, OK, detail))
    return lines

"""Finding and loading what TVM's CUDA runtime needs beside the driver."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ferrylm.errors import DeviceError
from ferrylm.runtime.devices import GpuProbe

RUNTIME = "libcudart.so.13"
_TVM_LIBRARIES = ("libtvm_runtime_extra.so", "libtvm_runtime_cuda.so")


def cuda_runtime_places() -> Iterator[str]:
    """Yield where the CUDA runtime library may be; a bare name is for the loader to find."""
    for package, parts in (("nvidia", ("cu13", "lib")), ("torch", ("lib",))):
        for folder in _package_folders(package):
            yield str(Path(folder, *parts, RUNTIME))
    for variable in ("CONDA_PREFIX", "CUDA_HOME", "CUDA_PATH"):
        root = os.environ.get(variable)
        if root:
            yield from (str(Path(root, lib, RUNTIME)) for lib in ("lib", "lib64"))
    yield str(Path(sys.prefix, "lib", RUNTIME))
    yield RUNTIME  # LD_LIBRARY_PATH and ldconfig
    yield str(Path("/usr/local/cuda/lib64", RUNTIME))


def load_cuda_runtime() -> Any:
    """Load libcudart, or take the one that is loaded already; return it for ctypes.

    Raises DeviceError.
    """
    try:
        return ctypes.CDLL(RUNTIME, mode=os.RTLD_NOLOAD | os.RTLD_LOCAL)
    except OSError:
        pass
    broken = ""
    for place in cuda_runtime_places():
        if os.sep in place and not Path(place).is_file():
            continue
        try:
            return ctypes.CDLL(place)
        except OSError as error:
            broken = broken if os.sep not in place else f" ({error})"
    raise DeviceError(
        f"no {RUNTIME}{broken}",
        wanted="the CUDA 13 runtime library, as a package, in a conda environment or installed",
        fix="pip install nvidia-cuda-runtime==13.0.96",
    )


def usable(probe: GpuProbe) -> GpuProbe:
    """Return GPUs that the driver found, or none where the library is missing that runs them.

    So a machine without it is refused before weights are hashed, and gets another device by itself.
    """
    if not probe.devices:
        return probe
    try:
        load_cuda_runtime()
    except DeviceError as error:
        return GpuProbe((), f"{error.found}; {error.fix}")
    return probe


def load_tvm_cuda() -> Any:
    """Load TVM's CUDA runtime and what it needs; return libcudart for ctypes.

    Works with TVM's runtime alone and with all of it. Raises DeviceError.
    """
    runtime = load_cuda_runtime()
    import tvm
    import tvm_ffi

    if tvm_ffi.get_global_func("device_api.cuda", allow_missing=True) is not None:
        return runtime
    folder = Path(tvm.__file__).parent / "lib"
    for name in _TVM_LIBRARIES:
        path = folder / name
        try:
            ctypes.CDLL(str(path))
        except OSError as error:
            raise DeviceError(
                f"{name} cannot be loaded: {error}",
                wanted="the CUDA runtime of the wheel apache-tvm",
                fix="install apache-tvm 0.27 again, from its wheel",
            ) from error
    return runtime


def _package_folders(name: str) -> list[str]:
    """Return the folders of an installed package without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    return list(spec.submodule_search_locations or ()) if spec is not None else []

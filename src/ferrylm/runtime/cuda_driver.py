"""What NVIDIA's driver says of its GPUs, asked through libcuda alone.

Neither TVM nor the CUDA runtime library is loaded, and no context is created: a question costs no
device memory and changes nothing for the process.
"""

from __future__ import annotations

import ctypes
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ferrylm.runtime.devices import DISCRETE, INTEGRATED, GpuDevice

# The loader's own search, then where WSL keeps the driver.
LIBRARIES = ("libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1")
VERSION_FILE = Path("/proc/driver/nvidia/version")

# CUdevice_attribute and CUresult, CUDA Driver API.
_MAJOR, _MINOR, _INTEGRATED, _COMPUTE_MODE, _SHARED_BYTES = 75, 76, 18, 20, 97
_PROHIBITED = 2
_NO_DEVICE = 100
_REASONS = {
    34: "the stub of the CUDA toolkit stands in the driver's place",
    46: "the device is busy or unavailable",
    _NO_DEVICE: "the driver finds no NVIDIA GPU",
    802: "the system is not ready (is nvidia-fabricmanager running?)",
    803: "the driver's library and its kernel module have different versions",
    804: "the forward compatibility package does not support this GPU",
}
_FIXES = {
    34: "remove the toolkit's stubs folder from LD_LIBRARY_PATH",
    _NO_DEVICE: "check CUDA_VISIBLE_DEVICES, and that the container was given the GPU",
    802: "start nvidia-fabricmanager",
    803: "restart the machine, or give the container the driver of its host",
    804: "remove the package cuda-compat",
}


@dataclass(frozen=True)
class CudaProbe:
    """The driver and its GPUs in CUDA's order; `problem` and `fix` say why there are none."""

    devices: tuple[GpuDevice, ...] = ()
    driver: str = ""  # 580.65.06, or the CUDA version where the kernel module says nothing
    api_version: str = ""  # the newest CUDA that the driver knows: 13.0
    problem: str | None = None
    fix: str = "install the NVIDIA driver, version 580 or newer"


def probe_driver(libraries: Sequence[str] = LIBRARIES) -> CudaProbe:
    """Ask the driver; never raises."""
    library = _open(libraries)
    if library is None:
        return CudaProbe(problem="no NVIDIA driver (no libcuda.so.1)")
    try:
        return _probe(library)
    except AttributeError as error:
        return CudaProbe(problem=f"a libcuda.so.1 that is none ({error})")


def _open(libraries: Sequence[str]) -> Any:
    for name in libraries:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def _probe(library: Any) -> CudaProbe:
    status = library.cuInit(0)
    number = ctypes.c_int()
    known = library.cuDriverGetVersion(ctypes.byref(number)) == 0
    api_version = f"{number.value // 1000}.{number.value % 1000 // 10}" if known else ""
    driver = _kernel_module_version() or (f"CUDA {api_version}" if api_version else "")
    count = ctypes.c_int()
    if status == 0:
        status = library.cuDeviceGetCount(ctypes.byref(count))
    if status == 0 and count.value == 0:
        status = _NO_DEVICE
    if status:
        return CudaProbe(
            driver=driver,
            api_version=api_version,
            problem=_REASONS.get(status, f"the NVIDIA driver failed with error {status}"),
            fix=_FIXES.get(status, "look at the output of nvidia-smi and at the kernel's log"),
        )
    devices = tuple(_device(library, index, driver, api_version) for index in range(count.value))
    return CudaProbe(devices, driver, api_version)


def _device(library: Any, index: int, driver: str, api_version: str) -> GpuDevice:
    device = ctypes.c_int(index)
    library.cuDeviceGet(ctypes.byref(device), index)
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGetName(name, len(name), device)
    identity = ctypes.create_string_buffer(16)
    library.cuDeviceGetUuid_v2(identity, device)
    total = ctypes.c_size_t()
    library.cuDeviceTotalMem_v2(ctypes.byref(total), device)

    def attribute(which: int) -> int:
        value = ctypes.c_int()
        library.cuDeviceGetAttribute(ctypes.byref(value), which, device)
        return value.value

    usable = attribute(_COMPUTE_MODE) != _PROHIBITED
    return GpuDevice(
        kind="cuda",
        index=index,
        name=name.value.decode(errors="replace"),
        uuid=f"GPU-{uuid.UUID(bytes=identity.raw)}",
        device_class=INTEGRATED if attribute(_INTEGRATED) else DISCRETE,
        driver=driver,
        api_version=api_version,
        free_bytes=total.value,  # only a context knows more, and none is made here
        total_bytes=total.value,
        architecture=f"sm_{10 * attribute(_MAJOR) + attribute(_MINOR)}",
        features=frozenset({"compute"} if usable else ()),
        subgroup_sizes=(32, 32),
        limits={"maxSharedMemoryPerBlock": attribute(_SHARED_BYTES)},
    )


def _kernel_module_version() -> str:
    try:
        text = VERSION_FILE.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    match = re.search(r"\b(\d{3,}(?:\.\d+)+)\b", text)
    return match[1] if match is not None else ""

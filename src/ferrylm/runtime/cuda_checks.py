"""Whether a machine can run a CUDA library, decided from the manifest before anything is opened."""

from __future__ import annotations

import re

from ferrylm.errors import DeviceError, FerryError, MemoryLimitError, NoLibraryError
from ferrylm.runtime.cuda_driver import CudaProbe
from ferrylm.runtime.devices import GpuDevice
from ferrylm.runtime.manifest import CudaNeeds

_FIRST_DRIVERS = {"13": "580", "12": "525"}  # CUDA Toolkit Release Notes, table 3
_OLDEST = 75  # CUDA Toolkit 13.0 Release Notes, "Deprecated Architectures"
_ARCHITECTURE = re.compile(r"(?:sm|compute)_(\d+)([af]?)")


def check_cuda(
    needs: CudaNeeds, probe: CudaProbe, *, index: int = 0, memory_bytes: int = 0
) -> tuple[GpuDevice, str]:
    """Return a GPU that runs the library, and which of its code: sm_80, or compute_75.

    Raises DeviceError (no driver, no such GPU, driver too old), NoLibraryError (no code for the
    chip), MemoryLimitError.
    """
    problem = (
        _driver_problem(needs, probe)
        or _device_problem(probe, index)
        or _code_problem(needs, probe.devices[index])
        or _memory_problem(probe.devices[index], memory_bytes)
    )
    if problem is not None:
        raise problem
    device = probe.devices[index]
    code = code_for(needs, device.architecture)
    assert code is not None, "checked above"
    return device, code


def code_for(needs: CudaNeeds, chip: str) -> str | None:
    """Return the code that a driver takes for a chip such as sm_90; None where there is none.

    Machine code of the chip itself comes first, then that of an earlier one with its major
    version, then PTX, which the driver compiles (CUDA C++ Programming Guide, "Compute
    Capabilities" and "Feature Set Compiler Targets").
    """
    number, _ = _split(chip)
    fitting = [code for code in needs.architectures if _runs(code, number)]
    if fitting:
        return max(fitting, key=_split)
    portable = [code for code in needs.ptx if _split(code)[0] <= number and not _split(code)[1]]
    return max(portable, key=_split) if portable else None


def mode_problem(device: GpuDevice) -> DeviceError | None:
    """Return the error of a GPU whose administrator lets nobody compute on it."""
    if "compute" in device.features:
        return None
    return DeviceError(
        f"{device.name} is in the compute mode Prohibited",
        wanted="a GPU that may compute",
        fix=f"run nvidia-smi -i {device.index} -c DEFAULT as root",
    )


def _runs(code: str, chip: int) -> bool:
    number, suffix = _split(code)
    if suffix == "a":
        return number == chip
    return number // 10 == chip // 10 and number <= chip


def _split(name: str) -> tuple[int, str]:
    match = _ARCHITECTURE.fullmatch(name)
    return (int(match[1]), match[2]) if match is not None else (0, "")


def _driver_problem(needs: CudaNeeds, probe: CudaProbe) -> FerryError | None:
    least = _FIRST_DRIVERS.get(needs.driver.partition(".")[0], "")
    wanted = f"an NVIDIA driver for CUDA {needs.driver}"
    if probe.api_version and _version(probe.api_version) < _version(needs.driver):
        return DeviceError(
            f"the NVIDIA driver {probe.driver} is for CUDA {probe.api_version}",
            wanted=wanted,
            fix=f"install driver {least} or newer" if least else "install a newer driver",
        )
    if probe.problem is not None:
        return DeviceError(probe.problem, wanted=f"{wanted} and a GPU", fix=probe.fix)
    return None


def _device_problem(probe: CudaProbe, index: int) -> FerryError | None:
    if index not in range(len(probe.devices)):
        names = ", ".join(f"{device.index}: {device.name}" for device in probe.devices)
        return DeviceError(
            f"no CUDA device {index}", wanted=f"one of {names}", fix="choose one of these"
        )
    return mode_problem(probe.devices[index])


def _code_problem(needs: CudaNeeds, device: GpuDevice) -> FerryError | None:
    if code_for(needs, device.architecture) is not None:
        return None
    number, _ = _split(device.architecture)
    return NoLibraryError(
        f"no code for {device.name} ({device.architecture})",
        wanted="one of " + ", ".join((*needs.architectures, *needs.ptx)),
        fix=(
            f"compile the model with --cuda-arch {number}"
            if number >= _OLDEST
            else "use a library for Vulkan: CUDA 13 has no compiler for this chip"
        ),
    )


def _memory_problem(device: GpuDevice, memory_bytes: int) -> FerryError | None:
    if memory_bytes <= device.free_bytes:
        return None
    return MemoryLimitError(
        f"{device.name} has {device.free_bytes / 2**30:.1f} GiB",
        wanted=f"{memory_bytes / 2**30:.1f} GiB for weights, pages and activations",
        fix="take a smaller context, a smaller model, or fewer bits",
    )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in text.split("."))

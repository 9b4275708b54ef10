"""Whether a machine has what a library needs: each function returns what is missing, or None."""

from __future__ import annotations

from ferrylm.errors import FerryError
from ferrylm.runtime.cpu_features import HostCpu
from ferrylm.runtime.cuda_checks import check_cuda
from ferrylm.runtime.cuda_driver import CudaProbe
from ferrylm.runtime.devices import GpuDevice
from ferrylm.runtime.manifest import CudaNeeds, Library, RocmNeeds, VulkanNeeds

# Which chips run the code of a generic architecture (LLVM, "User Guide for AMDGPU Backend",
# section "Generic processors"). The compiler's table must be the same; a test compares them.
GENERIC_CHIPS = {
    "gfx9-generic": ("gfx900", "gfx902", "gfx904", "gfx906", "gfx909", "gfx90c"),
    "gfx9-4-generic": ("gfx942", "gfx950"),
    "gfx10-1-generic": ("gfx1010", "gfx1011", "gfx1012", "gfx1013"),
    "gfx10-3-generic": tuple(f"gfx103{i}" for i in range(7)),
    "gfx11-generic": (
        *(f"gfx110{i}" for i in range(4)), *(f"gfx115{i}" for i in range(4)),
    ),
    "gfx12-generic": ("gfx1200", "gfx1201"),
}  # fmt: skip


_DOT = "shaderIntegerDotProduct"
# A member of VkPhysicalDeviceShaderIntegerDotProductProperties, which reports list as a feature.
_FAST_DOT = "integerDotProduct4x8BitPackedSignedAccelerated"


def host_problem(library: Library, host: HostCpu) -> str | None:
    """Compare the processor with what the host's part of the code needs."""
    wanted = library.requires
    if wanted.machine != host.machine:
        return f"needs {wanted.machine}, this machine is {host.machine}"
    missing = [name for name in wanted.cpu_features if name not in host.features]
    if missing:
        return f"needs the CPU features {', '.join(missing)}, which {host.model_name} lacks"
    return None


def device_problem(library: Library, device: GpuDevice, *, named: bool = False) -> str | None:
    """Compare a GPU of the library's kind with what the kernels need.

    `named`: the library was asked for by its target, so that it may be slow.
    """
    wanted = library.requires
    if wanted.vulkan is not None:
        problem = _vulkan_problem(wanted.vulkan, device)
        return problem if named else problem or _slowness(wanted.vulkan, device)
    if wanted.cuda is not None:
        return _cuda_problem(wanted.cuda, device)
    assert wanted.rocm is not None, "a manifest says what a GPU library needs"
    return _rocm_problem(wanted.rocm, device)


def describe_needs(library: Library) -> str:
    """Return what a library needs, in one line."""
    wanted = library.requires
    if wanted.vulkan is not None:
        needs = wanted.vulkan
        sizes = " and ".join(map(str, needs.subgroup_sizes))
        subgroups = f", subgroups of {sizes}" if sizes else ""
        return f"Vulkan {needs.api_version}{subgroups}, {' '.join(needs.features) or '-'}"
    if wanted.cuda is not None:
        chips = " ".join((*wanted.cuda.architectures, *wanted.cuda.ptx))
        return f"CUDA {wanted.cuda.driver}, {chips}"
    if wanted.rocm is not None:
        return " ".join(wanted.rocm.architectures)
    return " ".join(wanted.cpu_features) or "-"


def _vulkan_problem(needs: VulkanNeeds, device: GpuDevice) -> str | None:
    if _numbers(device.api_version) < _numbers(needs.api_version):
        return f"needs Vulkan {needs.api_version}, {device.name} has {device.api_version}"
    least, most = device.subgroup_sizes
    for size in needs.subgroup_sizes:
        if not least <= size <= most:
            offered = f"{least}" if least == most else f"{least} to {most}"
            return f"needs subgroups of {size}, {device.name} has {offered}"
    missing = [name for name in needs.features if name not in device.features]
    if missing:
        return f"needs {', '.join(missing)}, which {device.name} lacks"
    for name, wanted in needs.limits.items():
        found = device.limits.get(name, 0)
        if found < wanted:
            return f"needs {name} of {wanted}, {device.name} has {found}"
    return None


def _slowness(needs: VulkanNeeds, device: GpuDevice) -> str | None:
    """Return why a device that can run the kernels should get others.

    Every driver of Vulkan 1.3 offers the dot product of bytes; where no instruction does it, each
    byte is picked out and multiplied, and kernels without it are faster.
    """
    if _DOT in needs.features and _FAST_DOT not in device.features:
        return f"counts on {_FAST_DOT}, which {device.name} lacks: name the target to run it anyway"
    return None


def _cuda_problem(needs: CudaNeeds, device: GpuDevice) -> str | None:
    try:
        check_cuda(needs, CudaProbe((device,), device.driver, device.api_version))
    except FerryError as error:
        return f"{error.found}: {error.fix}"
    return None


def _rocm_problem(needs: RocmNeeds, device: GpuDevice) -> str | None:
    chip = device.architecture.partition(":")[0]  # gfx90a:sramecc+:xnack-
    for code in needs.architectures:
        if code == chip or chip in GENERIC_CHIPS.get(code, ()):
            return None
    return f"has code for {', '.join(needs.architectures)}, {device.name} is {chip}"


def _numbers(version: str) -> tuple[int, ...]:
    """Return a version as numbers that compare; what is no number counts as 0."""
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))

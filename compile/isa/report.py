"""What the driver makes of the Vulkan kernels of several libraries, for people and programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ferrylm.compile.isa.libraries import VulkanLibrary
from ferrylm.compile.isa.radv import compile_kernels, open_family
from ferrylm.compile.isa.shader_statistics import CompiledKernel


@dataclass(frozen=True)
class LibraryReport:
    """The kernels of one library, each at every subgroup width it may run with."""

    library: str
    device: str  # as the driver names what it compiled for
    kernels: tuple[CompiledKernel, ...]


def report_libraries(libraries: Sequence[VulkanLibrary], family: str) -> list[LibraryReport]:
    """Compile all kernels of all libraries for a GPU family.

    Raises DeviceError where the driver is missing or does not know the family.
    """
    if not libraries:
        return []
    opened = open_family(family)
    return [
        LibraryReport(library.name, opened.device, tuple(compile_kernels(library.kernels, opened)))
        for library in libraries
    ]


def document(report: LibraryReport) -> dict[str, object]:
    """Return a library's report for --json, without the listings of machine code."""
    return {
        "library": report.library,
        "device": report.device,
        "kernels": [_kernel_document(kernel) for kernel in report.kernels],
    }


def _kernel_document(kernel: CompiledKernel) -> dict[str, object]:
    return {
        "name": kernel.name,
        "subgroup": kernel.subgroup,
        "problem": kernel.problem,
        "refusal": kernel.refusal,
        "statistics": asdict(kernel.statistics) if kernel.statistics else None,
        "loop_weights": kernel.loop_weights,
        "lane_weights": kernel.lane_weights,
        "loop_instructions_per_weight": kernel.loop_instructions_per_weight,
        "instructions_per_weight": kernel.instructions_per_weight,
    }

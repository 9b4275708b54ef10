"""What `ferry inspect --isa` says: registers, spills and instructions of the Vulkan kernels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from ferrylm.cli.units import binary_size

if TYPE_CHECKING:
    from rich.console import Console

    from ferrylm.compile.isa.report import LibraryReport
    from ferrylm.compile.isa.shader_statistics import CompiledKernel

FAMILY = "vangogh"  # the Steam Deck's GPU; scripts/check_deck.py takes others

_NUMBERS = (
    "subgroup", "VGPRs", "SGPRs", "spills", "scratch", "shared", "subgroups/SIMD",
    "instructions", "loop", "weights", "per weight", "with the rest",
)  # fmt: skip


def isa_reports(artifact: Path) -> list[LibraryReport]:
    """Return a report for each library of an artifact that holds Vulkan kernels.

    Raises DeviceError where Mesa's RADV is not installed.
    """
    from ferrylm.compile.isa.libraries import vulkan_libraries
    from ferrylm.compile.isa.report import report_libraries

    return report_libraries(vulkan_libraries(artifact), FAMILY)


def show_isa(reports: Iterable[LibraryReport], console: Console) -> None:
    """Print a table for each library."""
    reports = list(reports)
    if not reports:
        console.print("\nno library here has Vulkan kernels", soft_wrap=True)
    for report in reports:
        console.print(f"\n{report.library} on {report.device}", soft_wrap=True)
        console.print(kernels_table(report.kernels))
        for kernel in report.kernels:
            if kernel.problem:
                text = f"{kernel.name}, subgroup {kernel.subgroup}: {kernel.problem}"
                console.print(text, soft_wrap=True)


def kernels_table(kernels: Iterable[CompiledKernel]) -> Table:
    """Return what the driver says of kernels, a row for each that was compiled."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("kernel", overflow="fold")
    for name in _NUMBERS:
        table.add_column(name, justify="right", no_wrap=True)
    for kernel in kernels:
        if kernel.statistics is not None:
            table.add_row(kernel.name, *_numbers(kernel))
    return table


def _numbers(kernel: CompiledKernel) -> list[str]:
    found = kernel.statistics
    if found is None:
        return []
    return [
        str(kernel.subgroup),
        str(found.vector_registers),
        str(found.scalar_registers),
        str(found.spills),
        binary_size(found.scratch_bytes),
        binary_size(found.shared_bytes),
        str(found.subgroups_per_simd),
        str(found.instructions),
        str(found.hot_loop.instructions) if found.hot_loop else "-",
        str(kernel.loop_weights) if kernel.loop_weights else "-",
        _ratio(kernel.loop_instructions_per_weight),
        _ratio(kernel.instructions_per_weight),
    ]


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"

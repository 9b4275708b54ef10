"""What `ferry inspect --isa` says: registers, spills and instructions of the Vulkan kernels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from ferrylm.compile.isa.report import LibraryReport
    from ferrylm.compile.isa.shader_statistics import CompiledKernel
    from ferrylm.runtime.artifact import Artifact

FAMILY = "vangogh"  # the Steam Deck's GPU; scripts/check_deck.py takes others

_COLUMNS = 160
_NUMBERS = (
    "width", "VGPRs", "SGPRs", "spills", "scratch", "shared", "waves", "instr.", "loop", "weights",
    "per weight", "overall",
)  # fmt: skip


def isa_reports(artifact: Artifact) -> list[LibraryReport]:
    """Return a report for each library of an artifact that holds Vulkan kernels.

    Raises DeviceError where Mesa's RADV is not installed, and IntegrityError.
    """
    from ferrylm.compile.isa.libraries import artifact_libraries
    from ferrylm.compile.isa.report import report_libraries

    return report_libraries(artifact_libraries(artifact), FAMILY)


def isa_document(reports: Iterable[LibraryReport]) -> dict[str, object]:
    """Return the reports for --json."""
    from ferrylm.compile.isa.report import document

    return {"isa": [document(report) for report in reports]}


def show_isa(reports: Iterable[LibraryReport], console: Console) -> None:
    """Print a table for each library, and below it why kernels are missing from it."""
    # A terminal breaks lines that are too long; rich would leave columns out.
    console.width = max(console.width, _COLUMNS)
    reports = list(reports)
    if not reports:
        console.print("\nno library here has Vulkan kernels", soft_wrap=True)
    for report in reports:
        console.print(f"\n{report.library} on {report.device}", soft_wrap=True)
        if any(kernel.statistics for kernel in report.kernels):
            console.print(kernels_table(report.kernels))
        for problem, names in _problems(report.kernels).items():
            which = names[0] if len(names) == 1 else f"{len(names)} kernels"
            console.print(f"{which}: {problem}", soft_wrap=True)


def _problems(kernels: Iterable[CompiledKernel]) -> dict[str, list[str]]:
    """Return problem -> the kernels that have it."""
    found: dict[str, list[str]] = {}
    for kernel in kernels:
        if said := kernel.problem or kernel.refusal:
            found.setdefault(said, []).append(kernel.name)
    return found


def kernels_table(kernels: Iterable[CompiledKernel]) -> Table:
    """Return what the driver says of kernels, a row for each that was compiled."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("kernel", overflow="fold", min_width=16)
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
        str(found.scratch_bytes),
        str(found.shared_bytes),
        str(found.subgroups_per_simd),
        str(found.instructions),
        str(found.hot_loop.instructions) if found.hot_loop else "-",
        str(kernel.loop_weights) if kernel.loop_weights else "-",
        _ratio(kernel.loop_instructions_per_weight),
        _ratio(kernel.instructions_per_weight),
    ]


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"

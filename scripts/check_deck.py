"""Compile an artifact's Vulkan kernels for the Steam Deck's GPU and compare with the budgets.

usage: python scripts/check_deck.py ARTIFACT | LIBRARY | CONTAINER [--family NAME]
           [--budgets FILE | --no-budgets] [--only WORD] [--listing FOLDER] [--json]

No AMD hardware is needed: Mesa's RADV compiles for a GPU that is not there. The exit code is 1
where a kernel exceeds its budget. See docs/steam-deck.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ferrylm.cli.inspect_isa import FAMILY, show_isa
from ferrylm.compile.isa.budgets import Budgets, read_budgets
from ferrylm.compile.isa.libraries import VulkanLibrary, vulkan_libraries
from ferrylm.compile.isa.report import LibraryReport, document, report_libraries
from ferrylm.errors import FerryError

BUDGETS = Path(__file__).resolve().parent.parent / "tests" / "budgets" / "vangogh.json"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--family", default=FAMILY, help="a family that the installed Mesa knows")
    parser.add_argument("--budgets", type=Path, default=BUDGETS)
    parser.add_argument("--no-budgets", action="store_true", help="show, judge nothing")
    parser.add_argument("--only", default="", help="kernels whose name holds this word")
    parser.add_argument("--listing", type=Path, help="folder to write the machine code to")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def chosen(libraries: Sequence[VulkanLibrary], word: str) -> list[VulkanLibrary]:
    """Return the libraries with the kernels whose name holds the word."""
    return [
        VulkanLibrary(library.name, tuple(k for k in library.kernels if word in k.name))
        for library in libraries
    ]


def write_listings(reports: Sequence[LibraryReport], folder: Path) -> None:
    """Write one file of machine code for each kernel and width."""
    folder.mkdir(parents=True, exist_ok=True)
    for report in reports:
        for kernel in report.kernels:
            if not kernel.assembly:
                continue
            name = f"{report.library}-{kernel.name}-{kernel.subgroup}.s".replace("/", "_")
            (folder / name).write_text(kernel.assembly)


def violations(reports: Sequence[LibraryReport], budgets: Budgets) -> list[str]:
    """Return a line for everything that exceeds a budget."""
    return [
        f"{report.library}: {kernel.name}, subgroup {kernel.subgroup}: {problem}"
        for report in reports
        for kernel in report.kernels
        for problem in budgets.violations(kernel)
    ]


def main() -> int:
    """Check and print; return the exit code."""
    asked = parse_arguments()
    budgets = Budgets(asked.family, ()) if asked.no_budgets else read_budgets(asked.budgets)
    libraries = chosen(vulkan_libraries(asked.path), asked.only)
    if not libraries:
        print(f"{asked.path} holds no Vulkan kernels", file=sys.stderr)
        return 1
    reports = [
        LibraryReport(report.library, report.device, tuple(budgets.completed(report.kernels)))
        for report in report_libraries(libraries, asked.family)
    ]
    if asked.listing:
        write_listings(reports, asked.listing)
    problems = [] if asked.no_budgets else violations(reports, budgets)
    if not any(kernel.statistics for report in reports for kernel in report.kernels):
        problems.append(f"no kernel of {asked.path} runs on {asked.family}")
    if asked.json:
        print(json.dumps({"libraries": [*map(document, reports)], "problems": problems}, indent=2))
        return 1 if problems else 0
    console = Console(highlight=False, markup=False)
    show_isa(reports, console)
    for problem in problems:
        console.print(problem, soft_wrap=True)
    if not asked.no_budgets:
        console.print(f"{len(problems)} problems" if problems else "every kernel keeps its budget")
    return 1 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FerryError as error:
        sys.exit(f"{error.found}; wanted {error.wanted}; {error.fix}")

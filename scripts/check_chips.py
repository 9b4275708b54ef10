"""Show the machine code for NVIDIA and AMD chips in an artifact, chip by chip, and check it.

usage: python scripts/check_chips.py ARTIFACT [--no-listing]

Of each chip: bytes of code before compression; for AMD also kernels, lanes of a wave, registers,
LDS and arguments, and every code object is disassembled where llvm-objdump of LLVM 19 or newer is
installed. Exit status 1: a library above 25 MB, code of a chip above 4 MB, a header, a wave size,
LDS or registers that the chip has not, spilled registers, or bytes that are no instructions.
Wants ferrylm[cuda-inspect] for CUDA.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ferrylm.compile.chip_code import ChipCode, chip_code
from ferrylm.compile.rocm.disassembly import find_disassembler
from ferrylm.errors import FerryError
from ferrylm.runtime.artifact import MAX_LIBRARY_BYTES, Artifact

MOST_LIBRARY_BYTES, MOST_CHIP_BYTES = 25_000_000, 4_000_000
_COLUMNS = ("library", "chip", "bytes", "kernels", "wave", "registers", "LDS", "arguments")


def show(target: str, found: list[ChipCode]) -> Table:
    """Return the table of one library."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in ("library", "chip") else "right")
    for one in found:
        numbers = (one.kernels, one.wave, one.vector_registers, one.lds_bytes, one.argument_bytes)
        cells = [str(number) if number else "-" for number in numbers]
        table.add_row(target, one.architecture, str(one.size_bytes), *cells)
    return table


def problems_of(target: str, library_bytes: int, found: list[ChipCode]) -> list[str]:
    """Return a line for everything that is wrong with a library."""
    lines = [f"{target} {one.architecture}: {text}" for one in found for text in one.problems]
    lines += [
        f"{target} {one.architecture}: {one.size_bytes} bytes, more than {MOST_CHIP_BYTES}"
        for one in found
        if one.size_bytes > MOST_CHIP_BYTES
    ]
    if library_bytes > MOST_LIBRARY_BYTES:
        lines.append(f"{target}: {library_bytes} bytes, more than {MOST_LIBRARY_BYTES}")
    return lines


def main() -> int:
    """Check, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--no-listing", action="store_true", help="disassemble nothing")
    asked = parser.parse_args()
    console = Console(highlight=False, markup=False)
    problems, chips = [], 0
    with Artifact.open(asked.artifact) as artifact:
        for library in artifact.manifest.libraries:
            if library.kind not in ("cuda", "rocm"):
                continue
            data = artifact.read_verified(library.file, MAX_LIBRARY_BYTES)
            found = chip_code(library.kind, data, listing=not asked.no_listing)
            console.print(show(library.target, found))
            problems += problems_of(library.target, len(data), found)
            chips += len(found)
    for problem in problems:
        console.print(problem, soft_wrap=True)
    listed = not asked.no_listing and find_disassembler() is not None
    said = "AMD's code disassembled" if listed else "nothing was disassembled"
    console.print(f"{chips} architectures, {len(problems)} problems; {said}")
    return 1 if problems or not chips else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FerryError as error:
        sys.exit(f"{error.found}; wanted {error.wanted}; {error.fix}")

"""Kernels that start before the one before them has ended, and what C++ must not assume there.

TVM declares every pointer `__restrict__`. What such a kernel only reads then counts as constant
for its whole run, and NVRTC moves loads across the wait for the kernel before: some of its results
would be read before they are written, and weights after the wait that were to be read during it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from ferrylm.errors import CompileError

DEPENDENT_LAUNCH = "tirx.use_programtic_dependent_launch"  # the tag's spelling in TVM
FIRST_WITH_WAIT = 90  # the first architecture with griddepcontrol, PTX ISA
_WAIT = "ferrylm_grid_dependency_wait("
_KERNEL = re.compile(r'^extern "C" __global__ ', re.MULTILINE)


def check_overlap(kernel: Any, operations: Collection[str]) -> None:
    """Raise CompileError for a kernel that may start early and never waits.

    The kernel after it would count on it having waited, and read what the one before still writes.
    """
    tags = [str(tag) for tag in kernel.attrs.get("tirx.kernel_launch_params", ())]
    if DEPENDENT_LAUNCH in tags and "grid_dependency_wait" not in operations:
        raise CompileError(
            f"{kernel.attrs['global_symbol']} may start before the kernel before it has ended",
            wanted="a call of ferrylm.grid_dependency_wait in it",
            fix=f"add the call, or leave out the tag {DEPENDENT_LAUNCH}",
        )


def allow_overlap(source: str) -> str:
    """Return the source with no `__restrict__` in kernels that wait for the kernel before."""
    starts = [match.start() for match in _KERNEL.finditer(source)]
    if not starts:
        return source
    ends = [*starts[1:], len(source)]
    blocks = [source[start:end] for start, end in zip(starts, ends, strict=True)]
    names = {_name(block) for block in blocks if _WAIT in block}
    changed = [_without_restrict(block) if _name(block) in names else block for block in blocks]
    return source[: starts[0]] + "".join(changed)


def _name(block: str) -> str:
    return block.partition("\n")[0].rpartition("(")[0].rpartition(" ")[2]


def _without_restrict(block: str) -> str:
    signature, newline, rest = block.partition("\n")
    return signature.replace(" __restrict__", "") + newline + rest

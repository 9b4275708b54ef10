"""Kernels that start before the one before them has ended, and what C++ must not assume there.

TVM declares every pointer `__restrict__`. What such a kernel only reads then counts as constant
for its whole run, and NVRTC moves loads across the wait for the kernel before: some of its results
would be read before they are written, and weights after the wait that were to be read during it.
"""

from __future__ import annotations

import re

DEPENDENT_LAUNCH = "tirx.use_programtic_dependent_launch"  # the tag's spelling in TVM
_WAIT = "ferrylm_grid_dependency_wait("
_KERNEL = re.compile(r'^extern "C" __global__ ', re.MULTILINE)


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

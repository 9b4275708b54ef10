"""Atomic additions to shared memory, as LLVM functions."""

from __future__ import annotations

from ferrylm.compile.rocm.lane_functions import define

_ATTRIBUTES = "nounwind willreturn alwaysinline"


def add_to_shared(name: str) -> str:
    """Return a function that adds a word to one in shared memory and says what was there."""
    body = [
        '%before = atomicrmw add ptr addrspace(3) %where, i32 %value syncscope("workgroup")'
        " monotonic, align 4",
        "ret i32 %before",
    ]
    return define(name, "i32", "ptr addrspace(3) %where, i32 %value", body, _ATTRIBUTES)

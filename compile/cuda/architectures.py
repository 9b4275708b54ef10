"""NVIDIA architectures: what to compile for, and which chips run the result."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ferrylm.errors import UsageError

DEFAULT_ARCHITECTURES = (
    "75", "80", "86", "89", "90a", "100", "120", "compute_75", "compute_90",
)  # fmt: skip
OLDEST = 75  # what CUDA 13 still compiles for

_NAME = re.compile(r"(?:(sm|compute)_)?([1-9][0-9]{1,2})([af]?)")


@dataclass(frozen=True)
class Architecture:
    """Machine code for one chip (`sm_90a`), or PTX that a driver compiles (`compute_75`)."""

    number: int  # ten times the compute capability
    suffix: str = ""  # "a": this very chip, "f": its family; CUDA C++ Programming Guide, 5.1
    ptx: bool = False

    @property
    def name(self) -> str:
        """Return the name as NVRTC and the manifest write it."""
        return f"{'compute' if self.ptx else 'sm'}_{self.number}{self.suffix}"

    @property
    def short_name(self) -> str:
        """Return the number with its suffix: 90a."""
        return f"{self.number}{self.suffix}"

    def runs_on(self, chip: int) -> bool:
        """Return whether a chip of this number runs the code, PTX being compiled first.

        Machine code runs on later chips of its major version; with "a" on this chip alone.
        """
        if self.suffix == "a":
            return self.number == chip
        same_major = self.number // 10 == chip // 10
        return self.number <= chip and (same_major or (self.ptx and not self.suffix))


def parse_architecture(text: str) -> Architecture:
    """Understand `90a`, `sm_90a` and `compute_75`. Raises UsageError."""
    match = _NAME.fullmatch(text.strip())
    if match is None or int(match[2]) < OLDEST:
        raise UsageError(
            f"the CUDA architecture {text[:40]!a}",
            wanted=f"one such as 80, 90a or compute_75, from {OLDEST} on",
            fix="give --cuda-arch such a list, or leave it out",
        )
    return Architecture(int(match[2]), match[3], match[1] == "compute")


def parse_architectures(names: Iterable[str] = DEFAULT_ARCHITECTURES) -> tuple[Architecture, ...]:
    """Return the architectures of a list, each once, in one order. Raises UsageError."""
    chosen = {parse_architecture(name) for name in names}
    if not chosen:
        raise UsageError("no CUDA architecture", wanted="one at least", fix="give --cuda-arch 90a")
    return tuple(sorted(chosen, key=lambda arch: (arch.ptx, arch.number, arch.suffix)))


def body_for(arch: Architecture, bodies: Sequence[str]) -> str:
    """Return which of several bodies (short names, "" is the general one) an architecture gets.

    A body with a suffix goes to that very architecture, one without also to later ones, the
    nearest first. PTX may run anywhere, so it never gets a body newer than its own number.
    """
    if arch.short_name in bodies and not arch.ptx:
        return arch.short_name
    older = [int(body) for body in bodies if body.isdecimal() and int(body) <= arch.number]
    return str(max(older)) if older else ""

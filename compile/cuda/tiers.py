"""The classes of NVIDIA GPUs that libraries are compiled for.

A kernel that may start before the one before it has ended must wait for that one's results, with
an instruction that exists from sm_90 on. The launch asks for it on the host's side, so a library
either holds such kernels for chips from 90 on, or none. (PTX for an older chip, compiled by the
driver for a newer one, would start early and not wait: github.com/NVIDIA/cccl/issues/9134.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ferrylm.compile.cuda.architectures import (
    DEFAULT_ARCHITECTURES,
    Architecture,
    parse_architectures,
)
from ferrylm.schedules.gpu.profile import GpuProfile

SHARED_BYTES = 48 << 10  # of a workgroup that asks for no more; CUDA C++ Programming Guide


@dataclass(frozen=True)
class CudaTier:
    """Chips from `first` to the next tier; a chip that runs several takes the most preferred."""

    profile: GpuProfile
    first: int
    last: int
    preference: int

    @property
    def name(self) -> str:
        """Return what follows `cuda-` in the target's name."""
        return self.profile.name

    def profile_for(self, architectures: Iterable[Architecture]) -> GpuProfile:
        """Return the profile of a library with code for these."""
        names = {arch.name for arch in architectures}
        # Which of the two a chip with both would take is nowhere written down.
        return replace(self.profile, warpgroups="sm_90a" in names and "sm_90" not in names)


def _tier(first: int, last: int, preference: int, *, overlap: bool) -> CudaTier:
    name = f"sm{first}"
    profile = GpuProfile(
        name, "cuda", 32, dot=True, shared_bytes=SHARED_BYTES, overlap=overlap, matrix=True
    )
    return CudaTier(profile, first, last, preference)


TIERS: Mapping[str, CudaTier] = {
    tier.name: tier
    for tier in (_tier(90, 999, 110, overlap=True), _tier(75, 89, 100, overlap=False))
}


def chips_of(tier: str, names: tuple[str, ...] = DEFAULT_ARCHITECTURES) -> tuple[Architecture, ...]:
    """Return those of the named architectures that belong to a tier.

    Raises UsageError for an unknown name.
    """
    chosen = TIERS[tier]
    return tuple(
        arch for arch in parse_architectures(names) if chosen.first <= arch.number <= chosen.last
    )

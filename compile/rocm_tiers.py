"""The classes of AMD GPUs that libraries are compiled for.

A tier fixes the lanes of a wave, and whether prompts are multiplied on matrix units, because both
decide how kernels are launched. What multiplies tiles is each chip's own (rocm/matrix_units.py).
A chip belongs to one tier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ferrylm.compile.rocm.architectures import DEFAULT_NAMES, Architecture, architectures
from ferrylm.schedules.gpu.profile import GpuProfile

_SHARED_BYTES = 64 << 10  # of a workgroup, on every chip of the list


@dataclass(frozen=True)
class RocmTier:
    """Chips with waves of one width and one of some kinds of matrix units (Architecture.matrix)."""

    profile: GpuProfile
    units: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return what follows `rocm-` in the target's name."""
        return self.profile.name


def _tier(
    name: str, wave: int, units: tuple[str, ...], shape: tuple[int, int, int] | None = None
) -> RocmTier:
    profile = GpuProfile(
        name, "rocm", wave, dot=True, shared_bytes=_SHARED_BYTES, cooperative=shape
    )
    return RocmTier(profile, units)


TIERS: Mapping[str, RocmTier] = MappingProxyType(
    {
        tier.name: tier
        for tier in (
            _tier("wave32", 32, ("none",)),  # RDNA 1 and 2
            _tier("wave32-matrix", 32, ("wmma", "wmma12"), (16, 16, 16)),  # RDNA 3 and 4
            _tier("wave64", 64, ("none",)),  # GCN 5
            _tier("wave64-matrix", 64, ("mfma",), (16, 16, 32)),  # CDNA
        )
    }
)


def chips_of(tier: str, names: tuple[str, ...] = DEFAULT_NAMES) -> tuple[Architecture, ...]:
    """Return those of the named architectures that belong to a tier.

    Raises UsageError for an unknown name.
    """
    chosen = TIERS[tier]
    return tuple(
        chip
        for chip in architectures(names)
        if chip.wave == chosen.profile.subgroup and chip.matrix in chosen.units
    )

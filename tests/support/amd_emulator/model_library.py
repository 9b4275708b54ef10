"""A model's library for AMD's chips that the host runs: to the engine it is one for a CPU."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import tvm

from ferrylm.compile.library import TracedModel
from ferrylm.compile.rocm.architectures import Architecture
from ferrylm.compile.rocm.code_object import quiet, rocm_target
from ferrylm.compile.rocm_tiers import RocmTier
from tests.support.amd_emulator.runner import AmdKernels, captured
from tests.support.cuda_emulator.kernels import Kernels
from tests.support.cuda_emulator.lowering import ON_HOST
from tests.support.cuda_emulator.model_library import EmulatedChip


@dataclass
class EmulatedAmdChip(EmulatedChip):
    """A chip of a tier of AMD's; see EmulatedChip."""

    tier: RocmTier  # type: ignore[assignment]
    arch: Architecture  # type: ignore[assignment]
    kernels: list[Kernels] = field(default_factory=list)

    def lower(self, traced: TracedModel) -> tuple[Any, Kernels]:
        """Return the host's executable, and the kernels that it calls by name."""
        target = tvm.target.Target(rocm_target(self.arch), host="llvm")
        with captured() as kept, quiet():
            executable = traced.lower(target, ON_HOST)
        return executable, AmdKernels(kept[0], self.arch)

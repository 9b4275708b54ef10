"""A model's library for NVIDIA's chips that the host runs: to the engine it is one for a CPU.

Its functions are those of a CUDA library, Relax and host code included; what they launch are
emulated kernels, and their memory is the host's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

from ferrylm.compile import cpu_library
from ferrylm.compile.cuda.library import cuda_target
from ferrylm.compile.cuda.tiers import CudaTier
from ferrylm.compile.library import (
    BuiltLibrary,
    ModelPlan,
    TargetTraits,
    TracedModel,
    export_library,
    trace_model,
)
from ferrylm.runtime.manifest import Requirements
from ferrylm.schedules.cpu.profile import CpuProfile
from ferrylm.schedules.gpu.kernels import GpuKernels
from tests.support.cuda_emulator.kernels import Kernels
from tests.support.cuda_emulator.lowering import ON_HOST, captured


@dataclass
class EmulatedChip:
    """A chip of a tier; `kernels` are those of the libraries that were built for it."""

    tier: CudaTier
    arch: str
    kernels: list[Kernels] = field(default_factory=list)

    def lower(self, traced: TracedModel) -> tuple[Any, Kernels]:
        """Return the host's executable, and the kernels that it calls by name."""
        with captured(self.arch) as capture:
            executable = traced.lower(cuda_target(self.tier.first), ON_HOST)
        return executable, Kernels(capture.kernels, capture.source(), self.arch)

    def build(self, plan: ModelPlan, profile: CpuProfile) -> BuiltLibrary:
        """Build the library in the place of a processor's. Raises CompileError."""
        plan = replace(plan, kv_dtype="float16")
        gpu_kernels = GpuKernels(
            self.tier.profile, plan.arithmetic, plan.attention_shape, rounded=plan.rounded
        )
        traced = trace_model(plan, gpu_kernels)
        executable, kernels = self.lower(traced)
        for host in executable.mod.imports:
            host.clear_imports()  # of the empty module that stands for the device's
        self.kernels.append(kernels)
        traits = TargetTraits(
            kind="cpu",
            tier=profile.name,
            preference=profile.preference,
            arithmetic=plan.arithmetic,
            requires=Requirements(profile.machine, profile.cpu_features),
        )
        built = traced.library(export_library(executable, profile.machine), traits)
        # Drawing on the device goes through what a CPU's backend does not have.
        return replace(built, entry=replace(built.entry, draws=False))

    @contextmanager
    def for_processors(self) -> Iterator[None]:
        """Let the compiler build libraries for this chip where it would build a processor's."""
        with mock.patch.object(cpu_library, "build_cpu_library", self.build):
            yield

    def register(self, *, backward: bool = False) -> None:
        """Let the libraries find their kernels, before their functions are first called."""
        for kernels in self.kernels:
            kernels.register(backward)

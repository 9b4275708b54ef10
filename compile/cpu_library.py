"""A library for one kind of processor."""

from __future__ import annotations

from dataclasses import dataclass

import tvm

from ferrylm.compile.library import (
    BuiltLibrary,
    ModelPlan,
    TargetTraits,
    export_library,
    trace_model,
)
from ferrylm.compile.tir_pipeline import PIPELINE
from ferrylm.runtime.manifest import Requirements
from ferrylm.schedules.cpu.kernels import CpuKernels
from ferrylm.schedules.cpu.profile import CpuProfile


@dataclass(frozen=True)
class CpuJob:
    """The library of one processor profile."""

    plan: ModelPlan
    profile: CpuProfile

    @property
    def target(self) -> str:
        """Return the library's name."""
        return f"cpu-{self.profile.name}"

    def run(self) -> BuiltLibrary:
        """Build it. Raises CompileError."""
        return build_cpu_library(self.plan, self.profile)


def build_cpu_library(plan: ModelPlan, profile: CpuProfile) -> BuiltLibrary:
    """Compile the model for one processor profile. Raises CompileError."""
    traced = trace_model(plan, CpuKernels(profile, plan.arithmetic, plan.attention_shape))
    executable = traced.lower(tvm.target.Target(profile.tvm_target()), PIPELINE)
    traits = TargetTraits(
        kind="cpu",
        tier=profile.name,
        preference=profile.preference,
        arithmetic=plan.arithmetic,
        requires=Requirements(profile.machine, profile.cpu_features),
    )
    return traced.library(export_library(executable, profile.machine), traits)

"""A library for AMD GPUs: the chips of one tier, through HIP."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import tvm

from ferrylm.compile.gpu_pipeline import PIPELINE
from ferrylm.compile.library import (
    BuiltLibrary,
    ModelPlan,
    TargetTraits,
    export_library,
    trace_model,
)
from ferrylm.compile.rocm.architectures import DEFAULT_NAMES, Architecture
from ferrylm.compile.rocm.build_hook import ahead_of_time
from ferrylm.compile.rocm.code_object import rocm_target
from ferrylm.compile.rocm_tiers import TIERS, RocmTier, chips_of
from ferrylm.runtime.manifest import Requirements, RocmNeeds
from ferrylm.schedules.gpu.kernels import GpuKernels
from ferrylm.schedules.gpu.memory_read import memory_read

_HOST_MACHINE = "x86_64"
_HOST = {"kind": "llvm", "mtriple": "x86_64-unknown-linux-gnu", "mcpu": "x86-64"}
_PREFERENCE = 100
_KV_DTYPE = "float16"


@dataclass(frozen=True)
class RocmJob:
    """The ROCm library of one tier."""

    plan: ModelPlan
    tier: str  # of TIERS
    names: tuple[str, ...] = DEFAULT_NAMES

    @property
    def target(self) -> str:
        """Return the library's name."""
        return f"rocm-{self.tier}"

    def run(self) -> BuiltLibrary:
        """Build it. Raises CompileError, UsageError."""
        return build_rocm_library(self.plan, TIERS[self.tier], chips_of(self.tier, self.names))


def build_rocm_library(
    plan: ModelPlan, tier: RocmTier, chips: tuple[Architecture, ...]
) -> BuiltLibrary:
    """Compile the model for chips of one tier. Raises CompileError."""
    profile = tier.profile
    arithmetic = profile.arithmetic(plan.arithmetic)
    plan = replace(plan, kv_dtype=_KV_DTYPE, arithmetic=arithmetic)
    traced = trace_model(
        plan, GpuKernels(profile, arithmetic, plan.attention_shape, rounded=plan.rounded)
    )
    traced.add_function(memory_read())
    target = tvm.target.Target(rocm_target(chips[0]), host=tvm.target.Target(_HOST))
    with ahead_of_time(chips) as built:
        executable = traced.lower(target, PIPELINE)
    code = export_library(executable, _HOST_MACHINE)
    assert built.code_objects is not None, "a model has kernels"
    names = tuple(chip.name for chip in chips)
    traits = TargetTraits(
        kind="rocm",
        tier=tier.name,
        preference=_PREFERENCE,
        arithmetic=arithmetic,
        requires=Requirements(_HOST_MACHINE, (), rocm=RocmNeeds(names)),
        kernels=_kernel_count(traced.module),
        device_code_bytes=sum(len(found.code) for found in built.code_objects.values()),
    )
    return traced.library(code, traits)


def _kernel_count(module: Any) -> int:
    """Return the number of TensorIR functions, each of which is one kernel or more."""
    return sum(isinstance(func, tvm.tirx.PrimFunc) for _, func in module.functions_items())

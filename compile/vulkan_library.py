"""A library for one class of Vulkan devices, and what its kernels need of a device."""

from __future__ import annotations

import math
import struct
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
from ferrylm.compile.spirv import typed_errors
from ferrylm.compile.vulkan_tiers import VulkanTier
from ferrylm.errors import CompileError
from ferrylm.runtime.manifest import Requirements, VulkanNeeds
from ferrylm.runtime.strict_json import loads
from ferrylm.schedules.gpu.kernels import GpuKernels
from ferrylm.schedules.gpu.memory_read import memory_read

HOST_MACHINE = "x86_64"
_HOST = {"kind": "llvm", "mtriple": "x86_64-unknown-linux-gnu", "mcpu": "x86-64"}
_MAGIC = b"FERRYVK1"
_MOST_HEADER_BYTES = 64 << 20
_KV_DTYPE = "float16"


@dataclass(frozen=True)
class VulkanJob:
    """The library of one tier."""

    plan: ModelPlan
    tier: VulkanTier

    @property
    def target(self) -> str:
        """Return the library's name."""
        return f"vulkan-{self.tier.name}"

    def run(self) -> BuiltLibrary:
        """Build it. Raises CompileError."""
        return build_vulkan_library(self.plan, self.tier)


def build_vulkan_library(plan: ModelPlan, tier: VulkanTier) -> BuiltLibrary:
    """Compile the model for one tier; the needs in its entry are those of its kernels.

    Raises CompileError.
    """
    arithmetic = tier.profile.arithmetic(plan.arithmetic)
    plan = replace(plan, kv_dtype=_KV_DTYPE, arithmetic=arithmetic)
    traced = trace_model(
        plan, GpuKernels(tier.profile, arithmetic, plan.attention_shape, rounded=plan.rounded)
    )
    traced.add_function(memory_read())
    target = tvm.target.Target(tier.tvm_target(), host=tvm.target.Target(_HOST))
    with typed_errors():
        executable = traced.lower(target, PIPELINE)
    code = export_library(executable, HOST_MACHINE)
    kernels = container_kernels(code)
    traits = TargetTraits(
        kind="vulkan",
        tier=tier.name,
        preference=tier.preference,
        arithmetic=arithmetic,
        requires=Requirements(HOST_MACHINE, (), vulkan=kernel_needs(kernels)),
        kernels=len(kernels),
        device_code_bytes=sum({kernel["offset"]: kernel["bytes"] for kernel in kernels}.values()),
    )
    return traced.library(code, traits)


def container_kernels(code: bytes) -> list[dict[str, Any]]:
    """Return the header entries of all kernels in a library's containers.

    Raises CompileError where there is none.
    """
    kernels: list[dict[str, Any]] = []
    at = code.find(_MAGIC)
    while at >= 0:
        start = at + len(_MAGIC) + 4
        (length,) = struct.unpack_from("<I", code, start - 4)
        header: Any = loads(
            code[start : start + length], what="a container", max_bytes=_MOST_HEADER_BYTES
        )
        kernels += header["kernels"]
        at = code.find(_MAGIC, start)
    if not kernels:
        raise CompileError(
            "a Vulkan library without a kernel",
            wanted="the container that the code generator makes",
            fix="report this with the output of ferry compile --debug",
        )
    return kernels


def kernel_needs(kernels: list[dict[str, Any]]) -> VulkanNeeds:
    """Return what a device must have to run all kernels."""
    features = {feature for kernel in kernels for feature in kernel["requires"]}
    versions = {kernel["spirv_version"] for kernel in kernels}
    return VulkanNeeds(
        api_version="1.3" if "1.6" in versions else "1.2",
        features=tuple(sorted(features)),
        subgroup_sizes=tuple(sorted({kernel["subgroup_size"] for kernel in kernels} - {0})),
        limits={
            "maxComputeSharedMemorySize": max(kernel["shared_bytes"] for kernel in kernels),
            "maxComputeWorkGroupInvocations": max(
                math.prod(kernel["local_size"]) for kernel in kernels
            ),
        },
    )

"""A library for NVIDIA GPUs: the model's kernels as machine code of several architectures."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tvm

from ferrylm.compile.cuda.architectures import DEFAULT_ARCHITECTURES, Architecture
from ferrylm.compile.cuda.build_hook import ahead_of_time
from ferrylm.compile.cuda.nvrtc import Report
from ferrylm.compile.cuda.packing import CudaPacker, FatBinary
from ferrylm.compile.cuda.tiers import SHARED_BYTES, TIERS, CudaTier, chips_of
from ferrylm.compile.cuda.toolkit import VERSION, find_toolkit
from ferrylm.compile.gpu_pipeline import PIPELINE
from ferrylm.compile.library import (
    DECODE_BATCHES,
    BuiltLibrary,
    ModelPlan,
    TargetTraits,
    trace_model,
)
from ferrylm.compile.link import link_shared
from ferrylm.runtime.manifest import CudaNeeds, Requirements
from ferrylm.schedules.gpu.kernels import GpuKernels

_KV_DTYPE = "float16"
MATRIX_BATCHES = (16,)  # further decode batches: matrix units take 16 rows for the time of 8
_HOST_MACHINE = "x86_64"
_HOST = {"kind": "llvm", "mtriple": "x86_64-unknown-linux-gnu", "mcpu": "x86-64"}


@dataclass(frozen=True)
class CudaJob:
    """The CUDA library of a tier."""

    plan: ModelPlan
    tier: str  # of TIERS
    names: tuple[str, ...] = DEFAULT_ARCHITECTURES

    @property
    def target(self) -> str:
        """Return the library's name."""
        return f"cuda-{self.tier}"

    def run(self) -> BuiltLibrary:
        """Build it. Raises CompileError, UsageError."""
        return build_cuda_library(self.plan, TIERS[self.tier], chips_of(self.tier, self.names))


def cuda_target(first: int = 75) -> Any:
    """Return the TVM target of kernels for chips from `first` on, with its host."""
    description = {
        "kind": "cuda",
        "arch": f"sm_{first}",
        "max_threads_per_block": 1024,
        "max_shared_memory_per_block": SHARED_BYTES,
        "thread_warp_size": 32,
    }
    return tvm.target.Target(description, host=tvm.target.Target(_HOST))


def build_cuda_library(
    plan: ModelPlan,
    tier: CudaTier,
    architectures: Sequence[Architecture],
    report: Report | None = None,
) -> BuiltLibrary:
    """Compile the model; `report` is called after each architecture. Raises CompileError."""
    find_toolkit()  # lowering a model takes a while: what is missing is said before
    profile = tier.profile_for(architectures)
    arithmetic = profile.arithmetic(plan.arithmetic)
    batches = plan.decode_batches
    if profile.matrix and batches == DECODE_BATCHES:
        batches += MATRIX_BATCHES
    plan = replace(plan, kv_dtype=_KV_DTYPE, arithmetic=arithmetic, decode_batches=batches)
    traced = trace_model(
        plan, GpuKernels(profile, arithmetic, plan.attention_shape, rounded=plan.rounded)
    )
    with ahead_of_time():
        executable = traced.lower(cuda_target(tier.first), PIPELINE)
    code, built = export_cuda_library(executable, architectures, report)
    traits = TargetTraits(
        kind="cuda",
        tier=tier.name,
        preference=tier.preference,
        arithmetic=arithmetic,
        requires=Requirements(_HOST_MACHINE, (), cuda=cuda_needs(tuple(built.size_bytes))),
        kernels=len(built.kernels),
        device_code_bytes=sum(built.size_bytes.values()),
    )
    return traced.library(code, traits)


def export_cuda_library(
    executable: Any, architectures: Sequence[Architecture], report: Report | None = None
) -> tuple[bytes, FatBinary]:
    """Return the shared library of what `ahead_of_time` built, and its device code.

    Raises CompileError.
    """
    packer = CudaPacker(architectures, _HOST_MACHINE, report=report)

    def link(output: str, objects: list[str], **_options: object) -> None:
        link_shared(Path(output), [Path(name) for name in objects], _HOST_MACHINE)

    with tempfile.TemporaryDirectory(prefix="ferrylm-") as folder:
        path = Path(folder) / "library.so"
        executable.export_library(
            str(path), fcompile=link, fpack_imports=packer, workspace_dir=folder
        )
        assert packer.built is not None, "the packer raises where it finds no kernels"
        return path.read_bytes(), packer.built


def cuda_needs(architectures: Sequence[Architecture]) -> CudaNeeds:
    """Return what a machine must have to run code of these architectures."""
    return CudaNeeds(
        architectures=tuple(arch.name for arch in architectures if not arch.ptx),
        ptx=tuple(arch.name for arch in architectures if arch.ptx),
        driver=f"{VERSION[0]}.{VERSION[1]}",
    )

"""The names that `--target` takes, and the libraries that each stands for."""

from __future__ import annotations

from collections.abc import Sequence

from ferrylm.compile.cuda.library import TIER as CUDA_TIER
from ferrylm.compile.cuda.library import CudaJob
from ferrylm.compile.library import LibraryJob, ModelPlan
from ferrylm.compile.vulkan_tiers import TIERS
from ferrylm.errors import UsageError
from ferrylm.schedules.cpu.profile import PROFILES

KINDS = ("cpu", "vulkan", "cuda")  # that this version compiles for


def known_targets() -> list[str]:
    """Return every name: all, the kinds, and the single targets."""
    return ["all", *KINDS, *_single_targets()]


def expand_targets(names: Sequence[str]) -> list[str]:
    """Return the single targets of names such as all, vulkan or cpu-x86-64-v3, each once.

    Raises UsageError for an unknown one, or for none.
    """
    if not names:
        raise UsageError("no target", wanted="one at least", fix="give --target cpu")
    single = _single_targets()
    chosen: dict[str, None] = {}
    for name in names:
        if name in single:
            chosen[name] = None
        elif name == "all":
            chosen |= dict.fromkeys(target for kind in KINDS for target in _of_kind(kind))
        elif name in KINDS:
            chosen |= dict.fromkeys(_of_kind(name))
        else:
            raise UsageError(
                f"target {name!r}",
                wanted="one of " + ", ".join(known_targets()),
                fix="choose one of these",
            )
    return list(chosen)


def library_job(target: str, plan: ModelPlan, cuda_architectures: tuple[str, ...]) -> LibraryJob:
    """Return the job of a single target that `expand_targets` gave."""
    kind, _, tier = target.partition("-")
    if kind == "cpu":
        from ferrylm.compile.cpu_library import CpuJob

        return CpuJob(plan, PROFILES[tier])
    if kind == "cuda":
        return CudaJob(plan, cuda_architectures)
    from ferrylm.compile.vulkan_library import VulkanJob

    return VulkanJob(plan, TIERS[tier])


def _single_targets() -> list[str]:
    return [target for kind in KINDS for target in _of_kind(kind)]


def _of_kind(kind: str) -> list[str]:
    """Return the targets of a kind, all of which its bare name stands for."""
    tiers = {"cpu": PROFILES, "vulkan": TIERS, "cuda": (CUDA_TIER,)}[kind]
    return [f"{kind}-{tier}" for tier in tiers]

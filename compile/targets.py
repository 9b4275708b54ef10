"""The names that `--target` takes, and the libraries that each stands for."""

from __future__ import annotations

from collections.abc import Sequence

from ferrylm.compile.library import LibraryJob, ModelPlan
from ferrylm.errors import UsageError
from ferrylm.schedules.cpu.profile import PROFILES

KINDS = ("cpu", "vulkan")  # that this version compiles for


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
            chosen |= dict.fromkeys(target for kind in KINDS for target in _defaults(kind))
        elif name in KINDS:
            chosen |= dict.fromkeys(_defaults(name))
        else:
            raise UsageError(
                f"target {name!r}",
                wanted="one of " + ", ".join(known_targets()),
                fix="choose one of these",
            )
    return list(chosen)


def library_job(target: str, plan: ModelPlan) -> LibraryJob:
    """Return the job of a single target that `expand_targets` gave."""
    kind, _, tier = target.partition("-")
    if kind == "cpu":
        from ferrylm.compile.cpu_library import CpuJob

        return CpuJob(plan, PROFILES[tier])
    from ferrylm.compile.vulkan_library import VulkanJob
    from ferrylm.compile.vulkan_tiers import TIERS

    return VulkanJob(plan, TIERS[tier])


def _single_targets() -> list[str]:
    from ferrylm.compile.vulkan_tiers import TIERS

    return [f"cpu-{name}" for name in PROFILES] + [f"vulkan-{name}" for name in TIERS]


def _defaults(kind: str) -> list[str]:
    if kind == "cpu":
        return [f"cpu-{name}" for name in PROFILES]
    from ferrylm.compile.vulkan_tiers import DEFAULT_TIERS

    return [f"vulkan-{name}" for name in DEFAULT_TIERS]

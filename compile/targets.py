"""The names that `--target` takes, and the libraries that each stands for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ferrylm.compile.cuda.architectures import DEFAULT_ARCHITECTURES, parse_architectures
from ferrylm.compile.cuda.library import CudaJob
from ferrylm.compile.cuda.tiers import TIERS as CUDA_TIERS
from ferrylm.compile.cuda.tiers import chips_of as cuda_chips_of
from ferrylm.compile.library import LibraryJob, ModelPlan
from ferrylm.compile.rocm.architectures import DEFAULT_NAMES
from ferrylm.compile.rocm_library import RocmJob
from ferrylm.compile.rocm_tiers import TIERS as ROCM_TIERS
from ferrylm.compile.rocm_tiers import chips_of
from ferrylm.compile.vulkan_tiers import TIERS
from ferrylm.errors import UsageError
from ferrylm.schedules.cpu.profile import PROFILES

_TIERS: dict[str, tuple[str, ...]] = {
    "cpu": tuple(PROFILES),
    "vulkan": tuple(TIERS),
    "cuda": tuple(CUDA_TIERS),
    "rocm": tuple(ROCM_TIERS),
}

_ONLY_BY_NAME = {f"vulkan-{name}" for name, tier in TIERS.items() if tier.only_by_name}


@dataclass(frozen=True)
class Chips:
    """The chips that machine code is made for, where a library holds that of several."""

    cuda: tuple[str, ...] = DEFAULT_ARCHITECTURES  # 80, 90a, compute_75, ...
    rocm: tuple[str, ...] = DEFAULT_NAMES  # gfx1100, gfx10-3-generic, ...

    def __post_init__(self) -> None:
        parse_architectures(self.cuda)
        for tier in ROCM_TIERS:
            chips_of(tier, self.rocm)


def known_targets() -> list[str]:
    """Return every name: all, the kinds, and the single targets."""
    return ["all", *_TIERS, *_of_kinds(_TIERS)]


def expand_targets(names: Sequence[str], chips: Chips | None = None) -> list[str]:
    """Return the single targets of names such as all, vulkan or cpu-x86-64-v3, each once.

    A bare `rocm` or `cuda` leaves out the tiers of which no chip is listed, a bare `vulkan` the one
    that serves tests only. Raises UsageError for
    an unknown name, for none, and for a target without a chip.
    """
    if not names:
        raise UsageError("no target", wanted="one at least", fix="give --target cpu")
    listed = chips or Chips()
    empty = {f"rocm-{tier}" for tier in ROCM_TIERS if not chips_of(tier, listed.rocm)}
    empty |= {f"cuda-{tier}" for tier in CUDA_TIERS if not cuda_chips_of(tier, listed.cuda)}
    left_out = empty | _ONLY_BY_NAME
    chosen: dict[str, None] = {}
    for name in names:
        if name == "all" or name in _TIERS:
            kinds = _TIERS if name == "all" else (name,)
            chosen |= {target: None for target in _of_kinds(kinds) if target not in left_out}
        elif name in empty:
            raise UsageError(
                f"{name} without a chip",
                wanted="one of that tier",
                fix=f"add one to --{name.partition('-')[0]}-arch",
            )
        elif name in _of_kinds(_TIERS):
            chosen[name] = None
        else:
            raise UsageError(
                f"target {name!r}",
                wanted="one of " + ", ".join(known_targets()),
                fix="choose one of these",
            )
    return list(chosen)


def library_job(target: str, plan: ModelPlan, chips: Chips) -> LibraryJob:
    """Return the job of a single target that `expand_targets` gave."""
    kind, _, tier = target.partition("-")
    if kind == "cpu":
        from ferrylm.compile.cpu_library import CpuJob

        return CpuJob(plan, PROFILES[tier])
    if kind == "cuda":
        return CudaJob(plan, tier, chips.cuda)
    if kind == "rocm":
        return RocmJob(plan, tier, chips.rocm)
    from ferrylm.compile.vulkan_library import VulkanJob

    return VulkanJob(plan, TIERS[tier])


def _of_kinds(kinds: Iterable[str]) -> list[str]:
    return [f"{kind}-{tier}" for kind in kinds for tier in _TIERS[kind]]

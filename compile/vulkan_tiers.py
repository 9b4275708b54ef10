"""The classes of Vulkan devices that libraries are compiled for.

A tier fixes the subgroup width, because kernels spread their work over it, whether bytes are
multiplied by the integer dot product, and whether prompts are multiplied as cooperative matrices.
What a device must have is not written here: it is read off the compiled kernels
(vulkan_library.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ferrylm.schedules.gpu.profile import GpuProfile

SPIRV_1_5 = 0x10500  # Vulkan 1.2
_SHARED_BYTES = 32 << 10  # of a workgroup; every desktop and handheld GPU has it
_MATRIX_SHARED_BYTES = 48 << 10  # likewise, of those with cooperative matrices
_MOST_THREADS = 1024


@dataclass(frozen=True)
class VulkanTier:
    """One class of devices."""

    profile: GpuProfile
    preference: int
    only_by_name: bool = False  # no part of `--target vulkan`

    @property
    def name(self) -> str:
        """Return what follows `vulkan-` in the target's name."""
        return self.profile.name

    def tvm_target(self) -> dict[str, object]:
        """Return the description that `tvm.target.Target` takes."""
        return {
            "kind": "vulkan",
            "thread_warp_size": self.profile.subgroup,
            "max_num_threads": _MOST_THREADS,
            "max_shared_memory_per_block": self.profile.shared_bytes,
            "supports_integer_dot_product": self.profile.dot,
            "supports_cooperative_matrix": self.profile.cooperative is not None,
            "supports_float16": self.profile.cooperative is not None,
            "max_spirv_version": SPIRV_1_5,
        }


def _tier(subgroup: int, preference: int, *, dot: bool, only_by_name: bool = False) -> VulkanTier:
    name = f"subgroup{subgroup}{'-dot' if dot else ''}"
    # Lanes of a CPU's vector load one after another, so each takes rows of its own.
    profile = GpuProfile(name, "vulkan", subgroup, dot, _SHARED_BYTES, rows_in_lanes=subgroup == 8)
    return VulkanTier(profile, preference, only_by_name)


def _matrix_tier(
    subgroup: int, preference: int, size: int, *, only_by_name: bool = False
) -> VulkanTier:
    profile = GpuProfile(
        f"subgroup{subgroup}-matrix", "vulkan", subgroup, dot=True,
        shared_bytes=_MATRIX_SHARED_BYTES, rows_in_lanes=subgroup == 8,
        cooperative=(size, size, size),
    )  # fmt: skip
    return VulkanTier(profile, preference, only_by_name)


# A device that offers several widths gets the first that it can run: Intel 16, AMD RDNA 32 and not
# 64, because a narrow subgroup leaves fewer lanes idle at the end of a row.
TIERS: Mapping[str, VulkanTier] = {
    tier.name: tier
    for tier in (
        _tier(16, 60, dot=True),
        _tier(32, 50, dot=True),
        _tier(64, 40, dot=True),
        # Lanes of a CPU, which multiplies bytes one by one: for tests of the other dot tiers.
        _tier(8, 5, dot=True, only_by_name=True),
        # Products of 16 x 16 x 16 are what NVIDIA and AMD have in common.
        _matrix_tier(32, 55, 16),
        _matrix_tier(64, 45, 16, only_by_name=True),
        _matrix_tier(8, 6, 8, only_by_name=True),
        _tier(32, 20, dot=False),
        _tier(64, 15, dot=False),
        _tier(8, 10, dot=False),
    )
}

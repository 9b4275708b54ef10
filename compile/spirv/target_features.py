"""What the compilation target says of the device, and what a module's capabilities ask of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ferrylm.compile.spirv.enumerants import SPIRV_1_5, SPIRV_1_6, Capability

_CLUSTERED = 0x40  # VK_SUBGROUP_FEATURE_CLUSTERED_BIT

# Names of VkPhysicalDevice*Features members; subgroup operations are named by this project.
_FEATURES: Mapping[Capability, str] = {
    Capability.FLOAT16: "shaderFloat16",
    Capability.FLOAT64: "shaderFloat64",
    Capability.INT64: "shaderInt64",
    Capability.INT64_ATOMICS: "shaderBufferInt64Atomics",
    Capability.INT16: "shaderInt16",
    Capability.INT8: "shaderInt8",
    Capability.GROUP_NON_UNIFORM: "subgroupBasic",
    Capability.GROUP_NON_UNIFORM_ARITHMETIC: "subgroupArithmetic",
    Capability.GROUP_NON_UNIFORM_BALLOT: "subgroupBallot",
    Capability.GROUP_NON_UNIFORM_SHUFFLE: "subgroupShuffle",
    Capability.GROUP_NON_UNIFORM_SHUFFLE_RELATIVE: "subgroupShuffleRelative",
    Capability.GROUP_NON_UNIFORM_CLUSTERED: "subgroupClustered",
    Capability.STORAGE_BUFFER_16BIT_ACCESS: "storageBuffer16BitAccess",
    Capability.STORAGE_BUFFER_8BIT_ACCESS: "storageBuffer8BitAccess",
    Capability.VULKAN_MEMORY_MODEL: "vulkanMemoryModel",
    Capability.VULKAN_MEMORY_MODEL_DEVICE_SCOPE: "vulkanMemoryModelDeviceScope",
    Capability.PHYSICAL_STORAGE_BUFFER_ADDRESSES: "bufferDeviceAddress",
    Capability.DOT_PRODUCT: "shaderIntegerDotProduct",
    Capability.COOPERATIVE_MATRIX: "cooperativeMatrix",
}


@dataclass(frozen=True)
class TargetFeatures:
    """The options of a `vulkan` target that change the code.

    `float16`: arithmetic on halves; without it halves are stored and loaded, and computed with as
    float32 that is rounded after every operation. `int8`, `int16`: arrays of these in shared
    memory. `clustered`: reductions over parts of a subgroup are instructions.
    """

    spirv_version: int
    float16: bool
    int8: bool
    int16: bool
    dot_product: bool
    cooperative_matrix: bool
    subgroup_operations: int | None
    storage8: bool
    storage16: bool
    most_shared_bytes: int | None
    warp_size: int

    def clustered(self, subgroup_size: int) -> bool:
        """Return whether to use clustered reductions.

        A target that does not list its operations has them, unless its subgroups have 8 lanes:
        lavapipe, the most used of these, has none.
        """
        if self.subgroup_operations is None:
            return subgroup_size != 8
        return bool(self.subgroup_operations & _CLUSTERED)


def read_target(target: Any) -> TargetFeatures:
    """Read the options of a tvm Target of kind `vulkan`."""
    options = dict(target.attrs)

    def flag(name: str, default: bool = False) -> bool:
        return bool(options.get(name, default))

    version = int(options.get("max_spirv_version", SPIRV_1_5))
    operations = int(options.get("supported_subgroup_operations", 0))
    shared = int(options.get("max_shared_memory_per_block", 0))
    return TargetFeatures(
        spirv_version=SPIRV_1_6 if version >= SPIRV_1_6 else SPIRV_1_5,
        float16=flag("supports_float16"),
        int8=flag("supports_int8"),
        int16=flag("supports_int16"),
        dot_product=flag("supports_integer_dot_product"),
        cooperative_matrix=flag("supports_cooperative_matrix"),
        subgroup_operations=operations or None,
        storage8=flag("supports_8bit_buffer", True),
        storage16=flag("supports_16bit_buffer", True),
        most_shared_bytes=shared or None,
        warp_size=int(options.get("thread_warp_size", 1)),
    )


def feature_names(capabilities: Iterable[int]) -> list[str]:
    """Return the sorted Vulkan features that a module with these capabilities needs."""
    known = {int(capability): name for capability, name in _FEATURES.items()}
    return sorted({known[each] for each in capabilities if each in known})

"""Which features a Vulkan device has, all of which are then asked for."""

from __future__ import annotations

import ctypes
from ctypes import c_uint32, c_void_p

# Members of VkPhysicalDeviceFeatures and of the features that Vulkan 1.1, 1.2 and 1.3 added, in the
# specification's order, which is the layout.
_CORE_NAMES = """robustBufferAccess fullDrawIndexUint32 imageCubeArray independentBlend
geometryShader tessellationShader sampleRateShading dualSrcBlend logicOp multiDrawIndirect
drawIndirectFirstInstance depthClamp depthBiasClamp fillModeNonSolid depthBounds wideLines
largePoints alphaToOne multiViewport samplerAnisotropy textureCompressionETC2
textureCompressionASTC_LDR textureCompressionBC occlusionQueryPrecise pipelineStatisticsQuery
vertexPipelineStoresAndAtomics fragmentStoresAndAtomics shaderTessellationAndGeometryPointSize
shaderImageGatherExtended shaderStorageImageExtendedFormats shaderStorageImageMultisample
shaderStorageImageReadWithoutFormat shaderStorageImageWriteWithoutFormat
shaderUniformBufferArrayDynamicIndexing shaderSampledImageArrayDynamicIndexing
shaderStorageBufferArrayDynamicIndexing shaderStorageImageArrayDynamicIndexing
shaderClipDistance shaderCullDistance shaderFloat64 shaderInt64 shaderInt16 shaderResourceResidency
shaderResourceMinLod sparseBinding sparseResidencyBuffer sparseResidencyImage2D
sparseResidencyImage3D sparseResidency2Samples sparseResidency4Samples sparseResidency8Samples
sparseResidency16Samples sparseResidencyAliased variableMultisampleRate inheritedQueries"""
_CORE = _CORE_NAMES.split()

_NAMES_1_1 = """storageBuffer16BitAccess uniformAndStorageBuffer16BitAccess storagePushConstant16
storageInputOutput16 multiview multiviewGeometryShader multiviewTessellationShader
variablePointersStorageBuffer variablePointers protectedMemory samplerYcbcrConversion
shaderDrawParameters"""
_VULKAN_1_1 = _NAMES_1_1.split()

_NAMES_1_2 = """samplerMirrorClampToEdge drawIndirectCount storageBuffer8BitAccess
uniformAndStorageBuffer8BitAccess storagePushConstant8 shaderBufferInt64Atomics
shaderSharedInt64Atomics shaderFloat16 shaderInt8 descriptorIndexing
shaderInputAttachmentArrayDynamicIndexing shaderUniformTexelBufferArrayDynamicIndexing
shaderStorageTexelBufferArrayDynamicIndexing shaderUniformBufferArrayNonUniformIndexing
shaderSampledImageArrayNonUniformIndexing shaderStorageBufferArrayNonUniformIndexing
shaderStorageImageArrayNonUniformIndexing shaderInputAttachmentArrayNonUniformIndexing
shaderUniformTexelBufferArrayNonUniformIndexing shaderStorageTexelBufferArrayNonUniformIndexing
descriptorBindingUniformBufferUpdateAfterBind descriptorBindingSampledImageUpdateAfterBind
descriptorBindingStorageImageUpdateAfterBind descriptorBindingStorageBufferUpdateAfterBind
descriptorBindingUniformTexelBufferUpdateAfterBind
descriptorBindingStorageTexelBufferUpdateAfterBind descriptorBindingUpdateUnusedWhilePending
descriptorBindingPartiallyBound descriptorBindingVariableDescriptorCount runtimeDescriptorArray
samplerFilterMinmax scalarBlockLayout imagelessFramebuffer uniformBufferStandardLayout
shaderSubgroupExtendedTypes separateDepthStencilLayouts hostQueryReset timelineSemaphore
bufferDeviceAddress bufferDeviceAddressCaptureReplay bufferDeviceAddressMultiDevice
vulkanMemoryModel vulkanMemoryModelDeviceScope vulkanMemoryModelAvailabilityVisibilityChains
shaderOutputViewportIndex shaderOutputLayer subgroupBroadcastDynamicId"""
_VULKAN_1_2 = _NAMES_1_2.split()

_NAMES_1_3 = """robustImageAccess inlineUniformBlock
descriptorBindingInlineUniformBlockUpdateAfterBind pipelineCreationCacheControl privateData
shaderDemoteToHelperInvocation shaderTerminateInvocation subgroupSizeControl computeFullSubgroups
synchronization2 textureCompressionASTC_HDR shaderZeroInitializeWorkgroupMemory dynamicRendering
shaderIntegerDotProduct maintenance4"""
_VULKAN_1_3 = _NAMES_1_3.split()

_OFF = "robustBufferAccess"  # adds bounds checks to the code that is to be judged


class _Core(ctypes.Structure):
    """VkPhysicalDeviceFeatures2."""

    _fields_ = (("sType", c_uint32), ("pNext", c_void_p), ("on", c_uint32 * len(_CORE)))


class _Added11(ctypes.Structure):
    """VkPhysicalDeviceVulkan11Features."""

    _fields_ = (("sType", c_uint32), ("pNext", c_void_p), ("on", c_uint32 * len(_VULKAN_1_1)))


class _Added12(ctypes.Structure):
    """VkPhysicalDeviceVulkan12Features."""

    _fields_ = (("sType", c_uint32), ("pNext", c_void_p), ("on", c_uint32 * len(_VULKAN_1_2)))


class _Added13(ctypes.Structure):
    """VkPhysicalDeviceVulkan13Features."""

    _fields_ = (("sType", c_uint32), ("pNext", c_void_p), ("on", c_uint32 * len(_VULKAN_1_3)))


_COOPERATIVE = ("cooperativeMatrix",)


class _Executables(ctypes.Structure):
    """VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR."""

    _fields_ = (("sType", c_uint32), ("pNext", c_void_p), ("on", c_uint32 * 1))


class _Cooperative(ctypes.Structure):
    """VkPhysicalDeviceCooperativeMatrixFeaturesKHR: its first member, then robust access."""

    _fields_ = (("sType", c_uint32), ("pNext", c_void_p), ("on", c_uint32), ("robust", c_uint32))


class FeatureChain:
    """The structures of all features, linked as Vulkan reads and writes them."""

    def __init__(self) -> None:
        # A driver that does not know a structure leaves its features off.
        self._cooperative = _Cooperative(1000506000, None)
        self._executables = _Executables(1000269000, ctypes.addressof(self._cooperative))
        self._added13 = _Added13(53, ctypes.addressof(self._executables))
        self._added12 = _Added12(51, ctypes.addressof(self._added13))
        self._added11 = _Added11(49, ctypes.addressof(self._added12))
        self._core = _Core(1000059000, ctypes.addressof(self._added11))

    @property
    def address(self) -> int:
        """Return the address of VkPhysicalDeviceFeatures2, where the chain begins."""
        return ctypes.addressof(self._core)

    def without_checks(self) -> None:
        """Leave out what changes the generated code and no kernel asks for."""
        self._core.on[_CORE.index(_OFF)] = 0

    def missing(self) -> list[str]:
        """Return the names of the features that are off, sorted."""
        parts = (
            (_CORE, self._core.on),
            (_VULKAN_1_1, self._added11.on),
            (_VULKAN_1_2, self._added12.on),
            (_VULKAN_1_3, self._added13.on),
            (_COOPERATIVE, (self._cooperative.on,)),
        )
        return sorted(
            name for names, on in parts for name, flag in zip(names, on, strict=True) if not flag
        )

"""The few Vulkan structures that compiling a compute shader takes, for ctypes.

Names, members and values are those of the Vulkan 1.3 specification. ctypes lays members out as a C
compiler does, so only the order and the types matter.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

SUCCESS = 0
VULKAN_1_3 = 0x0040_3000
COMPUTE_STAGE = 0x20
COMPUTE_QUEUE = 0x2
CAPTURE_STATISTICS, CAPTURE_TEXTS = 0x40, 0x80
REQUIRE_FULL_SUBGROUPS = 0x2
NAME_BYTES = 256


class ApplicationInfo(ctypes.Structure):
    """VkApplicationInfo."""

    TYPE = 0
    _fields_ = (
        ("sType", c_uint32),
        ("pNext", c_void_p),
        ("pApplicationName", c_char_p),
        ("applicationVersion", c_uint32),
        ("pEngineName", c_char_p),
        ("engineVersion", c_uint32),
        ("apiVersion", c_uint32),
    )


class InstanceCreateInfo(ctypes.Structure):
    """VkInstanceCreateInfo."""

    TYPE = 1
    _fields_ = (
        ("sType", c_uint32),
        ("pNext", c_void_p),
        ("flags", c_uint32),
        ("pApplicationInfo", c_void_p),
        ("enabledLayerCount", c_uint32),
        ("ppEnabledLayerNames", c_void_p),
        ("enabledExtensionCount", c_uint32),
        ("ppEnabledExtensionNames", c_void_p),
    )


class QueueFamilyProperties(ctypes.Structure):
    """VkQueueFamilyProperties."""

    _fields_ = (
        ("queueFlags", c_uint32),
        ("queueCount", c_uint32),
        ("timestampValidBits", c_uint32),
        ("minImageTransferGranularity", c_uint32 * 3),
    )


class QueueCreateInfo(ctypes.Structure):
    """VkDeviceQueueCreateInfo."""

    TYPE = 2
    _fields_ = (
        ("sType", c_uint32),
        ("pNext", c_void_p),
        ("flags", c_uint32),
        ("queueFamilyIndex", c_uint32),
        ("queueCount", c_uint32),
        ("pQueuePriorities", c_void_p),
    )


class DeviceCreateInfo(ctypes.Structure):
    """VkDeviceCreateInfo."""

    TYPE = 3
    _fields_ = (
        ("sType", c_uint32),
        ("pNext", c_void_p),
        ("flags", c_uint32),
        ("queueCreateInfoCount", c_uint32),
        ("pQueueCreateInfos", c_void_p),
        ("enabledLayerCount", c_uint32),
        ("ppEnabledLayerNames", c_void_p),
        ("enabledExtensionCount", c_uint32),
        ("ppEnabledExtensionNames", c_void_p),
        ("pEnabledFeatures", c_void_p),
    )


class SubgroupSizeProperties(ctypes.Structure):
    """VkPhysicalDeviceSubgroupSizeControlProperties."""

    TYPE = 1000225000
    _fields_ = (
        ("sType", c_uint32),
        ("pNext", c_void_p),
        ("minSubgroupSize", c_uint32),
        ("maxSubgroupSize", c_uint32),
        ("maxComputeWorkgroupSubgroups", c_uint32),
        ("requiredSubgroupSizeStages", c_uint32),
    )


class Properties2(ctypes.Structure):
    """VkPhysicalDeviceProperties2, its limits left as bytes."""

    TYPE = 1000059001
    _fields_ = (
        ("sType", c_uint32),
        ("pNext", c_void_p),
        ("apiVersion", c_uint32),
        ("driverVersion", c_uint32),
        ("vendorID", c_uint32),
        ("deviceID", c_uint32),
        ("deviceType", c_uint32),
        ("deviceName", c_char * NAME_BYTES),
        ("limits", c_uint64 * 128),  # more than any version's, for the driver to write into
    )


class ShaderModuleCreateInfo(ctypes.Structure):
    """VkShaderModuleCreateInfo."""

    TYPE = 16
    _fields_ = (
        ("sType", c_uint32),
        ("pNext", c_void_p),
        ("flags", c_uint32),
        ("codeSize", c_size_t),
        ("pCode", c_void_p),
    )


class PushConstantRange(ctypes.Structure):
    """VkPushConstantRange."""

    _fields_ = (("stageFlags", c_uint32), ("offset", c_uint32), ("size", c_uint32))


class PipelineLayoutCreateInfo(ctypes.Structure):
    """VkPipelineLayoutCreateInfo."""

    TYPE = 30
    _fields_ = (
        ("sType", c_uint32),
        ("pNext", c_void_p),
        ("flags", c_uint32),
        ("setLayoutCount", c_uint32),
        ("pSetLayouts", c_void_p),
        ("pushConstantRangeCount", c_uint32),
        ("pPushConstantRanges", c_void_p),
    )


class RequiredSubgroupSize(ctypes.Structure):
    """VkPipelineShaderStageRequiredSubgroupSizeCreateInfo."""

    TYPE = 1000225001
    _fields_ = (("sType", c_uint32), ("pNext", c_void_p), ("requiredSubgroupSize", c_uint32))


class ShaderStage(ctypes.Structure):
    """VkPipelineShaderStageCreateInfo."""

    TYPE = 18
    _fields_ = (
        ("sType", c_uint32),
        ("pNext", c_void_p),
        ("flags", c_uint32),
        ("stage", c_uint32),
        ("module", c_uint64),
        ("pName", c_char_p),
        ("pSpecializationInfo", c_void_p),
    )


class ComputePipelineCreateInfo(ctypes.Structure):
    """VkComputePipelineCreateInfo."""

    TYPE = 29
    _fields_ = (
        ("sType", c_uint32),
        ("pNext", c_void_p),
        ("flags", c_uint32),
        ("stage", ShaderStage),
        ("layout", c_uint64),
        ("basePipelineHandle", c_uint64),
        ("basePipelineIndex", c_int32),
    )


class PipelineInfo(ctypes.Structure):
    """VkPipelineInfoKHR."""

    TYPE = 1000269001
    _fields_ = (("sType", c_uint32), ("pNext", c_void_p), ("pipeline", c_uint64))


class ExecutableInfo(ctypes.Structure):
    """VkPipelineExecutableInfoKHR."""

    TYPE = 1000269003
    _fields_ = (
        ("sType", c_uint32),
        ("pNext", c_void_p),
        ("pipeline", c_uint64),
        ("executableIndex", c_uint32),
    )


class Statistic(ctypes.Structure):
    """VkPipelineExecutableStatisticKHR; RADV's are all 64-bit integers."""

    TYPE = 1000269004
    _fields_ = (
        ("sType", c_uint32),
        ("pNext", c_void_p),
        ("name", c_char * NAME_BYTES),
        ("description", c_char * NAME_BYTES),
        ("format", c_uint32),
        ("value", c_uint64),
    )


class Text(ctypes.Structure):
    """VkPipelineExecutableInternalRepresentationKHR."""

    TYPE = 1000269005
    _fields_ = (
        ("sType", c_uint32),
        ("pNext", c_void_p),
        ("name", c_char * NAME_BYTES),
        ("description", c_char * NAME_BYTES),
        ("isText", c_uint32),
        ("dataSize", c_size_t),
        ("pData", c_void_p),
    )

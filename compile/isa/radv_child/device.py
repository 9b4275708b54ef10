"""Open the only Vulkan device and compile compute shaders on it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import byref, c_char_p, c_float, c_int32, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass

from . import structures as vk
from .features import FeatureChain

_EXTENSION = b"VK_KHR_pipeline_executable_properties"


class VulkanFailure(Exception):
    """A Vulkan call that did not succeed, by its name and result."""


@dataclass(frozen=True)
class Shader:
    """A compute shader with entry point main; subgroup 0 leaves its width to the driver."""

    spirv: bytes
    subgroup: int
    full_subgroups: bool
    push_constant_bytes: int
    texts: bool  # return the driver's texts too, the assembly among them


def _check(result: int, call: str) -> None:
    if result != vk.SUCCESS:
        raise VulkanFailure(f"{call} returned {result}")


class Device:
    """A Vulkan device on which nothing can run, only be compiled."""

    def __init__(self) -> None:
        """Open the first device of the only driver. Raises VulkanFailure and OSError."""
        self._library = ctypes.CDLL("libvulkan.so.1")
        self._instance = c_void_p()
        application = vk.ApplicationInfo(0, None, b"ferrylm", 0, b"ferrylm", 0, vk.VULKAN_1_3)
        wanted = vk.InstanceCreateInfo(1, None, 0, ctypes.addressof(application))
        result = self._library.vkCreateInstance(byref(wanted), None, byref(self._instance))
        _check(result, "vkCreateInstance")
        self._physical = self._first_device()
        self._read_properties()
        self._features = FeatureChain()
        self._library.vkGetPhysicalDeviceFeatures2(self._physical, c_void_p(self._features.address))
        self.missing_features = self._features.missing()
        self._features.without_checks()
        self._device = self._open()
        self._calls = {
            name: self._extension_call(name)
            for name in (
                b"vkGetPipelineExecutableStatisticsKHR",
                b"vkGetPipelineExecutableInternalRepresentationsKHR",
            )
        }

    def _first_device(self) -> c_void_p:
        count, found = c_uint32(1), c_void_p()
        self._library.vkEnumeratePhysicalDevices(self._instance, byref(count), byref(found))
        if not found.value:
            raise VulkanFailure("vkEnumeratePhysicalDevices found no device")
        return found

    def _read_properties(self) -> None:
        sizes = vk.SubgroupSizeProperties(vk.SubgroupSizeProperties.TYPE)
        found = vk.Properties2(vk.Properties2.TYPE, ctypes.addressof(sizes))
        self._library.vkGetPhysicalDeviceProperties2(self._physical, byref(found))
        self.name: str = found.deviceName.decode()
        self.subgroups: tuple[int, int] = (sizes.minSubgroupSize, sizes.maxSubgroupSize)

    def _compute_family(self) -> int:
        count = c_uint32(0)
        call = self._library.vkGetPhysicalDeviceQueueFamilyProperties
        call(self._physical, byref(count), None)
        families = (vk.QueueFamilyProperties * count.value)()
        call(self._physical, byref(count), families)
        for index, family in enumerate(families):
            if family.queueFlags & vk.COMPUTE_QUEUE:
                return index
        raise VulkanFailure("the device has no compute queue")

    def _open(self) -> c_void_p:
        priority = c_float(1.0)
        queue = vk.QueueCreateInfo(
            vk.QueueCreateInfo.TYPE, None, 0, self._compute_family(), 1, ctypes.addressof(priority)
        )
        extensions = (c_char_p * 1)(_EXTENSION)
        wanted = vk.DeviceCreateInfo(
            vk.DeviceCreateInfo.TYPE,
            self._features.address,
            0,
            1,
            ctypes.addressof(queue),
            0,
            None,
            1,
            ctypes.addressof(extensions),
        )
        device = c_void_p()
        result = self._library.vkCreateDevice(self._physical, byref(wanted), None, byref(device))
        _check(result, "vkCreateDevice")
        return device

    def _extension_call(self, name: bytes) -> Callable[..., int]:
        find = self._library.vkGetDeviceProcAddr
        find.restype = c_void_p
        kind = ctypes.CFUNCTYPE(c_int32, c_void_p, c_void_p, c_void_p, c_void_p)
        return kind(find(self._device, name))

    def compile(self, shader: Shader) -> tuple[dict[str, int], dict[str, str]]:
        """Return the driver's statistics and, where asked for, its texts. Raises VulkanFailure."""
        module, layout = self._module(shader), self._layout(shader)
        try:
            pipeline = self._pipeline(shader, module, layout)
            try:
                texts = self._texts(pipeline) if shader.texts else {}
                return self._statistics(pipeline), texts
            finally:
                self._library.vkDestroyPipeline(self._device, pipeline, None)
        finally:
            self._library.vkDestroyPipelineLayout(self._device, layout, None)
            self._library.vkDestroyShaderModule(self._device, module, None)

    def _module(self, shader: Shader) -> c_uint64:
        words = (c_uint32 * (len(shader.spirv) // 4)).from_buffer_copy(shader.spirv)
        wanted = vk.ShaderModuleCreateInfo(
            vk.ShaderModuleCreateInfo.TYPE, None, 0, len(shader.spirv), ctypes.addressof(words)
        )
        module = c_uint64()
        call = self._library.vkCreateShaderModule
        _check(call(self._device, byref(wanted), None, byref(module)), "vkCreateShaderModule")
        return module

    def _layout(self, shader: Shader) -> c_uint64:
        constants = vk.PushConstantRange(vk.COMPUTE_STAGE, 0, shader.push_constant_bytes)
        ranges = 1 if shader.push_constant_bytes else 0
        wanted = vk.PipelineLayoutCreateInfo(
            vk.PipelineLayoutCreateInfo.TYPE, None, 0, 0, None, ranges, ctypes.addressof(constants)
        )
        layout = c_uint64()
        call = self._library.vkCreatePipelineLayout
        _check(call(self._device, byref(wanted), None, byref(layout)), "vkCreatePipelineLayout")
        return layout

    def _pipeline(self, shader: Shader, module: c_uint64, layout: c_uint64) -> c_uint64:
        size = vk.RequiredSubgroupSize(vk.RequiredSubgroupSize.TYPE, None, shader.subgroup)
        stage = vk.ShaderStage(
            vk.ShaderStage.TYPE,
            ctypes.addressof(size) if shader.subgroup else None,
            vk.REQUIRE_FULL_SUBGROUPS if shader.full_subgroups else 0,
            vk.COMPUTE_STAGE,
            module.value,
            b"main",
        )
        flags = vk.CAPTURE_STATISTICS | (vk.CAPTURE_TEXTS if shader.texts else 0)
        wanted = vk.ComputePipelineCreateInfo(
            vk.ComputePipelineCreateInfo.TYPE, None, flags, stage, layout.value
        )
        pipeline = c_uint64()
        call = self._library.vkCreateComputePipelines
        result = call(self._device, c_uint64(0), 1, byref(wanted), None, byref(pipeline))
        _check(result, "vkCreateComputePipelines")
        return pipeline

    def _statistics(self, pipeline: c_uint64) -> dict[str, int]:
        info = vk.ExecutableInfo(vk.ExecutableInfo.TYPE, None, pipeline.value, 0)
        call, count = self._calls[b"vkGetPipelineExecutableStatisticsKHR"], c_uint32(0)
        _check(call(self._device, byref(info), byref(count), None), "reading statistics")
        found = (vk.Statistic * count.value)()
        for one in found:
            one.sType = vk.Statistic.TYPE
        _check(call(self._device, byref(info), byref(count), found), "reading statistics")
        return {one.name.decode(): one.value for one in found}

    def _texts(self, pipeline: c_uint64) -> dict[str, str]:
        info = vk.ExecutableInfo(vk.ExecutableInfo.TYPE, None, pipeline.value, 0)
        call = self._calls[b"vkGetPipelineExecutableInternalRepresentationsKHR"]
        count = c_uint32(0)
        _check(call(self._device, byref(info), byref(count), None), "reading texts")
        found = (vk.Text * count.value)()
        for one in found:
            one.sType = vk.Text.TYPE
        _check(call(self._device, byref(info), byref(count), found), "measuring texts")
        buffers = [ctypes.create_string_buffer(one.dataSize + 1) for one in found]
        for one, buffer in zip(found, buffers, strict=True):
            one.pData = ctypes.addressof(buffer)
        _check(call(self._device, byref(info), byref(count), found), "reading texts")
        return {
            one.name.decode(): buffer.value.decode(errors="replace")
            for one, buffer in zip(found, buffers, strict=True)
        }

// Tables of the Vulkan functions that are used, one for each level of dispatch.
#ifndef FERRYLM_VULKAN_FUNCTIONS_H_
#define FERRYLM_VULKAN_FUNCTIONS_H_

#include "vulkan_api.h"

#define FERRYLM_GLOBAL_FUNCTIONS(X) \
  X(vkCreateInstance)               \
  X(vkEnumerateInstanceLayerProperties)

#define FERRYLM_INSTANCE_FUNCTIONS(X)         \
  X(vkDestroyInstance)                        \
  X(vkEnumeratePhysicalDevices)               \
  X(vkEnumerateDeviceExtensionProperties)     \
  X(vkGetPhysicalDeviceProperties)            \
  X(vkGetPhysicalDeviceProperties2)           \
  X(vkGetPhysicalDeviceFeatures2)             \
  X(vkGetPhysicalDeviceMemoryProperties2)     \
  X(vkGetPhysicalDeviceQueueFamilyProperties) \
  X(vkCreateDevice)                           \
  X(vkGetDeviceProcAddr)

#define FERRYLM_DEVICE_FUNCTIONS(X) \
  X(vkDestroyDevice)                \
  X(vkDeviceWaitIdle)               \
  X(vkGetDeviceQueue)               \
  X(vkQueueSubmit)                  \
  X(vkAllocateMemory)               \
  X(vkFreeMemory)                   \
  X(vkMapMemory)                    \
  X(vkCreateBuffer)                 \
  X(vkDestroyBuffer)                \
  X(vkGetBufferMemoryRequirements)  \
  X(vkBindBufferMemory)             \
  X(vkGetBufferDeviceAddress)       \
  X(vkCreateCommandPool)            \
  X(vkDestroyCommandPool)           \
  X(vkAllocateCommandBuffers)       \
  X(vkFreeCommandBuffers)           \
  X(vkBeginCommandBuffer)           \
  X(vkEndCommandBuffer)             \
  X(vkCmdBindPipeline)              \
  X(vkCmdPushConstants)             \
  X(vkCmdDispatch)                  \
  X(vkCmdDispatchBase)              \
  X(vkCmdPipelineBarrier)           \
  X(vkCmdCopyBuffer)                \
  X(vkCmdUpdateBuffer)              \
  X(vkCmdResetQueryPool)            \
  X(vkCmdWriteTimestamp)            \
  X(vkCreateQueryPool)              \
  X(vkDestroyQueryPool)             \
  X(vkGetQueryPoolResults)          \
  X(vkCreateSemaphore)              \
  X(vkDestroySemaphore)             \
  X(vkGetSemaphoreCounterValue)     \
  X(vkWaitSemaphores)               \
  X(vkCreateShaderModule)           \
  X(vkDestroyShaderModule)          \
  X(vkCreatePipelineLayout)         \
  X(vkDestroyPipelineLayout)        \
  X(vkCreateComputePipelines)       \
  X(vkDestroyPipeline)              \
  X(vkCreatePipelineCache)          \
  X(vkDestroyPipelineCache)         \
  X(vkGetPipelineCacheData)

// Absent where the extension is.
#define FERRYLM_OPTIONAL_DEVICE_FUNCTIONS(X) \
  X(vkGetPipelineExecutablePropertiesKHR)    \
  X(vkGetPipelineExecutableStatisticsKHR)

#define FERRYLM_MEMBER(name) PFN_##name name = nullptr;

namespace ferrylm::vulkan {

struct GlobalFunctions {
  FERRYLM_GLOBAL_FUNCTIONS(FERRYLM_MEMBER)
  // Absent in a loader of Vulkan 1.0.
  PFN_vkEnumerateInstanceVersion vkEnumerateInstanceVersion = nullptr;
  explicit GlobalFunctions(PFN_vkGetInstanceProcAddr address_of);
  GlobalFunctions() = default;
};

struct InstanceFunctions {
  FERRYLM_INSTANCE_FUNCTIONS(FERRYLM_MEMBER)
  InstanceFunctions(PFN_vkGetInstanceProcAddr address_of, VkInstance instance);
  InstanceFunctions() = default;
};

struct DeviceFunctions {
  FERRYLM_DEVICE_FUNCTIONS(FERRYLM_MEMBER)
  FERRYLM_OPTIONAL_DEVICE_FUNCTIONS(FERRYLM_MEMBER)
  DeviceFunctions(PFN_vkGetDeviceProcAddr address_of, VkDevice device);
  DeviceFunctions() = default;
};

}  // namespace ferrylm::vulkan

#undef FERRYLM_MEMBER

#endif  // FERRYLM_VULKAN_FUNCTIONS_H_

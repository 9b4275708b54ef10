#include "wrappers.h"

#include <cstring>

#include "personality.h"

namespace wrappers {

namespace {

// A call that may be told to fail and has no other effect worth watching.
template <typename Function, const char* name>
struct Failing;

template <typename... Arguments, const char* name>
struct Failing<VkResult(VKAPI_PTR*)(Arguments...), name> {
  static inline VkResult(VKAPI_PTR* real)(Arguments...) = nullptr;
  static VKAPI_ATTR VkResult VKAPI_CALL call(Arguments... arguments) {
    const VkResult planned = faults::before(name);
    return planned != VK_SUCCESS ? planned : real(arguments...);
  }
};

// A call whose success makes an object of a kind.
template <typename Function, const char* name, const char* kind>
struct Making;

template <typename... Arguments, const char* name, const char* kind>
struct Making<VkResult(VKAPI_PTR*)(Arguments...), name, kind> {
  static inline VkResult(VKAPI_PTR* real)(Arguments...) = nullptr;
  static VKAPI_ATTR VkResult VKAPI_CALL call(Arguments... arguments) {
    const VkResult planned = faults::before(name);
    if (planned != VK_SUCCESS) return planned;
    const VkResult result = real(arguments...);
    if (result == VK_SUCCESS) faults::count(kind, 1);
    return result;
  }
};

// A call that destroys one, unless it is null.
template <typename Handle, const char* kind>
struct Destroying {
  static inline void(VKAPI_PTR* real)(VkDevice, Handle, const VkAllocationCallbacks*) = nullptr;
  static VKAPI_ATTR void VKAPI_CALL call(VkDevice device, Handle handle,
                                         const VkAllocationCallbacks* callbacks) {
    if (handle != VK_NULL_HANDLE) faults::count(kind, -1);
    real(device, handle, callbacks);
  }
};

template <typename Wrapper>
PFN_vkVoidFunction install(PFN_vkVoidFunction real) {
  Wrapper::real = reinterpret_cast<decltype(Wrapper::real)>(real);
  return reinterpret_cast<PFN_vkVoidFunction>(&Wrapper::call);
}

#define FAILING(function)                                 \
  if (std::strcmp(name, #function) == 0) {                \
    static constexpr char kName[] = #function;            \
    return install<Failing<PFN_##function, kName>>(real); \
  }

#define OBJECT(maker, destroyer, handle, text)                 \
  {                                                            \
    static constexpr char kKind[] = text;                      \
    static constexpr char kName[] = #maker;                    \
    if (std::strcmp(name, #maker) == 0) {                      \
      return install<Making<PFN_##maker, kName, kKind>>(real); \
    }                                                          \
    if (std::strcmp(name, #destroyer) == 0) {                  \
      return install<Destroying<handle, kKind>>(real);         \
    }                                                          \
  }

}  // namespace

PFN_vkVoidFunction wrap(const char* name, PFN_vkVoidFunction real) {
  if (real == nullptr) return nullptr;
  if (PFN_vkVoidFunction changed = personality::wrap(name, real)) real = changed;
  FAILING(vkCreateInstance)
  FAILING(vkEnumeratePhysicalDevices)
  FAILING(vkQueueSubmit)
  FAILING(vkWaitSemaphores)
  FAILING(vkGetSemaphoreCounterValue)
  FAILING(vkMapMemory)
  FAILING(vkBindBufferMemory)
  FAILING(vkAllocateCommandBuffers)
  FAILING(vkBeginCommandBuffer)
  FAILING(vkEndCommandBuffer)
  FAILING(vkGetQueryPoolResults)
  FAILING(vkGetPipelineCacheData)
  OBJECT(vkAllocateMemory, vkFreeMemory, VkDeviceMemory, "memory")
  OBJECT(vkCreateBuffer, vkDestroyBuffer, VkBuffer, "buffer")
  OBJECT(vkCreateShaderModule, vkDestroyShaderModule, VkShaderModule, "shader")
  OBJECT(vkCreateComputePipelines, vkDestroyPipeline, VkPipeline, "pipeline")
  OBJECT(vkCreatePipelineLayout, vkDestroyPipelineLayout, VkPipelineLayout, "layout")
  OBJECT(vkCreatePipelineCache, vkDestroyPipelineCache, VkPipelineCache, "cache")
  OBJECT(vkCreateCommandPool, vkDestroyCommandPool, VkCommandPool, "command pool")
  OBJECT(vkCreateQueryPool, vkDestroyQueryPool, VkQueryPool, "query pool")
  OBJECT(vkCreateSemaphore, vkDestroySemaphore, VkSemaphore, "semaphore")
  return real;
}

}  // namespace wrappers

#include "personality.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace personality {

namespace {

constexpr VkDeviceSize kMebibyte = 1 << 20;
constexpr VkMemoryPropertyFlags kLocal = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
constexpr VkMemoryPropertyFlags kMapped =
    VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;

struct Shown {
  VkPhysicalDeviceType type;
  std::vector<VkMemoryHeap> heaps;
  std::vector<VkMemoryType> types;
  bool has_budget;
};

const Shown* shown() {
  static const Shown kDiscrete = {
      VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
      {{128 * kMebibyte, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT}, {256 * kMebibyte, 0}},
      {{kLocal, 0}, {kMapped, 1}, {kMapped | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, 1}},
      false};
  static const Shown kApu = {
      VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU,
      {{48 * kMebibyte, 0}, {96 * kMebibyte, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT}},
      {{kLocal | kMapped, 1}, {kMapped, 0}, {kMapped | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, 0}},
      true};
  const char* wanted = std::getenv("FERRY_STAND_IN");
  if (wanted == nullptr) return nullptr;
  if (std::strcmp(wanted, "discrete") == 0) return &kDiscrete;
  if (std::strcmp(wanted, "apu") == 0) return &kApu;
  return nullptr;
}

VkDeviceSize allocated[VK_MAX_MEMORY_HEAPS];
std::map<VkDeviceMemory, std::pair<uint32_t, VkDeviceSize>> owners;  // heap and size

PFN_vkGetPhysicalDeviceMemoryProperties2 real_memory;
PFN_vkGetPhysicalDeviceProperties real_properties;
PFN_vkEnumerateDeviceExtensionProperties real_extensions;
PFN_vkAllocateMemory real_allocate;
PFN_vkFreeMemory real_free;
PFN_vkGetBufferMemoryRequirements real_requirements;
PFN_vkCreateDevice real_create_device;

VKAPI_ATTR void VKAPI_CALL memory(VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties2* out) {
  auto* budget = static_cast<VkPhysicalDeviceMemoryBudgetPropertiesEXT*>(out->pNext);
  out->pNext = nullptr;
  real_memory(device, out);
  out->pNext = budget;
  VkPhysicalDeviceMemoryProperties* properties = &out->memoryProperties;
  properties->memoryHeapCount = static_cast<uint32_t>(shown()->heaps.size());
  properties->memoryTypeCount = static_cast<uint32_t>(shown()->types.size());
  for (size_t i = 0; i < shown()->heaps.size(); ++i) {
    properties->memoryHeaps[i] = shown()->heaps[i];
    if (budget == nullptr) continue;
    budget->heapBudget[i] = shown()->heaps[i].size - 8 * kMebibyte;
    budget->heapUsage[i] = allocated[i];
  }
  for (size_t i = 0; i < shown()->types.size(); ++i) {
    properties->memoryTypes[i] = shown()->types[i];
  }
}

VKAPI_ATTR void VKAPI_CALL properties(VkPhysicalDevice device, VkPhysicalDeviceProperties* out) {
  real_properties(device, out);
  out->deviceType = shown()->type;
}

VKAPI_ATTR VkResult VKAPI_CALL extensions(VkPhysicalDevice device, const char* layer,
                                          uint32_t* count, VkExtensionProperties* out) {
  uint32_t real_count = 0;
  real_extensions(device, layer, &real_count, nullptr);
  std::vector<VkExtensionProperties> found(real_count);
  real_extensions(device, layer, &real_count, found.data());
  if (shown()->has_budget) found.push_back({VK_EXT_MEMORY_BUDGET_EXTENSION_NAME, 1});
  if (out != nullptr) std::memcpy(out, found.data(), *count * sizeof(*out));
  *count = static_cast<uint32_t>(found.size());
  return VK_SUCCESS;
}

// The real driver knows no memory budget: the extension is taken out again.
VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice device,
                                             const VkDeviceCreateInfo* info,
                                             const VkAllocationCallbacks* callbacks,
                                             VkDevice* out) {
  std::vector<const char*> names;
  for (uint32_t i = 0; i < info->enabledExtensionCount; ++i) {
    const char* name = info->ppEnabledExtensionNames[i];
    if (std::strcmp(name, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME) != 0) names.push_back(name);
  }
  VkDeviceCreateInfo real = *info;
  real.enabledExtensionCount = static_cast<uint32_t>(names.size());
  real.ppEnabledExtensionNames = names.data();
  return real_create_device(device, &real, callbacks, out);
}

VKAPI_ATTR void VKAPI_CALL requirements(VkDevice device, VkBuffer buffer,
                                        VkMemoryRequirements* out) {
  real_requirements(device, buffer, out);
  out->memoryTypeBits = (1u << shown()->types.size()) - 1;
}

VKAPI_ATTR VkResult VKAPI_CALL allocate(VkDevice device, const VkMemoryAllocateInfo* info,
                                        const VkAllocationCallbacks* callbacks,
                                        VkDeviceMemory* out) {
  VkMemoryAllocateInfo real = *info;
  real.memoryTypeIndex = 0;
  const uint32_t heap = shown()->types[info->memoryTypeIndex].heapIndex;
  if (allocated[heap] + info->allocationSize > shown()->heaps[heap].size) {
    return VK_ERROR_OUT_OF_DEVICE_MEMORY;
  }
  const VkResult result = real_allocate(device, &real, callbacks, out);
  if (result != VK_SUCCESS) return result;
  allocated[heap] += info->allocationSize;
  owners[*out] = {heap, info->allocationSize};
  return result;
}

VKAPI_ATTR void VKAPI_CALL release(VkDevice device, VkDeviceMemory memory,
                                   const VkAllocationCallbacks* callbacks) {
  const auto owner = owners.find(memory);
  if (owner != owners.end()) {
    allocated[owner->second.first] -= owner->second.second;
    owners.erase(owner);
  }
  real_free(device, memory, callbacks);
}

template <typename Function>
PFN_vkVoidFunction replace(Function replacement, Function* kept, PFN_vkVoidFunction real) {
  *kept = reinterpret_cast<Function>(real);
  return reinterpret_cast<PFN_vkVoidFunction>(replacement);
}

}  // namespace

PFN_vkVoidFunction wrap(const char* name, PFN_vkVoidFunction real) {
  if (shown() == nullptr) return nullptr;
  const std::string call = name;
  if (call == "vkGetPhysicalDeviceMemoryProperties2") return replace(memory, &real_memory, real);
  if (call == "vkGetPhysicalDeviceProperties") return replace(properties, &real_properties, real);
  if (call == "vkEnumerateDeviceExtensionProperties") {
    return replace(extensions, &real_extensions, real);
  }
  if (call == "vkCreateDevice") return replace(create_device, &real_create_device, real);
  if (call == "vkAllocateMemory") return replace(allocate, &real_allocate, real);
  if (call == "vkFreeMemory") return replace(release, &real_free, real);
  if (call == "vkGetBufferMemoryRequirements") {
    return replace(requirements, &real_requirements, real);
  }
  return nullptr;
}

}  // namespace personality

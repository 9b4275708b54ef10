#include "memory_types.h"

#include <algorithm>

namespace ferrylm::vulkan {

namespace {

constexpr VkMemoryPropertyFlags kMappable =
    VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;

// AMD's types for device-coherent (uncached) memory are a debugging aid and slow; protected and
// lazily allocated ones cannot hold buffers of ours.
constexpr VkMemoryPropertyFlags kRefused =
    VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD | VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD |
    VK_MEMORY_PROPERTY_PROTECTED_BIT | VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT;

int score(const DeviceInfo& info, const VkMemoryType& type, Purpose purpose) {
  const VkMemoryPropertyFlags flags = type.propertyFlags;
  const bool local = flags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
  const bool mappable = (flags & kMappable) == kMappable;
  const bool cached = flags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
  if (flags & kRefused) return -1;
  switch (purpose) {
    case Purpose::kDevice:
      // Uncached first: a GPU reads memory that the CPU's caches may hold more slowly.
      if (info.is_unified()) return 4 * local + 2 * mappable + !cached;
      // A small host-visible window into device memory is left to those who need it; when the whole
      // heap is visible (resizable BAR) both kinds share the heap, and mapped blocks save a copy.
      return local ? 2 + mappable : -1;
    case Purpose::kUpload: return mappable ? 1 + 2 * !cached + !local : -1;
    case Purpose::kDownload: return mappable ? 1 + 2 * cached + !local : -1;
  }
  return -1;
}

// The host sees no more than a window of the device's memory through this heap.
bool is_window(const DeviceInfo& info, const VkMemoryType& type) {
  if (info.is_unified() || !(type.propertyFlags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT))
    return false;
  const VkDeviceSize size = info.memory.memoryHeaps[type.heapIndex].size;
  for (uint32_t i = 0; i < info.memory.memoryHeapCount; ++i) {
    const VkMemoryHeap& heap = info.memory.memoryHeaps[i];
    if ((heap.flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) && heap.size > size) return true;
  }
  return false;
}

}  // namespace

std::vector<uint32_t> memory_types_for(const DeviceInfo& info, Purpose purpose) {
  std::vector<uint32_t> types;
  const auto score_of = [&](uint32_t i) {
    const VkMemoryType& type = info.memory.memoryTypes[i];
    return is_window(info, type) ? -1 : score(info, type, purpose);
  };
  for (uint32_t i = 0; i < info.memory.memoryTypeCount; ++i) {
    if (score_of(i) >= 0) types.push_back(i);
  }
  std::stable_sort(types.begin(), types.end(),
                   [&](uint32_t a, uint32_t b) { return score_of(a) > score_of(b); });
  return types;
}

bool is_mapped(const DeviceInfo& info, uint32_t type) {
  return (info.memory.memoryTypes[type].propertyFlags & kMappable) == kMappable;
}

bool is_cached(const DeviceInfo& info, uint32_t type) {
  return info.memory.memoryTypes[type].propertyFlags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
}

}  // namespace ferrylm::vulkan

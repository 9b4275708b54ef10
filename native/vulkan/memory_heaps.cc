#include "memory_heaps.h"

#include <algorithm>

#include "errors.h"

namespace ferrylm::vulkan {

MemoryHeaps::Budget MemoryHeaps::ask(uint32_t heap) const {
  if (!info_.extensions.count(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME)) {
    return {size_bytes(heap), ours_bytes_[heap]};
  }
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
  VkPhysicalDeviceMemoryProperties2 properties = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, &budget};
  functions_.vkGetPhysicalDeviceMemoryProperties2(info_.physical, &properties);
  return {budget.heapBudget[heap], std::max(budget.heapUsage[heap], ours_bytes_[heap])};
}

uint64_t MemoryHeaps::budget_bytes(uint32_t heap) const { return ask(heap).budget_bytes; }

uint64_t MemoryHeaps::free_bytes(uint32_t heap) const {
  const Budget budget = ask(heap);
  return budget.budget_bytes > budget.usage_bytes ? budget.budget_bytes - budget.usage_bytes : 0;
}

std::string MemoryHeaps::sentence() const {
  std::string text;
  for (uint32_t heap = 0; heap < count(); ++heap) {
    if (heap > 0) text += "; ";
    const bool local = info_.memory.memoryHeaps[heap].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
    text += "heap " + std::to_string(heap) + (local ? " (device-local): " : " (host): ") +
            human_bytes(free_bytes(heap)) + " of " + human_bytes(size_bytes(heap)) + " free";
  }
  return text;
}

}  // namespace ferrylm::vulkan

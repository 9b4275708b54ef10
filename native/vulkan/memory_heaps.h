// How much of each memory heap is left, by the driver's budget or by our own count.
#ifndef FERRYLM_VULKAN_MEMORY_HEAPS_H_
#define FERRYLM_VULKAN_MEMORY_HEAPS_H_

#include <array>
#include <cstdint>
#include <string>

#include "device_info.h"

namespace ferrylm::vulkan {

class MemoryHeaps {
 public:
  MemoryHeaps(const DeviceInfo& info, const InstanceFunctions& functions)
      : info_(info), functions_(functions) {}

  void took(uint32_t heap, uint64_t bytes) { ours_bytes_[heap] += bytes; }
  void gave(uint32_t heap, uint64_t bytes) { ours_bytes_[heap] -= bytes; }

  uint32_t count() const { return info_.memory.memoryHeapCount; }
  uint64_t size_bytes(uint32_t heap) const { return info_.memory.memoryHeaps[heap].size; }
  uint64_t ours_bytes(uint32_t heap) const { return ours_bytes_[heap]; }
  // Asks the driver (VK_EXT_memory_budget) where it can tell; other processes count then.
  uint64_t budget_bytes(uint32_t heap) const;
  uint64_t free_bytes(uint32_t heap) const;
  // "heap 0 (device-local): 1.20 GiB of 4.00 GiB free; heap 1 ..."
  std::string sentence() const;

 private:
  struct Budget {
    uint64_t budget_bytes;
    uint64_t usage_bytes;
  };
  Budget ask(uint32_t heap) const;
  const DeviceInfo& info_;
  const InstanceFunctions& functions_;
  std::array<uint64_t, VK_MAX_MEMORY_HEAPS> ours_bytes_ = {};
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_MEMORY_HEAPS_H_

// One VkDeviceMemory with one VkBuffer over all of it.
#ifndef FERRYLM_VULKAN_MEMORY_BLOCK_H_
#define FERRYLM_VULKAN_MEMORY_BLOCK_H_

#include <cstdint>
#include <memory>

#include "functions.h"
#include "memory_types.h"
#include "range_set.h"

namespace ferrylm::vulkan {

class MemoryBlock {
 public:
  // Returns nothing when the driver is out of memory of this type; throws on other failures.
  // `result` tells what the driver answered.
  static std::unique_ptr<MemoryBlock> create(const DeviceFunctions& functions, VkDevice device,
                                             uint32_t type, uint64_t size_bytes, bool mapped,
                                             VkResult* result);
  ~MemoryBlock();
  MemoryBlock(const MemoryBlock&) = delete;
  MemoryBlock& operator=(const MemoryBlock&) = delete;

  VkBuffer buffer() const { return buffer_; }
  uint64_t address() const { return address_; }
  uint64_t size_bytes() const { return size_bytes_; }
  uint32_t type() const { return type_; }
  uint8_t* mapped() const { return mapped_; }  // null when the host does not see it
  RangeSet& ranges() { return ranges_; }
  bool is_cached() const { return cached_; }
  void set_cached(bool cached) { cached_ = cached; }
  bool is_dedicated() const { return dedicated_; }
  void set_dedicated() { dedicated_ = true; }
  Purpose purpose() const { return purpose_; }
  void set_purpose(Purpose purpose) { purpose_ = purpose; }

 private:
  MemoryBlock(const DeviceFunctions& functions, VkDevice device, uint32_t type, uint64_t size_bytes)
      : functions_(functions),
        device_(device),
        type_(type),
        size_bytes_(size_bytes),
        ranges_(size_bytes) {}
  VkResult allocate(bool mapped);

  const DeviceFunctions& functions_;
  VkDevice device_;
  uint32_t type_;
  uint64_t size_bytes_;
  RangeSet ranges_;
  VkDeviceMemory memory_ = VK_NULL_HANDLE;
  VkBuffer buffer_ = VK_NULL_HANDLE;
  uint64_t address_ = 0;
  uint8_t* mapped_ = nullptr;
  bool cached_ = false;
  bool dedicated_ = false;
  Purpose purpose_ = Purpose::kDevice;
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_MEMORY_BLOCK_H_

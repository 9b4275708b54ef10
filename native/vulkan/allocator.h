// Device memory by suballocation: blocks from the driver, ranges for tensors.
//
// Not locked: the device's mutex guards it. Freed memory may be handed out again at once, because
// one queue runs everything in order; what may still be running on it travels with the range
// (Usage).
#ifndef FERRYLM_VULKAN_ALLOCATOR_H_
#define FERRYLM_VULKAN_ALLOCATOR_H_

#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "allocation.h"
#include "memory_heaps.h"

namespace ferrylm::vulkan {

struct MemoryTotals {
  uint64_t driver_bytes = 0;  // in blocks
  uint64_t used_bytes = 0;    // in allocations, rounded up to the granularity
  uint64_t block_count = 0;
  uint64_t allocation_count = 0;
};

class Allocator {
 public:
  Allocator(const DeviceInfo& info, const InstanceFunctions& instance,
            const DeviceFunctions& functions, VkDevice device);
  ~Allocator();

  // Null when no heap has the memory. Throws kLimit where no device memory would do.
  Allocation* allocate(uint64_t size_bytes, Purpose purpose);
  // The range goes back at once. True when its block is empty now, for `collect` to return.
  bool release(Allocation* allocation);
  // Destroys empty blocks that the device is done with; keeps one small one for each purpose
  // unless `all`.
  void collect(uint64_t completed_serial, bool all);

  // The live allocation that holds the address, or null.
  Allocation* find(uint64_t address);
  // Removes from and puts back into what `find` sees, without giving the memory away.
  void hide(Allocation* allocation);
  void show(Allocation* allocation);

  MemoryTotals totals() const;
  const MemoryHeaps& heaps() const { return heaps_; }
  // Address and size of what TVM owns; the runtime's own buffers are left out.
  std::vector<std::pair<uint64_t, uint64_t>> live_tensors() const;
  [[noreturn]] void fail_out_of_memory(uint64_t size_bytes, Purpose purpose) const;

 private:
  using Blocks = std::vector<std::unique_ptr<MemoryBlock>>;
  Allocation* allocate_from(MemoryBlock* block, uint64_t size_bytes);
  Allocation* allocate_from_any(Purpose purpose, uint64_t size_bytes);
  MemoryBlock* new_block(uint64_t size_bytes, Purpose purpose);
  std::unique_ptr<MemoryBlock> create_block(uint32_t type, uint64_t size_bytes);
  uint64_t block_bytes(uint32_t type, uint64_t size_bytes, bool dedicated) const;

  const DeviceInfo& info_;
  const DeviceFunctions& functions_;
  VkDevice device_;
  MemoryHeaps heaps_;
  std::vector<uint32_t> types_[kPurposeCount];
  Blocks blocks_;
  MemoryBlock* recent_[kPurposeCount] = {};  // where the last allocation of each purpose fitted
  std::unordered_map<Allocation*, std::unique_ptr<Allocation>> allocations_;
  std::map<uint64_t, Allocation*> by_address_;
  Allocation* last_found_ = nullptr;
  uint64_t used_bytes_ = 0;
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_ALLOCATOR_H_

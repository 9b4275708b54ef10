// A piece of device memory that a tensor, an argument buffer or a staging copy owns.
#ifndef FERRYLM_VULKAN_ALLOCATION_H_
#define FERRYLM_VULKAN_ALLOCATION_H_

#include "memory_block.h"

namespace ferrylm::vulkan {

struct Allocation {
  MemoryBlock* block = nullptr;
  uint64_t offset = 0;      // in the block
  uint64_t size_bytes = 0;  // rounded up
  Usage usage;
  uint32_t recordings = 0;      // that hold it; it is not given back before they are gone
  uint64_t recording_mark = 0;  // the last recording that took hold of it
  bool freed = false;           // by its owner, while a recording still holds it

  uint64_t address() const { return block->address() + offset; }
  uint8_t* mapped() const {
    return block->mapped() == nullptr ? nullptr : block->mapped() + offset;
  }
  bool holds(uint64_t wanted) const { return wanted - address() < size_bytes; }
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_ALLOCATION_H_

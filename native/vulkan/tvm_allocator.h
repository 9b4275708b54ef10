// The allocator that TVM's virtual machine uses on Vulkan.
#ifndef FERRYLM_VULKAN_TVM_ALLOCATOR_H_
#define FERRYLM_VULKAN_TVM_ALLOCATOR_H_

#include <tvm/runtime/memory/memory_manager.h>

#include <atomic>

namespace ferrylm::vulkan {

// Hands memory straight back to the device's own suballocator. TVM's pooled allocator would keep
// freed memory to itself and hand it out again while a recording still replays into it.
class TvmAllocator final : public tvm::runtime::memory::Allocator {
 public:
  explicit TvmAllocator(tvm::runtime::memory::AllocatorType type) : Allocator(type) {}

  using Allocator::Alloc;
  tvm::runtime::memory::Buffer Alloc(tvm::Device device, size_t size_bytes, size_t alignment,
                                     DLDataType type_hint) final;
  void Free(const tvm::runtime::memory::Buffer& buffer) final;
  void Clear() final {}
  size_t UsedMemory() const final { return used_bytes_; }

 private:
  std::atomic<size_t> used_bytes_{0};
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_TVM_ALLOCATOR_H_

#include "tvm_allocator.h"

#include "device_api.h"

namespace ferrylm::vulkan {

tvm::runtime::memory::Buffer TvmAllocator::Alloc(tvm::Device device, size_t size_bytes,
                                                 size_t alignment, DLDataType type_hint) {
  tvm::runtime::memory::Buffer buffer;
  buffer.data = VulkanDeviceApi::get()->AllocDataSpace(device, size_bytes, alignment, type_hint);
  buffer.size = size_bytes;
  buffer.device = device;
  buffer.alloc_type = type();
  used_bytes_ += size_bytes;
  return buffer;
}

void TvmAllocator::Free(const tvm::runtime::memory::Buffer& buffer) {
  VulkanDeviceApi::get()->FreeDataSpace(buffer.device, buffer.data);
  used_bytes_ -= buffer.size;
}

}  // namespace ferrylm::vulkan

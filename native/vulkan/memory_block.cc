#include "memory_block.h"

#include "errors.h"

namespace ferrylm::vulkan {

std::unique_ptr<MemoryBlock> MemoryBlock::create(const DeviceFunctions& functions, VkDevice device,
                                                 uint32_t type, uint64_t size_bytes, bool mapped,
                                                 VkResult* result) {
  std::unique_ptr<MemoryBlock> block(new MemoryBlock(functions, device, type, size_bytes));
  *result = block->allocate(mapped);
  if (*result == VK_SUCCESS) return block;
  if (failure_of(*result) != Failure::kOutOfMemory && *result != VK_ERROR_MEMORY_MAP_FAILED) {
    check(*result, "vkAllocateMemory");
  }
  return nullptr;
}

VkResult MemoryBlock::allocate(bool mapped) {
  VkBufferCreateInfo create = {VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO};
  create.size = size_bytes_;
  create.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
  create.sharingMode = VK_SHARING_MODE_EXCLUSIVE;
  VkResult result = functions_.vkCreateBuffer(device_, &create, nullptr, &buffer_);
  if (result != VK_SUCCESS) return result;
  VkMemoryRequirements required;
  functions_.vkGetBufferMemoryRequirements(device_, buffer_, &required);
  if (!(required.memoryTypeBits & (1u << type_))) return VK_ERROR_OUT_OF_DEVICE_MEMORY;

  VkMemoryDedicatedAllocateInfo own = {VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO};
  own.buffer = buffer_;
  VkMemoryAllocateFlagsInfo flags = {VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO, &own};
  flags.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
  VkMemoryAllocateInfo allocate = {VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, &flags};
  allocate.allocationSize = required.size;
  allocate.memoryTypeIndex = type_;
  result = functions_.vkAllocateMemory(device_, &allocate, nullptr, &memory_);
  if (result != VK_SUCCESS) return result;
  result = functions_.vkBindBufferMemory(device_, buffer_, memory_, 0);
  if (result != VK_SUCCESS) return result;
  if (mapped) {
    void* pointer = nullptr;
    result = functions_.vkMapMemory(device_, memory_, 0, VK_WHOLE_SIZE, 0, &pointer);
    if (result != VK_SUCCESS) return result;
    mapped_ = static_cast<uint8_t*>(pointer);
  }
  VkBufferDeviceAddressInfo address = {VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO};
  address.buffer = buffer_;
  address_ = functions_.vkGetBufferDeviceAddress(device_, &address);
  return address_ == 0 ? VK_ERROR_OUT_OF_DEVICE_MEMORY : VK_SUCCESS;
}

MemoryBlock::~MemoryBlock() {
  if (buffer_ != VK_NULL_HANDLE) functions_.vkDestroyBuffer(device_, buffer_, nullptr);
  if (memory_ != VK_NULL_HANDLE) functions_.vkFreeMemory(device_, memory_, nullptr);
}

}  // namespace ferrylm::vulkan

#include "command_pool.h"

#include <algorithm>

#include "errors.h"

namespace ferrylm::vulkan {

CommandPool::CommandPool(const DeviceFunctions& functions, VkDevice device, uint32_t queue_family)
    : functions_(functions), device_(device) {
  VkCommandPoolCreateInfo create = {VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO};
  create.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
  create.queueFamilyIndex = queue_family;
  check(functions_.vkCreateCommandPool(device_, &create, nullptr, &pool_), "vkCreateCommandPool");
}

CommandPool::~CommandPool() { functions_.vkDestroyCommandPool(device_, pool_, nullptr); }

VkCommandBuffer CommandPool::take() {
  if (!free_.empty()) {
    VkCommandBuffer commands = free_.back();
    free_.pop_back();
    return commands;
  }
  VkCommandBufferAllocateInfo allocate = {VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO};
  allocate.commandPool = pool_;
  allocate.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  allocate.commandBufferCount = 1;
  VkCommandBuffer commands = VK_NULL_HANDLE;
  check(functions_.vkAllocateCommandBuffers(device_, &allocate, &commands),
        "vkAllocateCommandBuffers");
  return commands;
}

void CommandPool::collect(uint64_t completed_serial) {
  // Recordings come back out of order, so the whole list is looked at; it is short.
  const auto done = std::partition(pending_.begin(), pending_.end(), [&](const auto& entry) {
    return entry.first > completed_serial;
  });
  for (auto entry = done; entry != pending_.end(); ++entry) free_.push_back(entry->second);
  pending_.erase(done, pending_.end());
}

}  // namespace ferrylm::vulkan

// Command buffers, used again when the device is done with them.
#ifndef FERRYLM_VULKAN_COMMAND_POOL_H_
#define FERRYLM_VULKAN_COMMAND_POOL_H_

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "functions.h"

namespace ferrylm::vulkan {

class CommandPool {
 public:
  CommandPool(const DeviceFunctions& functions, VkDevice device, uint32_t queue_family);
  ~CommandPool();
  CommandPool(const CommandPool&) = delete;
  CommandPool& operator=(const CommandPool&) = delete;

  VkCommandBuffer take();
  // Free for another use when the submission `serial` is complete.
  void give(VkCommandBuffer commands, uint64_t serial) { pending_.emplace_back(serial, commands); }
  // Of a command buffer that was never submitted and whose state is unknown.
  void discard(VkCommandBuffer commands) {
    functions_.vkFreeCommandBuffers(device_, pool_, 1, &commands);
  }
  void collect(uint64_t completed_serial);

 private:
  const DeviceFunctions& functions_;
  VkDevice device_;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  std::vector<VkCommandBuffer> free_;
  std::deque<std::pair<uint64_t, VkCommandBuffer>> pending_;
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_COMMAND_POOL_H_

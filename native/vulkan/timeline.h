// The timeline semaphore that counts a queue's finished submissions.
#ifndef FERRYLM_VULKAN_TIMELINE_H_
#define FERRYLM_VULKAN_TIMELINE_H_

#include <cstdint>

#include "functions.h"

namespace ferrylm::vulkan {

class Timeline {
 public:
  Timeline(const DeviceFunctions& functions, VkDevice device);
  ~Timeline();
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;

  VkSemaphore semaphore() const { return semaphore_; }
  VkResult read(uint64_t* serial) const {
    return functions_.vkGetSemaphoreCounterValue(device_, semaphore_, serial);
  }
  // VK_SUCCESS when `serial` is reached, VK_TIMEOUT when nothing at all finished for `timeout_ms`.
  VkResult wait(uint64_t serial, uint64_t timeout_ms) const;

 private:
  const DeviceFunctions& functions_;
  VkDevice device_;
  VkSemaphore semaphore_ = VK_NULL_HANDLE;
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_TIMELINE_H_

#include "timeline.h"

#include <algorithm>
#include <chrono>

#include "errors.h"

namespace ferrylm::vulkan {

namespace {

using Clock = std::chrono::steady_clock;
constexpr uint64_t kSliceMs = 1000;

}  // namespace

Timeline::Timeline(const DeviceFunctions& functions, VkDevice device)
    : functions_(functions), device_(device) {
  VkSemaphoreTypeCreateInfo type = {VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO};
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  VkSemaphoreCreateInfo create = {VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, &type};
  check(functions_.vkCreateSemaphore(device_, &create, nullptr, &semaphore_), "vkCreateSemaphore");
}

Timeline::~Timeline() { functions_.vkDestroySemaphore(device_, semaphore_, nullptr); }

VkResult Timeline::wait(uint64_t serial, uint64_t timeout_ms) const {
  VkSemaphoreWaitInfo wait = {VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO};
  wait.semaphoreCount = 1;
  wait.pSemaphores = &semaphore_;
  wait.pValues = &serial;
  const uint64_t slice_ns = std::min(timeout_ms, kSliceMs) * 1000000;
  uint64_t progress = 0;
  Clock::time_point last_progress = Clock::now();
  while (true) {
    const VkResult result = functions_.vkWaitSemaphores(device_, &wait, slice_ns);
    if (result != VK_TIMEOUT) return result;
    uint64_t reached = 0;
    const VkResult counter = read(&reached);
    if (counter != VK_SUCCESS) return counter;
    if (reached > progress) {
      progress = reached;
      last_progress = Clock::now();
    }
    if (Clock::now() - last_progress >= std::chrono::milliseconds(timeout_ms)) return VK_TIMEOUT;
  }
}

}  // namespace ferrylm::vulkan

// A VkDevice with its functions: nothing that needs memory or a working queue.
#ifndef FERRYLM_VULKAN_LOGICAL_DEVICE_H_
#define FERRYLM_VULKAN_LOGICAL_DEVICE_H_

#include "device_info.h"

namespace ferrylm::vulkan {

class LogicalDevice {
 public:
  // Throws when the driver refuses.
  explicit LogicalDevice(const DeviceInfo& info);
  ~LogicalDevice();
  LogicalDevice(const LogicalDevice&) = delete;
  LogicalDevice& operator=(const LogicalDevice&) = delete;

  const DeviceInfo& info() const { return info_; }
  const DeviceFunctions& functions() const { return functions_; }
  VkDevice handle() const { return handle_; }
  // One for all kernels: push constants only.
  VkPipelineLayout pipeline_layout() const { return pipeline_layout_; }

 private:
  void create();

  const DeviceInfo info_;
  DeviceFunctions functions_;
  VkDevice handle_ = VK_NULL_HANDLE;
  VkPipelineLayout pipeline_layout_ = VK_NULL_HANDLE;
};

// The most push constant bytes that Vulkan guarantees.
constexpr uint32_t kPushConstantBytes = 128;

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_LOGICAL_DEVICE_H_

#include "logical_device.h"

#include <vector>

#include "errors.h"

namespace ferrylm::vulkan {

LogicalDevice::LogicalDevice(const DeviceInfo& info) : info_(info) {
  create();
  functions_ = DeviceFunctions(Instance::get().device_address_of(), handle_);
  VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, kPushConstantBytes};
  VkPipelineLayoutCreateInfo layout = {VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO};
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &range;
  const VkResult result =
      functions_.vkCreatePipelineLayout(handle_, &layout, nullptr, &pipeline_layout_);
  if (result == VK_SUCCESS) return;
  functions_.vkDestroyDevice(handle_, nullptr);
  check(result, "vkCreatePipelineLayout");
}

void LogicalDevice::create() {
  const InstanceFunctions& instance = Instance::get().functions();
  FeatureChain features(info_.api_version, info_.extensions);
  instance.vkGetPhysicalDeviceFeatures2(info_.physical, features.head());
  features.keep_useful();
  std::vector<const char*> extensions;
  for (const std::string& name : info_.extensions) extensions.push_back(name.c_str());
  const float priority = 1.0f;
  VkDeviceQueueCreateInfo queue = {VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO};
  queue.queueFamilyIndex = info_.queue_family;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  VkDeviceCreateInfo create = {VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, features.head()};
  create.queueCreateInfoCount = 1;
  create.pQueueCreateInfos = &queue;
  create.enabledExtensionCount = static_cast<uint32_t>(extensions.size());
  create.ppEnabledExtensionNames = extensions.data();
  check(instance.vkCreateDevice(info_.physical, &create, nullptr, &handle_), "vkCreateDevice");
}

LogicalDevice::~LogicalDevice() {
  functions_.vkDestroyPipelineLayout(handle_, pipeline_layout_, nullptr);
  functions_.vkDestroyDevice(handle_, nullptr);
}

}  // namespace ferrylm::vulkan

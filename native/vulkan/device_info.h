// What one physical device is and can do: plain data, asked once.
#ifndef FERRYLM_VULKAN_DEVICE_INFO_H_
#define FERRYLM_VULKAN_DEVICE_INFO_H_

#include <string>

#include "device_features.h"
#include "instance.h"

namespace ferrylm::vulkan {

struct DeviceInfo {
  VkPhysicalDevice physical = VK_NULL_HANDLE;
  std::string name;
  std::string uuid;         // 32 hexadecimal digits
  std::string driver_uuid;  // likewise; changes with the driver's build
  std::string driver;       // name and version as the driver writes them
  uint32_t driver_version = 0;
  uint32_t api_version = 0;  // the lower of the device's and the instance's
  uint32_t vendor_id = 0;
  uint32_t device_id = 0;
  VkPhysicalDeviceType type = VK_PHYSICAL_DEVICE_TYPE_OTHER;
  VkPhysicalDeviceLimits limits = {};
  VkPhysicalDeviceMemoryProperties memory = {};
  uint64_t max_allocation_bytes = 0;
  uint64_t max_buffer_bytes = 0;
  uint32_t subgroup_size = 0;
  uint32_t min_subgroup_size = 0;  // equal to subgroup_size where the size cannot be chosen
  uint32_t max_subgroup_size = 0;
  bool can_require_subgroup_size = false;
  uint32_t queue_family = 0;
  uint32_t timestamp_bits = 0;
  Names extensions;  // those that are turned on
  // Vulkan's names, also of the property that says whether byte dot products are instructions, and
  // ours for subgroup operations and products of cooperative matrices (cooperative_shapes.h).
  Names features;

  bool is_software() const { return type == VK_PHYSICAL_DEVICE_TYPE_CPU; }
  // Host and device share their memory.
  bool is_unified() const {
    return type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU || is_software();
  }
};

// "discrete", "integrated", "virtual", "software" or "other".
const char* type_name(VkPhysicalDeviceType type);

DeviceInfo describe_device(const Instance& instance, VkPhysicalDevice physical);

// Why the device cannot be used at all; empty when it can.
std::string unusable_because(const DeviceInfo& info);

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_DEVICE_INFO_H_

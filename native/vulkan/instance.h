// The one VkInstance of the process and its physical devices.
#ifndef FERRYLM_VULKAN_INSTANCE_H_
#define FERRYLM_VULKAN_INSTANCE_H_

#include <string>
#include <vector>

#include "functions.h"
#include "loader.h"

namespace ferrylm::vulkan {

class Instance {
 public:
  // Made on first use and kept to the end of the process, because tensors may outlive everything
  // else. Throws kNoLoader or kNoDevice; a later call tries again.
  static Instance& get();

  // The loader that was tried, with or without success.
  static const Loader& loader();

  const InstanceFunctions& functions() const { return functions_; }
  PFN_vkGetDeviceProcAddr device_address_of() const { return functions_.vkGetDeviceProcAddr; }
  // The address of an instance's function, null where the loader has none of this name.
  PFN_vkVoidFunction address_of(const char* name) const {
    return loader().address_of(handle_, name);
  }
  uint32_t api_version() const { return api_version_; }
  std::vector<VkPhysicalDevice> physical_devices() const;

 private:
  Instance();
  VkInstance handle_ = VK_NULL_HANDLE;
  InstanceFunctions functions_;
  uint32_t api_version_ = VK_API_VERSION_1_0;
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_INSTANCE_H_

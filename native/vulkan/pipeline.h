// Makes one compute pipeline of one kernel.
#ifndef FERRYLM_VULKAN_PIPELINE_H_
#define FERRYLM_VULKAN_PIPELINE_H_

#include "container.h"
#include "device.h"

namespace ferrylm::vulkan {

// Throws kFeature or kLimit, naming the kernel and the device, when the device cannot run it.
void require_runnable(const DeviceInfo& info, const Kernel& kernel);

// Throws as `require_runnable` does, or what the driver answers.
VkPipeline create_pipeline(Device& device, const Container& container, const Kernel& kernel,
                           VkPipelineCache cache);

struct PipelineRequest {
  const uint32_t* spirv;
  uint64_t spirv_bytes;
  uint32_t subgroup_size;  // 0 for any
  VkPipelineCache cache;
  VkPipelineCreateFlags flags;
};

// The same of bare SPIR-V, unchecked.
VkResult create_pipeline(const LogicalDevice& device, const PipelineRequest& request,
                         VkPipeline* pipeline);

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_PIPELINE_H_

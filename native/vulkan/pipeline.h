// Makes one compute pipeline of one kernel.
#ifndef FERRYLM_VULKAN_PIPELINE_H_
#define FERRYLM_VULKAN_PIPELINE_H_

#include "container.h"
#include "device.h"

namespace ferrylm::vulkan {

// Throws kFeature or kLimit, naming the kernel and the device, when the device cannot run it.
void require_runnable(const DeviceInfo& info, const Kernel& kernel);

VkPipeline create_pipeline(Device& device, const Container& container, const Kernel& kernel,
                           VkPipelineCache cache);

// The same of bare SPIR-V; `flags` are added to those every pipeline has.
VkPipeline create_pipeline(Device& device, const uint32_t* spirv, uint64_t spirv_bytes,
                           uint32_t subgroup_size, VkPipelineLayout layout, VkPipelineCache cache,
                           VkPipelineCreateFlags flags);

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_PIPELINE_H_

#include "pipeline.h"

#include "errors.h"

namespace ferrylm::vulkan {

namespace {

void require_subgroup_size(const DeviceInfo& info, const Kernel& kernel) {
  const uint32_t wanted = kernel.subgroup_size;
  if (wanted == 0 || (!info.can_require_subgroup_size && wanted == info.subgroup_size)) return;
  if (info.can_require_subgroup_size && wanted >= info.min_subgroup_size &&
      wanted <= info.max_subgroup_size) {
    return;
  }
  fail(Failure::kFeature, "the kernel " + kernel.name + " needs subgroups of " +
                              std::to_string(wanted) + ", but " + info.name + " has " +
                              std::to_string(info.min_subgroup_size) + " to " +
                              std::to_string(info.max_subgroup_size));
}

}  // namespace

void require_runnable(const DeviceInfo& info, const Kernel& kernel) {
  for (const std::string& feature : kernel.requires_features) {
    if (info.features.count(feature)) continue;
    fail(Failure::kFeature, "the kernel " + kernel.name + " needs the feature " + feature +
                                ", which " + info.name + " lacks");
  }
  require_subgroup_size(info, kernel);
  uint64_t threads = 1;
  for (int axis = 0; axis < 3; ++axis) {
    threads *= kernel.local_size[axis];
    if (kernel.local_size[axis] > info.limits.maxComputeWorkGroupSize[axis]) threads = UINT32_MAX;
  }
  if (threads > info.limits.maxComputeWorkGroupInvocations ||
      kernel.shared_bytes > info.limits.maxComputeSharedMemorySize) {
    fail(Failure::kLimit, "the kernel " + kernel.name + " needs larger workgroups or more shared "
                          "memory than " + info.name + " has");
  }
}

VkPipeline create_pipeline(Device& device, const uint32_t* spirv, uint64_t spirv_bytes,
                           uint32_t subgroup_size, VkPipelineLayout layout, VkPipelineCache cache,
                           VkPipelineCreateFlags flags) {
  const DeviceFunctions& functions = device.functions();
  VkShaderModuleCreateInfo code = {VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO};
  code.codeSize = spirv_bytes;
  code.pCode = spirv;
  VkShaderModule shader = VK_NULL_HANDLE;
  device.check(functions.vkCreateShaderModule(device.handle(), &code, nullptr, &shader),
               "vkCreateShaderModule");
  VkComputePipelineCreateInfo create = {VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO};
  create.flags = VK_PIPELINE_CREATE_DISPATCH_BASE_BIT | flags;
  create.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  create.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  create.stage.module = shader;
  create.stage.pName = "main";
  create.layout = layout;
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
      VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO};
  size.requiredSubgroupSize = subgroup_size;
  if (subgroup_size != 0 && device.info().can_require_subgroup_size) {
    create.stage.pNext = &size;
    if (device.info().features.count("computeFullSubgroups")) {
      create.stage.flags |= VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
    }
  }
  VkPipeline pipeline = VK_NULL_HANDLE;
  const VkResult result = functions.vkCreateComputePipelines(device.handle(), cache, 1, &create,
                                                             nullptr, &pipeline);
  functions.vkDestroyShaderModule(device.handle(), shader, nullptr);
  device.check(result, "vkCreateComputePipelines");
  return pipeline;
}

VkPipeline create_pipeline(Device& device, const Container& container, const Kernel& kernel,
                           VkPipelineCache cache) {
  require_runnable(device.info(), kernel);
  return create_pipeline(device, container.spirv(kernel), kernel.spirv_bytes, kernel.subgroup_size,
                         device.pipeline_layout(), cache, 0);
}

}  // namespace ferrylm::vulkan

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
    fail(Failure::kLimit, "the kernel " + kernel.name +
                              " needs larger workgroups or more shared "
                              "memory than " +
                              info.name + " has");
  }
}

VkResult create_pipeline(const LogicalDevice& device, const PipelineRequest& request,
                         VkPipeline* pipeline) {
  const DeviceFunctions& functions = device.functions();
  VkShaderModuleCreateInfo code = {VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO};
  code.codeSize = request.spirv_bytes;
  code.pCode = request.spirv;
  VkShaderModule shader = VK_NULL_HANDLE;
  VkResult result = functions.vkCreateShaderModule(device.handle(), &code, nullptr, &shader);
  if (result != VK_SUCCESS) return result;
  VkComputePipelineCreateInfo create = {VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO};
  create.flags = VK_PIPELINE_CREATE_DISPATCH_BASE_BIT | request.flags;
  create.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  create.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  create.stage.module = shader;
  create.stage.pName = "main";
  create.layout = device.pipeline_layout();
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
      VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO};
  size.requiredSubgroupSize = request.subgroup_size;
  if (request.subgroup_size != 0 && device.info().can_require_subgroup_size) {
    create.stage.pNext = &size;
    if (device.info().features.count("computeFullSubgroups")) {
      create.stage.flags |= VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
    }
  }
  result = functions.vkCreateComputePipelines(device.handle(), request.cache, 1, &create, nullptr,
                                              pipeline);
  functions.vkDestroyShaderModule(device.handle(), shader, nullptr);
  return result;
}

VkPipeline create_pipeline(Device& device, const Container& container, const Kernel& kernel,
                           VkPipelineCache cache) {
  require_runnable(device.info(), kernel);
  const PipelineRequest request = {container.spirv(kernel), kernel.spirv_bytes,
                                   kernel.subgroup_size, cache, 0};
  VkPipeline pipeline = VK_NULL_HANDLE;
  device.check(create_pipeline(device.logical(), request, &pipeline), "vkCreateComputePipelines");
  return pipeline;
}

}  // namespace ferrylm::vulkan

// What the driver's compiler made of a kernel: registers, spills, instructions.
#ifndef FERRYLM_VULKAN_PIPELINE_STATISTICS_H_
#define FERRYLM_VULKAN_PIPELINE_STATISTICS_H_

#include <cstdint>
#include <string>

namespace ferrylm::vulkan {

// A JSON list, one entry for each executable: {name, description, subgroup_size, statistics:
// {name: number}}, of device number 0. Throws kFeature without
// VK_KHR_pipeline_executable_properties.
std::string pipeline_statistics(const std::string& spirv, uint32_t subgroup_size,
                                uint32_t push_constant_bytes);

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_PIPELINE_STATISTICS_H_

// Which products of cooperative matrices a device has, as names that kernels can require.
#ifndef FERRYLM_VULKAN_COOPERATIVE_SHAPES_H_
#define FERRYLM_VULKAN_COOPERATIVE_SHAPES_H_

#include "device_features.h"
#include "instance.h"

namespace ferrylm::vulkan {

// cooperativeMatrix16x16x16Float16Float32: M x N x K, the type of both factors, that of the sums;
// products of a subgroup whose factors have one type and whose sums are not saturated. Empty for a
// driver without VK_KHR_cooperative_matrix. Throws what errors.h says where the driver fails.
Names cooperative_shapes(const Instance& instance, VkPhysicalDevice physical);

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_COOPERATIVE_SHAPES_H_

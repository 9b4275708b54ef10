// The Vulkan features that kernels may require, by their names in the specification.
#ifndef FERRYLM_VULKAN_DEVICE_FEATURES_H_
#define FERRYLM_VULKAN_DEVICE_FEATURES_H_

#include <set>
#include <string>

#include "vulkan_api.h"

// KHR cooperative matrices are younger than the vendored headers (extension 507 of the registry).
#ifndef VK_KHR_cooperative_matrix
#define VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME "VK_KHR_cooperative_matrix"
#define VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR \
  static_cast<VkStructureType>(1000506000)
typedef struct VkPhysicalDeviceCooperativeMatrixFeaturesKHR {
  VkStructureType sType;
  void* pNext;
  VkBool32 cooperativeMatrix;
  VkBool32 cooperativeMatrixRobustBufferAccess;
} VkPhysicalDeviceCooperativeMatrixFeaturesKHR;
#endif

namespace ferrylm::vulkan {

using Names = std::set<std::string>;

// A chain of feature structures, for the query and for vkCreateDevice alike. Not copyable: the
// structures point to each other.
class FeatureChain {
 public:
  FeatureChain(uint32_t api_version, const Names& extensions);
  FeatureChain(const FeatureChain&) = delete;
  FeatureChain& operator=(const FeatureChain&) = delete;

  VkPhysicalDeviceFeatures2* head() { return &core_; }

  // Names of the features that are on.
  Names names() const;

  // Turns off everything that no kernel asks for: some features (robust access) cost speed.
  void keep_useful();

 private:
  template <typename Structure>
  void append(Structure* structure, VkStructureType type);

  VkPhysicalDeviceFeatures2 core_ = {};
  VkPhysicalDeviceVulkan11Features vulkan11_ = {};
  VkPhysicalDeviceVulkan12Features vulkan12_ = {};
  VkPhysicalDeviceVulkan13Features vulkan13_ = {};
  VkPhysicalDeviceSubgroupSizeControlFeatures subgroup_size_ = {};
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot_product_ = {};
  VkPhysicalDeviceShaderAtomicFloatFeaturesEXT atomic_float_ = {};
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR cooperative_matrix_ = {};
  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executable_properties_ = {};
  void** tail_;
};

// The extensions among `available` that are turned on.
Names wanted_extensions(uint32_t api_version, const Names& available);

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_DEVICE_FEATURES_H_

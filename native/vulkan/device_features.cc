#include "device_features.h"

#include <cstddef>

namespace ferrylm::vulkan {

namespace {

template <typename Structure>
struct Feature {
  const char* name;
  VkBool32 Structure::* member;
};

#define FERRYLM_FEATURE(structure, name) {#name, &structure::name}

const Feature<VkPhysicalDeviceFeatures> kCore[] = {
    FERRYLM_FEATURE(VkPhysicalDeviceFeatures, shaderFloat64),
    FERRYLM_FEATURE(VkPhysicalDeviceFeatures, shaderInt64),
    FERRYLM_FEATURE(VkPhysicalDeviceFeatures, shaderInt16),
};

const Feature<VkPhysicalDeviceVulkan11Features> kVulkan11[] = {
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan11Features, storageBuffer16BitAccess),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan11Features, uniformAndStorageBuffer16BitAccess),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan11Features, storagePushConstant16),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan11Features, variablePointersStorageBuffer),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan11Features, variablePointers),
};

const Feature<VkPhysicalDeviceVulkan12Features> kVulkan12[] = {
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan12Features, storageBuffer8BitAccess),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan12Features, uniformAndStorageBuffer8BitAccess),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan12Features, storagePushConstant8),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan12Features, shaderBufferInt64Atomics),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan12Features, shaderSharedInt64Atomics),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan12Features, shaderFloat16),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan12Features, shaderInt8),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan12Features, scalarBlockLayout),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan12Features, shaderSubgroupExtendedTypes),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan12Features, timelineSemaphore),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan12Features, bufferDeviceAddress),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan12Features, vulkanMemoryModel),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan12Features, vulkanMemoryModelDeviceScope),
};

const Feature<VkPhysicalDeviceVulkan13Features> kVulkan13[] = {
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan13Features, subgroupSizeControl),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan13Features, computeFullSubgroups),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan13Features, shaderIntegerDotProduct),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan13Features, shaderZeroInitializeWorkgroupMemory),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan13Features, shaderTerminateInvocation),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan13Features, shaderDemoteToHelperInvocation),
    FERRYLM_FEATURE(VkPhysicalDeviceVulkan13Features, maintenance4),
};

const Feature<VkPhysicalDeviceSubgroupSizeControlFeatures> kSubgroupSize[] = {
    FERRYLM_FEATURE(VkPhysicalDeviceSubgroupSizeControlFeatures, subgroupSizeControl),
    FERRYLM_FEATURE(VkPhysicalDeviceSubgroupSizeControlFeatures, computeFullSubgroups),
};

const Feature<VkPhysicalDeviceShaderIntegerDotProductFeatures> kDotProduct[] = {
    FERRYLM_FEATURE(VkPhysicalDeviceShaderIntegerDotProductFeatures, shaderIntegerDotProduct),
};

const Feature<VkPhysicalDeviceShaderAtomicFloatFeaturesEXT> kAtomicFloat[] = {
    FERRYLM_FEATURE(VkPhysicalDeviceShaderAtomicFloatFeaturesEXT, shaderBufferFloat32Atomics),
    FERRYLM_FEATURE(VkPhysicalDeviceShaderAtomicFloatFeaturesEXT, shaderBufferFloat32AtomicAdd),
    FERRYLM_FEATURE(VkPhysicalDeviceShaderAtomicFloatFeaturesEXT, shaderSharedFloat32Atomics),
    FERRYLM_FEATURE(VkPhysicalDeviceShaderAtomicFloatFeaturesEXT, shaderSharedFloat32AtomicAdd),
};

const Feature<VkPhysicalDeviceCooperativeMatrixFeaturesKHR> kCooperativeMatrix[] = {
    FERRYLM_FEATURE(VkPhysicalDeviceCooperativeMatrixFeaturesKHR, cooperativeMatrix),
};

const Feature<VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR> kExecutableProperties[] = {
    FERRYLM_FEATURE(VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR,
                    pipelineExecutableInfo),
};

#undef FERRYLM_FEATURE

template <typename Structure, size_t count>
void collect(const Structure& values, const Feature<Structure> (&table)[count], Names* names) {
  for (const Feature<Structure>& feature : table) {
    if (values.*feature.member) names->insert(feature.name);
  }
}

// Clears the structure but for the features of the table (and its links).
template <typename Structure, size_t count>
void keep(Structure* values, const Feature<Structure> (&table)[count]) {
  Structure kept = {};
  for (const Feature<Structure>& feature : table) {
    kept.*feature.member = values->*feature.member;
  }
  if constexpr (!std::is_same_v<Structure, VkPhysicalDeviceFeatures>) {
    kept.sType = values->sType;
    kept.pNext = values->pNext;
  }
  *values = kept;
}

}  // namespace

template <typename Structure>
void FeatureChain::append(Structure* structure, VkStructureType type) {
  structure->sType = type;
  *tail_ = structure;
  tail_ = &structure->pNext;
}

FeatureChain::FeatureChain(uint32_t api_version, const Names& extensions) {
  core_.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  tail_ = &core_.pNext;
  append(&vulkan11_, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES);
  append(&vulkan12_, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES);
  if (api_version >= VK_API_VERSION_1_3) {
    append(&vulkan13_, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES);
  } else {
    if (extensions.count(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME)) {
      append(&subgroup_size_, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES);
    }
    if (extensions.count(VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME)) {
      append(&dot_product_, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES);
    }
  }
  if (extensions.count(VK_EXT_SHADER_ATOMIC_FLOAT_EXTENSION_NAME)) {
    append(&atomic_float_, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_ATOMIC_FLOAT_FEATURES_EXT);
  }
  if (extensions.count(VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME)) {
    append(&cooperative_matrix_, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR);
  }
  if (extensions.count(VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME)) {
    append(&executable_properties_,
           VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR);
  }
}

Names FeatureChain::names() const {
  Names names;
  collect(core_.features, kCore, &names);
  collect(vulkan11_, kVulkan11, &names);
  collect(vulkan12_, kVulkan12, &names);
  collect(vulkan13_, kVulkan13, &names);
  collect(subgroup_size_, kSubgroupSize, &names);
  collect(dot_product_, kDotProduct, &names);
  collect(atomic_float_, kAtomicFloat, &names);
  collect(cooperative_matrix_, kCooperativeMatrix, &names);
  collect(executable_properties_, kExecutableProperties, &names);
  return names;
}

void FeatureChain::keep_useful() {
  keep(&core_.features, kCore);
  keep(&vulkan11_, kVulkan11);
  keep(&vulkan12_, kVulkan12);
  keep(&vulkan13_, kVulkan13);
  keep(&subgroup_size_, kSubgroupSize);
  keep(&dot_product_, kDotProduct);
  keep(&atomic_float_, kAtomicFloat);
  keep(&cooperative_matrix_, kCooperativeMatrix);
  keep(&executable_properties_, kExecutableProperties);
}

Names wanted_extensions(uint32_t api_version, const Names& available) {
  Names wanted;
  const auto want = [&](const char* name) {
    if (available.count(name)) wanted.insert(name);
  };
  if (api_version < VK_API_VERSION_1_3) {
    want(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    want(VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
  }
  want(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  want(VK_EXT_SHADER_ATOMIC_FLOAT_EXTENSION_NAME);
  want(VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME);
  want(VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME);
  return wanted;
}

}  // namespace ferrylm::vulkan

#include "device_info.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "cooperative_shapes.h"
#include "errors.h"

namespace ferrylm::vulkan {

namespace {

std::string hexadecimal(const uint8_t* bytes, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    char digits[4];
    std::snprintf(digits, sizeof(digits), "%02x", bytes[i]);
    text += digits;
  }
  return text;
}

Names available_extensions(const InstanceFunctions& functions, VkPhysicalDevice physical) {
  uint32_t count = 0;
  check(functions.vkEnumerateDeviceExtensionProperties(physical, nullptr, &count, nullptr),
        "vkEnumerateDeviceExtensionProperties");
  std::vector<VkExtensionProperties> properties(count);
  check(
      functions.vkEnumerateDeviceExtensionProperties(physical, nullptr, &count, properties.data()),
      "vkEnumerateDeviceExtensionProperties");
  Names names;
  for (uint32_t i = 0; i < count; ++i) names.insert(properties[i].extensionName);
  return names;
}

// A compute queue, without graphics where there is one: its work competes with no screen.
void choose_queue(const InstanceFunctions& functions, DeviceInfo* info) {
  uint32_t count = 0;
  functions.vkGetPhysicalDeviceQueueFamilyProperties(info->physical, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  functions.vkGetPhysicalDeviceQueueFamilyProperties(info->physical, &count, families.data());
  info->queue_family = UINT32_MAX;
  for (uint32_t i = 0; i < count; ++i) {
    if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT)) continue;
    const bool pure = !(families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT);
    if (info->queue_family != UINT32_MAX && !pure) continue;
    info->queue_family = i;
    info->timestamp_bits = families[i].timestampValidBits;
    if (pure) break;
  }
}

void add_subgroup_operations(VkSubgroupFeatureFlags operations, Names* features) {
  const struct {
    VkSubgroupFeatureFlags bit;
    const char* name;
  } kOperations[] = {
      {VK_SUBGROUP_FEATURE_BASIC_BIT, "subgroupBasic"},
      {VK_SUBGROUP_FEATURE_VOTE_BIT, "subgroupVote"},
      {VK_SUBGROUP_FEATURE_ARITHMETIC_BIT, "subgroupArithmetic"},
      {VK_SUBGROUP_FEATURE_BALLOT_BIT, "subgroupBallot"},
      {VK_SUBGROUP_FEATURE_SHUFFLE_BIT, "subgroupShuffle"},
      {VK_SUBGROUP_FEATURE_SHUFFLE_RELATIVE_BIT, "subgroupShuffleRelative"},
      {VK_SUBGROUP_FEATURE_CLUSTERED_BIT, "subgroupClustered"},
  };
  for (const auto& operation : kOperations) {
    if (operations & operation.bit) features->insert(operation.name);
  }
}

void read_properties(const Instance& instance, DeviceInfo* info) {
  VkPhysicalDeviceProperties basic;
  instance.functions().vkGetPhysicalDeviceProperties(info->physical, &basic);
  info->name = basic.deviceName;
  info->api_version = std::min(basic.apiVersion, instance.api_version());
  info->driver_version = basic.driverVersion;
  info->vendor_id = basic.vendorID;
  info->device_id = basic.deviceID;
  info->type = basic.deviceType;
  info->limits = basic.limits;
  if (info->api_version < VK_API_VERSION_1_2) return;

  VkPhysicalDeviceProperties2 all = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
  VkPhysicalDeviceVulkan11Properties vulkan11 = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES};
  VkPhysicalDeviceVulkan12Properties vulkan12 = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES};
  VkPhysicalDeviceSubgroupSizeControlProperties sizes = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
  VkPhysicalDeviceMaintenance4Properties maintenance4 = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES};
  VkPhysicalDeviceShaderIntegerDotProductProperties dot_product = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES};
  all.pNext = &vulkan11;
  vulkan11.pNext = &vulkan12;
  const bool is_1_3 = info->api_version >= VK_API_VERSION_1_3;
  if (is_1_3 || info->extensions.count(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME)) {
    vulkan12.pNext = &sizes;
  }
  if (is_1_3) sizes.pNext = &maintenance4;
  if (is_1_3 || info->extensions.count(VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME)) {
    dot_product.pNext = all.pNext;
    all.pNext = &dot_product;
  }
  instance.functions().vkGetPhysicalDeviceProperties2(info->physical, &all);
  info->uuid = hexadecimal(vulkan11.deviceUUID, VK_UUID_SIZE);
  info->driver_uuid = hexadecimal(vulkan11.driverUUID, VK_UUID_SIZE);
  info->driver = std::string(vulkan12.driverName) + " " + vulkan12.driverInfo;
  info->max_allocation_bytes = vulkan11.maxMemoryAllocationSize;
  info->max_buffer_bytes = is_1_3 ? maintenance4.maxBufferSize : vulkan11.maxMemoryAllocationSize;
  info->subgroup_size = vulkan11.subgroupSize;
  info->min_subgroup_size = sizes.minSubgroupSize ? sizes.minSubgroupSize : info->subgroup_size;
  info->max_subgroup_size = sizes.maxSubgroupSize ? sizes.maxSubgroupSize : info->subgroup_size;
  info->can_require_subgroup_size = sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT;
  if (dot_product.integerDotProduct4x8BitPackedSignedAccelerated) {
    info->features.insert("integerDotProduct4x8BitPackedSignedAccelerated");
  }
  if (vulkan11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) {
    add_subgroup_operations(vulkan11.subgroupSupportedOperations, &info->features);
  }
}

}  // namespace

const char* type_name(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU: return "discrete";
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU: return "integrated";
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU: return "virtual";
    case VK_PHYSICAL_DEVICE_TYPE_CPU: return "software";
    default: return "other";
  }
}

DeviceInfo describe_device(const Instance& instance, VkPhysicalDevice physical) {
  DeviceInfo info;
  info.physical = physical;
  VkPhysicalDeviceProperties basic;
  instance.functions().vkGetPhysicalDeviceProperties(physical, &basic);
  const uint32_t api_version = std::min(basic.apiVersion, instance.api_version());
  info.extensions =
      wanted_extensions(api_version, available_extensions(instance.functions(), physical));
  read_properties(instance, &info);
  if (info.api_version >= VK_API_VERSION_1_2) {
    FeatureChain features(info.api_version, info.extensions);
    instance.functions().vkGetPhysicalDeviceFeatures2(physical, features.head());
    const Names names = features.names();
    info.features.insert(names.begin(), names.end());
    info.can_require_subgroup_size &= names.count("subgroupSizeControl") != 0;
    if (names.count("cooperativeMatrix")) {
      const Names shapes = cooperative_shapes(instance, physical);
      info.features.insert(shapes.begin(), shapes.end());
    }
  }
  VkPhysicalDeviceMemoryProperties2 memory = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  instance.functions().vkGetPhysicalDeviceMemoryProperties2(physical, &memory);
  info.memory = memory.memoryProperties;
  choose_queue(instance.functions(), &info);
  return info;
}

std::string unusable_because(const DeviceInfo& info) {
  if (info.api_version < VK_API_VERSION_1_2) return "it is older than Vulkan 1.2";
  if (info.queue_family == UINT32_MAX) return "it has no compute queue";
  for (const char* name : {"bufferDeviceAddress", "timelineSemaphore"}) {
    if (!info.features.count(name)) return std::string("it lacks the feature ") + name;
  }
  if (info.memory.memoryHeapCount == 0) return "it has no memory (a driver without hardware)";
  return "";
}

}  // namespace ferrylm::vulkan

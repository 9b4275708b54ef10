#include "cooperative_shapes.h"

#include <iterator>
#include <string>
#include <vector>

#include "errors.h"

// Younger than the vendored headers, like the features in device_features.h.
#ifndef VK_KHR_cooperative_matrix
#define VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR \
  static_cast<VkStructureType>(1000506001)
#define VK_SCOPE_SUBGROUP_KHR 3
typedef struct VkCooperativeMatrixPropertiesKHR {
  VkStructureType sType;
  void* pNext;
  uint32_t MSize;
  uint32_t NSize;
  uint32_t KSize;
  uint32_t AType;
  uint32_t BType;
  uint32_t CType;
  uint32_t ResultType;
  VkBool32 saturatingAccumulation;
  uint32_t scope;
} VkCooperativeMatrixPropertiesKHR;
typedef VkResult(VKAPI_PTR* PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)(
    VkPhysicalDevice physical, uint32_t* count, VkCooperativeMatrixPropertiesKHR* properties);
#endif

namespace ferrylm::vulkan {

namespace {

// VkComponentTypeKHR from 0 on; what comes later (bfloat16, float8) no kernel has.
const char* const kTypes[] = {"Float16", "Float32", "Float64", "Sint8",  "Sint16", "Sint32",
                              "Sint64",  "Uint8",   "Uint16",  "Uint32", "Uint64"};

std::string name_of(const VkCooperativeMatrixPropertiesKHR& shape) {
  const uint32_t factors = shape.AType, sums = shape.CType;
  const bool known = factors < std::size(kTypes) && sums < std::size(kTypes);
  const bool plain = shape.BType == factors && shape.ResultType == sums &&
                     !shape.saturatingAccumulation && shape.scope == VK_SCOPE_SUBGROUP_KHR;
  if (!known || !plain) return "";
  return "cooperativeMatrix" + std::to_string(shape.MSize) + "x" + std::to_string(shape.NSize) +
         "x" + std::to_string(shape.KSize) + kTypes[factors] + kTypes[sums];
}

}  // namespace

Names cooperative_shapes(const Instance& instance, VkPhysicalDevice physical) {
  const char* const function = "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR";
  const auto query = reinterpret_cast<PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR>(
      instance.address_of(function));
  if (query == nullptr) return {};
  uint32_t count = 0;
  check(query(physical, &count, nullptr), function);
  VkCooperativeMatrixPropertiesKHR empty = {};
  empty.sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
  std::vector<VkCooperativeMatrixPropertiesKHR> shapes(count, empty);
  check(query(physical, &count, shapes.data()), function);
  Names names;
  for (uint32_t i = 0; i < count && i < shapes.size(); ++i) {
    const std::string name = name_of(shapes[i]);
    if (!name.empty()) names.insert(name);
  }
  return names;
}

}  // namespace ferrylm::vulkan

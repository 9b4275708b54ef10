#include "pipeline_statistics.h"

#include <cstring>
#include <vector>

#include "device_registry.h"
#include "errors.h"
#include "json_writer.h"
#include "pipeline.h"

namespace ferrylm::vulkan {

namespace {

void write_statistic(JsonWriter* json, const VkPipelineExecutableStatisticKHR& statistic) {
  json->key(statistic.name);
  switch (statistic.format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
      json->value(statistic.value.b32 == VK_TRUE);
      break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR: json->value(statistic.value.i64); break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR:
      json->value(statistic.value.u64);
      break;
    default: json->value(statistic.value.f64);
  }
}

void write_executable(const LogicalDevice& device, VkPipeline pipeline, uint32_t index,
                      JsonWriter* json) {
  VkPipelineExecutableInfoKHR info = {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR};
  info.pipeline = pipeline;
  info.executableIndex = index;
  const DeviceFunctions& functions = device.functions();
  uint32_t count = 0;
  check(functions.vkGetPipelineExecutableStatisticsKHR(device.handle(), &info, &count, nullptr),
        "vkGetPipelineExecutableStatisticsKHR");
  std::vector<VkPipelineExecutableStatisticKHR> statistics(
      count, {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR});
  check(functions.vkGetPipelineExecutableStatisticsKHR(device.handle(), &info, &count,
                                                       statistics.data()),
        "vkGetPipelineExecutableStatisticsKHR");
  json->key("statistics").begin_object();
  for (uint32_t i = 0; i < count; ++i) write_statistic(json, statistics[i]);
  json->end_object();
}

std::string describe(const LogicalDevice& device, VkPipeline pipeline) {
  const DeviceFunctions& functions = device.functions();
  VkPipelineInfoKHR info = {VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR};
  info.pipeline = pipeline;
  uint32_t count = 0;
  check(functions.vkGetPipelineExecutablePropertiesKHR(device.handle(), &info, &count, nullptr),
        "vkGetPipelineExecutablePropertiesKHR");
  std::vector<VkPipelineExecutablePropertiesKHR> executables(
      count, {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR});
  check(functions.vkGetPipelineExecutablePropertiesKHR(device.handle(), &info, &count,
                                                       executables.data()),
        "vkGetPipelineExecutablePropertiesKHR");
  JsonWriter json;
  json.begin_list();
  for (uint32_t i = 0; i < count; ++i) {
    json.begin_object()
        .field("name", executables[i].name)
        .field("description", executables[i].description)
        .field("subgroup_size", executables[i].subgroupSize);
    write_executable(device, pipeline, i, &json);
    json.end_object();
  }
  return json.end_list().text();
}

}  // namespace

std::string pipeline_statistics(const std::string& spirv, uint32_t subgroup_size,
                                uint32_t push_constant_bytes) {
  const DeviceInfo info = DeviceRegistry::get().info(0);
  if (!info.features.count("pipelineExecutableInfo")) {
    fail(Failure::kFeature, info.name +
                                " does not tell what its compiler made "
                                "(VK_KHR_pipeline_executable_properties)");
  }
  if (spirv.size() % 4 != 0 || spirv.size() < 20 || push_constant_bytes > kPushConstantBytes) {
    fail(Failure::kUsage, "these bytes are no SPIR-V module, or too many push constants");
  }
  // A device of its own: a driver without hardware compiles, but has no memory and no queue.
  const LogicalDevice device(info);
  std::vector<uint32_t> words(spirv.size() / 4);
  std::memcpy(words.data(), spirv.data(), spirv.size());
  const PipelineRequest request = {words.data(), spirv.size(), subgroup_size, VK_NULL_HANDLE,
                                   VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR};
  VkPipeline pipeline = VK_NULL_HANDLE;
  check(create_pipeline(device, request, &pipeline), "vkCreateComputePipelines");
  std::string text;
  try {
    text = describe(device, pipeline);
  } catch (...) {
    device.functions().vkDestroyPipeline(device.handle(), pipeline, nullptr);
    throw;
  }
  device.functions().vkDestroyPipeline(device.handle(), pipeline, nullptr);
  return text;
}

}  // namespace ferrylm::vulkan

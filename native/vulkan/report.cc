#include "report.h"

#include "device_registry.h"
#include "json_writer.h"
#include "pipeline_cache.h"

namespace ferrylm::vulkan {

namespace {

std::string version_text(uint32_t version) {
  return std::to_string(VK_API_VERSION_MAJOR(version)) + "." +
         std::to_string(VK_API_VERSION_MINOR(version)) + "." +
         std::to_string(VK_API_VERSION_PATCH(version));
}

void write_limits(JsonWriter* json, const DeviceInfo& info) {
  const VkPhysicalDeviceLimits& limits = info.limits;
  json->key("limits").begin_object();
  json->field("max_allocation_bytes", info.max_allocation_bytes);
  json->field("max_buffer_bytes", info.max_buffer_bytes);
  json->field("max_storage_buffer_range_bytes", uint64_t{limits.maxStorageBufferRange});
  json->field("max_workgroup_invocations", limits.maxComputeWorkGroupInvocations);
  json->field("max_shared_bytes", limits.maxComputeSharedMemorySize);
  json->field("max_push_constant_bytes", limits.maxPushConstantsSize);
  json->field("timestamp_bits", info.timestamp_bits);
  const std::pair<const char*, const uint32_t*> vectors[] = {
      {"max_workgroup_size", limits.maxComputeWorkGroupSize},
      {"max_workgroup_count", limits.maxComputeWorkGroupCount}};
  for (const auto& [name, vector] : vectors) {
    json->key(name).begin_list();
    for (int axis = 0; axis < 3; ++axis) json->value(vector[axis]);
    json->end_list();
  }
  json->end_object();
}

void write_heaps(JsonWriter* json, const DeviceInfo& info, const MemoryHeaps& heaps) {
  json->key("heaps").begin_list();
  for (uint32_t heap = 0; heap < heaps.count(); ++heap) {
    const bool local = info.memory.memoryHeaps[heap].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
    json->begin_object()
        .field("size_bytes", heaps.size_bytes(heap))
        .field("budget_bytes", heaps.budget_bytes(heap))
        .field("free_bytes", heaps.free_bytes(heap))
        .field("used_by_us_bytes", heaps.ours_bytes(heap))
        .field("device_local", local)
        .end_object();
  }
  json->end_list();
}

void write_names(JsonWriter* json, const char* key, const Names& names) {
  json->key(key).begin_list();
  for (const std::string& name : names) json->value(name);
  json->end_list();
}

void write_device(JsonWriter* json, const DeviceInfo& info) {
  const std::string reason = unusable_because(info);
  json->begin_object()
      .field("name", info.name)
      .field("uuid", info.uuid)
      .field("driver", info.driver)
      .field("driver_uuid", info.driver_uuid)
      .field("driver_version", info.driver_version)
      .field("api_version", version_text(info.api_version))
      .field("vendor_id", info.vendor_id)
      .field("device_id", info.device_id)
      .field("type", type_name(info.type))
      .field("unified_memory", info.is_unified())
      .field("usable", reason.empty())
      .field("reason", reason)
      .field("subgroup_size", info.subgroup_size)
      .field("min_subgroup_size", info.min_subgroup_size)
      .field("max_subgroup_size", info.max_subgroup_size)
      .field("can_require_subgroup_size", info.can_require_subgroup_size);
  write_names(json, "features", info.features);
  write_names(json, "extensions", info.extensions);
  write_limits(json, info);
  write_heaps(json, info, MemoryHeaps(info, Instance::get().functions()));
  json->end_object();
}

// What went wrong, without the traceback of the error.
std::string sentence_of(const std::exception& error) {
  const std::string text = error.what();
  const size_t tag = text.find("[vulkan:");
  return tag == std::string::npos ? text : text.substr(tag);
}

}  // namespace

std::string loader_report() {
  JsonWriter json;
  json.begin_object();
  const Loader& loader = Instance::loader();
  json.field("loader", loader.path);
  json.key("loader_attempts").begin_list();
  for (const LoaderAttempt& attempt : loader.attempts) {
    json.begin_object().field("path", attempt.path).field("outcome", attempt.outcome).end_object();
  }
  json.end_list().key("driver_files").begin_list();
  for (const std::string& file : driver_files()) json.value(file);
  json.end_list().field("pipeline_cache_folder", pipeline_cache_folder());
  std::string reason;
  std::vector<DeviceInfo> devices;
  try {
    json.field("instance_version", version_text(Instance::get().api_version()));
    devices = DeviceRegistry::get().all();
    if (devices.empty()) {
      reason =
          "[vulkan:no-device] the Vulkan loader found no device; install a driver (Debian: "
          "mesa-vulkan-drivers, or the GPU vendor's)";
    }
  } catch (const std::exception& error) {
    reason = sentence_of(error);
  }
  json.field("reason", reason).key("devices").begin_list();
  for (const DeviceInfo& info : devices) write_device(&json, info);
  return json.end_list().end_object().text();
}

std::string device_report(int index) {
  JsonWriter json;
  write_device(&json, DeviceRegistry::get().info(index));
  return json.text();
}

std::string memory_report(int index) {
  const std::shared_ptr<Device> device = DeviceRegistry::get().device(index);
  const std::lock_guard<std::mutex> lock(device->mutex());
  if (!device->is_lost()) device->memory().collect(device->stream().completed(), false);
  const MemoryTotals totals = device->memory().totals();
  JsonWriter json;
  json.begin_object()
      .field("driver_bytes", totals.driver_bytes)
      .field("used_bytes", totals.used_bytes)
      .field("block_count", totals.block_count)
      .field("allocation_count", totals.allocation_count)
      .field("live_tensor_count", uint64_t{device->memory().live_tensors().size()});
  write_heaps(&json, device->info(), device->memory().heaps());
  return json.end_object().text();
}

std::string counter_report(int index) {
  const std::shared_ptr<Device> device = DeviceRegistry::get().device(index);
  const std::lock_guard<std::mutex> lock(device->mutex());
  const StreamCounters& counters = device->stream().counters();
  return JsonWriter()
      .begin_object()
      .field("dispatches", counters.dispatches)
      .field("split_dispatches", counters.split_dispatches)
      .field("execution_barriers", counters.execution_barriers)
      .field("memory_barriers", counters.memory_barriers)
      .field("submissions", counters.submissions)
      .field("replays", counters.replays)
      .end_object()
      .text();
}

}  // namespace ferrylm::vulkan

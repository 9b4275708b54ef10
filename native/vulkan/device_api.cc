#include "device_api.h"

#include "active_device.h"
#include "copies.h"
#include "device_registry.h"
#include "errors.h"

namespace ferrylm::vulkan {

using tvm::ffi::Any;
using tvm::runtime::DeviceAttrKind;

namespace {

std::string version_text(uint32_t version) {
  return std::to_string(VK_API_VERSION_MAJOR(version)) + "." +
         std::to_string(VK_API_VERSION_MINOR(version)) + "." +
         std::to_string(VK_API_VERSION_PATCH(version));
}

std::string dimensions_text(const uint32_t size[3]) {
  return "[" + std::to_string(size[0]) + ", " + std::to_string(size[1]) + ", " +
         std::to_string(size[2]) + "]";
}

int64_t total_memory_bytes(const DeviceInfo& info) {
  uint64_t total = 0;
  bool counted[VK_MAX_MEMORY_HEAPS] = {};
  for (const uint32_t type : memory_types_for(info, Purpose::kDevice)) {
    const uint32_t heap = info.memory.memoryTypes[type].heapIndex;
    if (!counted[heap]) total += info.memory.memoryHeaps[heap].size;
    counted[heap] = true;
  }
  return static_cast<int64_t>(total);
}

int64_t free_memory_bytes(Device& device) {
  const std::lock_guard<std::mutex> lock(device.mutex());
  const MemoryHeaps& heaps = device.memory().heaps();
  uint64_t total = 0;
  bool counted[VK_MAX_MEMORY_HEAPS] = {};
  for (const uint32_t type : memory_types_for(device.info(), Purpose::kDevice)) {
    const uint32_t heap = device.info().memory.memoryTypes[type].heapIndex;
    if (!counted[heap]) total += heaps.free_bytes(heap);
    counted[heap] = true;
  }
  return static_cast<int64_t>(total);
}

bool has(const DeviceInfo& info, const char* feature) { return info.features.count(feature) != 0; }

}  // namespace

VulkanDeviceApi* VulkanDeviceApi::get() {
  static VulkanDeviceApi* const api = new VulkanDeviceApi();
  return api;
}

void VulkanDeviceApi::SetDevice(tvm::Device device) { active_device() = device.device_id; }

void VulkanDeviceApi::GetAttr(tvm::Device device, DeviceAttrKind kind, Any* value) {
  DeviceRegistry& registry = DeviceRegistry::get();
  if (kind == tvm::runtime::kExist) {
    *value = static_cast<int>(registry.exists(device.device_id));
    return;
  }
  const DeviceInfo info = registry.info(device.device_id);
  const VkPhysicalDeviceLimits& limits = info.limits;
  switch (kind) {
    case tvm::runtime::kMaxThreadsPerBlock:
      *value = static_cast<int64_t>(limits.maxComputeWorkGroupInvocations);
      break;
    case tvm::runtime::kWarpSize: *value = static_cast<int64_t>(info.subgroup_size); break;
    case tvm::runtime::kMaxSharedMemoryPerBlock:
      *value = static_cast<int64_t>(limits.maxComputeSharedMemorySize);
      break;
    case tvm::runtime::kComputeVersion: *value = version_text(info.api_version); break;
    case tvm::runtime::kDeviceName: *value = info.name; break;
    case tvm::runtime::kMaxThreadDimensions:
      *value = dimensions_text(limits.maxComputeWorkGroupSize);
      break;
    case tvm::runtime::kApiVersion: *value = static_cast<int64_t>(VK_HEADER_VERSION); break;
    case tvm::runtime::kDriverVersion: *value = version_text(info.driver_version); break;
    case tvm::runtime::kTotalGlobalMemory: *value = total_memory_bytes(info); break;
    case tvm::runtime::kAvailableGlobalMemory:
      *value = free_memory_bytes(*registry.device(device.device_id));
      break;
    default: break;  // Vulkan does not tell
  }
}

void VulkanDeviceApi::GetTargetProperty(tvm::Device device, const std::string& property,
                                        Any* value) {
  const DeviceInfo info = DeviceRegistry::get().info(device.device_id);
  const struct {
    const char* property;
    const char* feature;
  } kFlags[] = {
      {"supports_float16", "shaderFloat16"},
      {"supports_float64", "shaderFloat64"},
      {"supports_int8", "shaderInt8"},
      {"supports_int16", "shaderInt16"},
      {"supports_int64", "shaderInt64"},
      {"supports_8bit_buffer", "storageBuffer8BitAccess"},
      {"supports_16bit_buffer", "storageBuffer16BitAccess"},
      {"supports_integer_dot_product", "shaderIntegerDotProduct"},
      {"supports_cooperative_matrix", "cooperativeMatrix"},
  };
  for (const auto& flag : kFlags) {
    if (property == flag.property) *value = has(info, flag.feature);
  }
  if (property == "supports_float32" || property == "supports_int32") *value = true;
  const VkPhysicalDeviceLimits& limits = info.limits;
  const struct {
    const char* property;
    int64_t number;
  } kNumbers[] = {
      {"max_num_threads", limits.maxComputeWorkGroupInvocations},
      {"thread_warp_size", info.subgroup_size},
      {"max_shared_memory_per_block", limits.maxComputeSharedMemorySize},
      {"max_push_constants_size", limits.maxPushConstantsSize},
      {"vulkan_api_version", info.api_version},
      {"spirv_version", info.api_version >= VK_API_VERSION_1_3 ? 0x10600 : 0x10500},
  };
  for (const auto& number : kNumbers) {
    if (property == number.property) *value = number.number;
  }
  if (property == "device_name") *value = info.name;
  if (property == "driver_name") *value = info.driver;
}

void* VulkanDeviceApi::AllocDataSpace(tvm::Device device, size_t size_bytes, size_t alignment,
                                      DLDataType) {
  if (alignment > kGranularityBytes) {
    fail(Failure::kLimit, "memory aligned to " + std::to_string(alignment) +
                              " bytes was asked for, but " + std::to_string(kGranularityBytes) +
                              " are the most");
  }
  const std::shared_ptr<Device> opened = DeviceRegistry::get().device(device.device_id);
  std::unique_lock<std::mutex> lock(opened->mutex());
  return reinterpret_cast<void*>(opened->allocate(size_bytes, Purpose::kDevice, &lock)->address());
}

void VulkanDeviceApi::FreeDataSpace(tvm::Device device, void* pointer) {
  DeviceRegistry::get().free(device.device_id, reinterpret_cast<uint64_t>(pointer));
}

void VulkanDeviceApi::StreamSync(tvm::Device device, TVMStreamHandle) {
  const std::shared_ptr<Device> opened = DeviceRegistry::get().device(device.device_id);
  opened->require_alive();
  std::unique_lock<std::mutex> lock(opened->mutex());
  opened->synchronize(&lock);
}

void VulkanDeviceApi::CopyDataFromTo(const void* from, size_t from_offset, void* to,
                                     size_t to_offset, size_t size_bytes, tvm::Device from_device,
                                     tvm::Device to_device, DLDataType, TVMStreamHandle) {
  if (size_bytes == 0) return;
  const uint64_t source = reinterpret_cast<uint64_t>(from) + from_offset;
  const uint64_t target = reinterpret_cast<uint64_t>(to) + to_offset;
  const bool from_vulkan = from_device.device_type == kDLVulkan;
  const bool to_vulkan = to_device.device_type == kDLVulkan;
  if (from_vulkan && to_vulkan) {
    copy_on_devices(from_device.device_id, source, to_device.device_id, target, size_bytes);
  } else if (to_vulkan) {
    copy_to_device(reinterpret_cast<const void*>(source), to_device.device_id, target, size_bytes);
  } else {
    copy_to_host(from_device.device_id, source, reinterpret_cast<void*>(target), size_bytes);
  }
}

}  // namespace ferrylm::vulkan

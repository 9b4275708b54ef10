// TVM's device API for `rocm` and for `rocm_host`, which is pinned host memory.
#include <tvm/ffi/extra/c_env_api.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/reflection/registry.h>
#include <tvm/runtime/device_api.h>

#include <cstring>
#include <map>
#include <mutex>

#include "current_device.h"
#include "device.h"
#include "errors.h"
#include "library.h"

namespace ferrylm::hip {

namespace {

using tvm::runtime::DeviceAttrKind;

class PinnedAllocations {
 public:
  void* allocate(size_t bytes) {
    auto memory = std::make_unique<PinnedMemory>(bytes == 0 ? 1 : bytes);
    void* address = memory->data();
    const std::lock_guard<std::mutex> lock(mutex_);
    allocations_.emplace(address, std::move(memory));
    return address;
  }
  void free(void* address) {
    const std::lock_guard<std::mutex> lock(mutex_);
    allocations_.erase(address);
  }

 private:
  std::mutex mutex_;
  std::map<void*, std::unique_ptr<PinnedMemory>> allocations_;
};

std::string block_limits(const DeviceFacts& facts) {
  return "[" + std::to_string(facts.max_block[0]) + ", " + std::to_string(facts.max_block[1]) +
         ", " + std::to_string(facts.max_block[2]) + "]";
}

void read_attribute(const DeviceFacts& facts, DeviceAttrKind kind, tvm::ffi::Any* result) {
  int version = 0;
  switch (kind) {
    case tvm::runtime::kMaxThreadsPerBlock: *result = facts.max_threads; return;
    case tvm::runtime::kWarpSize: *result = facts.wave; return;
    case tvm::runtime::kMaxSharedMemoryPerBlock:
      *result = static_cast<int64_t>(facts.shared_bytes);
      return;
    case tvm::runtime::kComputeVersion:
      *result = tvm::ffi::String(std::to_string(facts.major) + "." + std::to_string(facts.minor));
      return;
    case tvm::runtime::kDeviceName: *result = tvm::ffi::String(facts.name); return;
    case tvm::runtime::kMaxClockRate: *result = facts.clock_kilohertz; return;
    case tvm::runtime::kMultiProcessorCount: *result = facts.compute_units; return;
    case tvm::runtime::kMaxThreadDimensions:
      *result = tvm::ffi::String(block_limits(facts));
      return;
    case tvm::runtime::kMaxRegistersPerBlock: *result = facts.registers_per_block; return;
    case tvm::runtime::kGcnArch: *result = tvm::ffi::String(facts.arch); return;
    case tvm::runtime::kApiVersion:
      check(hip().RuntimeGetVersion(&version), "hipRuntimeGetVersion");
      *result = version;
      return;
    case tvm::runtime::kDriverVersion:
      check(hip().DriverGetVersion(&version), "hipDriverGetVersion");
      *result = tvm::ffi::String(std::to_string(version));
      return;
    case tvm::runtime::kL2CacheSizeBytes: *result = facts.l2_bytes; return;
    case tvm::runtime::kTotalGlobalMemory:
      *result = static_cast<int64_t>(facts.memory_bytes);
      return;
    default: *result = nullptr; return;
  }
}

class HipDeviceApi final : public tvm::runtime::DeviceAPI {
 public:
  void SetDevice(tvm::Device device) final {
    if (device.device_type == kDLROCMHost) return;
    check(hip().SetDevice(device.device_id), "hipSetDevice");
    set_current_device(device.device_id);
  }

  void GetAttr(tvm::Device device, DeviceAttrKind kind, tvm::ffi::Any* result) final {
    if (kind == tvm::runtime::kExist) {
      *result = static_cast<int>(device.device_id >= 0 && device.device_id < device_count());
    } else if (kind == tvm::runtime::kAvailableGlobalMemory) {
      const MemoryReport report = Device::get(device.device_id)->memory_report();
      *result = static_cast<int64_t>(report.free_bytes + report.cached_bytes);
    } else {
      read_attribute(device_facts(device.device_id), kind, result);
    }
  }

  void* AllocDataSpace(tvm::Device device, size_t bytes, size_t alignment, DLDataType) final {
    if (alignment > 256) {
      fail(Failure::kUsage, "an alignment of " + std::to_string(alignment) +
                                " bytes; wanted at most 256; ask for less");
    }
    if (device.device_type == kDLROCMHost) return pinned_.allocate(bytes);
    return Device::get(device.device_id)->allocate(bytes);
  }

  void FreeDataSpace(tvm::Device device, void* address) final {
    if (device.device_type == kDLROCMHost) {
      pinned_.free(address);
    } else {
      Device::get(device.device_id)->free(address);
    }
  }

  TVMStreamHandle CreateStream(tvm::Device device) final {
    return Device::get(device.device_id)->create_stream();
  }
  void FreeStream(tvm::Device device, TVMStreamHandle stream) final {
    Device::get(device.device_id)->destroy_stream(stream);
  }
  void SyncStreamFromTo(tvm::Device device, TVMStreamHandle earlier, TVMStreamHandle later) final {
    Device::get(device.device_id)->wait_for(later, earlier);
  }
  void StreamSync(tvm::Device device, TVMStreamHandle stream) final {
    if (device.device_type == kDLROCMHost) return;
    Device::get(device.device_id)->synchronize(stream);
  }

 protected:
  void CopyDataFromTo(const void* from, size_t from_offset, void* to, size_t to_offset,
                      size_t bytes, tvm::Device from_device, tvm::Device to_device, DLDataType,
                      TVMStreamHandle stream) final {
    from = static_cast<const char*>(from) + from_offset;
    to = static_cast<char*>(to) + to_offset;
    const bool from_rocm = from_device.device_type == kDLROCM;
    const bool to_rocm = to_device.device_type == kDLROCM;
    if (from_rocm && to_rocm) {
      const auto device = Device::get(from_device.device_id);
      if (from_device.device_id == to_device.device_id) {
        device->copy_within(to, from, bytes, stream);
      } else {
        device->copy_to_peer(to, to_device.device_id, from, bytes, stream);
      }
    } else if (from_rocm) {
      const bool pinned = to_device.device_type == kDLROCMHost;
      Device::get(from_device.device_id)->copy_to_host(to, from, bytes, pinned, stream);
    } else if (to_rocm) {
      const bool pinned = from_device.device_type == kDLROCMHost;
      Device::get(to_device.device_id)->copy_from_host(to, from, bytes, pinned, stream);
    } else {
      std::memcpy(to, from, bytes);
    }
  }

 private:
  PinnedAllocations pinned_;
};

HipDeviceApi* device_api() {
  // Never destroyed: tensors may be freed by static destructors.
  static HipDeviceApi* const kApi = new HipDeviceApi;
  return kApi;
}

}  // namespace

TVM_FFI_STATIC_INIT_BLOCK() {
  namespace reflection = tvm::ffi::reflection;
  const auto give = [](tvm::ffi::PackedArgs, tvm::ffi::Any* result) {
    *result = static_cast<void*>(static_cast<tvm::runtime::DeviceAPI*>(device_api()));
  };
  reflection::GlobalDef()
      .def_packed("device_api.rocm", give)
      .def_packed("device_api.rocm_host", give);
}

}  // namespace ferrylm::hip

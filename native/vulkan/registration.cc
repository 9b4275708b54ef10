// The global functions by which TVM and Python reach this library.

#include <tvm/ffi/function.h>
#include <tvm/ffi/reflection/registry.h>

#include "device_api.h"
#include "device_registry.h"
#include "errors.h"
#include "lost_memory.h"
#include "module.h"
#include "options.h"
#include "outbox.h"
#include "pipeline_statistics.h"
#include "recording_object.h"
#include "report.h"
#include "tvm_allocator.h"

namespace ferrylm::vulkan {

namespace {

using tvm::ffi::Bytes;
using tvm::ffi::Module;
using tvm::ffi::Optional;
using tvm::ffi::String;
using tvm::ffi::TypedFunction;

Module module_from_bytes(const Bytes& container) {
  return Module(tvm::ffi::make_object<VulkanModule>(std::string(container)));
}

// Makes all pipelines of a module, and tells how many are done of how many.
int64_t prepare(const Module& module, int device,
                Optional<TypedFunction<void(int64_t, int64_t)>> progress) {
  if (std::string(module->kind()) != "vulkan") {
    fail(Failure::kUsage, "a module of kind vulkan is needed, not " + std::string(module->kind()));
  }
  auto* vulkan = const_cast<VulkanModule*>(static_cast<const VulkanModule*>(module.get()));
  int64_t count = 0;
  vulkan->pipelines(device)->prepare([&](size_t done, size_t total) {
    count = static_cast<int64_t>(total);
    if (progress) (*progress)(static_cast<int64_t>(done), count);
  });
  return count;
}

void profile_begin(int index) {
  const std::shared_ptr<Device> device = DeviceRegistry::get().device(index);
  device->require_alive();
  const std::lock_guard<std::mutex> lock(device->mutex());
  device->stream().timer().start_profile();
}

std::string profile_end(int index) {
  const std::shared_ptr<Device> device = DeviceRegistry::get().device(index);
  device->require_alive();
  std::unique_lock<std::mutex> lock(device->mutex());
  device->stream().wait_idle(&lock);
  return device->stream().timer().stop_profile();
}

void shut_down() {
  PipelineSet::stop_all();
  DeviceRegistry::get().finish();
}

void* device_allocator(DLDevice, int type) {
  // Owned by TVM's memory manager from here on.
  return static_cast<tvm::runtime::memory::Allocator*>(
      new TvmAllocator(static_cast<tvm::runtime::memory::AllocatorType>(type)));
}

void set_option(const String& name, int64_t value) {
  if (value < 0) fail(Failure::kUsage, "an option is not negative");
  Options::get().set(std::string(name), static_cast<uint64_t>(value));
}

}  // namespace

TVM_FFI_STATIC_INIT_BLOCK() {
  namespace refl = tvm::ffi::reflection;
  refl::ObjectDef<RecordingObject>();
  refl::GlobalDef()
      .def("device_api.vulkan",
           []() -> void* { return static_cast<tvm::runtime::DeviceAPI*>(VulkanDeviceApi::get()); })
      .def("DeviceAllocator.vulkan", device_allocator)
      .def("ffi.Module.load_from_bytes.vulkan", module_from_bytes)
      .def("ferrylm.vulkan.module_from_bytes", module_from_bytes)
      .def("ferrylm.vulkan.prepare", prepare)
      .def("ferrylm.vulkan.loader_report", [] { return String(loader_report()); })
      .def("ferrylm.vulkan.device_report", [](int index) { return String(device_report(index)); })
      .def("ferrylm.vulkan.memory_report", [](int index) { return String(memory_report(index)); })
      .def("ferrylm.vulkan.counter_report", [](int index) { return String(counter_report(index)); })
      .def("ferrylm.vulkan.lost_tensor_count",
           [] { return static_cast<int64_t>(LostMemory::get().count()); })
      .def("ferrylm.vulkan.select_device",
           [](const String& spec) { DeviceRegistry::get().select(std::string(spec)); })
      .def("ferrylm.vulkan.record_begin", record_begin)
      .def("ferrylm.vulkan.record_end", record_end)
      .def("ferrylm.vulkan.record_cancel", record_cancel)
      .def("ferrylm.vulkan.replay", replay)
      .def("ferrylm.vulkan.outbox", outbox)
      .def("ferrylm.vulkan.outbox_address", outbox_address)
      .def("ferrylm.vulkan.mark", mark)
      .def("ferrylm.vulkan.is_complete", is_complete)
      .def("ferrylm.vulkan.wait", wait)
      .def("ferrylm.vulkan.profile_begin", profile_begin)
      .def("ferrylm.vulkan.profile_end", [](int index) { return String(profile_end(index)); })
      .def("ferrylm.vulkan.pipeline_statistics",
           [](const Bytes& spirv, int64_t subgroup_size, int64_t push_constant_bytes) {
             return String(pipeline_statistics(std::string(spirv),
                                               static_cast<uint32_t>(subgroup_size),
                                               static_cast<uint32_t>(push_constant_bytes)));
           })
      .def("ferrylm.vulkan.set_option", set_option)
      .def("ferrylm.vulkan.shut_down", shut_down);
}

}  // namespace ferrylm::vulkan

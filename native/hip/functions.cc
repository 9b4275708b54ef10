// The global functions that Python calls; see docs/rocm.md.
#include <tvm/ffi/extra/json.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>
#include <tvm/ffi/object.h>
#include <tvm/ffi/reflection/registry.h>

#include <memory>

#include "device.h"
#include "errors.h"
#include "kernel_module.h"
#include "library.h"
#include "outbox.h"

namespace ferrylm::hip {

namespace {

namespace json = tvm::ffi::json;

class RecordingObject : public tvm::ffi::Object {
 public:
  explicit RecordingObject(std::shared_ptr<Recording> made) : recording(std::move(made)) {}
  std::shared_ptr<Recording> recording;
  static constexpr bool _type_mutable = true;
  TVM_FFI_DECLARE_OBJECT_INFO_FINAL("ferrylm.hip.Recording", RecordingObject, tvm::ffi::Object);
};

class RecordingReference : public tvm::ffi::ObjectRef {
 public:
  explicit RecordingReference(std::shared_ptr<Recording> made) {
    data_ = tvm::ffi::make_object<RecordingObject>(std::move(made));
  }
  TVM_FFI_DEFINE_OBJECT_REF_METHODS_NULLABLE(RecordingReference, tvm::ffi::ObjectRef,
                                             RecordingObject);
};

class MarkObject : public tvm::ffi::Object {
 public:
  explicit MarkObject(std::shared_ptr<Device> device) : mark(std::move(device)) {}
  Mark mark;
  static constexpr bool _type_mutable = true;
  TVM_FFI_DECLARE_OBJECT_INFO_FINAL("ferrylm.hip.Mark", MarkObject, tvm::ffi::Object);
};

class MarkReference : public tvm::ffi::ObjectRef {
 public:
  explicit MarkReference(std::shared_ptr<Device> device) {
    data_ = tvm::ffi::make_object<MarkObject>(std::move(device));
  }
  TVM_FFI_DEFINE_OBJECT_REF_METHODS_NULLABLE(MarkReference, tvm::ffi::ObjectRef, MarkObject);
};

json::Object device_json(int index) {
  const DeviceFacts& facts = device_facts(index);
  json::Object report;
  report.Set("index", static_cast<int64_t>(index));
  report.Set("name", tvm::ffi::String(facts.name));
  report.Set("architecture", tvm::ffi::String(facts.arch));
  report.Set("chip", tvm::ffi::String(facts.chip));
  report.Set("uuid", tvm::ffi::String(facts.uuid));
  report.Set("wave", static_cast<int64_t>(facts.wave));
  report.Set("compute_units", static_cast<int64_t>(facts.compute_units));
  report.Set("max_threads", static_cast<int64_t>(facts.max_threads));
  report.Set("shared_bytes", static_cast<int64_t>(facts.shared_bytes));
  report.Set("memory_bytes", static_cast<int64_t>(facts.memory_bytes));
  report.Set("integrated", facts.integrated);
  return report;
}

// Never throws: what is wrong is part of the report.
tvm::ffi::String loader_report() {
  const Library& found = library();
  json::Object report;
  report.Set("library", tvm::ffi::String(found.path));
  json::Array attempts;
  for (const LibraryAttempt& attempt : found.attempts) {
    json::Object entry;
    entry.Set("path", tvm::ffi::String(attempt.path));
    entry.Set("outcome", tvm::ffi::String(attempt.outcome));
    attempts.push_back(entry);
  }
  report.Set("attempts", attempts);
  json::Array devices;
  tvm::ffi::String problem;
  try {
    const Functions& functions = hip();
    int version = 0;
    check(functions.RuntimeGetVersion(&version), "hipRuntimeGetVersion");
    report.Set("version", static_cast<int64_t>(version));
    const int count = device_count();
    for (int index = 0; index < count; ++index) devices.push_back(device_json(index));
    if (count == 0) device_facts(0);  // says why there is none
  } catch (const tvm::ffi::Error& error) {
    problem = error.message();
  }
  report.Set("devices", devices);
  report.Set("problem", problem);
  return json::Stringify(report);
}

tvm::ffi::String memory_report(int index) {
  const MemoryReport found = Device::get(index)->memory_report();
  json::Object report;
  report.Set("allocated_bytes", static_cast<int64_t>(found.allocated_bytes));
  report.Set("cached_bytes", static_cast<int64_t>(found.cached_bytes));
  report.Set("in_use_bytes", static_cast<int64_t>(found.in_use_bytes));
  report.Set("free_bytes", static_cast<int64_t>(found.free_bytes));
  report.Set("total_bytes", static_cast<int64_t>(found.total_bytes));
  report.Set("blocks", static_cast<int64_t>(found.blocks));
  return json::Stringify(report);
}

tvm::ffi::Module module_from_bytes(const tvm::ffi::Bytes& bytes) {
  return tvm::ffi::Module(tvm::ffi::make_object<KernelModule>(bytes));
}

}  // namespace

TVM_FFI_STATIC_INIT_BLOCK() {
  namespace reflection = tvm::ffi::reflection;
  reflection::ObjectDef<RecordingObject>();
  reflection::ObjectDef<MarkObject>();
  reflection::GlobalDef()
      .def("ffi.Module.load_from_bytes.hip", module_from_bytes)
      .def("ferrylm.hip.module_from_bytes", module_from_bytes)
      .def("ferrylm.hip.add_library_path",
           [](const tvm::ffi::String& path) { add_library_path(std::string(path)); })
      .def("ferrylm.hip.loader_report", loader_report)
      .def("ferrylm.hip.device_report",
           [](int index) { return json::Stringify(device_json(index)); })
      .def("ferrylm.hip.memory_report", memory_report)
      .def("ferrylm.hip.release_cache", [](int index) { Device::get(index)->release_cache(); })
      .def("ferrylm.hip.outbox", outbox)
      .def("ferrylm.hip.mark", [](int index) { return MarkReference(Device::get(index)); })
      .def("ferrylm.hip.is_reached",
           [](const MarkReference& reference) { return reference->mark.is_reached(); })
      .def("ferrylm.hip.wait", [](const MarkReference& reference) { reference->mark.wait(); })
      .def("ferrylm.hip.record_begin", [](int index) { Device::get(index)->record_begin(); })
      .def("ferrylm.hip.record_end",
           [](int index) { return RecordingReference(Device::get(index)->record_end()); })
      .def("ferrylm.hip.record_abort", [](int index) { Device::get(index)->record_abort(); })
      .def("ferrylm.hip.replay", [](const RecordingReference& made) {
        const auto& recording = made->recording;
        recording->device()->replay(*recording);
      });
}

}  // namespace ferrylm::hip

// A recording as an object of TVM's object system, so that Python can own it.
#ifndef FERRYLM_VULKAN_RECORDING_OBJECT_H_
#define FERRYLM_VULKAN_RECORDING_OBJECT_H_

#include <tvm/ffi/memory.h>
#include <tvm/ffi/object.h>

#include <memory>

#include "recording.h"

namespace ferrylm::vulkan {

class RecordingObject : public tvm::ffi::Object {
 public:
  std::unique_ptr<Recording> recording;

  TVM_FFI_DECLARE_OBJECT_INFO_FINAL("ferrylm.vulkan.Recording", RecordingObject, tvm::ffi::Object);
};

class RecordingReference : public tvm::ffi::ObjectRef {
 public:
  explicit RecordingReference(std::unique_ptr<Recording> recording) {
    auto object = tvm::ffi::make_object<RecordingObject>();
    object->recording = std::move(recording);
    data_ = std::move(object);
  }
  static constexpr bool _type_container_is_exact = true;
  TVM_FFI_DEFINE_OBJECT_REF_METHODS_NOTNULLABLE(RecordingReference, tvm::ffi::ObjectRef,
                                                RecordingObject);
};

// Begin, end and replay on TVM's device numbers.
void record_begin(int device);
RecordingReference record_end(int device);
// Drops a recording that was begun; nothing when there is none.
void record_cancel(int device);
void replay(const RecordingReference& recording);

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_RECORDING_OBJECT_H_

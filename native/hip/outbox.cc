#include "outbox.h"

#include "device.h"
#include "errors.h"
#include "library.h"
#include "staging.h"

namespace ferrylm::hip {

namespace {

struct Pinned {
  void AllocData(DLTensor* tensor) {
    memory = std::make_shared<PinnedMemory>(tvm::ffi::GetDataSize(*tensor));
    tensor->data = memory->data();
  }
  void FreeData(DLTensor*) { memory.reset(); }
  std::shared_ptr<PinnedMemory> memory;
};

}  // namespace

tvm::ffi::Tensor outbox(int device, int64_t count) {
  if (count < 1) fail(Failure::kUsage, "an outbox of no numbers; wanted at least one; ask for more");
  Device::get(device);
  return tvm::ffi::Tensor::FromNDAlloc(Pinned(), tvm::ffi::Shape({count}),
                                       DLDataType{kDLInt, 32, 1}, DLDevice{kDLROCM, device});
}

Mark::Mark(std::shared_ptr<Device> device) : device_(std::move(device)) {
  check(hip().EventCreateWithFlags(&event_, kEventDisableTiming), "hipEventCreate");
  try {
    device_->record_event(event_);
  } catch (...) {
    hip().EventDestroy(event_);
    throw;
  }
}

// What fails here has failed before, and nobody can be told.
Mark::~Mark() {
  if (hip().EventDestroy(event_) != kSuccess) hip().GetLastError();
}

bool Mark::is_reached() const {
  const Error error = hip().EventQuery(event_);
  if (error == kErrorNotReady) {
    hip().GetLastError();
    return false;
  }
  check(error, "hipEventQuery");
  return true;
}

void Mark::wait() const { check(hip().EventSynchronize(event_), "hipEventSynchronize"); }

}  // namespace ferrylm::hip

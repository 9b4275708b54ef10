// Memory that the device writes and the host reads while the device goes on.
//
// It is pinned host memory under its own address, which the device shares. The host may read what
// work has written once a mark that was set after it has been reached.
#ifndef FERRYLM_HIP_OUTBOX_H_
#define FERRYLM_HIP_OUTBOX_H_

#include <tvm/ffi/container/tensor.h>

#include <cstdint>
#include <memory>

#include "hip_api.h"

namespace ferrylm::hip {

class Device;

// An int32 tensor of the device.
tvm::ffi::Tensor outbox(int device, int64_t count);

// A place in the device's own stream.
class Mark {
 public:
  // Sets it behind all work so far.
  explicit Mark(std::shared_ptr<Device> device);
  ~Mark();
  Mark(const Mark&) = delete;
  Mark& operator=(const Mark&) = delete;

  bool is_reached() const;
  void wait() const;

 private:
  std::shared_ptr<Device> device_;
  Event event_ = nullptr;
};

}  // namespace ferrylm::hip

#endif  // FERRYLM_HIP_OUTBOX_H_

// Copies between pageable host memory and a device, through pinned memory of our own.
//
// HIP copies from pageable memory by a detour of its own that waits for the device. With two pinned
// buffers the copy of one runs while the host fills the other, and the caller's memory is free to
// change as soon as the call returns.
#ifndef FERRYLM_HIP_STAGING_H_
#define FERRYLM_HIP_STAGING_H_

#include <cstddef>

#include "hip_api.h"

namespace ferrylm::hip {

// Pinned host memory, given back with the object.
class PinnedMemory {
 public:
  explicit PinnedMemory(size_t bytes);
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  char* data() const { return data_; }

 private:
  char* data_ = nullptr;
};

class Staging {
 public:
  Staging() = default;
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // Copies to the device in the stream's order; returns when `from` was read.
  void to_device(void* to, const void* from, size_t bytes, Stream stream);
  // Copies to the host; returns when `to` was written, so after everything before on the stream.
  void to_host(void* to, const void* from, size_t bytes, Stream stream);

 private:
  struct Buffer {
    PinnedMemory* memory = nullptr;
    Event done = nullptr;
    bool busy = false;
  };
  Buffer& next();

  Buffer buffers_[2];
  int turn_ = 0;
};

}  // namespace ferrylm::hip

#endif  // FERRYLM_HIP_STAGING_H_

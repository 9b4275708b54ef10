// Work of a device captured as a graph, to be replayed with one call.
#ifndef FERRYLM_HIP_RECORDING_H_
#define FERRYLM_HIP_RECORDING_H_

#include <memory>
#include <set>
#include <vector>

#include "hip_api.h"
#include "memory_pool.h"
#include "staging.h"

namespace ferrylm::hip {

class Device;

class Recording {
 public:
  explicit Recording(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  // Waits for the device, then gives the graph and the held memory back.
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  // What the graph reads or writes stays allocated until the recording is gone.
  std::set<Block*> held;
  // Host memory that the graph's copies read, as it was when they were recorded.
  std::vector<std::unique_ptr<PinnedMemory>> host_data;
  GraphExec exec = nullptr;
  size_t launches = 0;

  const std::shared_ptr<Device>& device() const { return device_; }

 private:
  std::shared_ptr<Device> device_;
};

}  // namespace ferrylm::hip

#endif  // FERRYLM_HIP_RECORDING_H_

// Memory for the arguments of kernels that have more than push constants hold.
//
// Not locked: the device's mutex guards it.
#ifndef FERRYLM_VULKAN_ARGUMENT_BUFFERS_H_
#define FERRYLM_VULKAN_ARGUMENT_BUFFERS_H_

#include <array>
#include <cstdint>
#include <mutex>

#include "allocation.h"

namespace ferrylm::vulkan {

class Device;

class ArgumentBuffers {
 public:
  explicit ArgumentBuffers(Device& device) : device_(device) {}

  struct Place {
    Allocation* allocation;  // the kernel reads it
    uint64_t address;
  };
  // Memory that holds a copy of `values` until the work that is recorded next is done. While a
  // recording is made it holds them for as long as that lives.
  Place put(const uint64_t* values, uint64_t count, std::unique_lock<std::mutex>* lock);

 private:
  static constexpr size_t kPages = 4;
  Place put_recorded(const uint64_t* values, uint64_t size_bytes,
                     std::unique_lock<std::mutex>* lock);

  Device& device_;
  std::array<Allocation*, kPages> pages_ = {};
  size_t page_ = 0;
  uint64_t used_bytes_ = 0;
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_ARGUMENT_BUFFERS_H_

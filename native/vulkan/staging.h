// Copies between host memory and device memory: direct where the host sees the memory, inline for
// little, through a ring of staging buffers for the rest.
//
// Not locked: the device's mutex guards it.
#ifndef FERRYLM_VULKAN_STAGING_H_
#define FERRYLM_VULKAN_STAGING_H_

#include <array>
#include <cstdint>
#include <mutex>

#include "allocation.h"

namespace ferrylm::vulkan {

class Device;

class Staging {
 public:
  explicit Staging(Device& device) : device_(device) {}

  // `data` may be changed as soon as this returns; the copy takes its place in the stream.
  void upload(const void* data, Allocation* to, uint64_t offset, uint64_t size_bytes,
              std::unique_lock<std::mutex>* lock);
  // Returns when `data` holds the bytes.
  void download(Allocation* from, uint64_t offset, void* data, uint64_t size_bytes,
                std::unique_lock<std::mutex>* lock);

 private:
  static constexpr size_t kPieces = 4;
  Allocation* next_upload_piece(std::unique_lock<std::mutex>* lock);
  void upload_recorded(const uint8_t* data, Allocation* to, uint64_t offset, uint64_t size_bytes,
                       std::unique_lock<std::mutex>* lock);

  Device& device_;
  std::array<Allocation*, kPieces> uploads_ = {};
  size_t turn_ = 0;
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_STAGING_H_

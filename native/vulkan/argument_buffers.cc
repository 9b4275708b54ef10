#include "argument_buffers.h"

#include <cstring>

#include "device.h"

namespace ferrylm::vulkan {

namespace {

constexpr uint64_t kPageBytes = 65536;
constexpr uint64_t kAlignmentBytes = 16;

}  // namespace

ArgumentBuffers::Place ArgumentBuffers::put(const uint64_t* values, uint64_t count,
                                            std::unique_lock<std::mutex>* lock) {
  const uint64_t size_bytes = round_up(count * sizeof(uint64_t), kAlignmentBytes);
  if (device_.stream().recording() != nullptr) return put_recorded(values, size_bytes, lock);
  if (used_bytes_ + size_bytes > kPageBytes) {
    page_ = (page_ + 1) % kPages;
    used_bytes_ = 0;
  }
  Allocation*& page = pages_[page_];
  if (page == nullptr) page = device_.allocate(kPageBytes, Purpose::kUpload, lock);
  Stream& stream = device_.stream();
  // A page is begun anew only when the device is done with it.
  while (used_bytes_ == 0 && stream.is_pending(page->usage)) {
    stream.wait(page->usage.serial, lock);
  }
  const uint64_t offset = used_bytes_;
  std::memcpy(page->mapped() + offset, values, count * sizeof(uint64_t));
  used_bytes_ += size_bytes;
  return {page, page->address() + offset};
}

ArgumentBuffers::Place ArgumentBuffers::put_recorded(const uint64_t* values, uint64_t size_bytes,
                                                     std::unique_lock<std::mutex>* lock) {
  Allocation* own = device_.allocate(size_bytes, Purpose::kUpload, lock);
  Stream& stream = device_.stream();
  while (stream.is_pending(own->usage)) stream.wait(own->usage.serial, lock);
  std::memcpy(own->mapped(), values, size_bytes);
  stream.recording()->hold(own);
  device_.memory().hide(own);
  own->freed = true;  // given back with the recording
  return {own, own->address()};
}

}  // namespace ferrylm::vulkan

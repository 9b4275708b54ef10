#include "lost_memory.h"

#include "device.h"

namespace ferrylm::vulkan {

LostMemory& LostMemory::get() {
  static LostMemory* const instance = new LostMemory();
  return *instance;
}

void LostMemory::adopt(std::shared_ptr<Device> device,
                       const std::vector<std::pair<uint64_t, uint64_t>>& ranges) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [address, size_bytes] : ranges) {
    by_address_.emplace(address, Lost{size_bytes, device});
  }
}

bool LostMemory::overlaps(uint64_t address, uint64_t size_bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto next = by_address_.lower_bound(address + size_bytes);
  if (next == by_address_.begin()) return false;
  const auto previous = std::prev(next);
  return previous->first + previous->second.size_bytes > address;
}

bool LostMemory::free(uint64_t address) {
  std::shared_ptr<Device> last;  // destroyed after the lock, with all that the device owns
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = by_address_.find(address);
  if (found == by_address_.end()) return false;
  last = std::move(found->second.device);
  by_address_.erase(found);
  return true;
}

bool LostMemory::holds(uint64_t address) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto next = by_address_.upper_bound(address);
  if (next == by_address_.begin()) return false;
  const auto previous = std::prev(next);
  return address - previous->first < previous->second.size_bytes;
}

uint64_t LostMemory::count() {
  std::lock_guard<std::mutex> lock(mutex_);
  return by_address_.size();
}

}  // namespace ferrylm::vulkan

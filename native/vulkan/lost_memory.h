// Addresses of tensors whose device was lost: they may be freed later, and only freed.
#ifndef FERRYLM_VULKAN_LOST_MEMORY_H_
#define FERRYLM_VULKAN_LOST_MEMORY_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace ferrylm::vulkan {

class Device;

class LostMemory {
 public:
  static LostMemory& get();

  // Takes over a lost device until the last of its tensors is freed.
  void adopt(std::shared_ptr<Device> device,
             const std::vector<std::pair<uint64_t, uint64_t>>& ranges);
  bool overlaps(uint64_t address, uint64_t size_bytes);
  // True when the address was a lost tensor's, which is forgotten now.
  bool free(uint64_t address);
  bool holds(uint64_t address);
  uint64_t count();

 private:
  struct Lost {
    uint64_t size_bytes;
    std::shared_ptr<Device> device;
  };
  std::mutex mutex_;
  std::map<uint64_t, Lost> by_address_;
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_LOST_MEMORY_H_

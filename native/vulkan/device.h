// An open device: its memory, its queue, its lock.
#ifndef FERRYLM_VULKAN_DEVICE_H_
#define FERRYLM_VULKAN_DEVICE_H_

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>

#include "allocator.h"
#include "argument_buffers.h"
#include "logical_device.h"
#include "staging.h"
#include "stream.h"

namespace ferrylm::vulkan {

class Device : public std::enable_shared_from_this<Device> {
 public:
  static std::shared_ptr<Device> open(const DeviceInfo& info);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const LogicalDevice& logical() const { return logical_; }
  const DeviceInfo& info() const { return logical_.info(); }
  const DeviceFunctions& functions() const { return logical_.functions(); }
  VkDevice handle() const { return logical_.handle(); }
  VkQueue queue() const { return queue_; }
  // Different for every opened device of the process.
  uint64_t generation() const { return generation_; }

  // Guards everything below.
  std::mutex& mutex() { return mutex_; }
  Allocator& memory() { return memory_; }
  Stream& stream() { return stream_; }
  Staging& staging() { return staging_; }
  ArgumentBuffers& argument_buffers() { return argument_buffers_; }

  // Throws unless `result` is a success; remembers a lost device.
  void check(VkResult result, const char* call);
  bool is_lost() const { return is_lost_; }
  void require_alive() const;

  // Waits for the device and empties its caches before it gives up.
  Allocation* allocate(uint64_t size_bytes, Purpose purpose, std::unique_lock<std::mutex>* lock);
  // Waits until everything is complete; gives back blocks that were still in use when they emptied.
  void synchronize(std::unique_lock<std::mutex>* lock);
  // Never throws; true when the address was a live tensor's.
  bool free(uint64_t address);

 private:
  explicit Device(const DeviceInfo& info);
  void collect();

  LogicalDevice logical_;
  VkQueue queue_ = VK_NULL_HANDLE;
  uint64_t generation_ = 0;
  std::atomic<bool> is_lost_{false};
  std::mutex mutex_;
  bool has_empty_blocks_ = false;
  // Destroyed in reverse order, before the logical device.
  Allocator memory_;
  Staging staging_{*this};
  ArgumentBuffers argument_buffers_{*this};
  Stream stream_{*this};
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_DEVICE_H_

// A recorded piece of work: command buffers that can be submitted again and again.
#ifndef FERRYLM_VULKAN_RECORDING_H_
#define FERRYLM_VULKAN_RECORDING_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "allocation.h"

namespace ferrylm::vulkan {

class Device;
class PipelineSet;

class Recording {
 public:
  struct Segment {
    VkCommandBuffer commands;
    double nanoseconds;  // estimate; 0 where nothing is known
  };

  explicit Recording(std::shared_ptr<Device> device);
  // Gives memory and command buffers back when the device is done with them. Takes the device's
  // lock: never destroyed under it.
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  // From now on the memory stays until the recording is gone, whoever frees it.
  void hold(Allocation* allocation) {
    if (allocation->recording_mark == id_) return;
    hold_new(allocation);
  }
  // Likewise for the pipelines of a module.
  void hold(const std::shared_ptr<PipelineSet>& pipelines);
  // Memory of this size that was freed while this recording was made, and that only it holds.
  Allocation* reuse(uint64_t size_bytes);
  void note_freed(Allocation* allocation) { freed_.push_back(allocation); }

  void add_segment(const Segment& segment) { segments_.push_back(segment); }
  const std::vector<Segment>& segments() const { return segments_; }
  const std::vector<Allocation*>& held() const { return held_; }
  const std::shared_ptr<Device>& device() const { return device_; }
  void submitted(uint64_t serial) { last_serial_ = serial; }

 private:
  void hold_new(Allocation* allocation);
  void give_back();

  std::shared_ptr<Device> device_;
  uint64_t id_;
  uint64_t last_serial_ = 0;
  std::vector<Segment> segments_;
  std::vector<Allocation*> held_;
  std::vector<Allocation*> freed_;
  std::vector<std::shared_ptr<PipelineSet>> pipelines_;
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_RECORDING_H_

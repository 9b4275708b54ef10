// The one queue of a device: a batch of commands that grows until it is submitted.
//
// Not locked: the device's mutex guards it. Everything runs in the order of the calls.
#ifndef FERRYLM_VULKAN_STREAM_H_
#define FERRYLM_VULKAN_STREAM_H_

#include <memory>
#include <mutex>
#include <vector>

#include "allocation.h"
#include "command_pool.h"
#include "grid_slices.h"
#include "kernel_timer.h"
#include "recording.h"
#include "timeline.h"

namespace ferrylm::vulkan {

class Device;

struct Touch {
  Allocation* allocation;
  Access access;
};

struct Dispatch {
  VkPipeline pipeline;
  const std::string* name;  // outlives the device's work
  const void* arguments;
  uint32_t argument_bytes;
  uint32_t groups[3];
  const Touch* touches;
  size_t touch_count;
  KernelCost* cost;
};

struct StreamCounters {
  uint64_t dispatches = 0;
  uint64_t split_dispatches = 0;  // those that were cut to keep the submission short
  uint64_t execution_barriers = 0;
  uint64_t memory_barriers = 0;
  uint64_t submissions = 0;
  uint64_t replays = 0;
};

class Stream {
 public:
  explicit Stream(Device& device);
  ~Stream();

  void dispatch(const Dispatch& dispatch);
  void copy(const Touch& from, uint64_t from_offset, const Touch& to, uint64_t to_offset,
            uint64_t size_bytes);
  // At most 64 KiB, offset and size multiples of 4.
  void update(const Touch& to, uint64_t to_offset, const void* data, uint64_t size_bytes);

  // Hands the open batch to the device, if there is one.
  void submit();
  // Waits until `serial` is complete, without the lock meanwhile.
  void wait(uint64_t serial, std::unique_lock<std::mutex>* lock);
  // Waits until everything is complete and its results are visible to the host.
  void wait_idle(std::unique_lock<std::mutex>* lock);
  // Submits everything, visible to the host when the returned serial is complete.
  uint64_t publish();
  // What the device has finished; asks the driver.
  uint64_t completed();
  // Whether the device may still use memory with this usage.
  bool is_pending(const Usage& usage) {
    return usage.serial > completed_ && usage.serial > completed();
  }
  // Whether anything submitted is not known to be finished.
  bool has_pending() const { return completed_ < submitted_; }
  bool host_sees_all() const { return host_sees_all_; }
  uint64_t open_serial() const { return submitted_ + 1; }

  // Takes the recording, unless it throws.
  void begin_recording(std::unique_ptr<Recording>* recording);
  std::unique_ptr<Recording> end_recording();
  // Drops what was recorded and not yet submitted; null when no recording was made.
  std::unique_ptr<Recording> abandon_recording();
  // Null when none is made.
  Recording* recording() { return recording_.get(); }
  void replay(Recording* recording);
  void retire(VkCommandBuffer commands, uint64_t serial) { pool_.give(commands, serial); }

  KernelTimer& timer() { return timer_; }
  const StreamCounters& counters() const { return counters_; }

 private:
  VkCommandBuffer open();
  VkCommandBuffer prepare(const Touch* touches, size_t count);
  void barrier(Barrier kind);
  void host_barrier();
  void close();
  void send();
  void run(const Dispatch& dispatch, VkCommandBuffer commands, const GridSlice& slice, bool timed);
  void run_split(const Dispatch& dispatch);
  void submit_when_full(double nanoseconds);
  void limit_backlog();

  Device& device_;
  CommandPool pool_;
  Timeline timeline_;
  HazardTracker hazards_;
  KernelTimer timer_;
  std::unique_ptr<Recording> recording_;
  VkCommandBuffer open_ = VK_NULL_HANDLE;
  VkPipeline bound_ = VK_NULL_HANDLE;
  uint64_t open_dispatches_ = 0;
  double open_nanoseconds_ = 0;
  bool host_sees_all_ = true;
  uint64_t threshold_ = 0;
  struct Closed {
    VkCommandBuffer commands;
    bool recorded;  // belongs to a recording, so it is not used again by the pool
  };
  std::vector<Closed> closed_;  // not yet accepted by the queue
  uint64_t submitted_ = 0;
  uint64_t completed_ = 0;
  StreamCounters counters_;
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_STREAM_H_

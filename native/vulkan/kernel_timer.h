// Measures kernels by timestamps: now and then to know their cost, always while profiling.
#ifndef FERRYLM_VULKAN_KERNEL_TIMER_H_
#define FERRYLM_VULKAN_KERNEL_TIMER_H_

#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "functions.h"

namespace ferrylm::vulkan {

// What is known of a kernel's speed on one device.
struct KernelCost {
  double nanoseconds_per_group = 0;  // 0 where nothing is known
  uint64_t launches = 0;
};

class KernelTimer {
 public:
  // `timestamp_bits` of 0 means that the queue has no timestamps: nothing is ever measured.
  KernelTimer(const DeviceFunctions& functions, VkDevice device, uint32_t timestamp_bits,
              float nanoseconds_per_tick);
  ~KernelTimer();
  KernelTimer(const KernelTimer&) = delete;
  KernelTimer& operator=(const KernelTimer&) = delete;

  bool is_available() const { return timestamp_mask_ != 0; }
  // Whether this launch is worth a measurement.
  bool wants(const KernelCost& cost) const;

  // Around the commands of a dispatch. `end` also gives the submission that holds them.
  void begin(VkCommandBuffer commands);
  void end(VkCommandBuffer commands, uint64_t serial, KernelCost* cost, const std::string* name,
           const uint32_t groups[3]);

  // Reads what the finished submissions measured.
  void collect(uint64_t completed_serial);
  // Forgets measurements that refer to kernels about to be destroyed.
  void forget(const KernelCost* first, const KernelCost* last);

  void start_profile();
  // A JSON list of {kernel, milliseconds, grid}, in the order of the launches.
  std::string stop_profile();

 private:
  struct Slot {
    VkQueryPool pool = VK_NULL_HANDLE;
    uint32_t first = 0;
  };
  struct Sample {
    Slot slot;
    uint64_t serial;
    KernelCost* cost;
    std::string name;  // empty unless profiling
    std::array<uint32_t, 3> groups;
  };
  struct Timed {
    std::string name;
    double milliseconds;
    std::array<uint32_t, 3> groups;
  };
  Slot take_slot();
  void finish(const Sample& sample);

  const DeviceFunctions& functions_;
  VkDevice device_;
  uint64_t timestamp_mask_;
  double nanoseconds_per_tick_;
  bool profiling_ = false;
  Slot current_;
  std::vector<VkQueryPool> pools_;
  std::vector<Slot> free_;
  std::deque<Sample> samples_;
  std::vector<Timed> profile_;
};

}  // namespace ferrylm::vulkan

#endif  // FERRYLM_VULKAN_KERNEL_TIMER_H_

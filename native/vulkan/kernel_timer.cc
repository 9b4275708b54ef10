#include "kernel_timer.h"

#include <algorithm>

#include "errors.h"
#include "json_writer.h"

namespace ferrylm::vulkan {

namespace {

constexpr uint32_t kSlotsPerPool = 256;
constexpr uint64_t kSampleEvery = 64;

uint64_t mask_of(uint32_t bits) {
  if (bits == 0) return 0;
  return bits >= 64 ? UINT64_MAX : (1ull << bits) - 1;
}

}  // namespace

KernelTimer::KernelTimer(const DeviceFunctions& functions, VkDevice device, uint32_t timestamp_bits,
                         float nanoseconds_per_tick)
    : functions_(functions),
      device_(device),
      timestamp_mask_(mask_of(timestamp_bits)),
      nanoseconds_per_tick_(nanoseconds_per_tick) {}

KernelTimer::~KernelTimer() {
  for (VkQueryPool pool : pools_) functions_.vkDestroyQueryPool(device_, pool, nullptr);
}

bool KernelTimer::wants(const KernelCost& cost) const {
  if (!is_available()) return false;
  const bool is_power_of_two = (cost.launches & (cost.launches - 1)) == 0;
  return profiling_ || is_power_of_two || cost.launches % kSampleEvery == 0;
}

KernelTimer::Slot KernelTimer::take_slot() {
  if (free_.empty()) {
    VkQueryPoolCreateInfo create = {VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO};
    create.queryType = VK_QUERY_TYPE_TIMESTAMP;
    create.queryCount = 2 * kSlotsPerPool;
    VkQueryPool pool = VK_NULL_HANDLE;
    check(functions_.vkCreateQueryPool(device_, &create, nullptr, &pool), "vkCreateQueryPool");
    pools_.push_back(pool);
    for (uint32_t i = kSlotsPerPool; i-- > 0;) free_.push_back({pool, 2 * i});
  }
  const Slot slot = free_.back();
  free_.pop_back();
  return slot;
}

// Both timestamps wait for the compute stage of everything before them, so that a kernel is not
// charged for the end of its predecessor.
void KernelTimer::begin(VkCommandBuffer commands) {
  current_ = take_slot();
  functions_.vkCmdResetQueryPool(commands, current_.pool, current_.first, 2);
  functions_.vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, current_.pool,
                                 current_.first);
}

void KernelTimer::end(VkCommandBuffer commands, uint64_t serial, KernelCost* cost,
                      const std::string* name, const uint32_t groups[3]) {
  functions_.vkCmdWriteTimestamp(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, current_.pool,
                                 current_.first + 1);
  samples_.push_back({current_,
                      serial,
                      cost,
                      profiling_ ? *name : std::string(),
                      {groups[0], groups[1], groups[2]}});
}

void KernelTimer::finish(const Sample& sample) {
  free_.push_back(sample.slot);
  uint64_t ticks[2] = {};
  const VkResult result = functions_.vkGetQueryPoolResults(
      device_, sample.slot.pool, sample.slot.first, 2, sizeof(ticks), ticks, sizeof(uint64_t),
      VK_QUERY_RESULT_64_BIT);
  if (result != VK_SUCCESS) return;
  const double nanoseconds =
      static_cast<double>((ticks[1] - ticks[0]) & timestamp_mask_) * nanoseconds_per_tick_;
  if (sample.cost != nullptr) {
    const double groups =
        static_cast<double>(sample.groups[0]) * sample.groups[1] * sample.groups[2];
    const double measured = nanoseconds / std::max(groups, 1.0);
    // Rises at once and falls slowly: too low an estimate risks a reset, too high costs a
    // submission.
    double& estimate = sample.cost->nanoseconds_per_group;
    estimate = std::max(measured, estimate == 0 ? measured : 0.75 * estimate + 0.25 * measured);
  }
  if (!sample.name.empty()) profile_.push_back({sample.name, nanoseconds * 1e-6, sample.groups});
}

void KernelTimer::collect(uint64_t completed_serial) {
  while (!samples_.empty() && samples_.front().serial <= completed_serial) {
    finish(samples_.front());
    samples_.pop_front();
  }
}

void KernelTimer::forget(const KernelCost* first, const KernelCost* last) {
  for (Sample& sample : samples_) {
    if (sample.cost >= first && sample.cost < last) sample.cost = nullptr;
  }
}

void KernelTimer::start_profile() {
  if (!is_available()) fail(Failure::kFeature, "the queue of this device has no timestamps");
  profile_.clear();
  profiling_ = true;
}

std::string KernelTimer::stop_profile() {
  profiling_ = false;
  JsonWriter json;
  json.begin_list();
  for (const Timed& timed : profile_) {
    json.begin_object().field("kernel", timed.name).field("milliseconds", timed.milliseconds);
    json.key("grid").begin_list();
    for (const uint32_t extent : timed.groups) json.value(extent);
    json.end_list().end_object();
  }
  profile_.clear();
  return json.end_list().text();
}

}  // namespace ferrylm::vulkan

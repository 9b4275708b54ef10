#include "recording.h"

#include <algorithm>
#include <atomic>

#include "device.h"
#include "pipeline_set.h"

namespace ferrylm::vulkan {

namespace {

uint64_t next_id() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

}  // namespace

Recording::Recording(std::shared_ptr<Device> device) : device_(std::move(device)), id_(next_id()) {}

Recording::~Recording() {
  const std::lock_guard<std::mutex> lock(device_->mutex());
  give_back();
}

void Recording::hold_new(Allocation* allocation) {
  held_.push_back(allocation);
  allocation->recording_mark = id_;
  ++allocation->recordings;
}

void Recording::hold(const std::shared_ptr<PipelineSet>& pipelines) {
  if (!pipelines_.empty() && pipelines_.back() == pipelines) return;
  if (std::find(pipelines_.begin(), pipelines_.end(), pipelines) == pipelines_.end()) {
    pipelines_.push_back(pipelines);
  }
}

Allocation* Recording::reuse(uint64_t size_bytes) {
  const uint64_t rounded = round_up(std::max<uint64_t>(size_bytes, 1), kGranularityBytes);
  for (size_t i = freed_.size(); i-- > 0;) {
    Allocation* allocation = freed_[i];
    if (allocation->size_bytes != rounded || allocation->recordings != 1) continue;
    freed_.erase(freed_.begin() + static_cast<std::ptrdiff_t>(i));
    return allocation;
  }
  return nullptr;
}

void Recording::give_back() {
  for (const Segment& segment : segments_) {
    device_->stream().retire(segment.commands, last_serial_);
  }
  for (Allocation* allocation : held_) {
    --allocation->recordings;
    if (allocation->freed && allocation->recordings == 0) device_->memory().release(allocation);
  }
}

}  // namespace ferrylm::vulkan

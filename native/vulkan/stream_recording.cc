// The part of the stream that makes and replays recordings.

#include <algorithm>

#include "device.h"
#include "errors.h"
#include "options.h"
#include "stream.h"

namespace ferrylm::vulkan {

void Stream::begin_recording(std::unique_ptr<Recording>* recording) {
  if (recording_) fail(Failure::kRecording, "a recording is made already on this device");
  submit();
  recording_ = std::move(*recording);
  try {
    // Part of the recording: a replay may follow any work.
    barrier(Barrier::kMemory);
  } catch (...) {
    *recording = std::move(recording_);
    throw;
  }
}

std::unique_ptr<Recording> Stream::end_recording() {
  if (!recording_) fail(Failure::kRecording, "no recording is made on this device");
  host_barrier();
  submit();
  return std::move(recording_);
}

std::unique_ptr<Recording> Stream::abandon_recording() {
  if (!recording_) return nullptr;
  if (open_ != VK_NULL_HANDLE) {
    pool_.discard(open_);
    open_ = VK_NULL_HANDLE;
  }
  const auto recorded = [](const Closed& closed) { return closed.recorded; };
  closed_.erase(std::remove_if(closed_.begin(), closed_.end(), recorded), closed_.end());
  return std::move(recording_);
}

void Stream::replay(Recording* recording) {
  if (recording_) fail(Failure::kRecording, "a recording cannot be replayed within another one");
  close();
  const double budget = Options::get().budget_nanoseconds();
  double nanoseconds = open_nanoseconds_;
  size_t sent = 0;
  const std::vector<Recording::Segment>& segments = recording->segments();
  while (sent < segments.size()) {
    const size_t unrelated = closed_.size();
    do {
      nanoseconds += segments[sent].nanoseconds;
      closed_.push_back({segments[sent].commands, true});
      ++sent;
    } while (sent < segments.size() && nanoseconds + segments[sent].nanoseconds <= budget);
    try {
      send();
    } catch (...) {
      closed_.resize(unrelated);
      throw;
    }
    recording->submitted(submitted_);
    nanoseconds = 0;
  }
  for (Allocation* allocation : recording->held()) allocation->usage.serial = submitted_;
  // The recording begins and ends with a barrier against everything.
  hazards_.passed(Barrier::kMemory);
  host_sees_all_ = true;
  ++counters_.replays;
  limit_backlog();
}

}  // namespace ferrylm::vulkan

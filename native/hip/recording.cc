#include "recording.h"

#include "device.h"
#include "errors.h"
#include "library.h"

namespace ferrylm::hip {

Recording::~Recording() { device_->release(this); }

void Device::record_begin() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (recording_ != nullptr) {
    fail(Failure::kRecording, "a recording is being made already; wanted one at a time; end it");
  }
  make_current();
  // What was given to the stream before must not wait for the graph: a capture knows nothing of it.
  check(hip().StreamSynchronize(stream_), "hipStreamSynchronize");
  check(hip().StreamBeginCapture(stream_, kCaptureRelaxed), "hipStreamBeginCapture");
  recording_ = std::make_shared<Recording>(shared_from_this());
  pool_.set_recording(true);
}

std::shared_ptr<Recording> Device::record_end() {
  std::shared_ptr<Recording> made;
  std::unique_lock<std::mutex> lock(mutex_);
  if (recording_ == nullptr) {
    fail(Failure::kRecording, "no recording is being made; wanted record_begin before record_end");
  }
  make_current();
  made.swap(recording_);
  pool_.set_recording(false);
  Graph graph = nullptr;
  Error error = hip().StreamEndCapture(stream_, &graph);
  const char* call = "hipStreamEndCapture";
  if (error == kSuccess) {
    error = hip().GraphInstantiate(&made->exec, graph, nullptr, nullptr, 0);
    call = "hipGraphInstantiate";
  }
  if (graph != nullptr) hip().GraphDestroy(graph);
  if (error == kSuccess) {
    // Capturing executes nothing; the work was asked for, so it runs now.
    error = hip().GraphLaunch(made->exec, stream_);
    call = "hipGraphLaunch";
  }
  if (error != kSuccess) {
    hip().GetLastError();
    // The destructor of a failed recording takes the lock.
    lock.unlock();
    made.reset();
    fail(Failure::kRecording, std::string(call) + " answered " + name_of(error));
  }
  return made;
}

void Device::record_abort() {
  std::shared_ptr<Recording> dropped;  // outlives the lock
  const std::lock_guard<std::mutex> lock(mutex_);
  if (recording_ == nullptr) return;
  make_current();
  dropped.swap(recording_);
  pool_.set_recording(false);
  Graph graph = nullptr;
  if (hip().StreamEndCapture(stream_, &graph) != kSuccess) hip().GetLastError();
  if (graph != nullptr) hip().GraphDestroy(graph);
}

void Device::replay(const Recording& recording) {
  const std::lock_guard<std::mutex> lock(mutex_);
  refuse_while_recording("replays a recording");
  make_current();
  check(hip().GraphLaunch(recording.exec, stream_), "hipGraphLaunch");
}

void Device::release(Recording* recording) {
  const std::lock_guard<std::mutex> lock(mutex_);
  // Called by a destructor: what fails here has failed before, and nobody can be told.
  if (hip().SetDevice(index_) != kSuccess) hip().GetLastError();
  if (recording->exec != nullptr) {
    if (recording_ == nullptr && hip().StreamSynchronize(stream_) != kSuccess) {
      hip().GetLastError();
    }
    if (hip().GraphExecDestroy(recording->exec) != kSuccess) hip().GetLastError();
  }
  for (Block* block : recording->held) pool_.let_go(block);
}

}  // namespace ferrylm::hip

// Streams, events, captures and graphs.
#include "state.h"

using namespace stand_in;

namespace {

template <typename Kind>
void* adopt(std::map<void*, std::unique_ptr<Kind>>* known, std::unique_ptr<Kind> made) {
  void* handle = made.get();
  known->emplace(handle, std::move(made));
  return handle;
}

EventState* event_of(void* event, const char* function) {
  const auto found = state().events.find(event);
  if (found != state().events.end()) return found->second.get();
  problem(std::string(function) + " of an event that does not exist", 0);
  return nullptr;
}

int refuse_capturing(const StreamState* stream, const char* function) {
  if (stream->capture == nullptr) return kSuccess;
  return problem(std::string(function) + " of a stream that is captured", 900);
}

}  // namespace

extern "C" {

int hipStreamCreateWithFlags(void** stream, unsigned flags) {
  if (const int error = enter("hipStreamCreateWithFlags")) return error;
  if (flags != 1) return problem("a stream that waits for the null stream", 1);
  auto made = std::make_unique<StreamState>();
  made->device = current_device();
  *stream = adopt(&state().streams, std::move(made));
  return kSuccess;
}

int hipStreamDestroy(void* stream) {
  if (const int error = enter("hipStreamDestroy")) return error;
  StreamState* found = stream_of(stream, "hipStreamDestroy");
  if (found == nullptr) return 400;
  drain(found);
  state().streams.erase(stream);
  return kSuccess;
}

int hipStreamSynchronize(void* stream) {
  if (const int error = enter("hipStreamSynchronize")) return error;
  StreamState* found = stream_of(stream, "hipStreamSynchronize");
  if (found == nullptr) return 400;
  if (const int error = refuse_capturing(found, "hipStreamSynchronize")) return error;
  drain(found);
  return kSuccess;
}

int hipDeviceSynchronize() {
  if (const int error = enter("hipDeviceSynchronize")) return error;
  for (const auto& [handle, stream] : state().streams) {
    if (stream->device != current_device()) continue;
    if (const int error = refuse_capturing(stream.get(), "hipDeviceSynchronize")) return error;
  }
  drain_all(current_device());
  return kSuccess;
}

int hipStreamWaitEvent(void* stream, void* event, unsigned) {
  if (const int error = enter("hipStreamWaitEvent")) return error;
  StreamState* found = stream_of(stream, "hipStreamWaitEvent");
  EventState* waited = event_of(event, "hipStreamWaitEvent");
  if (found == nullptr || waited == nullptr) return 400;
  // The event may be destroyed before: what counts is the stream it was recorded on.
  StreamState* earlier = waited->stream;
  push(found, [earlier, found] {
    if (earlier != nullptr && earlier != found) drain(earlier);
  });
  return kSuccess;
}

int hipEventCreateWithFlags(void** event, unsigned) {
  if (const int error = enter("hipEventCreateWithFlags")) return error;
  auto made = std::make_unique<EventState>();
  made->device = current_device();
  *event = adopt(&state().events, std::move(made));
  return kSuccess;
}

int hipEventDestroy(void* event) {
  if (const int error = enter("hipEventDestroy")) return error;
  if (event_of(event, "hipEventDestroy") == nullptr) return 400;
  state().events.erase(event);
  return kSuccess;
}

int hipEventRecord(void* event, void* stream) {
  if (const int error = enter("hipEventRecord")) return error;
  EventState* found = event_of(event, "hipEventRecord");
  StreamState* queue = stream_of(stream, "hipEventRecord");
  if (found == nullptr || queue == nullptr) return 400;
  found->stream = queue;
  found->reached = false;
  const uint64_t version = ++found->version;
  push(queue, [event, version] {
    const auto live = state().events.find(event);
    if (live != state().events.end() && live->second->version == version) {
      live->second->reached = true;
    }
  });
  return kSuccess;
}

int hipEventSynchronize(void* event) {
  if (const int error = enter("hipEventSynchronize")) return error;
  EventState* found = event_of(event, "hipEventSynchronize");
  if (found == nullptr) return 400;
  if (found->stream == nullptr) return kSuccess;
  if (const int error = refuse_capturing(found->stream, "hipEventSynchronize")) return error;
  // Only what lies before the event runs; the rest of the stream stays queued.
  while (!found->reached && !found->stream->queue.empty()) {
    const Operation next = std::move(found->stream->queue.front());
    found->stream->queue.pop_front();
    next.run();
  }
  return kSuccess;
}

// What was not waited for is not done.
int hipEventQuery(void* event) {
  if (const int error = enter("hipEventQuery")) return error;
  EventState* found = event_of(event, "hipEventQuery");
  if (found == nullptr) return 400;
  return found->stream == nullptr || found->reached ? kSuccess : 600;
}

int hipEventElapsedTime(float* milliseconds, void*, void*) {
  *milliseconds = 0.5f;
  return enter("hipEventElapsedTime");
}

int hipStreamBeginCapture(void* stream, int mode) {
  if (const int error = enter("hipStreamBeginCapture")) return error;
  StreamState* found = stream_of(stream, "hipStreamBeginCapture");
  if (found == nullptr) return 400;
  if (mode != 2) return problem("a capture that forbids hipMalloc", 1);
  if (found->capture != nullptr) return problem("a capture within a capture", 401);
  if (!found->queue.empty()) problem("a capture that begins before earlier work is done", 0);
  found->capture = std::make_unique<GraphState>();
  return kSuccess;
}

int hipStreamEndCapture(void* stream, void** graph) {
  const int error = enter("hipStreamEndCapture");
  StreamState* found = stream_of(stream, "hipStreamEndCapture");
  if (found == nullptr) return 400;
  if (error != kSuccess) {  // a capture that was invalidated is over all the same
    found->capture.reset();
    return error;
  }
  if (found->capture == nullptr) return problem("the end of no capture", 903);
  *graph = adopt(&state().graphs, std::move(found->capture));
  return kSuccess;
}

int hipGraphInstantiate(void** exec, void* graph, void**, char*, size_t) {
  if (const int error = enter("hipGraphInstantiate")) return error;
  const auto found = state().graphs.find(graph);
  if (found == state().graphs.end()) return problem("an instance of no graph", 1);
  *exec = adopt(&state().graph_execs, std::make_unique<GraphState>(*found->second));
  return kSuccess;
}

int hipGraphLaunch(void* exec, void* stream) {
  if (const int error = enter("hipGraphLaunch")) return error;
  const auto found = state().graph_execs.find(exec);
  StreamState* queue = stream_of(stream, "hipGraphLaunch");
  if (found == state().graph_execs.end() || queue == nullptr) {
    return problem("a launch of no graph", 1);
  }
  for (const Operation& operation : found->second->operations) push(queue, operation.run);
  return kSuccess;
}

int hipGraphExecDestroy(void* exec) {
  if (const int error = enter("hipGraphExecDestroy")) return error;
  for (const auto& [handle, stream] : state().streams) {
    if (!stream->queue.empty()) return problem("a graph destroyed before its work is done", 1);
  }
  return state().graph_execs.erase(exec) == 1 ? kSuccess : problem("no such graph", 1);
}

int hipGraphDestroy(void* graph) {
  if (const int error = enter("hipGraphDestroy")) return error;
  return state().graphs.erase(graph) == 1 ? kSuccess : problem("no such graph", 1);
}

}  // extern "C"

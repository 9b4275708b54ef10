#include "state.h"

#include <cstdlib>
#include <sstream>

namespace stand_in {

State::State() {
  const char* chips = std::getenv("STAND_IN_CHIPS");
  const char* memory = std::getenv("STAND_IN_MEMORY");
  std::istringstream names(chips == nullptr ? "gfx1100" : chips);
  for (std::string name; std::getline(names, name, ',');) {
    devices.push_back({name, memory == nullptr ? 1ull << 30 : std::strtoull(memory, nullptr, 10)});
  }
}

const Allocation* State::find(const void* address, size_t bytes) const {
  auto found = allocations.upper_bound(static_cast<const char*>(address));
  if (found == allocations.begin()) return nullptr;
  --found;
  const auto offset = static_cast<size_t>(static_cast<const char*>(address) - found->first);
  if (offset >= found->second.bytes || bytes > found->second.bytes - offset) return nullptr;
  return &found->second;
}

State& state() {
  static State* const kState = new State;
  return *kState;
}

int enter(const std::string& function, const std::string& details) {
  state().log.push_back(details.empty() ? function : function + " " + details);
  const auto found = state().failures.find(function);
  if (found == state().failures.end()) return kSuccess;
  if (found->second.first-- > 0) return kSuccess;
  const int error = found->second.second;
  state().failures.erase(found);
  return error;
}

int problem(const std::string& sentence, int error) {
  state().problems.push_back(sentence);
  return error;
}

StreamState* stream_of(void* stream, const char* function) {
  const auto found = state().streams.find(stream);
  if (found == state().streams.end()) {
    problem(std::string(function) + " on a stream that does not exist", 0);
    return nullptr;
  }
  if (found->second->device != current_device()) {
    problem(std::string(function) + " on a stream of another device", 0);
  }
  return found->second.get();
}

void push(StreamState* stream, std::function<void()> run) {
  if (stream->capture != nullptr) {
    stream->capture->operations.push_back({std::move(run)});
  } else {
    stream->queue.push_back({std::move(run)});
  }
}

void drain(StreamState* stream) {
  while (!stream->queue.empty()) {
    const Operation next = std::move(stream->queue.front());
    stream->queue.pop_front();
    next.run();
  }
}

void drain_all(int device) {
  for (const auto& [handle, stream] : state().streams) {
    if (stream->device == device) drain(stream.get());
  }
}

}  // namespace stand_in

extern "C" {

// What tests control and read; strings live until the next call.
void stand_in_fail(const char* function, int after, int error) {
  stand_in::state().failures[function] = {after, error};
}

static const char* joined(const std::vector<std::string>& lines) {
  static std::string text;
  text.clear();
  for (const std::string& line : lines) text += line + "\n";
  return text.c_str();
}

const char* stand_in_log() { return joined(stand_in::state().log); }
const char* stand_in_problems() { return joined(stand_in::state().problems); }
void stand_in_clear() {
  stand_in::state().log.clear();
  stand_in::state().problems.clear();
}

// Device bytes that are allocated, of all devices.
unsigned long long stand_in_used_bytes() {
  unsigned long long total = 0;
  for (const auto& device : stand_in::state().devices) total += device.used_bytes;
  return total;
}

}  // extern "C"

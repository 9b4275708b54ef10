// A stand-in for libamdhip64 that checks every call and executes late.
//
// Memory of devices is host memory. Work is queued and runs only when something waits for it, so
// that a missing wait shows as wrong data. Kernels do nothing, but for those named increment*.
// What a real HIP would leave undefined is noted as a problem, which tests want to be none.
//
// Environment: STAND_IN_CHIPS (one device each, "gfx1100,gfx90a"), STAND_IN_MEMORY (bytes a device).
#ifndef FERRYLM_STAND_IN_STATE_H_
#define FERRYLM_STAND_IN_STATE_H_

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "code_object.h"

namespace stand_in {

constexpr int kSuccess = 0;

struct Operation {
  std::function<void()> run;
};

struct GraphState {
  std::vector<Operation> operations;
};

struct StreamState {
  int device = 0;
  std::list<Operation> queue;
  std::unique_ptr<GraphState> capture;
};

struct EventState {
  int device = 0;
  StreamState* stream = nullptr;
  bool reached = true;
  uint64_t version = 0;
};

struct ModuleState {
  int device = 0;
  CodeObject code;
};

struct FunctionState {
  ModuleState* module = nullptr;
  Kernel kernel;
};

struct Allocation {
  size_t bytes = 0;
  int device = -1;  // -1: pinned host memory
};

struct Device {
  std::string chip;
  uint64_t memory_bytes = 0;
  uint64_t used_bytes = 0;
};

struct State {
  State();
  std::vector<Device> devices;
  std::map<const char*, Allocation> allocations;
  std::map<void*, std::unique_ptr<StreamState>> streams;
  std::map<void*, std::unique_ptr<EventState>> events;
  std::map<void*, std::unique_ptr<ModuleState>> modules;
  std::map<void*, std::unique_ptr<FunctionState>> functions;
  std::map<void*, std::unique_ptr<GraphState>> graphs;
  std::map<void*, std::unique_ptr<GraphState>> graph_execs;
  std::vector<std::string> log;
  std::vector<std::string> problems;
  std::map<std::string, std::pair<int, int>> failures;  // function -> calls to go, error

  const Allocation* find(const void* address, size_t bytes) const;
};

State& state();
int current_device();

// Called first by every function: logs it and returns the error that a test asked for.
int enter(const std::string& function, const std::string& details = "");
// Notes what a caller must not do, and returns `error`.
int problem(const std::string& sentence, int error);

StreamState* stream_of(void* stream, const char* function);
void push(StreamState* stream, std::function<void()> run);
void drain(StreamState* stream);
void drain_all(int device);

}  // namespace stand_in

#endif  // FERRYLM_STAND_IN_STATE_H_

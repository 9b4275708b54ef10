#include "fibers.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace emulator {
namespace {

constexpr std::size_t kMessageBytes = 400;
constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kStackBytes = 64 * kPageBytes;  // the lowest page is a guard

}  // namespace

Fibers& fibers() {
  static Fibers all;
  return all;
}

Fibers::Fibers() : states_(kMostThreads, State::kEnded), fibers_(kMostThreads) {
  void* found = mmap(nullptr, kMostThreads * kStackBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  stacks_ = found == MAP_FAILED ? nullptr : static_cast<unsigned char*>(found);
  for (unsigned thread = 0; stacks_ != nullptr && thread < kMostThreads; ++thread) {
    mprotect(stacks_ + thread * kStackBytes, kPageBytes, PROT_NONE);
  }
}

Fibers::~Fibers() {
  if (stacks_ != nullptr) munmap(stacks_, kMostThreads * kStackBytes);
}

bool Fibers::run(Index size, bool backward, void (*body)(const void*), const void* argument) {
  if (stacks_ == nullptr) return false;
  count_ = alive_ = size.x * size.y * size.z;
  backward_ = backward;
  body_ = body;
  argument_ = argument;
  for (unsigned thread = 0; thread < count_; ++thread) {
    fibers_[thread].index = {thread % size.x, thread / size.x % size.y, thread / size.x / size.y};
    states_[thread] = State::kReady;
  }
  running_ = true;
  if (_setjmp(launcher_) == 0) switch_to(backward ? count_ - 1 : 0);
  running_ = false;
  if (alive_ == 0) return true;
  for (Fiber& fiber : fibers_) fiber.started = false;  // what they were in the midst of is void
  return false;
}

void Fibers::enter() {
  Fibers& all = fibers();
  for (;;) {
    all.body_(all.argument_);
    all.end();
  }
}

void Fibers::start(unsigned thread) {
  static ucontext_t context;
  fibers_[thread].started = true;
  getcontext(&context);
  context.uc_stack.ss_sp = stacks_ + thread * kStackBytes + kPageBytes;
  context.uc_stack.ss_size = kStackBytes - kPageBytes;
  context.uc_link = nullptr;
  makecontext(&context, &Fibers::enter, 0);
  setcontext(&context);
}

void Fibers::switch_to(unsigned thread) {
  current_ = thread;
  threadIdx = fibers_[thread].index;
  states_[thread] = State::kReady;
  if (!fibers_[thread].started) start(thread);
  _longjmp(fibers_[thread].context, 1);
}

void Fibers::switch_to_next() {
  const unsigned next = find_next();
  if (next == current_) {
    states_[next] = State::kReady;
    return;
  }
  if (_setjmp(fibers_[current_].context) == 0) switch_to(next);
}

// A warp goes on for as long as it can before the next one does, so that it gets as far ahead of the
// others as the kernel's barriers allow.
unsigned Fibers::find_next() {
  const unsigned warps = (count_ + kLanes - 1) / kLanes, warp = current_ / kLanes;
  do {
    for (unsigned step = 0; step < warps; ++step) {
      const unsigned found = find_in_warp((warp + (backward_ ? warps - step : step)) % warps);
      if (found < count_) return found;
    }
  } while (conclude_without_absent_lanes());
  report_deadlock();
}

unsigned Fibers::find_in_warp(unsigned warp) {
  const unsigned first = warp * kLanes, lanes = std::min(kLanes, count_ - first);
  // After the current lane if it is one of them, else from the beginning.
  const bool here = current_ / kLanes == warp;
  const unsigned before = here ? current_ - first : backward_ ? 0 : lanes - 1;
  for (unsigned step = 1; step <= lanes; ++step) {
    const unsigned thread = first + (before + (backward_ ? lanes - step : step)) % lanes;
    if (can_go_on(thread)) return thread;
  }
  return count_;
}

bool Fibers::can_go_on(unsigned thread) const {
  if (states_[thread] == State::kReady) return true;
  const Fiber& fiber = fibers_[thread];
  return states_[thread] == State::kPolling && fiber.ready(fiber.ready_context);
}

void Fibers::sleep(const void* place, const char* name) {
  fibers_[current_].place = place;
  fibers_[current_].waits_for = name;
  states_[current_] = State::kAsleep;
  switch_to_next();
}

void Fibers::wake(const void* place) {
  for (unsigned thread = 0; thread < count_; ++thread) {
    if (states_[thread] == State::kAsleep && fibers_[thread].place == place) {
      states_[thread] = State::kReady;
    }
  }
}

void Fibers::poll(const char* name, bool (*ready)(const void*), const void* context) {
  Fiber& fiber = fibers_[current_];
  fiber.waits_for = name;
  fiber.ready = ready;
  fiber.ready_context = context;
  states_[current_] = State::kPolling;
  switch_to_next();
}

void Fibers::end() {
  states_[current_] = State::kEnded;
  if (--alive_ > 0) {
    switch_to_next();
  } else if (_setjmp(fibers_[current_].context) == 0) {
    _longjmp(launcher_, 1);
  }
}

void Fibers::abandon() { _longjmp(launcher_, 1); }

void Fibers::report_deadlock() {
  static char text[kMessageBytes];  // of no destructor, which leaving the fiber would skip
  const auto waits_for = [this](unsigned thread) {
    return states_[thread] == State::kEnded ? "" : fibers_[thread].waits_for;
  };
  int used = 0;
  for (unsigned first = 0, last; first < count_; first = last + 1) {
    const char* name = waits_for(first);
    last = first;
    while (last + 1 < count_ && std::strcmp(waits_for(last + 1), name) == 0) ++last;
    used += std::snprintf(text + used, sizeof text - used, "%sthreads %u to %u %s%s",
                          first == 0 ? "" : ", ", first, last, *name != 0 ? "wait in " : "ended",
                          name);
    if (used >= static_cast<int>(sizeof text)) break;
  }
  fail("deadlock: %s", text);
}

}  // namespace emulator

#include "workgroup.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "fibers.h"

emulator::Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {
namespace {

constexpr unsigned kNamedBarriers = 16;  // PTX ISA, bar

struct Meeting {
  const char* name = nullptr;
  unsigned arrived = 0;
  unsigned wanted = 0;
  const void* inputs[kMostThreads] = {};
  void* outputs[kMostThreads] = {};
  Compute compute = nullptr;
  const void* context = nullptr;
};

struct Meetings {
  Meeting warps[kMostThreads / kLanes];
  Meeting waves64[kMostThreads / (2 * kLanes)];
  Meeting warpgroups[kMostThreads / (4 * kLanes)];
  Meeting workgroup;
  Meeting named[kNamedBarriers];
};

Meetings meetings;
bool lanes_may_be_absent = false;

unsigned size_of(Scope scope) {
  switch (scope) {
    case Scope::kWarp: return kLanes;
    case Scope::kWave64: return 2 * kLanes;
    case Scope::kWarpgroup: return 4 * kLanes;
    case Scope::kWorkgroup: return kMostThreads;
  }
  return 0;
}

Meeting& meeting_of(Scope scope, unsigned number) {
  switch (scope) {
    case Scope::kWarp: return meetings.warps[number];
    case Scope::kWave64: return meetings.waves64[number];
    case Scope::kWarpgroup: return meetings.warpgroups[number];
    case Scope::kWorkgroup: break;
  }
  return meetings.workgroup;
}

void clear(Meeting& meeting) {
  meeting.arrived = meeting.wanted = 0;
  meeting.name = nullptr;
}

void conclude(Meeting& meeting) {
  if (meeting.compute != nullptr) {
    meeting.compute(meeting.inputs, meeting.outputs, meeting.wanted, meeting.context);
  }
  std::fill_n(meeting.inputs, meeting.wanted, nullptr);
  std::fill_n(meeting.outputs, meeting.wanted, nullptr);
  clear(meeting);
  fibers().wake(&meeting);
}

bool arrive(Meeting& meeting, const char* name) {
  if (meeting.arrived > 0 && std::strcmp(meeting.name, name) != 0) {
    fail("%s meets %s: threads of one group are in different operations", name, meeting.name);
  }
  meeting.name = name;
  return ++meeting.arrived == meeting.wanted;
}

}  // namespace

unsigned thread_number() { return fibers().current(); }
unsigned thread_count() { return fibers().count(); }

void meet(Scope scope, const char* name, const void* input, void* output, Compute compute,
          const void* context) {
  const unsigned thread = thread_number(), size = size_of(scope);
  const unsigned first = thread / size * size;
  Meeting& meeting = meeting_of(scope, thread / size);
  const unsigned count = first + size <= thread_count() ? size : thread_count() - first;
  meeting.wanted = count;
  meeting.inputs[thread - first] = input;
  meeting.outputs[thread - first] = output;
  meeting.compute = compute;
  meeting.context = context;
  if (!arrive(meeting, name)) {
    fibers().sleep(&meeting, name);
    return;
  }
  conclude(meeting);
}

void allow_absent_lanes(bool allowed) { lanes_may_be_absent = allowed; }

bool conclude_without_absent_lanes() {
  if (!lanes_may_be_absent) return false;
  const auto conclude_one = [](Meeting* first, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      if (first[i].arrived == 0) continue;
      conclude(first[i]);
      return true;
    }
    return false;
  };
  return conclude_one(meetings.warps, kMostThreads / kLanes) ||
         conclude_one(meetings.waves64, kMostThreads / (2 * kLanes));
}

void named_barrier(unsigned id, unsigned count, bool wait) {
  if (id >= kNamedBarriers || count == 0 || count > thread_count() || count % kLanes != 0) {
    fail("a named barrier %u of %u threads among %u", id, count, thread_count());
  }
  Meeting& meeting = meetings.named[id];
  if (meeting.arrived > 0 && meeting.wanted != count) {
    fail("named barrier %u is for %u threads and for %u", id, meeting.wanted, count);
  }
  meeting.wanted = count;
  if (arrive(meeting, "a named barrier")) {
    clear(meeting);
    fibers().wake(&meeting);
  } else if (wait) {
    fibers().sleep(&meeting, "a named barrier");
  }
}

void wait_until(const char* name, bool (*ready)(const void*), const void* context) {
  while (!ready(context)) fibers().poll(name, ready, context);
}

void reset_meetings() {
  for (Meeting& meeting : meetings.warps) clear(meeting);
  for (Meeting& meeting : meetings.waves64) clear(meeting);
  for (Meeting& meeting : meetings.warpgroups) clear(meeting);
  for (Meeting& meeting : meetings.named) clear(meeting);
  clear(meetings.workgroup);
}

}  // namespace emulator

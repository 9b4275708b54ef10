#include <cstring>
#include <deque>
#include <vector>

#include "fibers.h"
#include "workgroup.h"

namespace emulator {
namespace {

struct Copy {
  void* to;
  const void* from;
  unsigned bytes, zeros;
};

struct Pending {
  std::vector<Copy> open;
  std::deque<std::vector<Copy>> groups;
};

std::vector<Pending>& of_threads() {
  static std::vector<Pending> all(kMostThreads);
  return all;
}

Pending& pending() { return of_threads()[thread_number()]; }

void perform(const std::vector<Copy>& copies) {
  for (const Copy& copy : copies) {
    std::memcpy(copy.to, copy.from, copy.bytes);
    std::memset(static_cast<unsigned char*>(copy.to) + copy.bytes, 0, copy.zeros);
  }
}

}  // namespace

void copy_async(void* to, const void* from, unsigned bytes, unsigned zeros) {
  const auto both = reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from);
  if (both % (bytes + zeros) != 0) fail("an asynchronous copy of %u misaligned bytes", bytes + zeros);
  shared_address(to);
  pending().open.push_back({to, from, bytes, zeros});
}

void copy_async_commit() {
  Pending& mine = pending();
  mine.groups.push_back(std::move(mine.open));
  mine.open.clear();
}

void copy_async_wait(unsigned groups) {
  Pending& mine = pending();
  while (mine.groups.size() > groups) {
    perform(mine.groups.front());
    mine.groups.pop_front();
  }
}

void finish_copies() {
  copy_async_wait(0);
  Pending& mine = pending();
  perform(mine.open);
  mine.open.clear();
}

void forget_copies() {
  for (Pending& one : of_threads()) one = Pending();
}

}  // namespace emulator

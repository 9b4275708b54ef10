// cp.async: copies that a thread begins and waits for in groups.

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

void perform(const Copy& copy) {
  std::memcpy(copy.to, copy.from, copy.bytes);
  std::memset(static_cast<unsigned char*>(copy.to) + copy.bytes, 0, copy.zeros);
}

}  // namespace

void copy_async(void* to, const void* from, unsigned bytes, unsigned zeros) {
  const auto both = reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from);
  if (both % (bytes + zeros) != 0) fail("cp.async of %u misaligned bytes", bytes + zeros);
  shared_address(static_cast<unsigned char*>(to) + bytes + zeros - 1);
  const Copy copy{to, from, bytes, zeros};
  if (fibers().backward()) {
    perform(copy);
  } else {
    pending().open.push_back(copy);
  }
}

void copy_async_commit() {
  Pending& mine = pending();
  mine.groups.push_back(std::move(mine.open));
  mine.open.clear();
}

void copy_async_wait(unsigned groups) {
  Pending& mine = pending();
  while (mine.groups.size() > groups) {
    for (const Copy& copy : mine.groups.front()) perform(copy);
    mine.groups.pop_front();
  }
}

void forget_copies() {
  for (Pending& one : of_threads()) {
    one.open.clear();
    one.groups.clear();
  }
}

}  // namespace emulator

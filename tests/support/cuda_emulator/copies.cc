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

struct BulkCopy {
  uint32_t to, bytes, barrier;
  const void* from;
};

std::vector<BulkCopy>& bulk_copies() {
  static std::vector<BulkCopy> all;
  return all;
}

Pending& pending() { return of_threads()[thread_number()]; }

void perform(const Copy& copy) {
  std::memcpy(copy.to, copy.from, copy.bytes);
  std::memset(static_cast<unsigned char*>(copy.to) + copy.bytes, 0, copy.zeros);
}

// What a barrier's 64 bits hold; how a chip lays them out is nobody's business.
struct Barrier {
  uint32_t wanted : 12, missing : 12, phase : 1, mark : 7;
  int32_t bytes;  // expected less arrived
};
static_assert(sizeof(Barrier) == 8);
constexpr uint32_t kMark = 0x2B;  // of one that was begun

Barrier read_barrier(uint32_t address) {
  Barrier barrier;
  if (address % sizeof barrier != 0) fail("an mbarrier at the misaligned address %u", address);
  std::memcpy(&barrier, shared_pointer(address), sizeof barrier);
  if (barrier.mark != kMark) fail("an mbarrier at address %u that was not begun", address);
  return barrier;
}

void write_barrier(uint32_t address, Barrier barrier) {
  if (barrier.missing == 0 && barrier.bytes == 0) {
    barrier.phase ^= 1;
    barrier.missing = barrier.wanted;
  }
  std::memcpy(shared_pointer(address), &barrier, sizeof barrier);
}

void perform(const BulkCopy& copy) {
  std::memcpy(shared_pointer(copy.to), copy.from, copy.bytes);
  Barrier barrier = read_barrier(copy.barrier);
  barrier.bytes -= static_cast<int32_t>(copy.bytes);
  write_barrier(copy.barrier, barrier);
}

// The copies of a barrier, when someone waits for it.
void perform_bulk(uint32_t barrier) {
  std::vector<BulkCopy>& all = bulk_copies();
  for (std::size_t i = 0; i < all.size();) {
    if (all[i].barrier != barrier) {
      ++i;
      continue;
    }
    perform(all[i]);
    all.erase(all.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

}  // namespace

void barrier_begin(uint32_t address, uint32_t count) {
  if (count == 0 || count > kMostThreads || address % sizeof(Barrier) != 0) {
    fail("an mbarrier at address %u for %u arrivals", address, count);
  }
  write_barrier(address, {count, count, 0, kMark, 0});
}

void barrier_end(uint32_t address) {
  read_barrier(address);
  std::memset(shared_pointer(address), 0xFF, sizeof(Barrier));
}

void barrier_arrive(uint32_t address, uint32_t expected_bytes) {
  Barrier barrier = read_barrier(address);
  if (barrier.missing == 0) fail("more arrivals at the mbarrier at %u than it is for", address);
  --barrier.missing;
  barrier.bytes += static_cast<int32_t>(expected_bytes);
  write_barrier(address, barrier);
}

void barrier_wait(uint32_t address, uint32_t parity) {
  struct Wanted {
    uint32_t address, parity;
  } wanted{address, parity};
  const auto ready = [](const void* context) {
    const Wanted& now = *static_cast<const Wanted*>(context);
    perform_bulk(now.address);
    return read_barrier(now.address).phase != now.parity;
  };
  wait_until("mbarrier.try_wait", ready, &wanted);
}

void copy_bulk(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier) {
  if ((to | bytes | reinterpret_cast<uintptr_t>(from)) % 16 != 0 || bytes == 0) {
    fail("cp.async.bulk of %u bytes to %u, misaligned", bytes, to);
  }
  shared_pointer(to + bytes - 1);
  read_barrier(barrier);
  const BulkCopy copy{to, bytes, barrier, from};
  if (fibers().backward()) {
    perform(copy);
  } else {
    bulk_copies().push_back(copy);
  }
}

bool bulk_copies_are_done() { return bulk_copies().empty(); }

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
  bulk_copies().clear();
}

}  // namespace emulator

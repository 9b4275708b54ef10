// Barriers in shared memory, and the bulk copies that they count.

#include <cstring>
#include <vector>

#include "fibers.h"
#include "workgroup.h"

namespace emulator {
namespace {

struct BulkCopy {
  uint32_t to, bytes, barrier;
  const void* from;
};

std::vector<BulkCopy>& bulk_copies() {
  static std::vector<BulkCopy> all;
  return all;
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

void forget_bulk_copies() { bulk_copies().clear(); }

}  // namespace emulator

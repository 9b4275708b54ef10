// What threads did of asynchronous products, to tell when a step of theirs is missing.

#include "fibers.h"
#include "workgroup.h"

namespace emulator {
namespace {

struct Products {
  bool fenced = false;
  bool open = false;     // begun, not committed
  unsigned groups = 0;  // committed, not waited for
};

Products of_threads[kMostThreads];

Products& mine() { return of_threads[thread_number()]; }

}  // namespace

void products_fence() { mine().fenced = true; }

void products_begin() {
  if (!mine().fenced) fail("wgmma.mma_async without wgmma.fence before it");
  mine().open = true;
}

void products_commit() {
  if (mine().open) ++mine().groups;
  mine().open = false;
}

void products_wait(unsigned groups) {
  if (mine().groups > groups) mine().groups = groups;
  mine().fenced = false;
}

void forget_products() {
  for (Products& one : of_threads) one = Products();
}

bool products_are_done() {
  for (const Products& one : of_threads) {
    if (one.open || one.groups > 0) return false;
  }
  return true;
}

}  // namespace emulator

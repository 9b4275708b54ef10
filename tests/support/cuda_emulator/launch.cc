// The entry point that Python calls, and errors of kernels.

#include <signal.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "fibers.h"
#include "shared_memory.h"

namespace emulator {
namespace {

constexpr std::size_t kMessageBytes = 1024;
char message[kMessageBytes];

struct Call {
  void (*kernel)(const uint64_t*);
  const uint64_t* arguments;
};

void call_kernel(const void* what) {
  const Call& call = *static_cast<const Call*>(what);
  call.kernel(call.arguments);
}

void on_signal(int number, siginfo_t* info, void*) {
  if (!fibers().running()) {
    signal(number, SIG_DFL);
    return;
  }
  if (number == SIGILL) fail("a misaligned vector, or an index beyond the end of a private array");
  if (number == SIGFPE) fail("an integer divided by zero");
  fail("signal %d at address %p: outside of every array", number, info->si_addr);
}

// While one lives, faults of kernels are errors of the launch.
class CaughtSignals {
 public:
  CaughtSignals() {
    struct sigaction action = {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    stack_t stack = {};
    stack.ss_sp = stack_;
    stack.ss_size = sizeof stack_;
    sigaltstack(&stack, &former_stack_);
    for (unsigned i = 0; i < kCount; ++i) sigaction(kSignals[i], &action, &former_[i]);
  }
  ~CaughtSignals() {
    for (unsigned i = 0; i < kCount; ++i) sigaction(kSignals[i], &former_[i], nullptr);
    sigaltstack(&former_stack_, nullptr);
  }
  CaughtSignals(const CaughtSignals&) = delete;
  CaughtSignals& operator=(const CaughtSignals&) = delete;

 private:
  static constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
  static constexpr unsigned kCount = 4;
  static unsigned char stack_[64 << 10];
  struct sigaction former_[kCount];
  stack_t former_stack_;
};

unsigned char CaughtSignals::stack_[64 << 10];

bool run_workgroup(bool backward, const Call& call) {
  reset_meetings();
  forget_copies();
  forget_bulk_copies();
  forget_products();
  spoil_shared();
  if (!fibers().run(blockDim, backward, call_kernel, &call)) return false;
  const char* problem = !shared_end_is_whole()       ? "written beyond the end of shared memory"
                        : !bulk_copies_are_done() ? "a bulk copy that nobody waited for"
                        : !products_are_done()    ? "a wgmma that nobody waited for"
                                                     : nullptr;
  if (problem != nullptr) std::snprintf(message, sizeof message, "%s", problem);
  return problem == nullptr;
}

bool run_grid(bool backward, const Call& call) {
  const unsigned count = gridDim.x * gridDim.y * gridDim.z;
  for (unsigned i = 0; i < count; ++i) {
    const unsigned place = backward ? count - 1 - i : i;
    blockIdx = {place % gridDim.x, place / gridDim.x % gridDim.y, place / gridDim.x / gridDim.y};
    if (!run_workgroup(backward, call)) return false;
  }
  return true;
}

}  // namespace

void fail(const char* format, ...) {
  va_list values;
  va_start(values, format);
  std::vsnprintf(message, sizeof message, format, values);
  va_end(values);
  fibers().abandon();
}

}  // namespace emulator

// Run a kernel; return null, or what went wrong until the next call. `sizes` holds the grid, the
// workgroup, then the bytes of static and of dynamic shared memory.
extern "C" const char* emulator_launch(void (*kernel)(const uint64_t*), const uint64_t* arguments,
                                       const uint32_t sizes[8], int backward) {
  using namespace emulator;
  static char text[2 * kMessageBytes];
  gridDim = {sizes[0], sizes[1], sizes[2]};
  blockDim = {sizes[3], sizes[4], sizes[5]};
  const uint64_t threads = uint64_t{blockDim.x} * blockDim.y * blockDim.z;
  if (threads == 0 || threads > kMostThreads) return "a workgroup of 0 or over 1024 threads";
  // CUDA C++ Programming Guide, "Technical Specifications".
  if (gridDim.x == 0 || gridDim.y == 0 || gridDim.z == 0) return "a grid without workgroups";
  if (gridDim.x > 0x7FFFFFFF || gridDim.y > 65535 || gridDim.z > 65535) return "a grid too large";
  if (!reserve_shared(sizes[6], sizes[7])) return "more than 227 KiB of shared memory";
  CaughtSignals caught;
  if (run_grid(backward != 0, {kernel, arguments})) return nullptr;
  std::snprintf(text, sizeof text, "thread %u of workgroup (%u, %u, %u): %s", fibers().current(),
                blockIdx.x, blockIdx.y, blockIdx.z, message);
  return text;
}

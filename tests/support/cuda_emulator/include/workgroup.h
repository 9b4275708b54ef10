// Threads of a workgroup as fibers, and the points where they wait for one another.
//
// Every thread runs until it waits; then the next of its warp that can go on does, and where there
// is none, one of another warp. Nothing runs at the same time, so that results do not depend on
// chance. A thread that can never go on is an error that names what it waits for.
#pragma once

#include <cstddef>
#include <cstdint>

namespace emulator {

constexpr unsigned kLanes = 32;
constexpr unsigned kMostThreads = 1024;

struct Index {
  unsigned x, y, z;
};

// Who meets: a warp, a wave of 64 lanes (AMD), the four warps of wgmma, or the whole workgroup.
enum class Scope { kWarp, kWave64, kWarpgroup, kWorkgroup };

// What the last thread to arrive does for all: inputs and outputs by place in the scope; those of
// threads that the workgroup does not have, or that are absent, are null.
using Compute = void (*)(const void* const* inputs, void* const* outputs, unsigned count,
                         const void* context);

// Wait until every thread of the scope is here too, under the same name; then compute once.
void meet(Scope scope, const char* name, const void* input, void* output, Compute compute,
          const void* context);

// AMD's lanes that are elsewhere are only switched off: where `allowed`, a wave goes on without them
// once nobody else can run.
void allow_absent_lanes(bool allowed);

// Wait at barrier `id` (PTX ISA, bar) for `count` threads; one that only arrives goes on.
void named_barrier(unsigned id, unsigned count, bool wait);

// Let others run until `ready` says true.
void wait_until(const char* name, bool (*ready)(const void*), const void* context);

// The number of this thread in its workgroup, and how many there are.
unsigned thread_number();
unsigned thread_count();

// End the launch with an error, formatted as by printf.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Shared memory: a kernel's arrays come first, then what the launch asked for.
unsigned char* static_shared();
unsigned char* dynamic_shared();
uint32_t shared_address(const void* pointer);
unsigned char* shared_pointer(uint32_t address);

// Copies behind the back (PTX ISA, cp.async): done as late as the rules allow, when a thread waits
// for them, so that a wait that is missing shows; at once where threads run backward, so that a
// copy that comes too early shows.
void copy_async(void* to, const void* from, unsigned bytes, unsigned zeros);
void copy_async_commit();
void copy_async_wait(unsigned groups);

// Barriers of 64 bits in shared memory (PTX ISA, mbarrier), and copies that they count.
void barrier_begin(uint32_t barrier, uint32_t count);
void barrier_end(uint32_t barrier);
void barrier_arrive(uint32_t barrier, uint32_t expected_bytes);
void barrier_wait(uint32_t barrier, uint32_t parity);
void copy_bulk(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier);

// The order that asynchronous products want of each thread (PTX ISA, wgmma): a fence after its
// registers were touched, products, a commit, and a wait before registers are touched again.
void products_fence();
void products_begin();
void products_commit();
void products_wait(unsigned groups);

// Call `compute(inputs, outputs, count)` once for all threads of a scope, each with its own input
// and output.
template <class Input, class Output, class Function>
void together(Scope scope, const char* name, const Input& input, Output& output,
              const Function& compute) {
  const auto run = [](const void* const* inputs, void* const* outputs, unsigned count,
                      const void* context) {
    (*static_cast<const Function*>(context))(reinterpret_cast<const Input* const*>(inputs),
                                             reinterpret_cast<Output* const*>(outputs), count);
  };
  meet(scope, name, &input, &output, run, &compute);
}

inline void meet(Scope scope, const char* name) {
  meet(scope, name, nullptr, nullptr, nullptr, nullptr);
}

}  // namespace emulator

extern emulator::Index threadIdx, blockIdx, blockDim, gridDim;
constexpr int warpSize = emulator::kLanes;

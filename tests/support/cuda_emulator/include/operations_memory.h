// The bodies of compile/cuda/operations_memory.py.
#pragma once

#include "builtins.h"

inline uint4 ferrylm_load_stream_u32x4(const void* from, long long index) {
  return static_cast<const uint4*>(from)[index];
}
inline uint4 ferrylm_load_evict_first_u32x4(const void* from, long long index) {
  return static_cast<const uint4*>(from)[index];
}
inline void ferrylm_prefetch_l2(const void*) {}

#if __CUDA_ARCH__ >= 800
inline void ferrylm_copy_async_u32x4(void* to, const void* from) {
  emulator::copy_async(to, from, 16, 0);
}
inline void ferrylm_copy_async_commit() { emulator::copy_async_commit(); }
inline void ferrylm_copy_async_wait(unsigned groups) { emulator::copy_async_wait(groups); }
#else
inline void ferrylm_copy_async_u32x4(void* to, const void* from) {
  *static_cast<uint4*>(to) = *static_cast<const uint4*>(from);
}
inline void ferrylm_copy_async_commit() {}
inline void ferrylm_copy_async_wait(unsigned) {}
#endif

// Kernels run one after another.
inline void ferrylm_grid_dependency_wait() {}
inline void ferrylm_launch_dependents() {}

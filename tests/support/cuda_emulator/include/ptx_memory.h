// PTX ISA, data movement: loads, prefetches, asynchronous copies of a thread, fences.
#pragma once

#include "ptx_registers.h"

namespace ptx {

inline void load_words(Registers<uint32_t, 4> d, uint64_t from) {
  if (from % 16 != 0) fail("a load of four words from a misaligned address");
  for (unsigned i = 0; i < 4; ++i) d[i] = reinterpret_cast<const uint32_t*>(from)[i];
}

inline void ld_global_nc_L1_no_allocate_L2_256B_v4_u32(Registers<uint32_t, 4> d, uint64_t from) {
  load_words(d, from);
}
inline void ld_global_nc_L1_no_allocate_v4_u32(Registers<uint32_t, 4> d, uint64_t from) {
  load_words(d, from);
}
inline void ld_global_cs_nc_v4_u32(Registers<uint32_t, 4> d, uint64_t from) { load_words(d, from); }
inline void prefetch_global_L2(uint64_t) {}

inline void cp_async_cg_shared_global(uint32_t to, uint64_t from, unsigned bytes) {
  emulator::copy_async(emulator::shared_pointer(to), reinterpret_cast<const void*>(from), bytes, 0);
}
// Bytes beyond `given` are zeros.
inline void cp_async_cg_shared_global(uint32_t to, uint64_t from, unsigned bytes, uint32_t given) {
  emulator::copy_async(emulator::shared_pointer(to), reinterpret_cast<const void*>(from), given,
                       bytes - given);
}
inline void cp_async_commit_group() { emulator::copy_async_commit(); }
inline void cp_async_wait_group(unsigned groups) { emulator::copy_async_wait(groups); }
inline void cp_async_wait_all() {
  emulator::copy_async_commit();
  emulator::copy_async_wait(0);
}

// Kernels, and workgroups, run one after another.
inline void griddepcontrol_wait() {}
inline void griddepcontrol_launch_dependents() {}
inline void fence_proxy_async_shared_cta() {}
inline void fence_proxy_async() {}

}  // namespace ptx

// PTX ISA, mbarrier, cp.async.bulk and barriers by number.
#pragma once

#include "ptx_registers.h"

namespace ptx {

inline void bar_sync(unsigned id, unsigned count) { emulator::named_barrier(id, count, true); }
inline void bar_arrive(unsigned id, unsigned count) { emulator::named_barrier(id, count, false); }

inline void mbarrier_init_shared_cta_b64(uint32_t barrier, uint32_t count) {
  emulator::barrier_begin(barrier, count);
}
inline void mbarrier_arrive_shared_cta_b64(Sink, uint32_t barrier) {
  emulator::barrier_arrive(barrier, 0);
}
// When the copies of the thread are done, which is now.
inline void cp_async_mbarrier_arrive_noinc_shared_cta_b64(uint32_t barrier) {
  emulator::copy_async_commit();
  emulator::copy_async_wait(0);
  emulator::barrier_arrive(barrier, 0);
}
inline void mbarrier_arrive_expect_tx_shared_cta_b64(Sink, uint32_t barrier, uint32_t bytes) {
  emulator::barrier_arrive(barrier, bytes);
}
inline void mbarrier_try_wait_parity_shared_cta_b64(bool& done, uint32_t barrier, uint32_t parity) {
  emulator::barrier_wait(barrier, parity);
  done = true;
}
inline void mbarrier_inval_shared_cta_b64(uint32_t barrier) { emulator::barrier_end(barrier); }

inline void cp_async_bulk_shared_cluster_global_mbarrier_complete_tx_bytes(uint32_t to,
                                                                           uint64_t from,
                                                                           uint32_t bytes,
                                                                           uint32_t barrier) {
  emulator::copy_bulk(to, reinterpret_cast<const void*>(from), bytes, barrier);
}

}  // namespace ptx

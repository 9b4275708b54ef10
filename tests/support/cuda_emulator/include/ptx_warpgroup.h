// PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions".
#pragma once

#include "ptx_matrix.h"

namespace ptx {

// A matrix in shared memory without a swizzle: 8 x 16 bytes follow one another; `along` is from
// there to the next 8 elements of a row, `down` to the next 8 rows.
struct MatrixInShared {
  uint32_t start, along, down;

  explicit MatrixInShared(uint64_t descriptor)
      : start((descriptor & 0x3FFF) << 4),
        along((descriptor >> 16 & 0x3FFF) << 4),
        down((descriptor >> 32 & 0x3FFF) << 4) {
    if (descriptor >> 62 != 0) fail("wgmma with a swizzle, which the emulator does not know");
    if (descriptor >> 49 & 7) fail("wgmma with a base offset and no swizzle");
  }

  float operator()(unsigned row, unsigned column) const {
    const uint32_t at = start + column / 8 * along + row / 8 * down + row % 8 * 16 + column % 8 * 2;
    return element<half>(emulator::shared_pointer(at), 0);
  }
};

// Rows 16 w of a are in the registers of warp w, as those of mma.m16n8k16; b is in shared memory,
// a column of the product a row there. It is done when it is begun; nothing may count on that.
template <unsigned count>
void wgmma_mma_async_sync_aligned_m64nNk16_f32_f16_f16(Registers<float, count> d, Words<4> a,
                                                       uint64_t descriptor, bool add, int scale_a,
                                                       int scale_b, int transposed) {
  constexpr unsigned columns = 2 * count, depth = 16;
  emulator::products_begin();
  if (scale_a != 1 || scale_b != 1 || transposed != 0) fail("wgmma with a sign or a transposition");
  struct Operands {
    Values<uint32_t, 4> a;
    Values<float, count> c;
    uint64_t descriptor;
  };
  const auto compute = [=](const Operands* const* in, Values<float, count>* const* out,
                             unsigned threads) {
    if (threads != 4 * kLanes) fail("wgmma among %u threads", threads);
    const MatrixInShared b(in[0]->descriptor);
    static float right[columns][depth];
    for (unsigned column = 0; column < columns; ++column) {
      for (unsigned k = 0; k < depth; ++k) right[column][k] = b(column, k);
    }
    for (unsigned warp = 0; warp < 4; ++warp) {
      const Operands* const* lanes = in + warp * kLanes;
      float left[16][depth];
      for (unsigned i = 0; i < kLanes * 8; ++i) {
        const unsigned lane = i / 8, word = i % 8 / 2;
        if (lanes[lane]->descriptor != in[0]->descriptor) fail("wgmma with several descriptors");
        left[lane / 4 + word % 2 * 8][word / 2 * 8 + lane % 4 * 2 + i % 2] =
            element<half>(&lanes[lane]->a, i % 8);
      }
      for (unsigned lane = 0; lane < kLanes; ++lane) {
        for (unsigned i = 0; i < count; ++i) {
          const float* row = left[lane / 4 + i / 2 % 2 * 8];
          const float* column = right[i / 4 * 8 + lane % 4 * 2 + i % 2];
          double sum = add ? lanes[lane]->c.items[i] : 0.0;
          for (unsigned k = 0; k < depth; ++k) sum += double(row[k]) * column[k];
          out[warp * kLanes + lane]->items[i] = static_cast<float>(sum);
        }
      }
    }
  };
  Values<float, count> found;
  together(Scope::kWarpgroup, "wgmma", Operands{values_of(a), values_of(d), descriptor}, found,
           compute);
  assign(d, found);
}

inline void wgmma_fence_sync_aligned() { emulator::products_fence(); }
inline void wgmma_commit_group_sync_aligned() { emulator::products_commit(); }
inline void wgmma_wait_group_sync_aligned(unsigned groups) { emulator::products_wait(groups); }

}  // namespace ptx

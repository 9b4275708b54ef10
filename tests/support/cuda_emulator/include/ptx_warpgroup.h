// PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions".
#pragma once

#include "ptx_matrix.h"

namespace ptx {

// A matrix in shared memory without a swizzle: 8 x 16 bytes follow one another; `along` is from
// there to the next 8 elements of a row, `down` to the next 8 rows.
struct MatrixInShared {
  uint32_t start, along, down;
  bool swizzled = false;

  explicit MatrixInShared(uint64_t descriptor)
      : start((descriptor & 0x3FFF) << 4),
        along((descriptor >> 16 & 0x3FFF) << 4),
        down((descriptor >> 32 & 0x3FFF) << 4) {
    if (descriptor >> 62 > 1) fail("wgmma with a swizzle that the emulator does not know");
    swizzled = descriptor >> 62 == 1;
    if (swizzled && start % 1024 != 0) fail("wgmma with a swizzle and no whole 1024 bytes");
    if (descriptor >> 49 & 7) fail("wgmma with a base offset and no swizzle");
  }

  float operator()(unsigned row, unsigned column) const {
    if (swizzled) fail("wgmma with a swizzle of columns");
    const uint32_t at = start + column / 8 * along + row / 8 * down + row % 8 * 16 + column % 8 * 2;
    return element<half>(emulator::shared_pointer(at), 0);
  }

  // A matrix whose columns' neighbours are neighbours in memory: 8 rows by 16 bytes of a row;
  // `along` is from there to the next 8 rows, `down` to the next 8 columns. With the swizzle of 128
  // bytes, 8 rows of 64 columns are together, `along` is to the next 64 columns, `down` to the next
  // 8 rows, and bits 7 to 9 of an address change its bits 4 to 6.
  float transposed(unsigned row, unsigned column) const {
    if (swizzled) {
      const uint32_t place = start + column / 64 * along + row / 8 * down + row % 8 * 128 +
                             column % 64 * 2;
      return element<half>(emulator::shared_pointer(place ^ (place >> 7 & 7) << 4), 0);
    }
    const uint32_t at = start + row / 8 * along + column / 8 * down + row % 8 * 16 + column % 8 * 2;
    return element<half>(emulator::shared_pointer(at), 0);
  }
};

// What each thread of the four warps gives to a product.
template <unsigned count> struct ProductOperands {
  Values<uint32_t, 4> a;
  Values<float, count> c;
  uint64_t left, right;
};

// Compute a product for all threads; `left_at(threads, row, k)` is the left matrix, `right_at(b,
// column, k)` the right one. It is done when it is begun; nothing may count on that.
template <unsigned count, class Left, class Right>
void warpgroup_product(Registers<float, count> d, const ProductOperands<count>& operands, bool add,
                       const Left& left_at, const Right& right_at) {
  constexpr unsigned columns = 2 * count, depth = 16;
  emulator::products_begin();
  const auto compute = [=](const ProductOperands<count>* const* in,
                           Values<float, count>* const* out, unsigned threads) {
    if (threads != 4 * kLanes) fail("wgmma among %u threads", threads);
    static float left[64][depth], right[columns][depth];
    const MatrixInShared b(in[0]->right);
    for (unsigned k = 0; k < depth; ++k) {
      for (unsigned column = 0; column < columns; ++column) right[column][k] = right_at(b, column, k);
      for (unsigned row = 0; row < 64; ++row) left[row][k] = left_at(in, row, k);
    }
    for (unsigned thread = 0; thread < threads; ++thread) {
      if (in[thread]->right != in[0]->right || in[thread]->left != in[0]->left) {
        fail("wgmma with several descriptors");
      }
      const unsigned lane = thread % kLanes;
      for (unsigned i = 0; i < count; ++i) {
        const float* row = left[thread / kLanes * 16 + lane / 4 + i / 2 % 2 * 8];
        const float* column = right[i / 4 * 8 + lane % 4 * 2 + i % 2];
        double sum = add ? in[thread]->c.items[i] : 0.0;
        for (unsigned k = 0; k < depth; ++k) sum += double(row[k]) * column[k];
        out[thread]->items[i] = static_cast<float>(sum);
      }
    }
  };
  Values<float, count> found;
  together(Scope::kWarpgroup, "wgmma", operands, found, compute);
  assign(d, found);
}

// Rows 16 w of a are in the registers of warp w, as those of mma.m16n8k16; b is in shared memory,
// a column of the product a row there, or a row a row if `transposed`.
template <unsigned count>
void wgmma_mma_async_sync_aligned_m64nNk16_f32_f16_f16(Registers<float, count> d, Words<4> a,
                                                       uint64_t descriptor, bool add, int scale_a,
                                                       int scale_b, int transposed) {
  if (scale_a != 1 || scale_b != 1) fail("wgmma with a sign");
  const auto left = [](const ProductOperands<count>* const* in, unsigned row, unsigned k) {
    const unsigned lane = row % 8 * 4 + k % 8 / 2, word = row % 16 / 8 + k / 8 * 2;
    return float(element<half>(&in[row / 16 * kLanes + lane]->a, 2 * word + k % 2));
  };
  const auto right = [=](const MatrixInShared& b, unsigned column, unsigned k) {
    return transposed ? b.transposed(k, column) : b(column, k);
  };
  warpgroup_product(d, ProductOperands<count>{values_of(a), values_of(d), 0, descriptor}, add, left,
                    right);
}

// Both matrices are in shared memory, a row of a, and a column of b, a row there.
template <unsigned count>
void wgmma_mma_async_sync_aligned_m64nNk16_f32_f16_f16(Registers<float, count> d, uint64_t a,
                                                       uint64_t descriptor, bool add, int scale_a,
                                                       int scale_b, int transposed_a,
                                                       int transposed_b) {
  if (scale_a != 1 || scale_b != 1) fail("wgmma with a sign");
  if (transposed_a != 0 || transposed_b != 0) fail("wgmma with a transposition of both");
  const auto left = [](const ProductOperands<count>* const* in, unsigned row, unsigned k) {
    return MatrixInShared(in[0]->left)(row, k);
  };
  const auto right = [](const MatrixInShared& b, unsigned column, unsigned k) {
    return b(column, k);
  };
  warpgroup_product(d, ProductOperands<count>{{}, values_of(d), a, descriptor}, add, left, right);
}

inline void wgmma_fence_sync_aligned() { emulator::products_fence(); }
inline void wgmma_commit_group_sync_aligned() { emulator::products_commit(); }
inline void wgmma_wait_group_sync_aligned(unsigned groups) { emulator::products_wait(groups); }

// How many registers a thread has is not emulated.
inline void setmaxnreg_inc_sync_aligned_u32(unsigned) {
  meet(Scope::kWarpgroup, "setmaxnreg.inc");
}
inline void setmaxnreg_dec_sync_aligned_u32(unsigned) {
  meet(Scope::kWarpgroup, "setmaxnreg.dec");
}

}  // namespace ptx

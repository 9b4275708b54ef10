// PTX ISA, "Warp Level Matrix Instructions".
#pragma once

#include "ptx_registers.h"

namespace ptx {

// d = a * b + c: `rows` rows, 8 columns, elements T. Register i of a holds row lane / 4, 8 further
// on where i is odd and there are 16 rows; neighbouring lanes hold neighbouring words of a row.
// Sums are made in `Sum` and rounded once: how a chip rounds is nowhere written down.
template <class T, class Sum, unsigned rows, class C, unsigned c_count, unsigned a_count,
          unsigned b_count>
void multiply(const char* name, Registers<C, c_count> d, Registers<uint32_t, a_count> a,
              Registers<uint32_t, b_count> b, Registers<C, c_count> c) {
  constexpr unsigned per_word = 4 / sizeof(T), width = 4 * per_word, depth = b_count * width;
  constexpr unsigned halves = rows / 8;
  static_assert(a_count == b_count * halves && c_count == 2 * halves);
  struct Operands {
    Values<uint32_t, a_count> a;
    Values<uint32_t, b_count> b;
    Values<C, c_count> c;
  };
  const auto compute = [=](const Operands* const* in, Values<C, c_count>* const* out,
                              unsigned count) {
    if (count != kLanes) fail("%s in a warp of %u threads", name, count);
    Sum left[rows][depth], right[depth][8];
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      const unsigned group = lane / 4, place = lane % 4 * per_word;
      for (unsigned i = 0; i < a_count * per_word; ++i) {
        const unsigned word = i / per_word;
        left[group + word % halves * 8][word / halves * width + place + i % per_word] =
            static_cast<Sum>(element<T>(&in[lane]->a, i));
      }
      for (unsigned i = 0; i < b_count * per_word; ++i) {
        right[i / per_word * width + place + i % per_word][group] =
            static_cast<Sum>(element<T>(&in[lane]->b, i));
      }
    }
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      for (unsigned i = 0; i < c_count; ++i) {
        Sum sum = static_cast<Sum>(in[lane]->c.items[i]);
        for (unsigned k = 0; k < depth; ++k) {
          sum += left[lane / 4 + i / 2 * 8][k] * right[k][lane % 4 * 2 + i % 2];
        }
        out[lane]->items[i] = static_cast<C>(sum);
      }
    }
  };
  Values<C, c_count> found;
  together(Scope::kWarp, name, Operands{values_of(a), values_of(b), values_of(c)}, found, compute);
  assign(d, found);
}

using Floats = Registers<float, 4>;
template <unsigned count> using Words = Registers<uint32_t, count>;

inline void mma_sync_aligned_m16n8k16_row_col_f32_f16_f16_f32(Floats d, Words<4> a, Words<2> b,
                                                              Floats c) {
  multiply<half, double, 16>("mma.m16n8k16", d, a, b, c);
}
inline void mma_sync_aligned_m16n8k8_row_col_f32_f16_f16_f32(Floats d, Words<2> a, Words<1> b,
                                                             Floats c) {
  multiply<half, double, 16>("mma.m16n8k8", d, a, b, c);
}
inline void mma_sync_aligned_m16n8k32_row_col_s32_s8_s8_s32(Words<4> d, Words<4> a, Words<2> b,
                                                            Words<4> c) {
  multiply<signed char, uint32_t, 16>("mma.m16n8k32", d, a, b, c);
}
inline void mma_sync_aligned_m8n8k16_row_col_s32_s8_s8_s32(Words<2> d, Words<1> a, Words<1> b,
                                                           Words<2> c) {
  multiply<signed char, uint32_t, 8>("mma.m8n8k16", d, a, b, c);
}

// Row i of matrix m is 16 bytes at the address of lane 8m + i; lane l gets word l % 4 of row l / 4.
template <unsigned count>
void load_matrices(const char* name, Words<count> d, uint32_t address, bool transposed) {
  if (address % 16 != 0) fail("%s of a misaligned row", name);
  const void* row = emulator::shared_pointer(address);
  const auto compute = [=](const void* const* const* rows, Values<uint32_t, count>* const* out,
                           unsigned threads) {
    if (threads != kLanes) fail("%s in a warp of %u threads", name, threads);
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      uint16_t halves[2 * count];
      for (unsigned i = 0; i < 2 * count; ++i) {
        const unsigned major = lane / 4, minor = lane % 4 * 2 + i % 2, matrix = i / 2;
        halves[i] = transposed ? element<uint16_t>(*rows[8 * matrix + minor], major)
                               : element<uint16_t>(*rows[8 * matrix + major], minor);
      }
      std::memcpy(out[lane], halves, sizeof halves);
    }
  };
  Values<uint32_t, count> found;
  together(Scope::kWarp, name, row, found, compute);
  assign(d, found);
}

inline void ldmatrix_sync_aligned_m8n8_x4_shared_b16(Words<4> d, uint32_t address) {
  load_matrices("ldmatrix.x4", d, address, false);
}
inline void ldmatrix_sync_aligned_m8n8_x4_trans_shared_b16(Words<4> d, uint32_t address) {
  load_matrices("ldmatrix.x4.trans", d, address, true);
}
inline void ldmatrix_sync_aligned_m8n8_x2_shared_b16(Words<2> d, uint32_t address) {
  load_matrices("ldmatrix.x2", d, address, false);
}
inline void ldmatrix_sync_aligned_m8n8_x2_trans_shared_b16(Words<2> d, uint32_t address) {
  load_matrices("ldmatrix.x2.trans", d, address, true);
}

}  // namespace ptx

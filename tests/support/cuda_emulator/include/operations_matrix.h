// The bodies of compile/cuda/operations_matrix.py: PTX ISA, "Warp Level Matrix Instructions".
#pragma once

#include "builtins.h"

namespace emulator {

struct Fragments {
  uint4 a;
  uint2 b;
};

// Element `index` of the words of a fragment.
template <class T> T element(const void* words, unsigned index) {
  T found;
  std::memcpy(&found, static_cast<const unsigned char*>(words) + index * sizeof(T), sizeof found);
  return found;
}

// d = a * b + c on m16n8kDEPTH: T are elements of a and b, C and Vector of c and d. The sums are
// made in `Sum` and rounded once; the order in which a chip adds is nowhere written down.
template <class T, class Sum, class C, class Vector>
Vector multiply_fragments(const char* name, uint4 a, uint2 b, Vector c) {
  constexpr unsigned per_word = 4 / sizeof(T), depth = 8 * per_word;
  struct Operands {
    Fragments fragments;
    Vector c;
  };
  Vector found = c;
  const auto compute = [name](const Operands* const* in, Vector* const* out, unsigned count) {
    if (count != kLanes) fail("%s in a warp of %u threads", name, count);
    Sum left[16][depth], right[depth][8];
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      const unsigned group = lane / 4, place = lane % 4 * per_word;
      for (unsigned i = 0; i < 4 * per_word; ++i) {
        const unsigned word = i / per_word, row = group + word % 2 * 8;
        left[row][place + word / 2 * depth / 2 + i % per_word] =
            static_cast<Sum>(element<T>(&in[lane]->fragments.a, i));
      }
      for (unsigned i = 0; i < 2 * per_word; ++i) {
        right[place + i / per_word * depth / 2 + i % per_word][group] =
            static_cast<Sum>(element<T>(&in[lane]->fragments.b, i));
      }
    }
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      C sums[4];
      for (unsigned i = 0; i < 4; ++i) {
        const unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        Sum sum = static_cast<Sum>(element<C>(&in[lane]->c, i));
        for (unsigned k = 0; k < depth; ++k) sum += left[row][k] * right[k][column];
        sums[i] = static_cast<C>(sum);
      }
      std::memcpy(out[lane], sums, sizeof sums);
    }
  };
  together(Scope::kWarp, name, Operands{{a, b}, c}, found, compute);
  return found;
}

// Row i of matrix m is 16 bytes at the pointer of lane 8m + i; lane l gets word l % 4 of row l / 4.
inline uint4 load_matrices(const char* name, const void* row, bool transposed) {
  uint4 found;
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) fail("%s of a misaligned row", name);
  shared_address(row);
  const auto compute = [=](const void* const* const* rows, uint4* const* out, unsigned count) {
    if (count != kLanes) fail("%s in a warp of %u threads", name, count);
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      uint16_t halves[8];
      for (unsigned i = 0; i < 8; ++i) {
        const unsigned matrix = i / 2, major = lane / 4, minor = lane % 4 * 2 + i % 2;
        halves[i] = transposed ? element<uint16_t>(*rows[8 * matrix + minor], major)
                               : element<uint16_t>(*rows[8 * matrix + major], minor);
      }
      std::memcpy(out[lane], halves, sizeof halves);
    }
  };
  together(Scope::kWarp, name, row, found, compute);
  return found;
}

}  // namespace emulator

inline float4 ferrylm_mma_m16n8k16_f16(uint4 a, uint2 b, float4 c) {
  return emulator::multiply_fragments<half, double, float>("mma_m16n8k16_f16", a, b, c);
}
inline int4 ferrylm_mma_m16n8k32_s8(uint4 a, uint2 b, int4 c) {
  return emulator::multiply_fragments<signed char, int, int>("mma_m16n8k32_s8", a, b, c);
}
inline uint4 ferrylm_load_matrix_x4(const void* row) {
  return emulator::load_matrices("load_matrix_x4", row, false);
}
inline uint4 ferrylm_load_matrix_x4_transposed(const void* row) {
  return emulator::load_matrices("load_matrix_x4_transposed", row, true);
}

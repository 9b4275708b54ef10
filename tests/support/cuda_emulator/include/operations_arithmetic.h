// The bodies of compile/cuda/operations_arithmetic.py.
#pragma once

#include "builtins.h"

inline half2 ferrylm_halves(unsigned x) { return emulator_bits<half2>(x); }
inline unsigned ferrylm_word(half2 x) { return emulator_bits<unsigned>(x); }

inline int ferrylm_dot4_i8(int a, int b, int total) { return __dp4a(a, b, total); }
inline int ferrylm_dot4_u8_i8(unsigned a, int b, int total) {
  for (int byte = 0; byte < 4; ++byte) {
    total += static_cast<int>(a >> 8 * byte & 255) * static_cast<signed char>(b >> 8 * byte);
  }
  return total;
}

inline float ferrylm_fma(float a, float b, float c) { return std::fma(a, b, c); }
inline half ferrylm_fma(half a, half b, half c) { return __hfma(a, b, c); }
inline half2 ferrylm_fma(half2 a, half2 b, half2 c) { return __hfma2(a, b, c); }
inline float2 ferrylm_fma(float2 a, float2 b, float2 c) {
  return {std::fma(a.x, b.x, c.x), std::fma(a.y, b.y, c.y)};
}
inline float4 ferrylm_fma(float4 a, float4 b, float4 c) {
  return {std::fma(a.x, b.x, c.x), std::fma(a.y, b.y, c.y), std::fma(a.z, b.z, c.z),
          std::fma(a.w, b.w, c.w)};
}

inline float ferrylm_exp2_approximate(float x) {
  const float found = std::exp2(x);
  return found < 0x1p-126f ? 0.0f : found;
}

inline float2 ferrylm_unpack_half2(unsigned x) { return __half22float2(ferrylm_halves(x)); }

template <class T> T ferrylm_atomic_add(T* where, T value) { return atomicAdd(where, value); }
template <class T> T ferrylm_atomic_add(void* where, T value) {
  return atomicAdd(static_cast<T*>(where), value);
}

// Bit i of the table is the result where the bits of a, b and c are those of i (PTX ISA, lop3).
inline unsigned ferrylm_lop3(unsigned a, unsigned b, unsigned c, unsigned table) {
  unsigned found = 0;
  for (unsigned i = 0; i < 8; ++i) {
    if (table >> i & 1) found |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
  }
  return found;
}

inline unsigned ferrylm_half2_fma(unsigned a, unsigned b, unsigned c) {
  return ferrylm_word(__hfma2(ferrylm_halves(a), ferrylm_halves(b), ferrylm_halves(c)));
}
inline unsigned ferrylm_half2_add(unsigned a, unsigned b) {
  return ferrylm_word(__hadd2(ferrylm_halves(a), ferrylm_halves(b)));
}
inline unsigned ferrylm_half2_sub(unsigned a, unsigned b) {
  return ferrylm_word(__hsub2(ferrylm_halves(a), ferrylm_halves(b)));
}
inline unsigned ferrylm_half2_mul(unsigned a, unsigned b) {
  return ferrylm_word(__hmul2(ferrylm_halves(a), ferrylm_halves(b)));
}
inline unsigned ferrylm_half2_max(unsigned a, unsigned b) {
  return ferrylm_word(__hmax2(ferrylm_halves(a), ferrylm_halves(b)));
}
inline unsigned ferrylm_half2_min(unsigned a, unsigned b) {
  return ferrylm_word(__hmin2(ferrylm_halves(a), ferrylm_halves(b)));
}
inline unsigned ferrylm_half2_pack(float low, float high) {
  return ferrylm_word(__floats2half2_rn(low, high));
}
inline unsigned ferrylm_half2_broadcast(half x) { return ferrylm_word(__half2half2(x)); }

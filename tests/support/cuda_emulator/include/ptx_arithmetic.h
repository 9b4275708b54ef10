// PTX ISA, integer, logic and floating-point instructions.
#pragma once

#include "ptx_registers.h"

namespace ptx {

inline void dp4a_u32_s32(uint32_t& d, uint32_t a, uint32_t b, uint32_t c) {
  d = c;
  for (int byte = 0; byte < 4; ++byte) {
    d += static_cast<int>(a >> 8 * byte & 255) * static_cast<signed char>(b >> 8 * byte);
  }
}

// Bit i of the table is the result where the bits of a, b and c are those of i.
inline void lop3_b32(uint32_t& d, uint32_t a, uint32_t b, uint32_t c, unsigned table) {
  d = 0;
  for (unsigned i = 0; i < 8; ++i) {
    if (table >> i & 1) d |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
  }
}

inline void ex2_approx_ftz_f32(float& d, float a) {
  const float found = std::exp2(std::fabs(a) < 0x1p-126f ? 0.0f : a);
  d = found < 0x1p-126f ? 0.0f : found;
}

inline void trap() { fail("trap"); }
inline void setp_eq_u32(bool& p, uint32_t a, uint32_t b) { p = a == b; }
inline void setp_lt_f32(bool& p, float a, float b) { p = a < b; }
inline void setp_ne_b32(bool& p, uint32_t a, uint32_t b) { p = a != b; }

}  // namespace ptx

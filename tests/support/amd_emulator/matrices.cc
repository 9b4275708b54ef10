// Products of matrices by a wave: which element of a matrix each register of each lane holds.
//
// Written from AMD's documents, not from the kernels: "RDNA3 Instruction Set Architecture" and
// "RDNA4 Instruction Set Architecture", section 7.9; "AMD Instinct MI300 Instruction Set
// Architecture", section 7.1; formulas as AMD's Matrix Instruction Calculator prints them
// (github.com/ROCm/amd_matrix_instruction_calculator) for V_WMMA_F32_16X16X16_F16 of RDNA3 and of
// RDNA4, and for V_MFMA_F32_16X16X16F16 of CDNA1 to CDNA3.

#include <cstdint>
#include <cstring>

#include "wave.h"

namespace amd {
namespace {

constexpr unsigned kSize = 16;
constexpr unsigned kMostHalves = 16, kMostSums = 8;

struct Operands {
  uint16_t a[kMostHalves];
  uint16_t b[kMostHalves];
  float c[kMostSums];
};

struct Sums {
  float d[kMostSums];
};

// Where an element lies: a half or a float of a lane. A half's register is its place / 2.
struct Place {
  unsigned lane;
  unsigned at;
};

struct Instruction {
  const char* name;
  unsigned halves, sums;
  Place (*factor)(unsigned i, unsigned k);  // A[i][k], and B[k][i]
  Place (*sum)(unsigned i, unsigned j);
  unsigned copies;  // of a factor, a half wave apart
};

float to_float(uint16_t half) {
  const uint32_t sign = uint32_t{half} >> 15, exponent = half >> 10 & 31, fraction = half & 1023;
  float found;
  if (exponent == 0) {
    found = static_cast<float>(fraction) * 0x1p-24f;
  } else {
    const uint32_t bits = (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
    std::memcpy(&found, &bits, sizeof found);
  }
  return sign != 0 ? -found : found;
}

// RDNA3: GPR floor(k / 2), half k % 2, lanes i and i + 16; sums in GPR floor(i / 2).
Place rdna3_factor(unsigned i, unsigned k) { return {i, 2 * (k / 2) + k % 2}; }
Place rdna3_sum(unsigned i, unsigned j) { return {16 * i % 32 + j, i / 2}; }

// RDNA4: GPR 2 * floor(k / 8) + floor(k / 2) % 2, half k % 2, lane 16 * (floor(k / 4) % 2) + i;
// sums in GPR i % 8, lane 16 * floor(i / 8) + j.
Place rdna4_factor(unsigned i, unsigned k) {
  return {16 * (k / 4 % 2) + i, 2 * (2 * (k / 8) + k / 2 % 2) + k % 2};
}
Place rdna4_sum(unsigned i, unsigned j) { return {16 * (i / 8) + j, i % 8}; }

// CDNA: GPR floor(k / 2) % 2, half k % 2, lane 16 * floor(k / 4) + i; sums in GPR i % 4, lane 16 *
// floor(i / 4) + j.
Place cdna_factor(unsigned i, unsigned k) { return {16 * (k / 4) + i, 2 * (k / 2 % 2) + k % 2}; }
Place cdna_sum(unsigned i, unsigned j) { return {16 * (i / 4) + j, i % 4}; }

constexpr Instruction kRdna3{"v_wmma of RDNA3", 16, 8, rdna3_factor, rdna3_sum, 2};
constexpr Instruction kRdna4{"v_wmma of RDNA4", 8, 8, rdna4_factor, rdna4_sum, 1};
constexpr Instruction kCdna{"v_mfma", 4, 4, cdna_factor, cdna_sum, 1};

void check_copies(const Instruction& instruction, const Operands* const* lanes) {
  if (instruction.copies == 1) return;
  for (unsigned lane = 0; lane < kSize; ++lane) {
    const Operands &one = *lanes[lane], &other = *lanes[lane + kSize];
    if (std::memcmp(one.a, other.a, sizeof one.a) || std::memcmp(one.b, other.b, sizeof one.b)) {
      emulator::fail("%s: lanes %u and %u hold different rows", instruction.name, lane,
                     lane + kSize);
    }
  }
}

void multiply(const Instruction& instruction, const Operands* const* lanes, Sums* const* results,
              unsigned count) {
  for (unsigned lane = 0; lane < count; ++lane) {
    if (lanes[lane] == nullptr) emulator::fail("%s: lane %u is off", instruction.name, lane);
  }
  check_copies(instruction, lanes);
  for (unsigned i = 0; i < kSize; ++i) {
    for (unsigned j = 0; j < kSize; ++j) {
      const Place sum = instruction.sum(i, j);
      double total = lanes[sum.lane]->c[sum.at];
      for (unsigned k = 0; k < kSize; ++k) {
        const Place a = instruction.factor(i, k), b = instruction.factor(j, k);
        total += double{to_float(lanes[a.lane]->a[a.at])} * to_float(lanes[b.lane]->b[b.at]);
      }
      results[sum.lane]->d[sum.at] = static_cast<float>(total);
    }
  }
}

void run(const Instruction& instruction, const void* a, const void* b, const void* c, void* d) {
  Operands operands{};
  std::memcpy(operands.a, a, instruction.halves * sizeof(uint16_t));
  std::memcpy(operands.b, b, instruction.halves * sizeof(uint16_t));
  std::memcpy(operands.c, c, instruction.sums * sizeof(float));
  Sums sums{};
  const auto compute = [&](const Operands* const* lanes, Sums* const* results, unsigned count) {
    multiply(instruction, lanes, results, count);
  };
  emulator::together(wave(), instruction.name, operands, sums, compute);
  std::memcpy(d, sums.d, instruction.sums * sizeof(float));
}

}  // namespace
}  // namespace amd

extern "C" {

void amd_wmma_rdna3(const void* a, const void* b, const void* c, void* d) {
  amd::run(amd::kRdna3, a, b, c, d);
}

void amd_wmma_rdna4(const void* a, const void* b, const void* c, void* d) {
  amd::run(amd::kRdna4, a, b, c, d);
}

void amd_mfma(const void* a, const void* b, const void* c, void* d) {
  amd::run(amd::kCdna, a, b, c, d);
}

}  // extern "C"

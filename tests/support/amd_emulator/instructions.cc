// AMD's instructions on the lanes of a wave, as LLVM's intrinsics name them, and what a thread
// knows of its place. Sources: AMD, "RDNA3" and "Vega Instruction Set Architecture", chapters on
// data-parallel primitives and on LDS; LLVM, "User Guide for AMDGPU Backend".

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "wave.h"

namespace amd {

unsigned wave_lanes = 32;

namespace {

struct Read {
  uint32_t value;
  uint32_t lane;
};

// Every lane reads the value of the lane that it names.
uint32_t read_lane(const char* name, uint32_t value, uint32_t lane) {
  uint32_t found = 0;
  const auto exchange = [](const Read* const* reads, uint32_t* const* results, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      if (reads[i] == nullptr) continue;
      const Read* source = reads[reads[i]->lane % count];
      if (source == nullptr) emulator::fail("lane %u reads one that is switched off", i);
      *results[i] = source->value;
    }
  };
  emulator::together(wave(), name, Read{value, lane}, found, exchange);
  return found;
}

uint32_t dpp_source(uint32_t lane, uint32_t control) {
  const uint32_t row = lane & ~15u, within = lane & 15u;
  if (control < 0x100) return (lane & ~3u) | ((control >> 2 * (lane & 3)) & 3);  // quad_perm
  if (control > 0x120 && control < 0x130) return row | ((within - (control & 15)) & 15);  // ror
  if (control == 0x140) return row | (15 - within);              // row_mirror
  if (control == 0x141) return (lane & ~7u) | (7 - (lane & 7));  // row_half_mirror
  if (control >= 0x160 && control < 0x170) return row | (within ^ (control & 15));  // row_xmask
  emulator::fail("the DPP control %u is not emulated", control);
}

}  // namespace

emulator::Scope wave() {
  return wave_lanes == 64 ? emulator::Scope::kWave64 : emulator::Scope::kWarp;
}

uint32_t lane() { return emulator::thread_number() % wave_lanes; }

}  // namespace amd

extern "C" {

void amd_begin_launch(uint32_t lanes) {
  amd::wave_lanes = lanes;
  emulator::allow_absent_lanes(true);
}

void amd_end_launch() { emulator::allow_absent_lanes(false); }

// Memory of a workgroup begins as NaN, so that reads of what nobody wrote show.
void amd_begin(void* shared, uint64_t bytes) {
  struct Range {
    void* first;
    uint64_t bytes;
  } const range{shared, bytes};
  emulator::meet(
      emulator::Scope::kWorkgroup, "the beginning", nullptr, nullptr,
      [](const void* const*, void* const*, unsigned, const void* context) {
        const Range& all = *static_cast<const Range*>(context);
        if (all.bytes > 0) std::memset(all.first, 0xFF, all.bytes);
      },
      &range);
}

uint32_t amd_workitem_x() { return threadIdx.x; }
uint32_t amd_workgroup_x() { return blockIdx.x; }
uint32_t amd_workgroup_y() { return blockIdx.y; }
uint32_t amd_workgroup_z() { return blockIdx.z; }
void amd_barrier() { emulator::meet(emulator::Scope::kWorkgroup, "s_barrier"); }
void amd_wave_barrier() { emulator::meet(amd::wave(), "a barrier of the wave"); }

uint32_t amd_count_before_low(uint32_t mask, uint32_t value) {
  const uint32_t lane = amd::lane();
  const uint32_t before = lane >= 32 ? ~0u : (1u << lane) - 1;
  return value + __builtin_popcount(mask & before);
}

uint32_t amd_count_before_high(uint32_t mask, uint32_t value) {
  const uint32_t lane = amd::lane();
  const uint32_t before = lane < 32 ? 0 : (1u << (lane - 32)) - 1;
  return value + __builtin_popcount(mask & before);
}

uint32_t amd_first_lane(uint32_t value) {
  uint32_t found = 0;
  const auto first = [](const uint32_t* const* values, uint32_t* const* results, unsigned count) {
    const uint32_t* const* one = std::find_if(values, values + count, [](auto* v) { return v; });
    for (unsigned i = 0; i < count; ++i) {
      if (results[i] != nullptr) *results[i] = **one;
    }
  };
  emulator::together(amd::wave(), "v_readfirstlane", value, found, first);
  return found;
}

uint32_t amd_read_lane(uint32_t value, uint32_t lane) {
  return amd::read_lane("v_readlane", value, lane);
}

// v_dot4_i32_i8, and v_dot4_i32_iu8, which is told of each factor whether it is signed.
int32_t amd_dot4_mixed(bool a_signed, uint32_t a, bool b_signed, uint32_t b, int32_t total, bool) {
  for (unsigned shift = 0; shift < 32; shift += 8) {
    const auto number = [shift](uint32_t word, bool is_signed) -> int32_t {
      const uint32_t byte = word >> shift & 0xFF;
      return is_signed ? static_cast<int8_t>(byte) : static_cast<int32_t>(byte);
    };
    total += number(a, a_signed) * number(b, b_signed);
  }
  return total;
}

int32_t amd_dot4(uint32_t a, uint32_t b, int32_t total, bool clamped) {
  return amd_dot4_mixed(true, a, true, b, total, clamped);
}

uint32_t amd_dpp(uint32_t, uint32_t value, uint32_t control, uint32_t rows, uint32_t banks, bool) {
  if (rows != 15 || banks != 15) emulator::fail("DPP with masks is not emulated");
  return amd::read_lane("DPP", value, amd::dpp_source(amd::lane(), control));
}

uint32_t amd_exchange_rows(uint32_t, uint32_t value, uint32_t low, uint32_t high, bool, bool) {
  const uint64_t places = low | uint64_t{high} << 32;  // four bits for each lane of a row
  const uint32_t lane = amd::lane();
  const uint32_t place = places >> 4 * (lane & 15) & 15;
  return amd::read_lane("v_permlanex16", value, ((lane & ~15u) ^ 16) | place);
}

uint32_t amd_swizzle(uint32_t value, uint32_t pattern) {
  const uint32_t lane = amd::lane();
  if (pattern >> 15 != 0) emulator::fail("the swizzle %u is not emulated", pattern);
  const uint32_t kept = (lane & pattern & 31) | (pattern >> 5 & 31);
  return amd::read_lane("ds_swizzle", value, (lane & ~31u) | (kept ^ (pattern >> 10 & 31)));
}

uint32_t amd_permute(uint32_t address, uint32_t value) {
  return amd::read_lane("ds_bpermute", value, address >> 2);
}

}  // extern "C"

// The bodies of compile/cuda/operations_subgroup.py.
#pragma once

#include "builtins.h"

namespace emulator {

struct Add {
  template <class T> T operator()(T a, T b) const { return a + b; }
  half2 operator()(half2 a, half2 b) const { return __hadd2(a, b); }
};

struct Max {
  template <class T> T operator()(T a, T b) const { return a > b ? a : b; }
  float operator()(float a, float b) const { return std::fmax(a, b); }
  half operator()(half a, half b) const { return __hmax(a, b); }
  half2 operator()(half2 a, half2 b) const { return __hmax2(a, b); }
};

template <class F> float2 each(float2 a, float2 b, F f) { return {f(a.x, b.x), f(a.y, b.y)}; }
template <class F> float4 each(float4 a, float4 b, F f) {
  return {f(a.x, b.x), f(a.y, b.y), f(a.z, b.z), f(a.w, b.w)};
}
template <class F> int2 each(int2 a, int2 b, F f) { return {f(a.x, b.x), f(a.y, b.y)}; }
template <class F> int4 each(int4 a, int4 b, F f) {
  return {f(a.x, b.x), f(a.y, b.y), f(a.z, b.z), f(a.w, b.w)};
}
template <class T, class F> T each(T a, T b, F f) { return f(a, b); }

// Combine by halves of the distance, in the order of prelude.py, so that the bits are the same.
template <class T, class F> T clustered(const char* name, T value, unsigned width, F combine) {
  T found = value;
  const auto compute = [=](const T* const* values, T* const* results, unsigned count) {
    if (count != kLanes) fail("%s in a warp of %u threads", name, count);
    T now[kLanes], next[kLanes];
    for (unsigned i = 0; i < kLanes; ++i) now[i] = *values[i];
    for (unsigned mask = width / 2; mask > 0; mask /= 2) {
      for (unsigned i = 0; i < kLanes; ++i) next[i] = each(now[i], now[i ^ mask], combine);
      std::memcpy(now, next, sizeof now);
    }
    for (unsigned i = 0; i < kLanes; ++i) *results[i] = now[i];
  };
  together(Scope::kWarp, name, value, found, compute);
  return found;
}

}  // namespace emulator

template <class T> T ferrylm_subgroup_add(T x) {
  return emulator::clustered("subgroup_add", x, 32, emulator::Add());
}
template <class T> T ferrylm_subgroup_max(T x) {
  return emulator::clustered("subgroup_max", x, 32, emulator::Max());
}
template <class T> T ferrylm_subgroup_add_clustered(T x, int width) {
  return emulator::clustered("subgroup_add_clustered", x, width, emulator::Add());
}
template <class T> T ferrylm_subgroup_max_clustered(T x, int width) {
  return emulator::clustered("subgroup_max_clustered", x, width, emulator::Max());
}
template <class T> T ferrylm_subgroup_shuffle_xor(T x, int mask) {
  return emulator::exchange("subgroup_shuffle_xor", x, emulator::lane() ^ mask);
}
template <class T> T ferrylm_subgroup_shuffle(T x, int lane) {
  return emulator::exchange("subgroup_shuffle", x, lane);
}
template <class T> T ferrylm_subgroup_broadcast(T x, int lane) {
  return emulator::exchange("subgroup_broadcast", x, lane);
}
inline int ferrylm_subgroup_lane() { return static_cast<int>(emulator::lane()); }
inline int ferrylm_subgroup_id() {
  return static_cast<int>(emulator::thread_number() / emulator::kLanes);
}
inline void ferrylm_subgroup_barrier() { meet(emulator::Scope::kWarp, "subgroup_barrier"); }

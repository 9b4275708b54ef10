// What CUDA C++ has beyond C++, for sources that TVM prints.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "cuda_fp16.h"
#include "vector_types.h"
#include "workgroup.h"

#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
#define __device__
#define __host__
#define __global__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
// Threads see what others write behind a barrier, whatever a pointer promises.
#define __restrict__

inline float2 __half22float2(half2 a) { return {a.x, a.y}; }

inline void __syncthreads() { meet(emulator::Scope::kWorkgroup, "__syncthreads"); }
inline void __syncwarp(unsigned = ~0u) { meet(emulator::Scope::kWarp, "__syncwarp"); }
inline void __threadfence() {}
inline void __threadfence_block() {}
inline unsigned long __cvta_generic_to_shared(const void* at) {
  return emulator::shared_address(at);
}
template <class T> T __ldg(const T* at) { return *at; }

namespace emulator {

template <class T> struct Sent {
  T value;
  unsigned from;
};

// Return the value of another thread of the warp.
template <class T> T exchange(const char* name, T value, unsigned from) {
  T found = value;
  together(Scope::kWarp, name, Sent<T>{value, from}, found,
           [](const Sent<T>* const* sent, T* const* received, unsigned count) {
             for (unsigned lane = 0; lane < count; ++lane) {
               if (sent[lane]->from < count) *received[lane] = sent[sent[lane]->from]->value;
             }
           });
  return found;
}

// Return what combining the values of all threads of the warp gives.
template <class T, class F> T reduce(const char* name, T value, F combine) {
  T found = value;
  together(Scope::kWarp, name, value, found,
           [=](const T* const* values, T* const* results, unsigned count) {
             T total = *values[0];
             for (unsigned i = 1; i < count; ++i) total = combine(total, *values[i]);
             for (unsigned i = 0; i < count; ++i) *results[i] = total;
           });
  return found;
}

inline unsigned lane() { return thread_number() % kLanes; }

}  // namespace emulator

template <class T> T __shfl_sync(unsigned, T value, int from, int width = 32) {
  const unsigned lane = emulator::lane();
  return emulator::exchange("__shfl_sync", value, lane / width * width + from % width);
}
template <class T> T __shfl_xor_sync(unsigned, T value, int mask, int width = 32) {
  const unsigned lane = emulator::lane(), from = lane ^ mask;
  return emulator::exchange("__shfl_xor_sync", value, from / width > lane / width ? lane : from);
}
template <class T> T __shfl_down_sync(unsigned, T value, unsigned delta, int width = 32) {
  const unsigned lane = emulator::lane(), from = lane + delta;
  return emulator::exchange("__shfl_down_sync", value, from / width > lane / width ? lane : from);
}
template <class T> T __shfl_up_sync(unsigned, T value, unsigned delta, int width = 32) {
  const unsigned lane = emulator::lane();
  return emulator::exchange("__shfl_up_sync", value, lane % width < delta ? lane : lane - delta);
}
inline int __reduce_add_sync(unsigned, int value) {
  return emulator::reduce("__reduce_add_sync", value, [](int a, int b) { return a + b; });
}
inline unsigned __reduce_add_sync(unsigned, unsigned value) {
  return emulator::reduce("__reduce_add_sync", value, [](unsigned a, unsigned b) { return a + b; });
}
inline int __reduce_max_sync(unsigned, int value) {
  return emulator::reduce("__reduce_max_sync", value, [](int a, int b) { return a > b ? a : b; });
}
inline unsigned __reduce_max_sync(unsigned, unsigned value) {
  return emulator::reduce("__reduce_max_sync", value,
                          [](unsigned a, unsigned b) { return a > b ? a : b; });
}
inline unsigned __activemask() { return ~0u; }

template <class T> T atomicAdd(T* where, T value) {
  const T before = *where;
  *where = before + value;
  return before;
}

inline int __dp4a(int a, int b, int total) {
  for (int byte = 0; byte < 4; ++byte) {
    total += static_cast<signed char>(a >> 8 * byte) * static_cast<signed char>(b >> 8 * byte);
  }
  return total;
}
inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  const uint64_t bytes = uint64_t{high} << 32 | low;
  unsigned found = 0;
  for (unsigned i = 0; i < 4; ++i) {
    found |= static_cast<unsigned>(bytes >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
  }
  return found;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(unsigned x) { return x == 0 ? 32 : __builtin_clz(x); }

template <class To, class From> To emulator_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
inline float __int_as_float(int x) { return emulator_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return emulator_bits<float>(x); }
inline int __float_as_int(float x) { return emulator_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return emulator_bits<unsigned>(x); }

inline float __expf(float x) { return std::exp(x); }
inline float __exp10f(float x) { return std::pow(10.0f, x); }
inline float __logf(float x) { return std::log(x); }
inline float __log2f(float x) { return std::log2(x); }
inline float __sinf(float x) { return std::sin(x); }
inline float __cosf(float x) { return std::cos(x); }
inline float __powf(float x, float y) { return std::pow(x, y); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1 / x; }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline float __saturatef(float x) { return std::fmin(std::fmax(x, 0.0f), 1.0f); }

// Of float, the number where one is NaN, as CUDA's max and min.
#define EMULATOR_EXTREMES(TYPE)                             \
  inline TYPE max(TYPE a, TYPE b) { return a < b ? b : a; } \
  inline TYPE min(TYPE a, TYPE b) { return b < a ? b : a; }
EMULATOR_EXTREMES(int)
EMULATOR_EXTREMES(unsigned)
EMULATOR_EXTREMES(long)
EMULATOR_EXTREMES(unsigned long)
EMULATOR_EXTREMES(long long)
EMULATOR_EXTREMES(unsigned long long)
#undef EMULATOR_EXTREMES
inline float max(float a, float b) { return std::fmax(a, b); }
inline float min(float a, float b) { return std::fmin(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }

namespace emulator {

// How Python's array of 64-bit arguments becomes the parameters of a kernel.
template <class T> T argument(uint64_t bits) {
  static_assert(sizeof(T) <= sizeof bits);
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <class... Parameters, std::size_t... places>
void call(void (*kernel)(Parameters...), const uint64_t* arguments,
          std::index_sequence<places...>) {
  kernel(argument<Parameters>(arguments[places])...);
}

template <class... Parameters>
void call(void (*kernel)(Parameters...), const uint64_t* arguments) {
  call(kernel, arguments, std::index_sequence_for<Parameters...>());
}

}  // namespace emulator

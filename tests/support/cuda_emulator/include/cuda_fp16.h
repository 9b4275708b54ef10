// float16 of CUDA: storage of 16 bits, arithmetic that rounds each result once, to nearest even.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace emulator {

inline double half_to_double(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  double value;
  if (exponent == 31) {
    value = fraction == 0 ? HUGE_VAL : NAN;
  } else {
    const bool normal = exponent > 0;
    value = std::ldexp(normal ? fraction + 1024 : fraction, (normal ? exponent : 1) - 25);
  }
  return bits & 0x8000 ? -value : value;
}

// Round to nearest even; IEEE 754, binary16.
inline uint16_t double_to_half(double value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double size = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7FFF;
  if (size >= 65520.0) return sign | 0x7C00;
  const int exponent = size < std::ldexp(1.0, -14) ? -14 : std::ilogb(size);
  const auto units = static_cast<unsigned>(std::nearbyint(std::ldexp(size, 10 - exponent)));
  // Units of a normal number hold its leading bit, which adds one to the exponent below.
  return static_cast<uint16_t>(sign | ((static_cast<unsigned>(exponent + 14) << 10) + units));
}

#ifdef __clang__
inline float half_to_float(uint16_t bits) {
  _Float16 value;
  std::memcpy(&value, &bits, sizeof value);
  return static_cast<float>(value);
}
inline uint16_t float_to_half(float value) {
  const auto rounded = static_cast<_Float16>(value);
  uint16_t bits;
  std::memcpy(&bits, &rounded, sizeof bits);
  return bits;
}
#elif defined(__F16C__)
inline float half_to_float(uint16_t bits) {
  using Halves = short __attribute__((vector_size(16)));
  return __builtin_ia32_vcvtph2ps(Halves{static_cast<short>(bits)})[0];
}
inline uint16_t float_to_half(float value) {
  using Floats = float __attribute__((vector_size(16)));
  return static_cast<uint16_t>(__builtin_ia32_vcvtps2ph(Floats{value}, 0)[0]);
}
#else
inline float half_to_float(uint16_t bits) { return static_cast<float>(half_to_double(bits)); }
inline uint16_t float_to_half(float value) { return double_to_half(value); }
#endif

}  // namespace emulator

struct __half {
  uint16_t bits;
  __half() = default;
  __half(float value) : bits(emulator::float_to_half(value)) {}
  __half(double value) : bits(emulator::double_to_half(value)) {}
  template <class T, class = std::enable_if_t<std::is_integral_v<T>>>
  __half(T value) : bits(emulator::double_to_half(static_cast<double>(value))) {}
  operator float() const { return emulator::half_to_float(bits); }
  __half& operator+=(__half other);
  __half& operator-=(__half other);
  __half& operator*=(__half other);
  __half& operator/=(__half other);
};
using half = __half;

struct alignas(4) __half2 {
  __half x, y;
};
using half2 = __half2;

// A float has more than twice the bits of a float16: rounding twice is rounding once.
inline __half operator+(__half a, __half b) { return float(a) + float(b); }
inline __half operator-(__half a, __half b) { return float(a) - float(b); }
inline __half operator*(__half a, __half b) { return float(a) * float(b); }
inline __half operator/(__half a, __half b) { return float(a) / float(b); }
inline __half operator-(__half a) { return -float(a); }
inline bool operator<(__half a, __half b) { return float(a) < float(b); }
inline bool operator>(__half a, __half b) { return float(a) > float(b); }
inline bool operator<=(__half a, __half b) { return float(a) <= float(b); }
inline bool operator>=(__half a, __half b) { return float(a) >= float(b); }
inline bool operator==(__half a, __half b) { return float(a) == float(b); }
inline bool operator!=(__half a, __half b) { return float(a) != float(b); }
inline __half& __half::operator+=(__half other) { return *this = *this + other; }
inline __half& __half::operator-=(__half other) { return *this = *this - other; }
inline __half& __half::operator*=(__half other) { return *this = *this * other; }
inline __half& __half::operator/=(__half other) { return *this = *this / other; }

inline float __half2float(__half a) { return a; }
inline __half __float2half(float a) { return a; }
inline __half __float2half_rn(float a) { return a; }
inline bool __hgt(__half a, __half b) { return a > b; }
inline bool __hlt(__half a, __half b) { return a < b; }
inline __half __hadd(__half a, __half b) { return a + b; }
inline __half __hsub(__half a, __half b) { return a - b; }
inline __half __hmul(__half a, __half b) { return a * b; }
inline __half __hdiv(__half a, __half b) { return a / b; }
inline __half __hneg(__half a) { return -a; }
// A product has 22 bits, none below 2^-48: where a double cannot hold the sum, the product is so
// far below c that c is the result.
inline __half __hfma(__half a, __half b, __half c) {
  return double(float(a)) * double(float(b)) + double(float(c));
}
// The number where one is NaN, as CUDA's __hmax and __hmin.
inline __half __hmax(__half a, __half b) { return std::fmax(float(a), float(b)); }
inline __half __hmin(__half a, __half b) { return std::fmin(float(a), float(b)); }
inline bool __hisnan(__half a) { return std::isnan(float(a)); }
inline __half __ushort_as_half(unsigned short a) {
  __half found;
  found.bits = a;
  return found;
}
inline __half __short_as_half(short a) { return __ushort_as_half(a); }
inline unsigned short __half_as_ushort(__half a) { return a.bits; }

inline __half hexp(__half a) { return std::exp(double(float(a))); }
inline __half hexp2(__half a) { return std::exp2(double(float(a))); }
inline __half hlog(__half a) { return std::log(double(float(a))); }
inline __half hlog2(__half a) { return std::log2(double(float(a))); }
inline __half hsqrt(__half a) { return std::sqrt(double(float(a))); }
inline __half hrsqrt(__half a) { return 1 / std::sqrt(double(float(a))); }
inline __half hrcp(__half a) { return 1 / double(float(a)); }
inline __half hfloor(__half a) { return std::floor(float(a)); }
inline __half hceil(__half a) { return std::ceil(float(a)); }
inline __half hrint(__half a) { return std::nearbyint(float(a)); }
inline __half htrunc(__half a) { return std::trunc(float(a)); }
inline __half hsin(__half a) { return std::sin(double(float(a))); }
inline __half hcos(__half a) { return std::cos(double(float(a))); }
inline __half htanh(__half a) { return std::tanh(double(float(a))); }
inline __half __habs(__half a) { return std::fabs(float(a)); }

inline __half2 make_half2(__half x, __half y) { return {x, y}; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline __half2 __half2half2(__half x) { return {x, x}; }
inline __half2 __floats2half2_rn(float x, float y) { return {x, y}; }
inline __half2 __float2half2_rn(float x) { return {x, x}; }
inline __half __low2half(__half2 a) { return a.x; }
inline __half __high2half(__half2 a) { return a.y; }
inline __half2 __hadd2(__half2 a, __half2 b) { return {a.x + b.x, a.y + b.y}; }
inline __half2 __hsub2(__half2 a, __half2 b) { return {a.x - b.x, a.y - b.y}; }
inline __half2 __hmul2(__half2 a, __half2 b) { return {a.x * b.x, a.y * b.y}; }
inline __half2 __hmax2(__half2 a, __half2 b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }
inline __half2 __hmin2(__half2 a, __half2 b) { return {__hmin(a.x, b.x), __hmin(a.y, b.y)}; }
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}

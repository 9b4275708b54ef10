"""The CUDA C++ that precedes TVM's: the operations of ours that a source uses, and their help."""

from __future__ import annotations

from collections.abc import Iterable

from ferrylm.compile.cuda.operations import OPERATIONS

# Every lane of a warp takes part: subgroups are full, and calls are not in divergent branches.
# Sums go by halves of the distance, so that all lanes add in one order and agree bit for bit.
_HELP = """\
#include <cuda_fp16.h>
#define FERRYLM_DEVICE static __device__ __forceinline__
FERRYLM_DEVICE half2 ferrylm_halves(unsigned x) { return *(half2*)&x; }
FERRYLM_DEVICE unsigned ferrylm_word(half2 x) { return *(unsigned*)&x; }
FERRYLM_DEVICE unsigned ferrylm_shared(const void* at) {
  return (unsigned)__cvta_generic_to_shared(at);
}
FERRYLM_DEVICE unsigned ferrylm_thread() {
  return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}
struct FerryXor {
  int mask;
  template <class T> __device__ __forceinline__ T operator()(T x) const {
    return __shfl_xor_sync(~0u, x, mask);
  }
};
struct FerryFrom {
  int lane;
  template <class T> __device__ __forceinline__ T operator()(T x) const {
    return __shfl_sync(~0u, x, lane);
  }
};
template <class T> struct FerryWords {
  static_assert(sizeof(T) % 4 == 0, "a lane gives whole words");
  unsigned word[sizeof(T) / 4];
};
template <class T, class M> FERRYLM_DEVICE T ferrylm_exchange(T x, M move) {
  FerryWords<T> words = *(FerryWords<T>*)&x;
#pragma unroll
  for (int i = 0; i < (int)(sizeof(T) / 4); ++i) words.word[i] = move(words.word[i]);
  return *(T*)&words;
}
template <class M> FERRYLM_DEVICE half ferrylm_exchange(half x, M move) { return move(x); }
struct FerryAdd {
  template <class T> __device__ __forceinline__ T operator()(T a, T b) const { return a + b; }
  __device__ __forceinline__ half2 operator()(half2 a, half2 b) const { return __hadd2(a, b); }
  __device__ __forceinline__ float2 operator()(float2 a, float2 b) const {
    return make_float2(a.x + b.x, a.y + b.y);
  }
  __device__ __forceinline__ float4 operator()(float4 a, float4 b) const {
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
  }
  __device__ __forceinline__ int2 operator()(int2 a, int2 b) const {
    return make_int2(a.x + b.x, a.y + b.y);
  }
  __device__ __forceinline__ int4 operator()(int4 a, int4 b) const {
    return make_int4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
  }
};
struct FerryMax {
  template <class T> __device__ __forceinline__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
  __device__ __forceinline__ float operator()(float a, float b) const { return fmaxf(a, b); }
  __device__ __forceinline__ half operator()(half a, half b) const { return __hmax(a, b); }
  __device__ __forceinline__ half2 operator()(half2 a, half2 b) const { return __hmax2(a, b); }
  __device__ __forceinline__ float2 operator()(float2 a, float2 b) const {
    return make_float2(fmaxf(a.x, b.x), fmaxf(a.y, b.y));
  }
  __device__ __forceinline__ float4 operator()(float4 a, float4 b) const {
    return make_float4(fmaxf(a.x, b.x), fmaxf(a.y, b.y), fmaxf(a.z, b.z), fmaxf(a.w, b.w));
  }
};
template <class T, class C> FERRYLM_DEVICE T ferrylm_clustered(T x, int width, C combine) {
#pragma unroll
  for (int mask = width / 2; mask > 0; mask /= 2) {
    x = combine(x, ferrylm_exchange(x, FerryXor{mask}));
  }
  return x;
}
"""


def prelude(names: Iterable[str]) -> str:
    """Return the definitions of operations, by names without prefix; nothing for none."""
    used = set(names)
    if not used:
        return ""
    for name in reversed(OPERATIONS):  # what an operation needs stands before it
        if name in used:
            used.update(OPERATIONS[name].needs)
    return _HELP + "".join(OPERATIONS[name].body for name in OPERATIONS if name in used)

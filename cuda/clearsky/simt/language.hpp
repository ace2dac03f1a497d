#pragma once
// The words of CUDA that need no machinery: specifiers, index and vector types, functions of one value.
//
// They stand in clearsky::cuda, where kernels live, and so do not meet what the C library calls __expf. Standard
// headers must come before this one: libstdc++ uses some of the specifiers' names for its own attributes.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "clearsky/core/dtype.hpp"
#include "clearsky/simt/watch.hpp"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

// Kernels and what they use stand in clearsky::cuda::on_cpu when they are compiled as C++, and in
// clearsky::cuda::on_device when nvcc compiles them, both seen as clearsky::cuda: one program may hold both meanings.
#define CLEARSKY_MEANING on_cpu

namespace clearsky::cuda::inline CLEARSKY_MEANING {

struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
inline float2 make_float2(float x, float y) {
  return {x, y};
}
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}
inline int4 make_int4(int x, int y, int z, int w) {
  return {x, y, z, w};
}

// The fiber that runs has its indices here. Fibers stay on the thread of the operating system that started them.
inline constinit thread_local uint3 threadIdx{};
inline constinit thread_local uint3 blockIdx{};
inline constinit thread_local dim3 blockDim{};
inline constinit thread_local dim3 gridDim{};
inline constexpr int warpSize = 32;

/// A queue of work on a device. Here launches run at once, so that there is nothing to queue.
using Stream = struct StreamOfNoDevice*;

using bfloat16 = BFloat16;
using half = Half;
inline float to_float(bfloat16 v) {
  return float(v);
}
inline float to_float(half v) {
  return float(v);
}
inline bfloat16 to_bfloat16(float v) {
  return bfloat16(v);
}
inline half to_half(float v) {
  return half(v);
}
/// Two neighbours in memory, the first in the low half, as the matrix instructions read them.
inline uint32_t pack(bfloat16 low, bfloat16 high) {
  return uint32_t(low.bits) | uint32_t(high.bits) << 16;
}

// The device's own versions of these differ in the last bits: tests hold both to the same bounds.
inline float __expf(float v) {
  return std::exp(v);
}
inline float __logf(float v) {
  return std::log(v);
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline float rsqrtf(float v) {
  return 1.0f / std::sqrt(v);
}
inline double rsqrt(double v) {
  return 1.0 / std::sqrt(v);
}
inline int __popc(unsigned v) {
  return std::popcount(v);
}
inline int __ffs(int v) {
  return v == 0 ? 0 : std::countr_zero(unsigned(v)) + 1;
}
inline int __clz(int v) {
  return std::countl_zero(unsigned(v));
}
inline int __float_as_int(float v) {
  return std::bit_cast<int>(v);
}
inline float __int_as_float(int v) {
  return std::bit_cast<float>(v);
}
template <class T>
CLEARSKY_SIMT_INLINE T __ldg(const T* p) {
  return *p;
}

/// Rounded to the 10 bits after the point that the tensor cores read, ties away from zero (cvt.rna.tf32.f32).
inline uint32_t to_tf32(float v) {
  const uint32_t bits = std::bit_cast<uint32_t>(v);
  return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & ~0x1fffu;
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

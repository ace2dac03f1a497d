#pragma once
// Elementwise functions, with broadcasting, for a dense output.
//
// Two kernels per function: one where every input is dense or a single number, which moves 16 bytes per access, and one
// for any strides, where a thread works out its element's place in each input.

#include "clearsky/cuda/device_map.hpp"
#include "clearsky/cuda/kernels/functions.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

// The activations and their derivatives f' and f''. Sources: clearsky/cpu/elementwise.hpp.

template <int Order>
__device__ __forceinline__ float gelu_order(float x) {
  if constexpr (Order == 0) return x * normal_distribution(x);
  else if constexpr (Order == 1) return normal_distribution(x) + x * normal_density(x);
  else return normal_density(x) * (2.0f - x * x);
}
template <int Order>
__device__ __forceinline__ float gelu_tanh_order(float x) {
  constexpr float k = 0.79788456080286535588f, c = 0.044715f;
  const float t = tanhf(k * (x + c * x * x * x));
  if constexpr (Order == 0) return 0.5f * x * (1.0f + t);
  const float du = k * (1.0f + 3.0f * c * x * x), s = 1.0f - t * t;
  if constexpr (Order == 1) return 0.5f * (1.0f + t) + 0.5f * x * s * du;
  const float ddu = 6.0f * k * c * x;
  return s * (du + 0.5f * x * ddu - x * t * du * du);
}
template <int Order>
__device__ __forceinline__ float silu_order(float x) {
  const float s = logistic(x);
  if constexpr (Order == 0) return x * s;
  else if constexpr (Order == 1) return s * (1.0f + x * (1.0f - s));
  else return s * (1.0f - s) * (2.0f + x * (1.0f - 2.0f * s));
}

template <MapFunction F>
__device__ __forceinline__ float map_value(float a, [[maybe_unused]] float b, [[maybe_unused]] float c,
                                           [[maybe_unused]] float s, [[maybe_unused]] float t) {
  using enum MapFunction;
  if constexpr (F == add) return a + b;
  if constexpr (F == sub) return a - b;
  if constexpr (F == mul) return a * b;
  if constexpr (F == div) return a / b;
  if constexpr (F == minimum) return a < b || a != a ? a : b;
  if constexpr (F == maximum) return a > b || a != a ? a : b;
  if constexpr (F == less_share) return a < b ? 1.0f : a == b ? 0.5f : 0.0f;
  if constexpr (F == add_scalar) return a + s;
  if constexpr (F == mul_scalar) return a * s;
  if constexpr (F == scalar_sub) return s - a;
  if constexpr (F == scalar_div) return s / a;
  if constexpr (F == pow) {
    if (s == 2.0f) return a * a;
    if (s == 1.0f) return a;
    if (s == 3.0f) return a * a * a;
    if (s == -1.0f) return 1.0f / a;
    return powf(a, s);
  }
  if constexpr (F == clamp) {
    const float low = a < s ? s : a;
    return low > t ? t : low;  // NaN fails both comparisons and is passed on
  }
  if constexpr (F == inside_mask) return a >= s && a <= t ? 1.0f : 0.0f;
  if constexpr (F == leaky_relu) return a > 0.0f ? a : a * s;
  if constexpr (F == leaky_relu_backward) return b > 0.0f ? a : a * s;
  if constexpr (F == neg) return -a;
  if constexpr (F == exp) return expf(a);
  if constexpr (F == log) return logf(a);
  if constexpr (F == tanh) return tanhf(a);
  if constexpr (F == sigmoid) return logistic(a);
  if constexpr (F == sqrt) return sqrtf(a);
  if constexpr (F == rsqrt) return 1.0f / sqrtf(a);
  if constexpr (F == abs) return fabsf(a);
  if constexpr (F == sign) return a > 0.0f ? 1.0f : a < 0.0f ? -1.0f : a * 0.0f;
  if constexpr (F == relu) return a < 0.0f ? 0.0f : a;  // NaN is passed on
  if constexpr (F == softplus) return (a > 0.0f ? a : 0.0f) + log1pf(expf(-fabsf(a)));
  if constexpr (F == gelu) return gelu_order<0>(a);
  if constexpr (F == gelu_tanh) return gelu_tanh_order<0>(a);
  if constexpr (F == silu) return silu_order<0>(a);
  if constexpr (F == times_gelu_1) return a * gelu_order<1>(b);
  if constexpr (F == times_gelu_2) return a * gelu_order<2>(b);
  if constexpr (F == times_gelu_tanh_1) return a * gelu_tanh_order<1>(b);
  if constexpr (F == times_gelu_tanh_2) return a * gelu_tanh_order<2>(b);
  if constexpr (F == times_silu_1) return a * silu_order<1>(b);
  if constexpr (F == times_silu_2) return a * silu_order<2>(b);
  if constexpr (F == choose) return a != 0.0f ? b : c;
}

__host__ __device__ constexpr int map_inputs(MapFunction f) {
  using enum MapFunction;
  if (f == choose) return 3;
  const bool two = f <= less_share || f == leaky_relu_backward || (times_gelu_1 <= f && f <= times_silu_2);
  return two ? 2 : 1;
}

/// Four neighbours of an input that is dense (stride 1) or one number (stride 0); `left` of them exist.
__device__ __forceinline__ float4 load_neighbours(const float* x, int64_t stride, int64_t i, int64_t left) {
  if (stride == 0) return make_float4(*x, *x, *x, *x);
  if (left >= 4) return ld4(x + i);
  return make_float4(x[i], left > 1 ? x[i + 1] : 0.0f, left > 2 ? x[i + 2] : 0.0f, 0.0f);
}

/// grid (ceil(count / 1024)), block 256; inputs and output aligned to 16 bytes, strides[.][0] 0 or 1
template <MapFunction F>
__global__ void __launch_bounds__(256) map_dense(const DeviceMap p) {
  const int64_t i = (int64_t(blockIdx.x) * 256 + threadIdx.x) * 4, left = p.count - i;
  if (left <= 0) return;
  const float4 zero = make_float4(0, 0, 0, 0);
  const float4 a = load_neighbours(p.x[0], p.strides[0][0], i, left);
  float4 b = zero, c = zero;
  if constexpr (map_inputs(F) > 1) b = load_neighbours(p.x[1], p.strides[1][0], i, left);
  if constexpr (map_inputs(F) > 2) c = load_neighbours(p.x[2], p.strides[2][0], i, left);
  const float4 y = make_float4(map_value<F>(a.x, b.x, c.x, p.s, p.t), map_value<F>(a.y, b.y, c.y, p.s, p.t),
                               map_value<F>(a.z, b.z, c.z, p.s, p.t), map_value<F>(a.w, b.w, c.w, p.s, p.t));
  if (left >= 4) return st4(p.y + i, y);
  p.y[i] = y.x;
  if (left > 1) p.y[i + 1] = y.y;
  if (left > 2) p.y[i + 2] = y.z;
}

/// grid (ceil(count / 256)), block 256
template <MapFunction F>
__global__ void __launch_bounds__(256) map_strided(const DeviceMap p) {
  const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (i >= p.count) return;
  int64_t at[3] = {0, 0, 0};
  const auto step = [&](int d, int64_t index) {
    for (int k = 0; k < map_inputs(F); ++k) at[k] += index * p.strides[k][d];
  };
  if (p.count <= 0x7fffffff) {  // a division of 32 bits costs a quarter of one of 64
    unsigned rest = unsigned(i);
    for (int d = 0; d < p.rank; ++d) {
      const unsigned size = unsigned(p.sizes[d]);
      step(d, rest % size);
      rest /= size;
    }
  } else {
    int64_t rest = i;
    for (int d = 0; d < p.rank; ++d) {
      step(d, rest % p.sizes[d]);
      rest /= p.sizes[d];
    }
  }
  const float a = p.x[0][at[0]];
  float b = 0, c = 0;
  if constexpr (map_inputs(F) > 1) b = p.x[1][at[1]];
  if constexpr (map_inputs(F) > 2) c = p.x[2][at[2]];
  p.y[i] = map_value<F>(a, b, c, p.s, p.t);
}

template <MapFunction F>
void map_of(const DeviceMap& p, Stream stream) {
  bool dense = p.rank <= 1 && reinterpret_cast<uintptr_t>(p.y) % 16 == 0;
  for (int k = 0; dense && k < p.inputs; ++k) {
    const int64_t stride = p.rank == 0 ? 0 : p.strides[k][0];
    dense = stride == 0 || (stride == 1 && reinterpret_cast<uintptr_t>(p.x[k]) % 16 == 0);
  }
  if (dense) launch(map_dense<F>, blocks_of(p.count, 1024), 256, 0, stream, p);
  else launch(map_strided<F>, blocks_of(p.count, 256), 256, 0, stream, p);
}

namespace detail {

using MapLauncher = void (*)(const DeviceMap&, Stream);
template <int... F>
MapLauncher map_launcher(MapFunction f, std::integer_sequence<int, F...>) {
  static constexpr MapLauncher launchers[] = {&map_of<MapFunction(F)>...};
  return launchers[int(f)];
}

}  // namespace detail

/// Returns without waiting. An empty tensor is not an error, an empty grid is.
inline void map(const DeviceMap& p, Stream stream) {
  if (p.count == 0) return;
  detail::map_launcher(p.f, std::make_integer_sequence<int, kMapFunctions>())(p, stream);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

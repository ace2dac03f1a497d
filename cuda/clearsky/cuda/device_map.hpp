#pragma once
// Elementwise functions by number. On the CPU each is a type of its own; a device has one kernel for all types of calls
// and picks the function when it is launched.

#include <array>
#include <cstdint>

#include "clearsky/core/shape.hpp"

namespace clearsky::cuda {

/// y = f(x0, x1, x2), with constants s and t where it says so. In x0 (a), x1 (b), x2 (c):
enum class MapFunction : uint8_t {
  add,
  sub,
  mul,
  div,
  minimum,              ///< a NaN on either side is passed on
  maximum,              ///< ditto
  less_share,           ///< 1 where a < b, 1/2 where equal, else 0
  add_scalar,           ///< a + s
  mul_scalar,           ///< a s
  scalar_sub,           ///< s - a
  scalar_div,           ///< s / a
  pow,                  ///< a^s
  clamp,                ///< to [s, t]
  inside_mask,          ///< 1 where s <= a <= t, else 0
  leaky_relu,           ///< a where above 0, else s a
  leaky_relu_backward,  ///< a where b is above 0, else s a
  neg,
  exp,
  log,
  tanh,
  sigmoid,
  sqrt,
  rsqrt,
  abs,
  sign,  ///< -1, 0 or 1
  relu,
  softplus,
  gelu,
  gelu_tanh,
  silu,
  times_gelu_1,  ///< a f'(b), and with 2 a f''(b)
  times_gelu_2,
  times_gelu_tanh_1,
  times_gelu_tanh_2,
  times_silu_1,
  times_silu_2,
  choose,  ///< b where a is not 0, else c
};
inline constexpr int kMapFunctions = int(MapFunction::choose) + 1;

/// One call. Dimensions are joined where every input walks them as one, and come from the last to the first.
struct DeviceMap {
  MapFunction f;
  float s, t;
  int inputs, rank;
  const float* x[3];
  int64_t strides[3][kMaxRank];  // in elements; 0 along what is repeated
  int64_t sizes[kMaxRank];
  float* y;  // dense, written; may be the same memory as a dense input
  int64_t count;

  /// Sets sizes, strides, rank and count from those of a broadcast call.
  template <size_t N>
  void set_shape(const Shape& shape, const std::array<Shape, N>& steps) {
    inputs = int(N);
    rank = 0;
    count = shape.numel();
    for (size_t d = shape.size(); d-- > 0;) {
      if (shape[d] == 1) continue;
      bool joins = rank > 0;
      for (size_t k = 0; joins && k < N; ++k) joins = steps[k][d] == strides[k][rank - 1] * sizes[rank - 1];
      if (joins) {
        sizes[rank - 1] *= shape[d];
        continue;
      }
      sizes[rank] = shape[d];
      for (size_t k = 0; k < N; ++k) strides[k][rank] = steps[k][d];
      ++rank;
    }
  }
};

}  // namespace clearsky::cuda

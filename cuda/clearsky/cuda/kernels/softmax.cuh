#pragma once
// Softmax and its logarithm along the middle dimension of a dense (outer, n, inner) array.
//
//     y_i  = e^(x_i - m) / s   or its logarithm x_i - m - log s,    m = max_j x_j,  s = sum_j e^(x_j - m)
//     dx_i = y_i (dy_i - sum_j dy_j y_j)   or, of the logarithm, dy_i - e^(y_i) sum_j dy_j
//
// Source: Goodfellow, Bengio, Courville, "Deep Learning", 2016, eq. 4.1.
// With inner = 1 a row lies in one piece, and a warp or a part of one takes it. Otherwise neighbouring threads take
// neighbouring columns, so that they read neighbouring floats. Either reads x three times, of which two come from a
// cache.

#include "clearsky/cpu/softmax.hpp"
#include "clearsky/cuda/kernels/lanes.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using Softmax = cpu::Softmax<float>;

struct SoftmaxBackward {
  const float* y;   // (outer, n, inner)  what the forward wrote
  const float* dy;  // (outer, n, inner)
  float* dx;        // (outer, n, inner)  written
  int64_t outer, n, inner;
  bool logarithm;
};

/// grid (ceil(outer / (Rows kWarp / Group))), block (kWarp, Rows); inner = 1; Width divides n
template <int Width, int Group, int Rows>
__global__ void __launch_bounds__(kWarp* Rows) softmax_rows(const Softmax p) {
  using RowPlace = RowGroup<Group>;
  const int64_t first_row = (int64_t(blockIdx.x) * Rows + threadIdx.y) * RowPlace::kRows;
  if (first_row >= p.outer) return;  // whole warps leave together, so the shuffles below stay safe
  const RowPlace place(first_row);
  // Not int64_t: with those the compiler spills registers to gain occupancy.
  const int first = place.lane * Width, end = place.row < p.outer ? int(p.n) : 0;
  constexpr int step = Group * Width;
  const float* x = p.x + place.row * p.n;
  float* y = p.y + place.row * p.n;
  float top = -INFINITY;  // passes a NaN by; the sum below takes it up
  for (int i = first; i < end; i += step) {
    const Lanes<Width> v = load_lanes<Width>(x + i);
    for (int k = 0; k < Width; ++k) top = fmaxf(top, v[k]);
  }
  top = group_max<Group>(top);
  float sum = 0;
  for (int i = first; i < end; i += step) {
    const Lanes<Width> v = load_lanes<Width>(x + i);
    for (int k = 0; k < Width; ++k) sum += expf(v[k] - top);
  }
  sum = group_sum<Group>(sum);
  const float log_sum = logf(sum), inverse = 1.0f / sum;
  for (int i = first; i < end; i += step) {
    Lanes<Width> v = load_lanes<Width>(x + i);
    for (int k = 0; k < Width; ++k) v[k] = p.logarithm ? (v[k] - top) - log_sum : expf(v[k] - top) * inverse;
    store_lanes<Width>(y + i, v);
  }
}

/// grid (ceil(outer inner / Threads)), block Threads
template <int Threads>
__global__ void __launch_bounds__(Threads) softmax_columns(const Softmax p) {
  const int64_t column = int64_t(blockIdx.x) * Threads + threadIdx.x;
  if (column >= p.outer * p.inner) return;
  const int64_t at = column / p.inner * p.n * p.inner + column % p.inner, end = at + p.n * p.inner;
  float top = -INFINITY;
  for (int64_t i = at; i < end; i += p.inner) top = fmaxf(top, p.x[i]);
  float sum = 0;
  for (int64_t i = at; i < end; i += p.inner) sum += expf(p.x[i] - top);
  const float log_sum = logf(sum);
  for (int64_t i = at; i < end; i += p.inner)
    p.y[i] = p.logarithm ? (p.x[i] - top) - log_sum : expf(p.x[i] - top) / sum;
}

/// grid (ceil(outer / (Rows kWarp / Group))), block (kWarp, Rows); inner = 1; Width divides n
template <int Width, int Group, int Rows>
__global__ void __launch_bounds__(kWarp* Rows) softmax_backward_rows(const SoftmaxBackward p) {
  using RowPlace = RowGroup<Group>;
  const int64_t first_row = (int64_t(blockIdx.x) * Rows + threadIdx.y) * RowPlace::kRows;
  if (first_row >= p.outer) return;
  const RowPlace place(first_row);
  const int64_t first = int64_t(place.lane) * Width, end = place.row < p.outer ? p.n : 0;
  constexpr int step = Group * Width;
  const float *y_row = p.y + place.row * p.n, *dy_row = p.dy + place.row * p.n;
  float* dx_row = p.dx + place.row * p.n;
  float sum = 0;
  for (int64_t i = first; i < end; i += step) {
    const Lanes<Width> y = load_lanes<Width>(y_row + i), dy = load_lanes<Width>(dy_row + i);
    for (int k = 0; k < Width; ++k) sum += p.logarithm ? dy[k] : dy[k] * y[k];
  }
  sum = group_sum<Group>(sum);
  for (int64_t i = first; i < end; i += step) {
    const Lanes<Width> y = load_lanes<Width>(y_row + i), dy = load_lanes<Width>(dy_row + i);
    Lanes<Width> dx;
    for (int k = 0; k < Width; ++k) dx[k] = p.logarithm ? dy[k] - expf(y[k]) * sum : y[k] * (dy[k] - sum);
    store_lanes<Width>(dx_row + i, dx);
  }
}

/// grid (ceil(outer inner / Threads)), block Threads
template <int Threads>
__global__ void __launch_bounds__(Threads) softmax_backward_columns(const SoftmaxBackward p) {
  const int64_t column = int64_t(blockIdx.x) * Threads + threadIdx.x;
  if (column >= p.outer * p.inner) return;
  const int64_t at = column / p.inner * p.n * p.inner + column % p.inner, end = at + p.n * p.inner;
  float sum = 0;
  for (int64_t i = at; i < end; i += p.inner) sum += p.logarithm ? p.dy[i] : p.dy[i] * p.y[i];
  for (int64_t i = at; i < end; i += p.inner)
    p.dx[i] = p.logarithm ? p.dy[i] - expf(p.y[i]) * sum : p.y[i] * (p.dy[i] - sum);
}

namespace detail {
/// Calls run(Width, Group), as types, for rows of n.
template <class Run>
void with_softmax_rows(int64_t n, bool vectors, const Run& run) {
  const auto with = [&](auto width) { with_row_group(n, width(), [&](auto group) { run(width, group); }); };
  if (vectors) with(std::integral_constant<int, 4>());
  else with(std::integral_constant<int, 1>());
}
}  // namespace detail

/// Returns without waiting. An empty tensor is not an error, an empty grid is.
inline void softmax(const Softmax& p, Stream stream) {
  constexpr int kRows = 4;
  if (p.outer * p.n * p.inner == 0) return;
  if (p.inner != 1 || p.n > INT32_MAX - 4 * kWarp)
    return launch(softmax_columns<128>, blocks_of(p.outer * p.inner, 128), 128, 0, stream, p);
  const bool vectors = p.n % 4 == 0 && aligned16(p.x, p.y);
  detail::with_softmax_rows(p.n, vectors, [&](auto width, auto group) {
    launch(softmax_rows<width(), group(), kRows>, blocks_of(p.outer, kRows * RowGroup<group()>::kRows),
           dim3(kWarp, kRows), 0, stream, p);
  });
}

inline void softmax_backward(const SoftmaxBackward& p, Stream stream) {
  constexpr int kRows = 4;
  if (p.outer * p.n * p.inner == 0) return;
  if (p.inner != 1 || p.n > INT32_MAX - 4 * kWarp)
    return launch(softmax_backward_columns<128>, blocks_of(p.outer * p.inner, 128), 128, 0, stream, p);
  const bool vectors = p.n % 4 == 0 && aligned16(p.y, p.dy, p.dx);
  detail::with_softmax_rows(p.n, vectors, [&](auto width, auto group) {
    launch(softmax_backward_rows<width(), group(), kRows>, blocks_of(p.outer, kRows * RowGroup<group()>::kRows),
           dim3(kWarp, kRows), 0, stream, p);
  });
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

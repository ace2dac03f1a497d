#pragma once
// Losses that compare two arrays element by element, each a mean with weights per row:
//
//     loss = sum w e(a - b) / (cols sum w)        da = g scale w e'(a - b),  db = -da,  scale = 1 / (cols sum w)
//
// with e(d) = |d|, d^2, Huber's or Charbonnier's: see clearsky/cpu/loss.hpp. Each array is read once each way.

#include "clearsky/cpu/loss.hpp"
#include "clearsky/cuda/kernels/loss_sums.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using cpu::AbsoluteError, cpu::SquaredError;
using HuberError = cpu::HuberError<float>;
using CharbonnierError = cpu::CharbonnierError<float>;
template <class E>
using ErrorLossForward = cpu::ErrorLossForward<float, E>;
template <class E>
using ErrorLossBackward = cpu::ErrorLossBackward<float, E>;

/// -1, 0 or 1; a NaN stays one.
__device__ __forceinline__ float sign_of(float d) {
  return d > 0 ? 1.0f : d < 0 ? -1.0f : d * 0.0f;
}
__device__ __forceinline__ float error_value(const AbsoluteError&, float d) {
  return fabsf(d);
}
__device__ __forceinline__ float error_slope(const AbsoluteError&, float d) {
  return sign_of(d);
}
__device__ __forceinline__ float error_value(const SquaredError&, float d) {
  return d * d;
}
__device__ __forceinline__ float error_slope(const SquaredError&, float d) {
  return d + d;
}
__device__ __forceinline__ float error_value(const HuberError& e, float d) {
  const float a = fabsf(d);
  return a > e.delta ? e.delta * (a - 0.5f * e.delta) : 0.5f * d * d;
}
__device__ __forceinline__ float error_slope(const HuberError& e, float d) {
  return d > e.delta ? e.delta : d < -e.delta ? -e.delta : d;  // fminf and fmaxf would lose a NaN
}
__device__ __forceinline__ float error_value(const CharbonnierError& e, float d) {
  return sqrtf(d * d + e.eps * e.eps);
}
__device__ __forceinline__ float error_slope(const CharbonnierError& e, float d) {
  return d / error_value(e, d);
}

/// parts (2, slots), written: the sums of w e(a - b), then those of w. grid slots, block kSumThreads
template <class E, int Width>
__global__ void __launch_bounds__(kSumThreads) error_loss_sums(const ErrorLossForward<E> p, double* parts) {
  const int64_t begin = int64_t(blockIdx.x) * kLossSlot, numel = p.rows * p.cols;
  const int64_t end = begin + kLossSlot < numel ? begin + kLossSlot : numel;
  float errors = 0, weights = 0;
  for (int64_t i = begin + int64_t(threadIdx.x) * Width; i < end; i += kSumThreads * Width) {
    const int64_t left = end - i;
    const Lanes<Width> a = load_first<Width>(p.a + i, left), b = load_first<Width>(p.b + i, left);
    const RowWeights<Width> w = weights_at<Width>(p.weight, i, p.cols, left);
    for (int k = 0; k < Width; ++k) errors += w.each[k] * error_value(p.e, a[k] - b[k]);
    weights += w.first;
  }
  const double error_sum = combine_block(double(errors), Plus()), weight_sum = combine_block(double(weights), Plus());
  if (threadIdx.x != 0) return;
  parts[blockIdx.x] = error_sum;
  parts[int64_t(gridDim.x) + blockIdx.x] = weight_sum;
}

/// grid 1, block kSumThreads
template <class E>
__global__ void __launch_bounds__(kSumThreads)
    error_loss_total(const ErrorLossForward<E> p, const double* parts, int64_t slots) {
  const double total = sum_of_slots(parts, slots);
  const double weights = p.weight == nullptr ? double(p.rows) : sum_of_slots(parts + slots, slots);
  if (threadIdx.x != 0) return;
  const double count = weights * double(p.cols);
  const bool nothing_counts = p.weight != nullptr && p.rows > 0 && weights == 0;
  *p.scale = nothing_counts ? 0.0f : float(1 / count);
  *p.loss = nothing_counts ? 0.0f : float(total / count);
}

/// grid ceil(numel / Width / kSumThreads), block kSumThreads
template <class E, int Width>
__global__ void __launch_bounds__(kSumThreads) error_loss_slopes(const ErrorLossBackward<E> p) {
  const int64_t i = (int64_t(blockIdx.x) * kSumThreads + threadIdx.x) * Width, left = p.rows * p.cols - i;
  if (left <= 0) return;
  const float factor = *p.g * *p.scale;
  const Lanes<Width> a = load_first<Width>(p.a + i, left), b = load_first<Width>(p.b + i, left);
  const RowWeights<Width> w = weights_at<Width>(p.weight, i, p.cols, left);
  Lanes<Width> d, negative;
  for (int k = 0; k < Width; ++k) {
    d[k] = factor * error_slope(p.e, a[k] - b[k]) * w.each[k];
    negative[k] = -d[k];
  }
  if (p.da != nullptr) store_first<Width>(p.da + i, d, left);
  if (p.db != nullptr) store_first<Width>(p.db + i, negative, left);
}

/// Floats of workspace that the forward takes.
inline int64_t error_loss_workspace(int64_t rows, int64_t cols) {
  return 4 * loss_slots(rows * cols);
}

/// Each returns without waiting. No elements are not an error: the loss is NaN then, as on the CPU.
/// @param workspace  (error_loss_workspace(rows, cols))  overwritten; at a multiple of 8 bytes
template <class E>
void error_loss_forward(const ErrorLossForward<E>& p, float* workspace, Stream stream) {
  const int64_t slots = loss_slots(p.rows * p.cols);
  auto* parts = reinterpret_cast<double*>(workspace);
  if (slots != 0) {
    const bool vectors = aligned16(p.a, p.b);
    launch(vectors ? error_loss_sums<E, 4> : error_loss_sums<E, 1>, blocks_of(slots, 1), kSumThreads, 0, stream, p,
           parts);
  }
  launch(error_loss_total<E>, 1, kSumThreads, 0, stream, p, parts, slots);
}
template <class E>
void error_loss_backward(const ErrorLossBackward<E>& p, Stream stream) {
  const int64_t numel = p.rows * p.cols;
  if (numel == 0) return;
  if (aligned16(p.a, p.b, p.da, p.db))
    launch(error_loss_slopes<E, 4>, blocks_of(numel, 4 * kSumThreads), kSumThreads, 0, stream, p);
  else launch(error_loss_slopes<E, 1>, blocks_of(numel, kSumThreads), kSumThreads, 0, stream, p);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

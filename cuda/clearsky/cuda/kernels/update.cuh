#pragma once
// What training does to parameters besides Adam's step (adam.cuh): gradient descent, clipping, norms, averages. Each is
// one launch for all tensors of a model, over the common axis of clearsky/cpu/update.hpp.

#include "clearsky/cuda/kernels/adam.cuh"
#include "clearsky/cuda/kernels/block_sums.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using SgdStep = cpu::SgdStep<float>;
using SgdTensor = cpu::SgdTensor<float>;
using AverageStep = cpu::AverageStep<float>;
using ScaleStep = cpu::ScaleStep<float>;
using SquaredNorm = cpu::SquaredNorm<float>;

/// grid (ceil(length / kAdamBlock)), block Threads, as for all of these
template <int Threads>
__global__ void __launch_bounds__(Threads) sgd_step_blocks(const SgdStep s) {
  each_in_block<Threads>(s.layout, [&](int64_t index, const auto& each) {
    const SgdTensor t = s.tensors[index];
    if (t.gradient == nullptr) return;
    each([&](int64_t i) {
      const float p = t.value[i];
      float g = t.gradient[i] * s.grad_scale + p * t.decay;
      if (t.velocity != nullptr) {
        const float u = t.velocity[i] * s.momentum + g;
        t.velocity[i] = u;
        g = s.nesterov ? g + u * s.momentum : u;
      }
      t.value[i] = p - g * t.rate;
    });
  });
}

template <int Threads>
__global__ void __launch_bounds__(Threads) average_step_blocks(const AverageStep s) {
  each_in_block<Threads>(s.layout, [&](int64_t index, const auto& each) {
    float *a = s.averages[index], *x = s.values[index];
    each([&](int64_t i) {
      const float average = a[i], value = x[i];
      if (s.exchange) {
        a[i] = value;
        x[i] = average;
      } else {
        a[i] = average + (value - average) * s.share;
      }
    });
  });
}

template <int Threads>
__global__ void __launch_bounds__(Threads) scale_step_blocks(const ScaleStep s) {
  each_in_block<Threads>(s.layout, [&](int64_t index, const auto& each) {
    float* x = s.values[index];
    if (x == nullptr) return;
    each([&](int64_t i) {
      float v = x[i] * s.scale;
      v = v > s.limit ? s.limit : v;  // NaN fails both comparisons and stays
      v = v < -s.limit ? -s.limit : v;
      x[i] = v;
    });
  });
}

/// Squares of one block of the axis, added in double. parts (blocks), written. The second bound asks for full
/// occupancy: without it the compiler takes 40 registers, which leaves three quarters.
template <int Threads>
__global__ void __launch_bounds__(Threads, 2048 / Threads)
    squared_norm_blocks(const SquaredNorm s, double* __restrict__ parts) {
  double sum = 0;
  each_in_block<Threads>(s.layout, [&](int64_t index, const auto& each) {
    const float* x = s.values[index];
    if (x == nullptr) return;
    each([&](int64_t i) { sum += double(x[i]) * double(x[i]); });
  });
  sum = combine_block<Threads>(sum, Plus());
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

/// grid 1, block Threads
template <int Threads>
__global__ void __launch_bounds__(Threads) sum_doubles(const double* __restrict__ parts, int64_t count, double* total) {
  static_assert(Threads == kSumThreads);
  const double sum = sum_of_slots(parts, count);
  if (threadIdx.x == 0) *total = sum;
}

// All return without waiting. Layouts, records and lists of pointers are read on the device.
// @param length  of the common axis: layout.starts[layout.tensors], which the host cannot read there

inline void sgd_step(const SgdStep& s, int64_t length, Stream stream) {
  if (length != 0) launch(sgd_step_blocks<256>, blocks_of(length, kAdamBlock), 256, 0, stream, s);
}
inline void average_step(const AverageStep& s, int64_t length, Stream stream) {
  if (length != 0) launch(average_step_blocks<256>, blocks_of(length, kAdamBlock), 256, 0, stream, s);
}
inline void scale_step(const ScaleStep& s, int64_t length, Stream stream) {
  if (length != 0) launch(scale_step_blocks<256>, blocks_of(length, kAdamBlock), 256, 0, stream, s);
}

/// Doubles of workspace.
inline int64_t squared_norm_workspace(int64_t length) {
  return (length + kAdamBlock - 1) / kAdamBlock;
}
/// @param s          total points to device memory
/// @param workspace  (squared_norm_workspace(length)) doubles, overwritten
inline void squared_norm(const SquaredNorm& s, int64_t length, double* workspace, Stream stream) {
  if (length != 0) launch(squared_norm_blocks<256>, blocks_of(length, kAdamBlock), 256, 0, stream, s, workspace);
  launch(sum_doubles<256>, 1, 256, 0, stream, workspace, squared_norm_workspace(length), s.total);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

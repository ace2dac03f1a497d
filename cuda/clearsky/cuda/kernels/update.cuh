#pragma once
// What training does to parameters besides Adam's step (adam.cuh): gradient descent, clipping, norms, averages. Each is
// one launch for all tensors of a model, over the common axis of clearsky/cpu/update.hpp.

#include "clearsky/cuda/kernels/adam.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using SgdStep = cpu::SgdStep<float>;
using SgdTensor = cpu::SgdTensor<float>;
using AverageStep = cpu::AverageStep<float>;
using ScaleStep = cpu::ScaleStep<float>;
using SquaredNorm = cpu::SquaredNorm<float>;

/// Calls body(tensor, element) for the elements of [first, first + kAdamBlock) of the axis that are this thread's.
template <int Threads, class Body>
__device__ __forceinline__ void each_of_block(const cpu::UpdateLayout& layout, int64_t first, Body&& body) {
  // The last tensor that starts at or before `first`: the same search in each thread, from a cache.
  int64_t low = 0, high = layout.tensors;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (layout.starts[middle] <= first) low = middle;
    else high = middle;
  }
  for (int64_t index = low; index < layout.tensors && layout.starts[index] < first + kAdamBlock; ++index) {
    const int64_t start = layout.starts[index], count = layout.counts[index];
    for (int64_t at = first + threadIdx.x; at < first + kAdamBlock; at += Threads) {
      const int64_t i = at - start;
      if (0 <= i && i < count) body(index, i);
    }
  }
}

/// grid (ceil(length / kAdamBlock)), block Threads, as for all of these
template <int Threads>
__global__ void __launch_bounds__(Threads) sgd_step_blocks(const SgdStep s) {
  each_of_block<Threads>(s.layout, int64_t(blockIdx.x) * kAdamBlock, [&](int64_t index, int64_t i) {
    const SgdTensor& t = s.tensors[index];
    if (t.gradient == nullptr) return;
    const float p = t.value[i];
    float g = t.gradient[i] * s.grad_scale + p * t.decay;
    if (t.velocity != nullptr) {
      const float u = t.velocity[i] * s.momentum + g;
      t.velocity[i] = u;
      g = s.nesterov ? g + u * s.momentum : u;
    }
    t.value[i] = p - g * t.rate;
  });
}

template <int Threads>
__global__ void __launch_bounds__(Threads) average_step_blocks(const AverageStep s) {
  each_of_block<Threads>(s.layout, int64_t(blockIdx.x) * kAdamBlock, [&](int64_t index, int64_t i) {
    float *a = s.averages[index] + i, *x = s.values[index] + i;
    const float average = *a, value = *x;
    if (s.exchange) {
      *a = value;
      *x = average;
    } else {
      *a = average + (value - average) * s.share;
    }
  });
}

template <int Threads>
__global__ void __launch_bounds__(Threads) scale_step_blocks(const ScaleStep s) {
  each_of_block<Threads>(s.layout, int64_t(blockIdx.x) * kAdamBlock, [&](int64_t index, int64_t i) {
    if (s.values[index] == nullptr) return;
    float v = s.values[index][i] * s.scale;
    v = v > s.limit ? s.limit : v;  // NaN fails both comparisons and stays
    v = v < -s.limit ? -s.limit : v;
    s.values[index][i] = v;
  });
}

/// Squares of one block of the axis, added in double. parts (blocks), written
template <int Threads>
__global__ void __launch_bounds__(Threads) squared_norm_blocks(const SquaredNorm s, double* __restrict__ parts) {
  CLEARSKY_SHARED(double, sums, [Threads]);
  double sum = 0;
  each_of_block<Threads>(s.layout, int64_t(blockIdx.x) * kAdamBlock, [&](int64_t index, int64_t i) {
    if (s.values[index] == nullptr) return;
    const double v = s.values[index][i];
    sum += v * v;
  });
  sums[threadIdx.x] = sum;
  for (int step = Threads / 2; step > 0; step /= 2) {
    __syncthreads();
    if (int(threadIdx.x) < step) sums[threadIdx.x] += sums[threadIdx.x + step];
  }
  if (threadIdx.x == 0) parts[blockIdx.x] = sums[0];
}

/// grid 1, block Threads
template <int Threads>
__global__ void __launch_bounds__(Threads) sum_doubles(const double* __restrict__ parts, int64_t count, double* total) {
  CLEARSKY_SHARED(double, sums, [Threads]);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += Threads) sum += parts[i];
  sums[threadIdx.x] = sum;
  for (int step = Threads / 2; step > 0; step /= 2) {
    __syncthreads();
    if (int(threadIdx.x) < step) sums[threadIdx.x] += sums[threadIdx.x + step];
  }
  if (threadIdx.x == 0) *total = sums[0];
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

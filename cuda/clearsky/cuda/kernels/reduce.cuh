#pragma once
// Reductions over the middle dimension of a dense (outer, n, inner) array.
//
// Long sums are cut into slots whose borders depend on the sizes alone; a second pass adds the slots in their order. So
// the bits depend neither on the number of multiprocessors nor on which block was done first.

#include "clearsky/cpu/reduce.hpp"
#include "clearsky/cuda/kernels/column_sums.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using Sum = cpu::Sum<float>;
using Extremum = cpu::Extremum<float>;
using AlongIndex = cpu::AlongIndex<float>;

/// One warp per row. grid (ceil(outer / Rows)), block (kWarp, Rows); inner = 1
template <int Rows>
__global__ void __launch_bounds__(kWarp* Rows) sum_rows(const Sum p) {
  const int64_t row = int64_t(blockIdx.x) * Rows + threadIdx.y;
  if (row >= p.outer) return;  // whole warps leave together, so the shuffles below stay safe
  const float* x = p.x + row * p.n;
  float sum = 0;
  for (int64_t i = threadIdx.x; i < p.n; i += kWarp) sum += x[i];
  sum = warp_sum(sum);
  if (threadIdx.x == 0) p.y[row] = sum;
}

/// One slot of one row per block. parts (outer, slots), written. grid (slots, outer), block Threads; inner = 1
template <int Threads>
__global__ void __launch_bounds__(Threads) sum_row_slots(const Sum p, float* __restrict__ parts) {
  CLEARSKY_SHARED(float, sums, [Threads / kWarp]);
  const int64_t slot = blockIdx.x, slots = gridDim.x, last = p.n * (slot + 1) / slots;
  const float* x = p.x + int64_t(blockIdx.y) * p.n;
  float sum = 0;
  for (int64_t i = p.n * slot / slots + threadIdx.x; i < last; i += Threads) sum += x[i];
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  float total = 0;
  for (int i = 0; i < Threads / kWarp; ++i) total += sums[i];
  parts[int64_t(blockIdx.y) * slots + slot] = total;
}

/// kWarp neighbouring columns of one slot per block. parts (outer, slots, inner), written.
/// grid (ceil(inner / kWarp), slots, outer or less), block (kWarp, Rows)
template <int Rows>
__global__ void __launch_bounds__(kWarp* Rows) sum_column_slots(const Sum p, float* __restrict__ parts) {
  const int64_t c = int64_t(blockIdx.x) * kWarp + threadIdx.x, slot = blockIdx.y, slots = gridDim.y;
  const int64_t last = p.n * (slot + 1) / slots;
  for (int64_t o = blockIdx.z; o < p.outer; o += gridDim.z) {
    float sum = 0;
    if (c < p.inner)  // the others must stay for the barriers
      for (int64_t i = p.n * slot / slots + threadIdx.y; i < last; i += Rows) sum += p.x[(o * p.n + i) * p.inner + c];
    sum = sum_down_block(sum);
    if (threadIdx.y == 0 && c < p.inner) parts[(o * slots + slot) * p.inner + c] = sum;
  }
}

/// Slots that each sum is cut into.
inline int64_t sum_slots_of(const Sum& p) {
  if (p.outer * p.inner == 0) return 1;
  // Enough blocks for a large device, and no slots where there are enough sums without.
  const int64_t columns = p.inner == 1 ? 1 : (p.inner + kWarp - 1) / kWarp;
  const int64_t wanted = (p.n + 511) / 512, room = 1024 / (p.outer * columns);
  return std::max(int64_t(1), std::min({wanted, room, int64_t(256)}));
}

/// Floats of workspace.
inline int64_t sum_workspace(const Sum& p) {
  const int64_t slots = sum_slots_of(p);
  return slots == 1 ? 0 : p.outer * slots * p.inner;
}

/// Returns without waiting. A sum of nothing is 0.
/// @param workspace  (sum_workspace(p))  overwritten
inline void sum(const Sum& p, float* workspace, Stream stream) {
  if (p.outer * p.inner == 0) return;
  const int64_t slots = sum_slots_of(p);
  float* to = slots == 1 ? p.y : workspace;
  constexpr int kRows = 4;
  if (p.inner == 1 && slots == 1) {
    launch(sum_rows<kRows>, blocks_of(p.outer, kRows), dim3(kWarp, kRows), 0, stream, p);
  } else if (p.inner == 1) {
    launch(sum_row_slots<256>, dim3(unsigned(slots), unsigned(p.outer)), 256, 0, stream, p, to);
  } else {
    const dim3 grid(blocks_of(p.inner, kWarp), unsigned(slots), unsigned(std::min(p.outer, int64_t(65535))));
    launch(sum_column_slots<kColumnRows>, grid, dim3(kWarp, kColumnRows), 0, stream, p, to);
  }
  if (slots == 1) return;
  const SlotSums sums{workspace, p.y, slots, p.inner, p.inner};
  launch(sum_slots<128>, dim3(blocks_of(p.inner, 128), unsigned(p.outer)), 128, 0, stream, sums);
}

/// Whether (a, i) comes before (b, j): the larger (or smaller) value, the first of equal ones, a NaN before every
/// number.
__device__ __forceinline__ bool wins(float a, int64_t i, float b, int64_t j, bool largest) {
  const bool a_nan = a != a, b_nan = b != b;
  if (a_nan || b_nan) return a_nan && (!b_nan || i < j);
  if (a == b) return i < j;
  return largest ? a > b : a < b;
}

/// One warp per row. grid (ceil(outer / Rows)), block (kWarp, Rows); inner = 1
template <int Rows>
__global__ void __launch_bounds__(kWarp* Rows) extremum_rows(const Extremum p) {
  const int64_t row = int64_t(blockIdx.x) * Rows + threadIdx.y;
  if (row >= p.outer) return;  // whole warps leave together
  const float* x = p.x + row * p.n;
  // A lane beyond the row starts with the first element, as lane 0 does: the two agree.
  int64_t at = threadIdx.x < p.n ? int64_t(threadIdx.x) : 0;
  float best = x[at];
  for (int64_t i = threadIdx.x + kWarp; i < p.n; i += kWarp)
    if (wins(x[i], i, best, at, p.largest)) best = x[i], at = i;
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, best, lanes);
    const int64_t other_at = __shfl_xor_sync(kAllLanes, at, lanes);
    if (wins(other, other_at, best, at, p.largest)) best = other, at = other_at;
  }
  if (threadIdx.x != 0) return;
  p.y[row] = best;
  p.index[row] = at;
}

/// grid (ceil(outer inner / Threads)), block Threads
template <int Threads>
__global__ void __launch_bounds__(Threads) extremum_columns(const Extremum p) {
  const int64_t k = int64_t(blockIdx.x) * Threads + threadIdx.x;
  if (k >= p.outer * p.inner) return;
  const float* x = p.x + k / p.inner * p.n * p.inner + k % p.inner;
  float best = x[0];
  int64_t at = 0;
  for (int64_t i = 1; i < p.n; ++i)
    if (wins(x[i * p.inner], i, best, at, p.largest)) best = x[i * p.inner], at = i;
  p.y[k] = best;
  p.index[k] = at;
}

/// Returns without waiting; n at least 1.
inline void extremum(const Extremum& p, Stream stream) {
  constexpr int kRows = 4;
  if (p.outer * p.inner == 0) return;
  if (p.inner == 1) launch(extremum_rows<kRows>, blocks_of(p.outer, kRows), dim3(kWarp, kRows), 0, stream, p);
  else launch(extremum_columns<128>, blocks_of(p.outer * p.inner, 128), 128, 0, stream, p);
}

/// grid (ceil(outer n inner / Threads)), block Threads
template <int Threads>
__global__ void __launch_bounds__(Threads) put_along_index_all(const AlongIndex p) {
  const int64_t i = int64_t(blockIdx.x) * Threads + threadIdx.x;
  if (i >= p.outer * p.n * p.inner) return;
  const int64_t from = i / (p.n * p.inner) * p.inner + i % p.inner;
  p.y[i] = p.index[from] == i / p.inner % p.n ? p.x[from] : 0.0f;
}
/// grid (ceil(outer inner / Threads)), block Threads
template <int Threads>
__global__ void __launch_bounds__(Threads) take_along_index_all(const AlongIndex p) {
  const int64_t i = int64_t(blockIdx.x) * Threads + threadIdx.x;
  if (i >= p.outer * p.inner) return;
  p.y[i] = p.x[(i / p.inner * p.n + p.index[i]) * p.inner + i % p.inner];
}

inline void put_along_index(const AlongIndex& p, Stream stream) {
  const int64_t count = p.outer * p.n * p.inner;
  if (count != 0) launch(put_along_index_all<256>, blocks_of(count, 256), 256, 0, stream, p);
}
inline void take_along_index(const AlongIndex& p, Stream stream) {
  const int64_t count = p.outer * p.inner;
  if (count != 0) launch(take_along_index_all<256>, blocks_of(count, 256), 256, 0, stream, p);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

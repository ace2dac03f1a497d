#pragma once
// The second half of sums down the columns: the first half leaves one row of sums per slot, this adds the slots in
// their order. So the bits do not depend on which block was done first, as they would with atomics.

#include "clearsky/cuda/kernels/lanes.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

/// Threads of a block that takes sums down columns: kWarp neighbouring columns, kColumnRows rows at a time.
inline constexpr int kColumnRows = 8;

/// Slots that the rows are cut into: enough blocks for a large device, few enough to add up at no cost.
inline int64_t column_slots(int64_t rows) {
  const int64_t wanted = (rows + 63) / 64;
  return wanted < 256 ? wanted : 256;
}

/// The sum over threadIdx.y of v, in a fixed order, for the threads with threadIdx.y = 0. Every thread of a
/// (kWarp, kColumnRows) block must call it.
__device__ __forceinline__ float sum_down_block(float v) {
  CLEARSKY_SHARED(float, sums, [kColumnRows][kWarp]);
  sums[threadIdx.y][threadIdx.x] = v;
  __syncthreads();
  float total = 0;
  if (threadIdx.y == 0)
    for (int i = 0; i < kColumnRows; ++i) total += sums[i][threadIdx.x];
  __syncthreads();  // before the next call overwrites the sums
  return total;
}

/// The same for each lane.
template <int Width>
__device__ __forceinline__ Lanes<Width> sum_down_block(const Lanes<Width>& v) {
  Lanes<Width> total;
  for (int k = 0; k < Width; ++k) total[k] = sum_down_block(v[k]);
  return total;
}

struct SlotSums {
  const float* parts;  // (slots, stride)
  float* sums;         // (columns)  written
  int64_t slots, columns, stride;
};

/// A template, as every kernel here: a header may define it in several units, and nvcc ignores `inline` on a kernel.
/// grid (ceil(columns / Threads), groups), block Threads; group g reads parts + g slots stride and writes sums + g
/// columns
template <int Threads>
__global__ void __launch_bounds__(Threads) sum_slots(const SlotSums p) {
  const int64_t c = int64_t(blockIdx.x) * Threads + threadIdx.x;
  if (c >= p.columns) return;
  const float* parts = p.parts + int64_t(blockIdx.y) * p.slots * p.stride;
  float total = 0;
  for (int64_t s = 0; s < p.slots; ++s) total += parts[s * p.stride + c];
  p.sums[int64_t(blockIdx.y) * p.columns + c] = total;
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

#pragma once
// One number out of many, in an order that depends on nothing but how many there are: threads of a block here, then
// blocks ("slots") by a second kernel of one block. No atomics.

#include "clearsky/cuda/portable.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

/// Threads of a block that reduces.
inline constexpr int kSumThreads = 256;

struct Plus {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Smaller {
  __device__ __forceinline__ int64_t operator()(int64_t a, int64_t b) const { return b < a ? b : a; }
};

/// v of all threads combined, for thread 0. Every thread of a block of `Threads` must call it.
template <int Threads = kSumThreads, class T, class Combine>
__device__ __forceinline__ T combine_block(T v, const Combine& combine) {
  CLEARSKY_SHARED(T, warps, [Threads / kWarp]);
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) v = combine(v, __shfl_xor_sync(kAllLanes, v, lanes));
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = v;
  __syncthreads();
  if (threadIdx.x == 0)
    for (int i = 1; i < Threads / kWarp; ++i) v = combine(v, warps[i]);
  __syncthreads();  // before the next call overwrites them
  return v;
}

/// The sum of count values, `step` apart, for thread 0.
__device__ __forceinline__ double sum_of_slots(const double* values, int64_t count, int64_t step = 1) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kSumThreads) sum += values[i * step];
  return combine_block(sum, Plus());
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

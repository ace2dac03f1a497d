#pragma once
// What a kernel may use beside plain CUDA, in its two meanings: on a device, and on the CPU (clearsky/simt).
//
// A kernel that is to run on both writes launch() in place of <<<>>>, CLEARSKY_SHARED in place of __shared__, ld4 and
// st4 for 16 bytes at a time, cp_async16 / cp_commit / cp_wait for copies that overlap with work, and mma_*, ldmatrix_*
// for the tensor cores. Everything else is CUDA as it is.

#ifdef __CUDACC__
#include "clearsky/cuda/device.cuh"
#else
#include "clearsky/simt/simt.hpp"
#endif

#include "clearsky/core/error.hpp"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

/// Blocks that cover `count` things, `each` of them per block.
/// @throws ShapeError when there are more than a grid can have
inline unsigned blocks_of(int64_t count, int64_t each) {
  const int64_t blocks = (count + each - 1) / each;
  CLEARSKY_CHECK(ShapeError, blocks <= 0x7fffffff, "launch: ", count, " elements are ", blocks,
                 " blocks, a grid can have 2147483647; cut the tensor in parts");
  return unsigned(blocks);
}

/// Every lane gets the sum over its group of neighbouring lanes, added in the same order whatever the lane. All lanes
/// of the warp take part.
template <int Group>
__device__ __forceinline__ float group_sum(float v) {
  for (int lanes = Group / 2; lanes > 0; lanes /= 2) v += __shfl_xor_sync(kAllLanes, v, lanes);
  return v;
}
__device__ __forceinline__ float warp_sum(float v) {
  return group_sum<kWarp>(v);
}
/// Every lane gets the largest value of its group; a NaN is passed by.
template <int Group>
__device__ __forceinline__ float group_max(float v) {
  for (int lanes = Group / 2; lanes > 0; lanes /= 2) v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, lanes));
  return v;
}
__device__ __forceinline__ float warp_max(float v) {
  return group_max<kWarp>(v);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

#pragma once
// Functions of one value that several kernels need, in forms that keep their digits.

#include "clearsky/cuda/portable.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

/// 1 / (1 + e^-x), from e^-|x| so that nothing overflows.
__device__ __forceinline__ float logistic(float x) {
  const float e = expf(-fabsf(x));
  return (x >= 0 ? 1.0f : e) / (1.0f + e);
}
/// Of the standard normal; by erfc, which keeps its digits where 1 + erf cancels.
__device__ __forceinline__ float normal_distribution(float x) {
  return 0.5f * erfcf(-0.70710678118654752440f * x);
}
__device__ __forceinline__ float normal_density(float x) {
  return 0.39894228040143267794f * expf(-0.5f * x * x);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

#pragma once
// What losses share that compare arrays element by element: a slot of elements for each block, weights that hold for a
// whole row, and the sum over the slots.

#include "clearsky/cuda/kernels/block_sums.cuh"
#include "clearsky/cuda/kernels/lanes.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

/// Elements that one block adds up: 64 per thread in float, the rest in double.
inline constexpr int64_t kLossSlot = 64 * kSumThreads;

inline int64_t loss_slots(int64_t elements) {
  return (elements + kLossSlot - 1) / kLossSlot;
}

/// The first elements from p, at most `left`; 0 behind them.
template <int Width>
__device__ __forceinline__ Lanes<Width> load_first(const float* p, int64_t left) {
  if (left >= Width) return load_lanes<Width>(p);
  Lanes<Width> v = all_lanes<Width>(0.0f);
  for (int k = 0; k < Width; ++k)
    if (k < left) v[k] = p[k];
  return v;
}
template <int Width>
__device__ __forceinline__ void store_first(float* p, const Lanes<Width>& v, int64_t left) {
  if (left >= Width) return store_lanes<Width>(p, v);
  for (int k = 0; k < Width; ++k)
    if (k < left) p[k] = v[k];
}

/// The weights of neighbouring elements, one per row of `cols`; 0 behind the last element, and 1 without weights.
template <int Width>
struct RowWeights {
  Lanes<Width> each;  ///< of each element
  float first;        ///< the sum of those that begin a row: over all elements, each weight once
};
template <int Width>
__device__ __forceinline__ RowWeights<Width> weights_at(const float* weight, int64_t i, int64_t cols, int64_t left) {
  RowWeights<Width> w{all_lanes<Width>(0.0f), 0};
  if (weight == nullptr) {
    for (int k = 0; k < Width; ++k) w.each[k] = k < left ? 1.0f : 0.0f;
    return w;
  }
  // 64-bit divisions are slow and seldom needed.
  const bool small = ((i | cols) >> 32) == 0;
  int64_t row = small ? int64_t(unsigned(i) / unsigned(cols)) : i / cols;
  int64_t column = i - row * cols;
  for (int k = 0; k < Width; ++k) {
    if (k >= left) break;
    w.each[k] = weight[row];
    if (column == 0) w.first += w.each[k];
    if (++column == cols) ++row, column = 0;
  }
  return w;
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

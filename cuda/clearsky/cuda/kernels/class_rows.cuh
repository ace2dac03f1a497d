#pragma once
// Softmax of one pixel's classes at a time, for the losses that are fused with it. A row of classes is one group of
// 8, 16 or 32 lanes of a warp; lane l of a group has the classes l, l + Group, ... So a warp reads whole rows that lie
// side by side, and the sums need shuffles only.

#include "clearsky/cuda/kernels/block_sums.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

/// In place of the first row with a label that is no class, where there is none.
inline constexpr int64_t kNoRow = 0x7fffffffffffffff;

/// x - max and e^(x - max) of this lane's classes, the latter 0 behind them, and what softmax needs of the row.
template <int Group, int PerLane>
struct ClassRow {
  float shifted[PerLane], e[PerLane];
  float top, sum;
};
/// All lanes of a warp must call it; where `counted` is false nothing is read, and what is returned means nothing.
template <int Group, int PerLane>
__device__ __forceinline__ ClassRow<Group, PerLane> softmax_of_row(const float* x, int classes, bool counted) {
  const int lane = int(threadIdx.x) % Group;
  ClassRow<Group, PerLane> row;
  row.top = -INFINITY;
  for (int k = 0; k < PerLane; ++k) {
    const int c = lane + k * Group;
    row.shifted[k] = counted && c < classes ? x[c] : -INFINITY;
    row.top = fmaxf(row.top, row.shifted[k]);
  }
  row.top = group_max<Group>(row.top);
  row.sum = 0;
  for (int k = 0; k < PerLane; ++k) {
    row.shifted[k] -= row.top;
    row.e[k] = lane + k * Group < classes ? expf(row.shifted[k]) : 0.0f;
    row.sum += row.e[k];
  }
  row.sum = group_sum<Group>(row.sum);
  return row;
}

/// Calls use.operator()<Group, PerLane>() with what a row of `classes` needs, at most `limit`.
/// @throws ShapeError where there are more classes
template <int Limit, class Use>
void with_class_groups(const char* op, int64_t classes, const Use& use) {
  CLEARSKY_CHECK(ShapeError, classes <= Limit, op, ": ", classes, " classes, the kernel takes at most ", Limit,
                 "; move the scores to the CPU for this loss");
  if (classes <= 8) use.template operator()<8, 1>();
  else if (classes <= 16) use.template operator()<16, 1>();
  else if (classes <= 32) use.template operator()<32, 1>();
  else if (classes <= 256 || Limit <= 256) use.template operator()<32, 8>();
  else use.template operator()<32, Limit / 32>();
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

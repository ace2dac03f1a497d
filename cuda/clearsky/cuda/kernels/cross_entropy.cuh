#pragma once
// Cross-entropy and focal loss of class scores, fused with softmax: one pass over the scores gives the loss and its
// derivative up to the common factor.
//
//     row    = (1 - s) w_y (-log p_y) + s/C sum_c w_c (-log p_c)        loss = sum of rows / sum of w_y
//     d_c    = p_c ((1 - s) w_y + s/C sum_k w_k) - (1 - s) w_y [c = y] - s/C w_c
//
// with p = softmax(x), y the label, w the class weights, C classes and smoothing s. For focal loss the first term is
// multiplied by (1 - p_y)^gamma (Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, eq. 5).
// A group of lanes takes a row (class_rows.cuh). Sums over rows are double: slots, then one block over the slots.

#include "clearsky/cpu/cross_entropy.hpp"
#include "clearsky/cuda/kernels/class_rows.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

template <class Label>
using CrossEntropy = cpu::CrossEntropy<float, Label>;

struct CrossEntropyParts {
  double* loss;      // (slots)  written
  double* weight;    // (slots)  written
  int64_t* invalid;  // (slots)  written: the first row with a label that is no class, or kNoRow
  int64_t slots;
};
inline constexpr int64_t kRowsPerSlot = 256;

/// Of one row, with u = log p of its label: the loss -(1 - p)^gamma u, and its derivative by u, negated.
struct FocalTerm {
  float loss, slope;
};
__device__ __forceinline__ FocalTerm focal_term(float u, float gamma) {
  if (gamma == 0) return {-u, 1.0f};
  const float q = -expm1f(u);  // 1 - p, without cancellation where p is near 1
  if (q == 0) return {0.0f, 0.0f};
  const float power = powf(q, gamma);
  return {-power * u, power - gamma * power / q * expf(u) * u};
}

/// grid slots, block kSumThreads
template <class Label, int Group, int PerLane>
__global__ void __launch_bounds__(kSumThreads)
    cross_entropy_rows(const CrossEntropy<Label> p, const CrossEntropyParts parts) {
  constexpr int kGroups = kSumThreads / Group;
  const int lane = int(threadIdx.x) % Group, classes = int(p.classes);
  const int64_t begin = int64_t(blockIdx.x) * kRowsPerSlot;
  const int64_t end = begin + kRowsPerSlot < p.rows ? begin + kRowsPerSlot : p.rows;
  const float spread = float(p.smoothing / double(classes)), keep = float(1 - p.smoothing), gamma = float(p.gamma);

  float weight[PerLane], weight_total = 0;
  for (int k = 0; k < PerLane; ++k) {
    const int c = lane + k * Group;
    weight[k] = c >= classes ? 0.0f : p.class_weight == nullptr ? 1.0f : p.class_weight[c];
    weight_total += weight[k];
  }
  weight_total = group_sum<Group>(weight_total);

  double loss = 0, weights = 0;
  int64_t invalid = kNoRow;
  // The same number of rounds for each lane of a warp, for the shuffles.
  for (int64_t first = begin; first < end; first += kGroups) {
    const int64_t r = first + int64_t(threadIdx.x) / Group;
    const bool inside = r < end;
    const int64_t label = inside ? int64_t(p.label[r]) : 0;
    const bool counted = inside && label != p.ignore_index && 0 <= label && label < classes;
    if (inside && !counted && label != p.ignore_index && invalid == kNoRow) invalid = r;
    const float* x = p.x + r * classes;
    const auto row = softmax_of_row<Group, PerLane>(x, classes, counted);

    // What is one number per row; each lane has it.
    float own = 0, pull = 0, all = 0;
    if (counted) {
      const float log_sum = logf(row.sum), u = (x[label] - row.top) - log_sum;
      const FocalTerm focal = focal_term(u, gamma);
      own = p.class_weight == nullptr ? 1.0f : p.class_weight[label];
      pull = own * (gamma != 0 ? focal.slope : keep);
      if (lane == 0) {
        loss += double(own * (gamma != 0 ? focal.loss : keep * focal.loss));
        weights += double(own);
      }
      for (int k = 0; k < PerLane; ++k)
        if (lane + k * Group < classes) all += weight[k] * (log_sum - row.shifted[k]);
    }
    if (p.smoothing != 0) {  // for all threads or none
      all = group_sum<Group>(all);
      if (counted && lane == 0) loss += double(spread) * double(all);
    }
    if (p.d == nullptr || !inside) continue;
    const float factor = counted ? (pull + spread * weight_total) / row.sum : 0.0f;
    for (int k = 0; k < PerLane; ++k) {
      const int c = lane + k * Group;
      if (c >= classes) continue;
      const float d = factor * row.e[k] - spread * weight[k] - (c == label ? pull : 0.0f);
      p.d[r * classes + c] = counted ? d : 0.0f;
    }
  }
  loss = combine_block(loss, Plus());
  weights = combine_block(weights, Plus());
  invalid = combine_block(invalid, Smaller());
  if (threadIdx.x == 0) {
    parts.loss[blockIdx.x] = loss;
    parts.weight[blockIdx.x] = weights;
    parts.invalid[blockIdx.x] = invalid;
  }
}

/// grid 1, block Threads = kSumThreads
template <int Threads>
__global__ void __launch_bounds__(Threads)
    cross_entropy_total(const CrossEntropyParts parts, float* loss, float* scale, int64_t* invalid) {
  const double total = sum_of_slots(parts.loss, parts.slots), weight = sum_of_slots(parts.weight, parts.slots);
  int64_t first = kNoRow;
  for (int64_t i = threadIdx.x; i < parts.slots; i += kSumThreads) first = Smaller()(first, parts.invalid[i]);
  first = combine_block(first, Smaller());
  if (threadIdx.x != 0) return;
  *scale = weight == 0 ? 0.0f : float(1 / weight);
  *loss = weight == 0 ? 0.0f : float(total / weight);
  *invalid = first == kNoRow ? -1 : first;
}

/// Floats of workspace that a loss over `rows` takes.
inline int64_t cross_entropy_workspace(int64_t rows) {
  return (rows + kRowsPerSlot - 1) / kRowsPerSlot * 6;
}

/// Returns without waiting. No rows are not an error: the loss is 0 then.
/// @param p               p.invalid is not used: it is the CPU's
/// @param workspace       (cross_entropy_workspace(rows))  overwritten; at a multiple of 8 bytes
/// @param device_invalid  (1)  written: the first row with a label outside the classes, or -1. In device memory: the
///                        caller copies it back and reports it
/// @throws ShapeError     for more than 512 classes
template <class Label>
void cross_entropy(const CrossEntropy<Label>& p, float* workspace, int64_t* device_invalid, Stream stream) {
  const int64_t slots = (p.rows + kRowsPerSlot - 1) / kRowsPerSlot;
  auto* doubles = reinterpret_cast<double*>(workspace);
  const CrossEntropyParts parts{doubles, doubles + slots, reinterpret_cast<int64_t*>(doubles + 2 * slots), slots};
  with_class_groups<512>("cross_entropy", p.classes, [&]<int Group, int PerLane>() {
    if (slots != 0)
      launch(cross_entropy_rows<Label, Group, PerLane>, blocks_of(slots, 1), kSumThreads, 0, stream, p, parts);
  });
  launch(cross_entropy_total<kSumThreads>, 1, kSumThreads, 0, stream, parts, p.loss, p.scale, device_invalid);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

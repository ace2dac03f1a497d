#pragma once
// Dice loss of class scores, fused with softmax.
//
//     I_c = sum p t   D_c = sum p + sum t + s        loss = 1 - (1/C) sum_c (2 I_c + s) / D_c
//     dloss/dp_c = B_c - A_c t_c,   A_c = 2 / (C D_c),   B_c = (2 I_c + s) / (C D_c^2)
//     dx_c = g p_c (dp_c - sum_k p_k dp_k)
//
// with p = softmax(x), t = 1 at the label and 0 elsewhere, sums over the rows that count, C classes, smoothing s.
// Source: Milletari, Navab, Ahmadi, "V-Net", 3DV 2016, sec. 3, with p in place of p^2.
// A group of lanes takes a row (class_rows.cuh). Sums over rows are float for kFlush rows and double from there.

#include "clearsky/cpu/dice.hpp"
#include "clearsky/cuda/kernels/class_rows.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

template <class Label>
using DiceForward = cpu::DiceForward<float, Label>;
template <class Label>
using DiceBackward = cpu::DiceBackward<float, Label>;

struct DiceParts {
  double* sums;      // (slots, 3, classes)  written: sum p t, sum p, sum t
  double* shares;    // (classes)            written: (2 I_c + s) / D_c
  int64_t* invalid;  // (slots)              written: the first row with a label that is no class, or kNoRow
  int64_t slots, rows_per_slot;
};

/// grid slots, block kSumThreads
template <class Label, int Group, int PerLane>
__global__ void __launch_bounds__(kSumThreads) dice_rows(const DiceForward<Label> d, const DiceParts parts) {
  constexpr int kGroups = kSumThreads / Group, kFlush = 64;
  CLEARSKY_SHARED(double, sums, [kGroups][Group]);
  const int lane = int(threadIdx.x) % Group, group = int(threadIdx.x) / Group, classes = int(d.classes);
  const int64_t begin = int64_t(blockIdx.x) * parts.rows_per_slot;
  const int64_t end = begin + parts.rows_per_slot < d.rows ? begin + parts.rows_per_slot : d.rows;

  double both[PerLane] = {}, share[PerLane] = {};
  float both_recent[PerLane] = {}, share_recent[PerLane] = {};
  int target[PerLane] = {};
  const auto flush = [&] {
    for (int k = 0; k < PerLane; ++k) {
      both[k] += double(both_recent[k]);
      share[k] += double(share_recent[k]);
      both_recent[k] = share_recent[k] = 0;
    }
  };
  int64_t invalid = kNoRow;
  int round = 0;
  for (int64_t first = begin; first < end; first += kGroups) {
    const int64_t r = first + group;
    const bool inside = r < end;
    const int64_t label = inside ? int64_t(d.label[r]) : 0;
    const bool counted = inside && label != d.ignore_index && 0 <= label && label < classes;
    if (inside && !counted && label != d.ignore_index && invalid == kNoRow) invalid = r;
    const auto row = softmax_of_row<Group, PerLane>(d.x + r * classes, classes, counted);
    const float inverse = 1.0f / row.sum;
    for (int k = 0; k < PerLane; ++k) {
      const int c = lane + k * Group;
      const float p = counted ? row.e[k] * inverse : 0.0f;
      share_recent[k] += p;
      if (counted && c == label) {
        both_recent[k] += p;
        ++target[k];
      }
      if (d.p != nullptr && inside && c < classes) d.p[r * classes + c] = p;
    }
    if (++round % kFlush == 0) flush();
  }
  flush();
  invalid = combine_block(invalid, Smaller());
  if (threadIdx.x == 0) parts.invalid[blockIdx.x] = invalid;

  // Down the groups, one kind of sum and one of the lane's classes at a time.
  double* out = parts.sums + int64_t(blockIdx.x) * 3 * classes;
  for (int k = 0; k < PerLane; ++k)
    for (int kind = 0; kind < 3; ++kind) {
      sums[group][lane] = kind == 0 ? both[k] : kind == 1 ? share[k] : double(target[k]);
      __syncthreads();
      const int c = lane + k * Group;
      if (group == 0 && c < classes) {
        double total = 0;
        for (int i = 0; i < kGroups; ++i) total += sums[i][lane];
        out[kind * classes + c] = total;
      }
      __syncthreads();
    }
}

/// The slopes of one class. grid classes, block kSumThreads
template <class Label>
__global__ void __launch_bounds__(kSumThreads) dice_classes(const DiceForward<Label> d, const DiceParts parts) {
  const int64_t c = blockIdx.x, step = 3 * d.classes;
  const double both = sum_of_slots(parts.sums + c, parts.slots, step);
  const double share = sum_of_slots(parts.sums + d.classes + c, parts.slots, step);
  const double target = sum_of_slots(parts.sums + 2 * d.classes + c, parts.slots, step);
  if (threadIdx.x != 0) return;
  const double bottom = share + target + d.smooth, top = 2 * both + d.smooth;
  parts.shares[c] = top / bottom;
  d.slopes[c] = float(2 / (double(d.classes) * bottom));
  d.slopes[d.classes + c] = float(top / (double(d.classes) * bottom * bottom));
}

/// grid 1, block Threads = kSumThreads
template <int Threads>
__global__ void __launch_bounds__(Threads)
    dice_total(const DiceParts parts, int64_t classes, float* loss, int64_t* invalid) {
  const double total = sum_of_slots(parts.shares, classes);
  int64_t first = kNoRow;
  for (int64_t i = threadIdx.x; i < parts.slots; i += kSumThreads) first = Smaller()(first, parts.invalid[i]);
  first = combine_block(first, Smaller());
  if (threadIdx.x != 0) return;
  *loss = float(1 - total / double(classes));
  *invalid = first == kNoRow ? -1 : first;
}

/// grid ceil(rows / (kSumThreads / Group)), block kSumThreads
template <class Label, int Group, int PerLane>
__global__ void __launch_bounds__(kSumThreads) dice_backward_rows(const DiceBackward<Label> d) {
  const int lane = int(threadIdx.x) % Group, classes = int(d.classes);
  const int64_t r = int64_t(blockIdx.x) * (kSumThreads / Group) + int64_t(threadIdx.x) / Group;
  const bool inside = r < d.rows;
  const int64_t label = inside ? int64_t(d.label[r]) : 0;
  const bool counted = inside && label != d.ignore_index && 0 <= label && label < classes;
  const float g = *d.g;
  float p[PerLane], slope[PerLane], sum = 0;
  for (int k = 0; k < PerLane; ++k) {
    const int c = lane + k * Group;
    p[k] = counted && c < classes ? d.p[r * classes + c] : 0.0f;
    slope[k] = c < classes ? d.slopes[classes + c] - (c == label ? d.slopes[c] : 0.0f) : 0.0f;
    sum += p[k] * slope[k];
  }
  sum = group_sum<Group>(sum);
  for (int k = 0; k < PerLane; ++k) {
    const int c = lane + k * Group;
    if (inside && c < classes) d.dx[r * classes + c] = counted ? g * p[k] * (slope[k] - sum) : 0.0f;
  }
}

/// At most 512 slots: enough blocks for a large device, few enough to add up at no cost.
inline int64_t dice_rows_per_slot(int64_t rows) {
  const int64_t rows_each = (rows + 511) / 512;
  return rows_each < 256 ? 256 : rows_each;
}
inline int64_t dice_slots(int64_t rows) {
  return (rows + dice_rows_per_slot(rows) - 1) / dice_rows_per_slot(rows);
}
/// Floats of workspace that the forward takes.
inline int64_t dice_forward_workspace(int64_t rows, int64_t classes) {
  return 2 * (dice_slots(rows) * (3 * classes + 1) + classes);
}

/// Returns without waiting. No rows are not an error: every class overlaps fully then.
/// @param d               d.invalid is not used: it is the CPU's
/// @param workspace       (dice_forward_workspace(rows, classes))  overwritten; at a multiple of 8 bytes
/// @param device_invalid  (1)  written: the first row with a label outside the classes, or -1. In device memory: the
///                        caller copies it back and reports it
/// @throws ShapeError     for more than 256 classes
template <class Label>
void dice_forward(const DiceForward<Label>& d, float* workspace, int64_t* device_invalid, Stream stream) {
  const int64_t slots = dice_slots(d.rows);
  auto* sums = reinterpret_cast<double*>(workspace);
  double* shares = sums + slots * 3 * d.classes;
  const DiceParts parts{sums, shares, reinterpret_cast<int64_t*>(shares + d.classes), slots,
                        dice_rows_per_slot(d.rows)};
  with_class_groups<256>("dice_forward", d.classes, [&]<int Group, int PerLane>() {
    if (slots != 0) launch(dice_rows<Label, Group, PerLane>, blocks_of(slots, 1), kSumThreads, 0, stream, d, parts);
  });
  launch(dice_classes<Label>, blocks_of(d.classes, 1), kSumThreads, 0, stream, d, parts);
  launch(dice_total<kSumThreads>, 1, kSumThreads, 0, stream, parts, d.classes, d.loss, device_invalid);
}

/// Rows with a label outside the classes get a gradient of 0.
template <class Label>
void dice_backward(const DiceBackward<Label>& d, Stream stream) {
  if (d.rows == 0) return;
  with_class_groups<256>("dice_backward", d.classes, [&]<int Group, int PerLane>() {
    launch(dice_backward_rows<Label, Group, PerLane>, blocks_of(d.rows, kSumThreads / Group), kSumThreads, 0, stream,
           d);
  });
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

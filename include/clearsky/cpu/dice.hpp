#pragma once
// Dice loss of class scores, fused with softmax.

#include <algorithm>
#include <cstdint>

#include "clearsky/core/memory.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/cpu/class_rows.hpp"

namespace clearsky::cpu {

template <class T, class Label>
struct DiceForward {
  const T* x;          // (rows, classes)
  const Label* label;  // (rows)
  T* loss;             // (1)              written
  T* p;                // (rows, classes)  written: softmax of x, 0 in rows that do not count; or null
  T* slopes;           // (2, classes)     written: for backward
  int64_t* invalid;    // (1)              written: the first row with a label outside the classes, or -1
  int64_t rows, classes;
  int64_t ignore_index;
  double smooth;
};

template <class T, class Label>
struct DiceBackward {
  const T* g;          // (1)
  const T* p;          // (rows, classes)
  const T* slopes;     // (2, classes)
  const Label* label;  // (rows)
  T* dx;               // (rows, classes)  written
  int64_t rows, classes;
  int64_t ignore_index;
};

/// With p = softmax(x), t = 1 at the label and 0 elsewhere, sums over the rows that count, C classes, smoothing s:
///
///     I_c = sum p t   D_c = sum p + sum t + s        loss = 1 - (1/C) sum_c (2 I_c + s) / D_c
///
/// dloss/dp_c = B_c - A_c t_c with A_c = 2 / (C D_c) and B_c = (2 I_c + s) / (C D_c^2): these are `slopes`.
template <class T, class Label>
void dice_forward(const DiceForward<T, Label>& d) {
  constexpr int64_t kLane = kLanes<T>, kRows = 1024, kFlush = 64;
  const int64_t classes = d.classes, padded = detail::whole_vectors<T>(classes);
  const int64_t blocks = (d.rows + kRows - 1) / kRows;
  Scratch<double> parts(blocks * 3 * classes);  // per block and class: sum p t, sum p, sum t
  Workspace<int64_t> invalid(size_t(blocks), -1);
  parallel_for(d.rows, kRows, [&](int64_t begin, int64_t end) {
    double* part = parts.data() + begin / kRows * 3 * classes;
    std::fill_n(part, 3 * classes, 0.0);
    Scratch<T> e(padded), sum(padded);
    std::fill_n(sum.data(), padded, T(0));
    const auto flush = [&] {
      for (int64_t c = 0; c < classes; ++c) part[classes + c] += double(sum[c]);
      std::fill_n(sum.data(), padded, T(0));
    };
    for (int64_t r = begin; r < end; ++r) {
      const auto label = int64_t(d.label[r]);
      T* p = d.p == nullptr ? nullptr : d.p + r * classes;
      if (label == d.ignore_index || label < 0 || label >= classes) {
        int64_t& first = invalid[size_t(begin / kRows)];
        if (label != d.ignore_index && first < 0) first = r;
        if (p != nullptr) std::fill_n(p, classes, T(0));
        continue;
      }
      const auto row = detail::row_softmax(d.x + r * classes, classes, (d.rows - r) * classes, e.data());
      const Vec<T> inverse = T(1) / row.sum;
      for (int64_t c = 0; c < classes; c += kLane) {
        const Vec<T> share = load(e.data() + c) * inverse;
        store(sum.data() + c, Vec<T>(load(sum.data() + c) + share));
        if (p != nullptr) detail::store_inside(p + c, share, (end - r) * classes - c);
      }
      part[label] += double(e[label] * inverse[0]);
      part[2 * classes + label] += 1;
      if (r % kFlush == kFlush - 1) flush();
    }
    flush();
  });

  double total = 0;
  for (int64_t c = 0; c < classes; ++c) {
    double s[3] = {0, 0, 0};
    for (int64_t k = 0; k < 3; ++k)
      for (int64_t b = 0; b < blocks; ++b) s[k] += parts[(b * 3 + k) * classes + c];
    const double both = s[1] + s[2] + d.smooth, top = 2 * s[0] + d.smooth;
    total += top / both;
    d.slopes[c] = T(2 / (double(classes) * both));
    d.slopes[classes + c] = T(top / (double(classes) * both * both));
  }
  *d.loss = T(1 - total / double(classes));
  *d.invalid = -1;
  for (int64_t first : invalid)
    if (*d.invalid < 0) *d.invalid = first;
}

/// dx_c = g p_c (dp_c - sum_k p_k dp_k)
template <class T, class Label>
void dice_backward(const DiceBackward<T, Label>& d) {
  constexpr int64_t kLane = kLanes<T>;
  const int64_t classes = d.classes, padded = detail::whole_vectors<T>(classes);
  const T g = *d.g;
  Scratch<T> slope(padded);
  for (int64_t c = 0; c < padded; ++c) slope[c] = c < classes ? d.slopes[classes + c] : T(0);
  parallel_for(d.rows, (std::max)(int64_t(1), 8192 / padded), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const auto label = int64_t(d.label[r]);
      T* dx = d.dx + r * classes;
      if (label == d.ignore_index) {
        std::fill_n(dx, classes, T(0));
        continue;
      }
      const T* p = d.p + r * classes;
      const auto load_shares = [&](int64_t c) {
        const int64_t left = (d.rows - r) * classes - c;
        return detail::first_lanes<T>(left >= kLane ? load(p + c) : load_partial(p + c, left), classes - c, T(0));
      };
      Vec<T> sum{};
      for (int64_t c = 0; c < classes; c += kLane) sum += load_shares(c) * load(slope.data() + c);
      const T own = p[label] * d.slopes[label];
      const Vec<T> mean = detail::sum_everywhere<T>(sum) - own;
      for (int64_t c = 0; c < classes; c += kLane)
        detail::store_inside(dx + c, Vec<T>(g * load_shares(c) * (load(slope.data() + c) - mean)),
                             (end - r) * classes - c);
      dx[label] -= g * own;
    }
  });
}

}  // namespace clearsky::cpu

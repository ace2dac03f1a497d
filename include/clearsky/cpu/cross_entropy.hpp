#pragma once
// Cross-entropy and focal loss of class scores, fused with softmax: one pass over the scores gives the loss and its
// derivative up to the common factor.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "clearsky/core/memory.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/cpu/class_rows.hpp"

namespace clearsky::cpu {

template <class T, class Label>
struct CrossEntropy {
  const T* x;             // (rows, classes)
  const Label* label;     // (rows)
  const T* class_weight;  // (classes), or null for ones
  T* loss;                // (1)              written: the mean over counted rows
  T* scale;               // (1)              written: 1 / the sum of their weights; 0 when none counts
  T* d;                   // (rows, classes)  written: the derivative of loss / scale; or null
  int64_t* invalid;       // (1)              written: the first row with a label outside the classes, or -1
  int64_t rows, classes;
  int64_t ignore_index;
  double smoothing;  // share of the target that is spread over all classes
  double gamma;      // of focal loss; 0 for cross-entropy. Not together with smoothing
};

namespace detail {

struct CrossEntropyPart {
  double loss = 0, weight = 0;
  int64_t invalid = -1;
  CrossEntropyPart& operator+=(const CrossEntropyPart& later) {
    loss += later.loss;
    weight += later.weight;
    if (invalid < 0) invalid = later.invalid;
    return *this;
  }
};

/// Of one row, with u = log p of its label: the loss -(1 - p)^gamma u, and its derivative by u, negated.
struct FocalTerm {
  double loss, slope;
};
inline FocalTerm focal_term(double u, double gamma) {
  if (gamma == 0) return {-u, 1};
  const double q = -std::expm1(u);  // 1 - p, without cancellation where p is near 1
  if (q == 0) return {0, 0};
  const double power = std::pow(q, gamma);
  return {-power * u, power - gamma * power / q * (1 - q) * u};
}

}  // namespace detail

/// With p = softmax(x), y the label, w the class weights, C classes and smoothing s:
///
///     row    = (1 - s) w_y (-log p_y) + s/C sum_c w_c (-log p_c)        loss = sum of rows / sum of w_y
///     d_c    = p_c ((1 - s) w_y + s/C sum_k w_k) - (1 - s) w_y [c = y] - s/C w_c
///
/// log p_c = (x_c - m) - log sum_k exp(x_k - m), m = max x, so that nothing overflows. For focal loss the first term is
/// multiplied by (1 - p_y)^gamma and its part of d by the derivative's factor.
template <class T, class Label>
void cross_entropy(const CrossEntropy<T, Label>& p) {
  constexpr int64_t kLane = kLanes<T>;
  using detail::IntOf;
  const int64_t classes = p.classes, padded = detail::whole_vectors<T>(classes);
  Scratch<T> weights(padded);
  double weight_total = 0;
  for (int64_t c = 0; c < padded; ++c) {
    weights[c] = c >= classes ? T(0) : p.class_weight == nullptr ? T(1) : p.class_weight[c];
    weight_total += double(weights[c]);
  }
  const double spread = p.smoothing / double(classes);
  const auto total = parallel_sum<detail::CrossEntropyPart>(
      p.rows, (std::max)(kLane, 8192 / padded / kLane * kLane), [&](int64_t begin, int64_t end) {
        detail::CrossEntropyPart part;
        Scratch<T> e(kLane * padded);
        for (int64_t first = begin; first < end; first += kLane) {
          // As many rows as a vector has lanes, each in a lane.
          const int64_t rows = (std::min)(kLane, end - first);
          T own[kLanes<T>] = {};
          IntOf<T> labels[kLanes<T>];
          std::fill_n(labels, kLane, IntOf<T>(-1));  // what does not count
          for (int64_t i = 0; i < rows; ++i) {
            const int64_t r = first + i;
            const auto label = int64_t(p.label[r]);
            if (label == p.ignore_index) continue;
            if (label < 0 || label >= classes) {
              if (part.invalid < 0) part.invalid = r;
              continue;
            }
            own[i] = weights[label];
            labels[i] = IntOf<T>(label);
          }
          VecInt<T> label;
          std::memcpy(&label, labels, sizeof label);
          const VecInt<T> counted = label >= VecInt<T>{};
          detail::load_turned(p.x + first * classes, rows, classes, (p.rows - first) * classes, e.data());
          Vec<T> top = load(e.data()), sum{}, margin{};
          for (int64_t c = 1; c < classes; ++c) top = vec_max<T>(load(e.data() + c * kLane), top);
          for (int64_t c = 0; c < classes; ++c) {
            const Vec<T> shifted = load(e.data() + c * kLane) - top, power = vec_exp<T>(shifted);
            margin = label == IntOf<T>(c) ? shifted : margin;
            sum += power;
            store(e.data() + c * kLane, power);
          }
          sum = counted ? sum : splat(T(1));  // -log 1 = 0, with weight 0
          const Vec<T> log_sum = vec_log<T>(sum), u = margin - log_sum, inverse = T(1) / sum;
          part.weight += double(sum_lanes<T>(load(own)));
          Vec<T> pull = load(own) * T(1 - p.smoothing);
          if (p.gamma != 0) {
            for (int64_t i = 0; i < rows; ++i) {
              const auto focal = detail::focal_term(double(u[i]), p.gamma);
              part.loss += double(own[i]) * focal.loss;
              pull[i] = own[i] * T(focal.slope);
            }
          } else {
            part.loss -= double(sum_lanes<T>(pull * u));
          }
          for (int64_t i = 0; p.smoothing != 0 && i < rows; ++i) {
            if (labels[i] < 0) continue;
            double all = 0;  // sum_c w_c (-log p_c)
            for (int64_t c = 0; c < classes; ++c)
              all += double(weights[c]) * (double(log_sum[i]) - double(p.x[(first + i) * classes + c] - top[i]));
            part.loss += spread * all;
          }
          if (p.d == nullptr) continue;
          const Vec<T> factor = (pull + T(spread * weight_total)) * inverse;
          for (int64_t c = 0; c < classes; ++c) {
            const Vec<T> d = factor * load(e.data() + c * kLane) - splat(T(spread) * weights[c]);
            const Vec<T> own_class = label == IntOf<T>(c) ? pull : Vec<T>{};
            store(e.data() + c * kLane, Vec<T>(counted ? d - own_class : Vec<T>{}));
          }
          detail::store_turned(e.data(), rows, classes, (end - first) * classes, p.d + first * classes);
        }
        return part;
      });
  *p.invalid = total.invalid;
  *p.scale = total.weight == 0 ? T(0) : T(1 / total.weight);
  *p.loss = total.weight == 0 ? T(0) : T(total.loss / total.weight);
}

}  // namespace clearsky::cpu

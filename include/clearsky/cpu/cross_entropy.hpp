#pragma once
// Cross-entropy and focal loss of class scores, fused with softmax: one pass over the scores gives the loss and its
// derivative.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "clearsky/core/memory.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/cpu/class_rows.hpp"
#include "clearsky/cpu/simd_math.hpp"

namespace clearsky::cpu {

template <class T, class Label>
struct CrossEntropy {
  const T* x;             // (rows, classes)
  const Label* label;     // (rows)
  const T* class_weight;  // (classes), or null for ones
  T* loss;                // (1)              written: the mean over counted rows
  T* scale;               // (1)              written: what d is still to be multiplied by, here 1; 1 / the sum of their
                          //                  weights on a GPU, which counts while it goes; 0 when none counts
  T* d;                   // (rows, classes)  written: the derivative of loss / scale; or null
  int64_t* invalid;       // (1)              written: the first row with a label outside the classes, or -1
  int64_t rows, classes;
  int64_t ignore_index;
  double smoothing;  // share of the target that is spread over all classes
  double gamma;      // of focal loss; 0 for cross-entropy. Not together with smoothing
};

namespace detail {

/// What the labels alone say.
struct LabelSum {
  double weight = 0;  // of those that count
  int64_t invalid = -1;
  LabelSum& operator+=(const LabelSum& later) {
    weight += later.weight;
    if (invalid < 0) invalid = later.invalid;
    return *this;
  }
};

/// @param weights  (classes), or null for ones
template <class T, class Label>
LabelSum sum_labels(const Label* label, int64_t begin, int64_t end, int64_t classes, int64_t ignore_index,
                    const T* weights) {
  using Bits = std::make_unsigned_t<Label>;  // a negative label is a large one
  typedef Bits Labels __attribute__((vector_size(kVectorBytes)));
  constexpr int64_t kLane = kVectorBytes / int64_t(sizeof(Label));
  LabelSum sum;
  const bool weighted = weights != nullptr, can_ignore = int64_t(Label(ignore_index)) == ignore_index;
  int64_t r = begin;
  if (!weighted && end - begin < 255 * kLane) {  // so that no lane of `ignored` overflows
    const auto last = Bits((std::min)(uint64_t(classes - 1), uint64_t((std::numeric_limits<Bits>::max)())));
    Labels ignored{}, outside{};
    for (; r + kLane <= end; r += kLane) {
      Labels v;
      std::memcpy(&v, label + r, sizeof v);
      const auto skipped = can_ignore ? Labels(v == Bits(ignore_index)) : Labels{};
      ignored -= skipped;
      outside |= Labels(v > last) & ~skipped;
    }
    bool whole = true;
    sum.weight = double(r - begin);
    for (int64_t i = 0; i < kLane; ++i) {
      sum.weight -= double(ignored[i]);
      whole = whole && outside[i] == 0;
    }
    if (!whole) {  // to find it
      r = begin;
      sum.weight = 0;
    }
  }
  for (; r < end; ++r) {
    const auto at = int64_t(label[r]);
    if (at == ignore_index) continue;
    if (at < 0 || at >= classes) {
      if (sum.invalid < 0) sum.invalid = r;
      continue;
    }
    sum.weight += weighted ? double(weights[at]) : 1;
  }
  return sum;
}

/// The labels of up to kLanes<T> rows, which are classes; -1 for what does not count.
template <class T, class Label>
inline VecInt<T> load_labels(const Label* label, int64_t rows, int64_t ignore_index) {
  constexpr int64_t kLane = kLanes<T>;
  if constexpr (sizeof(Label) == 1) {
    if (rows == kLane) {
      typedef Label Labels __attribute__((vector_size(kLane)));
      Labels v;
      std::memcpy(&v, label, sizeof v);
      const VecInt<T> wide = __builtin_convertvector(v, VecInt<T>);
      return ignore_index == int64_t(Label(ignore_index)) ? wide | (wide == IntOf<T>(ignore_index)) : wide;
    }
  }
  IntOf<T> labels[kLanes<T>];
  for (int64_t i = 0; i < kLane; ++i)
    labels[i] = i < rows && int64_t(label[i]) != ignore_index ? IntOf<T>(label[i]) : IntOf<T>(-1);
  VecInt<T> v;
  std::memcpy(&v, labels, sizeof v);
  return v;
}

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
///     d_c    = (p_c ((1 - s) w_y + s/C sum_k w_k) - (1 - s) w_y [c = y] - s/C w_c) / sum of w_y
///
/// log p_c = (x_c - m) - log sum_k exp(x_k - m), m = max x, so that nothing overflows. For focal loss the first term is
/// multiplied by (1 - p_y)^gamma and its part of d by the derivative's factor.
///
/// The labels are read first, alone: when the scores are, what d is divided by is known.
template <class T, class Label>
void cross_entropy(const CrossEntropy<T, Label>& p) {
  constexpr int64_t kLane = kLanes<T>, kLabelVectors = 128;
  const int64_t classes = p.classes;
  const auto labels = parallel_sum<detail::LabelSum>(
      p.rows, kLabelVectors * kVectorBytes / int64_t(sizeof(Label)), [&](int64_t begin, int64_t end) {
        return detail::sum_labels(p.label, begin, end, classes, p.ignore_index, p.class_weight);
      });
  *p.invalid = labels.invalid;
  *p.scale = T(1);
  *p.loss = T(0);
  if (labels.invalid >= 0) return;
  const double scale = labels.weight == 0 ? 0 : 1 / labels.weight, spread = p.smoothing / double(classes);
  Scratch<T> weights(2 * classes);
  T* const shares = weights.data() + classes;  // s/C w_c scale
  double weight_total = 0;
  for (int64_t c = 0; c < classes; ++c) {
    weights[c] = p.class_weight == nullptr ? T(1) : p.class_weight[c];
    shares[c] = T(spread * scale * double(weights[c]));
    weight_total += double(weights[c]);
  }
  const T shares_total = T(spread * scale * weight_total);
  // A vector holds as many rows as it has lanes. Several are taken together, step by step, so that a step of one need
  // not wait for the step before.
  constexpr int64_t kMost = 4;
  const int64_t together = std::clamp(4096 / classes / kLane, int64_t(1), kMost);
  const double total =
      parallel_sum<double>(p.rows, (std::max)(kLane, 8192 / classes / kLane * kLane), [&](int64_t begin, int64_t end) {
        const Scratch<T> turned(together * classes * kLane);
        Vec<T> losses{};
        double apart = 0;  // what is added up row by row
        for (int64_t start = begin; start < end; start += together * kLane) {
          const int64_t vectors = (std::min)(together, (end - start + kLane - 1) / kLane);
          VecInt<T> labels_of[kMost];
          Vec<T> shifts[kMost], own_of[kMost], sums[kMost], pulls[kMost];
          for (int64_t v = 0; v < vectors; ++v) {
            const int64_t first = start + v * kLane, rows = (std::min)(kLane, end - first);
            T* const x = turned.data() + v * classes * kLane;
            detail::load_turned(p.x + first * classes, rows, classes, x);
            const VecInt<T> label = detail::load_labels<T>(p.label + first, rows, p.ignore_index);
            Vec<T> top = load(x), own{};
            for (int64_t c = 0; c < classes; ++c) {
              const Vec<T> score = load(x + c * kLane);
              top = vec_max<T>(score, top);
              own = label == detail::IntOf<T>(c) ? score : own;
            }
            labels_of[v] = label;
            shifts[v] = top;
            own_of[v] = own - top;
          }
          for (int64_t v = 0; v < vectors; ++v) {
            T* const x = turned.data() + v * classes * kLane;
            const Vec<T> top = shifts[v];
            Vec<T> sum{};
            for (int64_t c = 0; c < classes; ++c) {
              const Vec<T> power = vec_exp2_flushed<T>((load(x + c * kLane) - top) * T(detail::kLog2E));
              sum += power;
              store(x + c * kLane, power);
            }
            sums[v] = sum;
          }
          for (int64_t v = 0; v < vectors; ++v) {
            const int64_t first = start + v * kLane, rows = (std::min)(kLane, end - first);
            const VecInt<T> label = labels_of[v], counted = label >= VecInt<T>{};
            Vec<T> weight = counted ? splat(T(1)) : Vec<T>{};
            for (int64_t i = 0; p.class_weight != nullptr && i < kLane; ++i)
              if (label[i] >= 0) weight[i] = weights[label[i]];
            const Vec<T> sum = counted ? sums[v] : splat(T(1)), log_sum = vec_log<T>(sum), u = own_of[v] - log_sum;
            Vec<T> pull = weight * T(1 - p.smoothing);
            if (p.gamma != 0) {
              for (int64_t i = 0; i < rows; ++i) {
                if (label[i] < 0) continue;
                const auto focal = detail::focal_term(double(u[i]), p.gamma);
                apart += double(weight[i]) * focal.loss;
                pull[i] = weight[i] * T(focal.slope);
              }
            } else {
              losses -= counted ? pull * u : Vec<T>{};
            }
            sums[v] = sum;
            pulls[v] = pull * T(scale);
            for (int64_t i = 0; spread != 0 && i < rows; ++i) {
              if (label[i] < 0) continue;
              double all = 0;  // sum_c w_c (-log p_c)
              for (int64_t c = 0; c < classes; ++c)
                all +=
                    double(weights[c]) * (double(log_sum[i]) - double(p.x[(first + i) * classes + c] - shifts[v][i]));
              apart += spread * all;
            }
          }
          for (int64_t v = 0; v < vectors && p.d != nullptr; ++v) {
            const int64_t first = start + v * kLane, rows = (std::min)(kLane, end - first);
            T* const e = turned.data() + v * classes * kLane;
            const VecInt<T> label = labels_of[v], counted = label >= VecInt<T>{};
            const Vec<T> pull = pulls[v], factor = (pull + shares_total) / sums[v];
            for (int64_t c = 0; c < classes; ++c) {
              const Vec<T> d = factor * load(e + c * kLane) - shares[c];
              const Vec<T> own_class = label == detail::IntOf<T>(c) ? pull : Vec<T>{};
              store(e + c * kLane, Vec<T>(counted ? d - own_class : Vec<T>{}));
            }
            detail::store_turned(e, rows, classes, p.d + first * classes);
          }
        }
        return double(sum_lanes<T>(losses)) + apart;
      });
  *p.loss = T(total * scale);
}

}  // namespace clearsky::cpu

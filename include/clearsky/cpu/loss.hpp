#pragma once
// Losses that compare two arrays element by element: one pass forward, one backward.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/core/memory.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/cpu/elementwise.hpp"
#include "clearsky/cpu/simd.hpp"

namespace clearsky::cpu {

// The errors e(d) of a difference d, and their derivatives.

struct AbsoluteError {  // |d|
  template <class V>
  V value(V d) const {
    return fn::Abs()(d);
  }
  template <class V>
  V slope(V d) const {
    return fn::Sign()(d);
  }
};
struct SquaredError {  // d^2
  template <class V>
  V value(V d) const {
    return d * d;
  }
  template <class V>
  V slope(V d) const {
    return d + d;
  }
};
template <class T>
struct HuberError {  // d^2 / 2 up to delta, from there on its tangent
  T delta;
  template <class V>
  V value(V d) const {
    const V a = d < V{} ? -d : d, bound = V{} + delta;
    return a > bound ? delta * (a - T(0.5) * delta) : T(0.5) * d * d;
  }
  template <class V>
  V slope(V d) const {
    return fn::Clamp<T>{-delta, delta}(d);
  }
};
template <class T>
struct CharbonnierError {  // sqrt(d^2 + eps^2)
  T eps;
  template <class V>
  V value(V d) const {
    return fn::Sqrt()(d * d + eps * eps);
  }
  template <class V>
  V slope(V d) const {
    return d / value(d);
  }
};

template <class T, class E>
struct ErrorLossForward {
  E e;
  const T* a;       // (rows, cols)
  const T* b;       // (rows, cols)
  const T* weight;  // (rows), or null for ones
  T* loss;          // (1)  written: sum weight e(a - b) / (cols sum weight); 0 when the weights are all 0
  T* scale;         // (1)  written: 1 / (cols sum weight), or 0
  int64_t rows, cols;
};

template <class T, class E>
struct ErrorLossBackward {
  E e;
  const T* a;       // (rows, cols)
  const T* b;       // (rows, cols)
  const T* weight;  // (rows), or null
  const T* g;       // (1)
  const T* scale;   // (1)
  T* da;            // (rows, cols)  written, or null
  T* db;            // (rows, cols)  written, or null
  int64_t rows, cols;
};

namespace detail {

inline constexpr int64_t kLossGrain = 16384, kLossChunk = 1024;

/// out[i - begin] = weight of the row of element i, for begin <= i < end. Writes up to a vector more.
template <class T>
inline void spread_weights(const T* weight, int64_t cols, int64_t begin, int64_t end, T* out) {
  if (cols == 1) {
    std::copy(weight + begin, weight + end, out);
    return;
  }
  for (int64_t row = begin / cols; begin < end; ++row) {
    const int64_t count = (std::min)(end, (row + 1) * cols) - begin;
    for (int64_t k = 0; k < count; k += kLanes<T>) store(out + k, splat(weight[row]));
    out += count;
    begin += count;
  }
}

/// Calls chunk(first, count, weights) for pieces of [begin, end); weights is null where `weight` is.
template <class T, class Chunk>
inline void each_loss_chunk(const T* weight, int64_t cols, int64_t begin, int64_t end, const Chunk& chunk) {
  T spread[kLossChunk + kLanes<T>];
  for (int64_t i = begin; i < end; i += kLossChunk) {
    const int64_t count = (std::min)(kLossChunk, end - i);
    if (weight != nullptr) spread_weights(weight, cols, i, i + count, spread);
    chunk(i, count, weight == nullptr ? nullptr : static_cast<const T*>(spread));
  }
}

/// The sum of value(i, weights of the lanes) over all elements; value gives a vector for elements from i on. Behind
/// `count` it must give 0.
template <class T, class Value>
inline double loss_sum(const T* weight, int64_t rows, int64_t cols, const Value& value) {
  constexpr int64_t kLane = kLanes<T>;
  return parallel_sum<double>(rows * cols, kLossGrain, [&](int64_t begin, int64_t end) {
    double total = 0;
    each_loss_chunk(weight, cols, begin, end, [&](int64_t first, int64_t count, const T* w) {
      Vec<T> even{}, odd{};
      int64_t i = 0;
      for (; i + 2 * kLane <= count; i += 2 * kLane) {
        even += value(first + i, kLane, w == nullptr ? nullptr : w + i);
        odd += value(first + i + kLane, kLane, w == nullptr ? nullptr : w + i + kLane);
      }
      for (; i < count; i += kLane) {
        const int64_t left = count - i;
        const Vec<T> v = value(first + i, left, w == nullptr ? nullptr : w + i);
        T lanes[kLanes<T>];
        store(lanes, v);
        if (left >= kLane) even += v;
        else
          for (int64_t k = 0; k < left; ++k) total += double(lanes[k]);
      }
      total += double(sum_lanes<T>(even + odd));
    });
    return total;
  });
}

}  // namespace detail

template <class T, class E>
void error_loss_forward(const ErrorLossForward<T, E>& p) {
  const double total =
      detail::loss_sum<T>(p.weight, p.rows, p.cols, [&](int64_t i, int64_t left, const T* w) -> Vec<T> {
        const Vec<T> e = p.e.value(Vec<T>(load_partial(p.a + i, left) - load_partial(p.b + i, left)));
        return w == nullptr ? e : e * load_partial(w, left);
      });
  double weights = double(p.rows);
  if (p.weight != nullptr)
    weights = parallel_sum<double>(p.rows, detail::kLossGrain, [&](int64_t begin, int64_t end) {
      double sum = 0;
      for (int64_t r = begin; r < end; ++r) sum += double(p.weight[r]);
      return sum;
    });
  const double count = weights * double(p.cols);
  const bool nothing_counts = p.weight != nullptr && p.rows > 0 && weights == 0;
  *p.scale = nothing_counts ? T(0) : T(1 / count);
  *p.loss = nothing_counts ? T(0) : T(total / count);
}

/// da = g scale weight e'(a - b), db = -da
template <class T, class E>
void error_loss_backward(const ErrorLossBackward<T, E>& p) {
  constexpr int64_t kLane = kLanes<T>;
  const T factor = *p.g * *p.scale;
  parallel_for(p.rows * p.cols, detail::kLossGrain, [&](int64_t begin, int64_t end) {
    detail::each_loss_chunk(p.weight, p.cols, begin, end, [&](int64_t first, int64_t count, const T* w) {
      for (int64_t i = 0; i < count; i += kLane) {
        const int64_t left = count - i, at = first + i;
        Vec<T> d = factor * p.e.slope(Vec<T>(load_partial(p.a + at, left) - load_partial(p.b + at, left)));
        if (w != nullptr) d *= load_partial(w + i, left);
        if (p.da != nullptr) store_partial(p.da + at, d, left);
        if (p.db != nullptr) store_partial(p.db + at, Vec<T>(-d), left);
      }
    });
  });
}

/// With P the prediction, T the target, I the input and m the mask of a pixel:
///     loss = mean of |m (P - T)| + |(1 - m) (P - I)| + lambda |P - T|
template <class T>
struct CarlForward {
  const T* prediction;  // (rows, cols)
  const T* target;      // (rows, cols)
  const T* input;       // (rows, cols)
  const T* mask;        // (rows)
  T* loss;              // (1)  written
  int64_t rows, cols;
  T lambda;
};

template <class T>
struct CarlBackward {
  const T* g;           // (1)
  const T* prediction;  // (rows, cols)
  const T* target;      // (rows, cols)
  const T* input;       // (rows, cols)
  const T* mask;        // (rows)
  T* dprediction;       // (rows, cols)  written, or null
  T* dtarget;           // (rows, cols)  written, or null
  T* dinput;            // (rows, cols)  written, or null
  int64_t rows, cols;
  T lambda;
};

template <class T>
void carl_forward(const CarlForward<T>& p) {
  const fn::Abs abs;
  const double total =
      detail::loss_sum<T>(p.mask, p.rows, p.cols, [&](int64_t i, int64_t left, const T* mask) -> Vec<T> {
        const Vec<T> m = load_partial(mask, left), x = load_partial(p.prediction + i, left);
        const Vec<T> to_target = abs(Vec<T>(x - load_partial(p.target + i, left)));
        const Vec<T> to_input = abs(Vec<T>(x - load_partial(p.input + i, left)));
        return (abs(m) + p.lambda) * to_target + abs(Vec<T>(T(1) - m)) * to_input;
      });
  *p.loss = T(total / double(p.rows * p.cols));
}
CLEARSKY_COMPILE_ONCE(carl_forward)

template <class T>
void carl_backward(const CarlBackward<T>& p) {
  constexpr int64_t kLane = kLanes<T>;
  const fn::Abs abs;
  const fn::Sign sign;
  const T factor = T(double(*p.g) / double(p.rows * p.cols));
  parallel_for(p.rows * p.cols, detail::kLossGrain, [&](int64_t begin, int64_t end) {
    detail::each_loss_chunk(p.mask, p.cols, begin, end, [&](int64_t first, int64_t count, const T* mask) {
      for (int64_t i = 0; i < count; i += kLane) {
        const int64_t left = count - i, at = first + i;
        const Vec<T> m = load_partial(mask + i, left), x = load_partial(p.prediction + at, left);
        const Vec<T> to_target = factor * (abs(m) + p.lambda) * sign(Vec<T>(x - load_partial(p.target + at, left)));
        const Vec<T> to_input = factor * abs(Vec<T>(T(1) - m)) * sign(Vec<T>(x - load_partial(p.input + at, left)));
        if (p.dprediction != nullptr) store_partial(p.dprediction + at, Vec<T>(to_target + to_input), left);
        if (p.dtarget != nullptr) store_partial(p.dtarget + at, Vec<T>(-to_target), left);
        if (p.dinput != nullptr) store_partial(p.dinput + at, Vec<T>(-to_input), left);
      }
    });
  });
}
CLEARSKY_COMPILE_ONCE(carl_backward)

}  // namespace clearsky::cpu

#pragma once
// Softmax and its logarithm along the middle dimension of a dense (outer, n, inner) array.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/core/memory.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/cpu/class_rows.hpp"

namespace clearsky::cpu {

///     y_i = e^(x_i - m) / s   or its logarithm x_i - m - log s,    m = max_j x_j,  s = sum_j e^(x_j - m)
template <class T>
struct Softmax {
  const T* x;  // (outer, n, inner)
  T* y;        // (outer, n, inner)  written
  int64_t outer, n, inner;
  bool logarithm;
};

/// With y what the forward wrote:   dx_i = y_i (dy_i - sum_j dy_j y_j),   or, of the logarithm, dy_i - e^(y_i) sum_j
/// dy_j
template <class T>
struct SoftmaxBackward {
  const T* y;   // (outer, n, inner)
  const T* dy;  // (outer, n, inner)
  T* dx;        // (outer, n, inner)  written
  int64_t outer, n, inner;
  bool logarithm;
};

namespace detail {

/// Rows of at most this many elements are turned, so that a vector holds as many rows as it has lanes.
inline constexpr int64_t kShortRow = 32;

/// One row of n neighbours.
template <class T>
void softmax_row(const T* x, T* y, int64_t n, bool logarithm) {
  constexpr int64_t kLane = kLanes<T>;
  constexpr T kLowest = -std::numeric_limits<T>::infinity();
  Vec<T> tops = splat(kLowest);  // passes a NaN by; the sum below takes it up
  for (int64_t i = 0; i < n; i += kLane)
    tops = vec_max<T>(first_lanes<T>(load_partial(x + i, n - i), n - i, kLowest), tops);
  const Vec<T> top = max_everywhere<T>(tops);
  Vec<T> total{};
  for (int64_t i = 0; i < n; i += kLane) {
    const Vec<T> e = first_lanes<T>(vec_exp<T>(load_partial(x + i, n - i) - top), n - i, T(0));
    total += e;
    if (!logarithm) store_partial(y + i, e, n - i);
  }
  const Vec<T> s = splat(sum_lanes<T>(total)), log_s = logarithm ? vec_log<T>(s) : Vec<T>{}, inverse = T(1) / s;
  for (int64_t i = 0; i < n; i += kLane) {
    const int64_t left = n - i;
    if (logarithm) store_partial(y + i, (load_partial(x + i, left) - top) - log_s, left);
    else store_partial(y + i, load_partial(y + i, left) * inverse, left);
  }
}

/// body(first, last) for each vector of rows, with the first and the last input as (n, kLanes); y is written from the
/// first.
template <class T, size_t N, class Body>
void each_turned_row(const T* const (&x)[N], T* y, int64_t rows, int64_t n, Body&& body) {
  constexpr int64_t kLane = kLanes<T>;
  const int64_t size = whole_vectors<T>(n) * kLane;
  parallel_for(rows, 4096 / n / kLane * kLane + kLane, [&](int64_t begin, int64_t end) {
    const Scratch<T> turned(static_cast<int64_t>(N) * size);
    for (int64_t r = begin; r < end; r += kLane) {
      const int64_t count = (std::min)(kLane, end - r);
      for (size_t k = 0; k < N; ++k) load_turned(x[k] + r * n, count, n, turned.data() + int64_t(k) * size);
      body(turned.data(), turned.data() + (N - 1) * size);
      store_turned(turned.data(), count, n, y + r * n);
    }
  });
}

/// n strided values for each of up to a vector of columns.
template <class T>
void softmax_columns(const T* x, T* y, int64_t n, int64_t step, int64_t left, bool logarithm) {
  Vec<T> top = splat(-std::numeric_limits<T>::infinity());
  for (int64_t i = 0; i < n; ++i) {
    const Vec<T> v = load_partial(x + i * step, left);
    top = v > top ? v : top;  // passes a NaN by; the sum below takes it up
  }
  Vec<T> total{};
  for (int64_t i = 0; i < n; ++i) {
    const Vec<T> e = vec_exp<T>(load_partial(x + i * step, left) - top);
    total += e;
    if (!logarithm) store_partial(y + i * step, e, left);
  }
  const Vec<T> log_total = logarithm ? vec_log<T>(total) : Vec<T>{};
  for (int64_t i = 0; i < n; ++i) {
    if (logarithm) store_partial(y + i * step, (load_partial(x + i * step, left) - top) - log_total, left);
    else store_partial(y + i * step, load_partial(y + i * step, left) / total, left);
  }
}

/// dx from n strided values of each column; dx may be dy. As the y_j sum to 1, dy may be measured from any of its
/// values, here the first: the smaller the numbers, the less is lost where they cancel.
template <class T>
void softmax_columns_backward(const T* y, const T* dy, T* dx, int64_t n, int64_t step, int64_t left, bool logarithm) {
  const Vec<T> from = logarithm ? Vec<T>{} : load_partial(dy, left);
  Vec<T> dot{};
  for (int64_t i = 0; i < n; ++i) {
    const Vec<T> g = load_partial(dy + i * step, left) - from;
    dot += logarithm ? g : Vec<T>(g * load_partial(y + i * step, left));
  }
  for (int64_t i = 0; i < n; ++i) {
    const Vec<T> g = load_partial(dy + i * step, left) - from, v = load_partial(y + i * step, left);
    store_partial(dx + i * step, logarithm ? Vec<T>(g - vec_exp<T>(v) * dot) : Vec<T>(v * (g - dot)), left);
  }
}
template <class T>
void softmax_row_backward(const T* y, const T* dy, T* dx, int64_t n, bool logarithm) {
  constexpr int64_t kLane = kLanes<T>;
  const T from = logarithm ? T(0) : dy[0];
  Vec<T> dots{};
  for (int64_t i = 0; i < n; i += kLane) {
    const Vec<T> g = load_partial(dy + i, n - i) - from;
    dots += logarithm ? g : Vec<T>(g * load_partial(y + i, n - i));  // y is 0 in the lanes behind the row
  }
  const Vec<T> dot = splat(sum_lanes<T>(dots));
  for (int64_t i = 0; i < n; i += kLane) {
    const Vec<T> g = load_partial(dy + i, n - i) - from, v = load_partial(y + i, n - i);
    store_partial(dx + i, logarithm ? Vec<T>(g - vec_exp<T>(v) * dot) : Vec<T>(v * (g - dot)), n - i);
  }
}

/// body(offset, columns) for each vector of columns of (outer, n, inner).
template <class T, class Body>
void each_softmax_column(int64_t outer, int64_t n, int64_t inner, Body&& body) {
  constexpr int64_t kLane = kLanes<T>;
  const int64_t vectors = (inner + kLane - 1) / kLane;
  parallel_for(outer * vectors, (std::max)(int64_t(1), 512 / n), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t column = k % vectors * kLane;
      body(k / vectors * n * inner + column, (std::min)(kLane, inner - column));
    }
  });
}

}  // namespace detail

template <class T>
void softmax(const Softmax<T>& p) {
  if (p.outer * p.n * p.inner == 0) return;
  if (p.inner != 1)
    return detail::each_softmax_column<T>(p.outer, p.n, p.inner, [&](int64_t at, int64_t columns) {
      detail::softmax_columns(p.x + at, p.y + at, p.n, p.inner, columns, p.logarithm);
    });
  if (p.n <= detail::kShortRow)
    return detail::each_turned_row<T>({p.x}, p.y, p.outer, p.n, [&](T* x, T*) {
      detail::softmax_columns(x, x, p.n, kLanes<T>, kLanes<T>, p.logarithm);
    });
  parallel_for(p.outer, (std::max)(int64_t(1), 4096 / p.n), [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) detail::softmax_row(p.x + o * p.n, p.y + o * p.n, p.n, p.logarithm);
  });
}
CLEARSKY_COMPILE_ONCE(softmax)

template <class T>
void softmax_backward(const SoftmaxBackward<T>& p) {
  if (p.outer * p.n * p.inner == 0) return;
  if (p.inner != 1)
    return detail::each_softmax_column<T>(p.outer, p.n, p.inner, [&](int64_t at, int64_t columns) {
      detail::softmax_columns_backward(p.y + at, p.dy + at, p.dx + at, p.n, p.inner, columns, p.logarithm);
    });
  if (p.n <= detail::kShortRow)
    return detail::each_turned_row<T>({p.dy, p.y}, p.dx, p.outer, p.n, [&](T* dy, T* y) {
      detail::softmax_columns_backward(y, dy, dy, p.n, kLanes<T>, kLanes<T>, p.logarithm);
    });
  parallel_for(p.outer, (std::max)(int64_t(1), 4096 / p.n), [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o)
      detail::softmax_row_backward(p.y + o * p.n, p.dy + o * p.n, p.dx + o * p.n, p.n, p.logarithm);
  });
}
CLEARSKY_COMPILE_ONCE(softmax_backward)

}  // namespace clearsky::cpu

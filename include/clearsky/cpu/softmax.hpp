#pragma once
// Softmax and its logarithm along the middle dimension of a dense (outer, n, inner) array.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "clearsky/core/threads.hpp"
#include "clearsky/cpu/simd_math.hpp"

namespace clearsky::cpu {

///     y_i = e^(x_i - m) / s   or its logarithm x_i - m - log s,    m = max_j x_j,  s = sum_j e^(x_j - m)
template <class T>
struct Softmax {
  const T* x;  // (outer, n, inner)
  T* y;        // (outer, n, inner)  written
  int64_t outer, n, inner;
  bool logarithm;
};

namespace detail {

/// One row of n neighbours.
template <class T>
void softmax_row(const T* x, T* y, int64_t n, bool logarithm) {
  constexpr int64_t kLane = kLanes<T>;
  T top = -std::numeric_limits<T>::infinity();
  for (int64_t i = 0; i < n; ++i) top = x[i] > top ? x[i] : top;  // passes a NaN by; the sum below takes it up
  Vec<T> total{};
  for (int64_t i = 0; i < n; i += kLane) {
    const int64_t left = n - i;
    const Vec<T> e = vec_exp<T>(load_partial(x + i, left) - top);
    if (left >= kLane) {
      total += e;
    } else {
      T lanes[kLane] = {};
      store_partial(lanes, e, left);
      total += load(lanes);
    }
    if (!logarithm) store_partial(y + i, e, left);
  }
  const T s = sum_lanes<T>(total);
  const T log_s = logarithm ? vec_log<T>(splat(s))[0] : T(0);
  for (int64_t i = 0; i < n; i += kLane) {
    const int64_t left = n - i;
    if (logarithm) store_partial(y + i, (load_partial(x + i, left) - top) - log_s, left);
    else store_partial(y + i, load_partial(y + i, left) / s, left);
  }
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

}  // namespace detail

template <class T>
void softmax(const Softmax<T>& p) {
  if (p.outer * p.n * p.inner == 0) return;
  if (p.inner == 1) {
    parallel_for(p.outer, (std::max)(int64_t(1), 4096 / p.n), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) detail::softmax_row(p.x + o * p.n, p.y + o * p.n, p.n, p.logarithm);
    });
    return;
  }
  constexpr int64_t kLane = kLanes<T>;
  const int64_t vectors = (p.inner + kLane - 1) / kLane;
  parallel_for(p.outer * vectors, (std::max)(int64_t(1), 512 / p.n), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t column = k % vectors * kLane, at = k / vectors * p.n * p.inner + column;
      detail::softmax_columns(p.x + at, p.y + at, p.n, p.inner, (std::min)(kLane, p.inner - column), p.logarithm);
    }
  });
}

}  // namespace clearsky::cpu

#pragma once
// Elementwise kernels: y[i] = f(a[i], b[i], ...) with broadcasting, for a dense output.

#include <algorithm>
#include <array>
#include <cstdint>

#include "clearsky/core/shape.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/cpu/simd.hpp"

namespace clearsky::cpu {

/// N inputs seen through strides that fit the output's shape; a broadcast dimension has stride 0.
template <class T, class F, size_t N>
struct Map {
  F f;                           // called with N Vec<T>, returns a Vec<T>
  std::array<const T*, N> x;     // first element of each input
  std::array<Shape, N> strides;  // in elements, one per dimension of shape
  T* y;                          // (shape), dense, written; may be the same memory as a dense input
  Shape shape;
};

namespace detail {

/// Elements per block: large enough to hide the cost of handing out a block, small enough to balance two threads.
inline constexpr int64_t kMapGrain = 16384;

/// Drops dimensions of size 1 and joins neighbours that every input walks as one.
template <class T, class F, size_t N>
void join_dimensions(Map<T, F, N>& p) {
  Shape shape;
  std::array<Shape, N> strides;
  for (size_t d = 0; d < p.shape.size(); ++d) {
    if (p.shape[d] == 1) continue;
    bool joins = !shape.empty();
    for (size_t k = 0; joins && k < N; ++k) joins = strides[k].back() == p.strides[k][d] * p.shape[d];
    if (joins) {
      shape[shape.size() - 1] *= p.shape[d];
      for (size_t k = 0; k < N; ++k) strides[k][shape.size() - 1] = p.strides[k][d];
    } else {
      shape.push_back(p.shape[d]);
      for (size_t k = 0; k < N; ++k) strides[k].push_back(p.strides[k][d]);
    }
  }
  if (shape.empty()) {
    shape.push_back(1);
    for (size_t k = 0; k < N; ++k) strides[k].push_back(0);
  }
  p.shape = shape;
  p.strides = strides;
}

template <class T>
inline Vec<T> load_strided(const T* x, int64_t stride, int64_t count) {
  if (stride == 1) return load_partial(x, count);
  if (stride == 0) return splat(*x);
  T lanes[kLanes<T>] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = x[i * stride];
  return load(lanes);
}

/// One row: y[i] = f(x[k][i * step[k]] ...), i < count.
template <class T, class F, size_t N, size_t... K>
inline void map_row(const F& f, const std::array<const T*, N>& x, const std::array<int64_t, N>& step, T* y,
                    int64_t count, std::index_sequence<K...>) {
  constexpr int64_t kStep = kLanes<T>;
  int64_t i = 0;
  if (((step[K] == 1) && ...)) {
    for (; i + kStep <= count; i += kStep) store(y + i, Vec<T>(f(load(x[K] + i)...)));
  }
  for (; i < count; i += kStep) {
    const int64_t left = (std::min)(kStep, count - i);
    store_partial(y + i, Vec<T>(f(load_strided(x[K] + i * step[K], step[K], left)...)), left);
  }
}

}  // namespace detail

template <class T, class F, size_t N>
void map(const Map<T, F, N>& given) {
  if (given.shape.numel() == 0) return;
  Map<T, F, N> p = given;
  detail::join_dimensions(p);
  const int64_t width = p.shape.back(), rows = p.shape.numel() / width;
  std::array<int64_t, N> step;
  for (size_t k = 0; k < N; ++k) step[k] = p.strides[k].back();

  if (rows == 1) {
    parallel_for(width, detail::kMapGrain, [&](int64_t begin, int64_t end) {
      std::array<const T*, N> x = p.x;
      for (size_t k = 0; k < N; ++k) x[k] += begin * step[k];
      detail::map_row(p.f, x, step, p.y + begin, end - begin, std::make_index_sequence<N>());
    });
    return;
  }
  parallel_for(rows, (std::max)(int64_t(1), detail::kMapGrain / width), [&](int64_t begin, int64_t end) {
    const size_t outer = p.shape.size() - 1;
    // The position of row `begin`, then counted up row by row.
    Shape index = Shape::filled(int64_t(outer), 0);
    std::array<const T*, N> x = p.x;
    for (int64_t d = int64_t(outer) - 1, rest = begin; d >= 0; --d) {
      index[size_t(d)] = rest % p.shape[size_t(d)];
      rest /= p.shape[size_t(d)];
      for (size_t k = 0; k < N; ++k) x[k] += index[size_t(d)] * p.strides[k][size_t(d)];
    }
    for (int64_t row = begin; row < end; ++row) {
      detail::map_row(p.f, x, step, p.y + row * width, width, std::make_index_sequence<N>());
      for (size_t d = outer; d-- > 0;) {
        for (size_t k = 0; k < N; ++k) x[k] += p.strides[k][d];
        if (++index[d] < p.shape[d]) break;
        for (size_t k = 0; k < N; ++k) x[k] -= p.strides[k][d] * p.shape[d];
        index[d] = 0;
      }
    }
  });
}

}  // namespace clearsky::cpu

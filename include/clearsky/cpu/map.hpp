#pragma once
// Elementwise kernels: y[i] = f(a[i], b[i], ...) with broadcasting, for a dense output.

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

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

template <class T>
inline Vec<T> load_strided(const T* x, int64_t stride, int64_t count) {
  if (stride == 1) return load_partial(x, count);
  if (stride == 0) return splat(*x);
  T lanes[kLanes<T>] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = x[i * stride];
  return load(lanes);
}

/// One row: y[i] = f(x[k][i * step[k]] ...), i < count. `f` points to an F.
template <class T, class F, size_t N, size_t... K>
void map_row(const void* raw, const std::array<const T*, N>& x, const std::array<int64_t, N>& step, T* y,
             int64_t count) {
  const F& f = *static_cast<const F*>(raw);
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
template <class T, class F, size_t N, size_t... K>
constexpr auto map_row_of(std::index_sequence<K...>) {
  return &map_row<T, F, N, K...>;
}

/// The walk over the rows. It does not know the function, so that it is compiled once for all of them.
template <class T, size_t N>
struct MapWalk {
  using Row = void (*)(const void*, const std::array<const T*, N>&, const std::array<int64_t, N>&, T*, int64_t);
  const void* f;
  Row map_row;
  std::array<const T*, N> x;
  std::array<Shape, N> strides;
  T* y;
  Shape shape;

  void join_dimensions();
  void run();
};

/// Drops dimensions of size 1 and joins neighbours that every input walks as one.
template <class T, size_t N>
void MapWalk<T, N>::join_dimensions() {
  Shape joined;
  std::array<Shape, N> steps;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == 1) continue;
    bool joins = !joined.empty();
    for (size_t k = 0; joins && k < N; ++k) joins = steps[k].back() == strides[k][d] * shape[d];
    if (joins) {
      const size_t last = joined.size() - 1;
      joined[last] *= shape[d];
      for (size_t k = 0; k < N; ++k) steps[k][last] = strides[k][d];
    } else {
      joined.push_back(shape[d]);
      for (size_t k = 0; k < N; ++k) steps[k].push_back(strides[k][d]);
    }
  }
  if (joined.empty()) {
    joined.push_back(1);
    for (size_t k = 0; k < N; ++k) steps[k].push_back(0);
  }
  shape = joined;
  strides = steps;
}

template <class T, size_t N>
void MapWalk<T, N>::run() {
  join_dimensions();
  const int64_t width = shape.back(), rows = shape.numel() / width;
  std::array<int64_t, N> step;
  for (size_t k = 0; k < N; ++k) step[k] = strides[k].back();

  if (rows == 1) {
    parallel_for(width, kMapGrain, [&](int64_t begin, int64_t end) {
      std::array<const T*, N> at = x;
      for (size_t k = 0; k < N; ++k) at[k] += begin * step[k];
      map_row(f, at, step, y + begin, end - begin);
    });
    return;
  }
  parallel_for(rows, (std::max)(int64_t(1), kMapGrain / width), [&](int64_t begin, int64_t end) {
    const size_t outer = shape.size() - 1;
    // The position of row `begin`, then counted up row by row.
    Shape index = Shape::filled(int64_t(outer), 0);
    std::array<const T*, N> at = x;
    int64_t rest = begin;
    for (size_t d = outer; d-- > 0;) {
      index[d] = rest % shape[d];
      rest /= shape[d];
      for (size_t k = 0; k < N; ++k) at[k] += index[d] * strides[k][d];
    }
    for (int64_t row = begin; row < end; ++row) {
      map_row(f, at, step, y + row * width, width);
      for (size_t d = outer; d-- > 0;) {
        for (size_t k = 0; k < N; ++k) at[k] += strides[k][d];
        if (++index[d] < shape[d]) break;
        for (size_t k = 0; k < N; ++k) at[k] -= strides[k][d] * shape[d];
        index[d] = 0;
      }
    }
  });
}

}  // namespace detail

template <class T, class F, size_t N>
void map(const Map<T, F, N>& p) {
  if (p.shape.numel() == 0) return;
  detail::MapWalk<T, N>{&p.f, detail::map_row_of<T, F, N>(std::make_index_sequence<N>()), p.x, p.strides, p.y, p.shape}
      .run();
}

}  // namespace clearsky::cpu

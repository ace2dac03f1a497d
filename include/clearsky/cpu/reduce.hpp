#pragma once
// Reductions over the middle dimension of a dense (outer, n, inner) array. Sums are cut into blocks whose borders
// depend on the sizes alone and are added in the order of the blocks.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/core/memory.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/cpu/simd.hpp"

namespace clearsky::cpu {

template <class T>
struct Sum {
  const T* x;  // (outer, n, inner)
  T* y;        // (outer, inner)  written
  int64_t outer, n, inner;
};

namespace detail {

/// The sum of n values side by side: four vectors in turn, lanes halves first, blocks of 4096 in double.
template <class T>
double sum_row(const T* x, int64_t n) {
  constexpr int64_t kLane = kLanes<T>, kBlock = 4096;
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = (std::min)(n, begin + kBlock);
    Vec<T> a{}, b{}, c{}, d{};
    int64_t i = begin;
    for (; i + 4 * kLane <= end; i += 4 * kLane) {
      a += load(x + i);
      b += load(x + i + kLane);
      c += load(x + i + 2 * kLane);
      d += load(x + i + 3 * kLane);
    }
    for (; i < end; i += kLane) a += load_partial(x + i, end - i);
    total += double(sum_lanes<T>((a + b) + (c + d)));
  }
  return total;
}

/// y[c] = sum over rows of x[r, c]: at most kRows at a time in T, then in double.
template <class T>
void sum_columns(const T* x, int64_t rows, int64_t cols, int64_t row_stride, double* y) {
  constexpr int64_t kLane = kLanes<T>, kRows = 64;
  std::fill_n(y, cols, 0.0);
  for (int64_t begin = 0; begin < rows; begin += kRows) {
    const int64_t end = (std::min)(rows, begin + kRows);
    for (int64_t c = 0; c < cols; c += kLane) {
      const int64_t left = (std::min)(kLane, cols - c);
      Vec<T> a{};
      if (left == kLane)
        for (int64_t r = begin; r < end; ++r) a += load(x + r * row_stride + c);
      else
        for (int64_t r = begin; r < end; ++r) a += load_partial(x + r * row_stride + c, left);
      for (int64_t i = 0; i < left; ++i) y[c + i] += double(a[i]);
    }
  }
}

}  // namespace detail

template <class T>
void sum(const Sum<T>& p) {
  if (p.outer * p.inner == 0) return;
  if (p.inner == 1) {
    constexpr int64_t kBlock = 65536;
    if (p.outer == 1 && p.n > kBlock) {
      *p.y = T(parallel_sum<double>(
          p.n, kBlock, [&](int64_t begin, int64_t end) { return detail::sum_row(p.x + begin, end - begin); }));
      return;
    }
    parallel_for(p.outer, (std::max)(int64_t(1), 32768 / (p.n + 1)), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) p.y[o] = T(detail::sum_row(p.x + o * p.n, p.n));
    });
    return;
  }
  // Columns: each outer part is cut into chunks of rows.
  const int64_t rows = (std::max)(int64_t(64), 32768 / p.inner);
  const int64_t chunks = (std::max)(int64_t(1), (p.n + rows - 1) / rows);
  Scratch<double> parts(p.outer * chunks * p.inner);
  parallel_for(p.outer * chunks, (std::max)(int64_t(1), 16384 / (p.inner * (std::min)(rows, p.n + 1))),
               [&](int64_t begin, int64_t end) {
                 for (int64_t k = begin; k < end; ++k) {
                   const int64_t o = k / chunks, first = k % chunks * rows, last = (std::min)(p.n, first + rows);
                   detail::sum_columns(p.x + (o * p.n + first) * p.inner, last - first, p.inner, p.inner,
                                       parts.data() + k * p.inner);
                 }
               });
  for (int64_t o = 0; o < p.outer; ++o)
    for (int64_t c = 0; c < p.inner; ++c) {
      double total = 0;
      for (int64_t k = 0; k < chunks; ++k) total += parts[(o * chunks + k) * p.inner + c];
      p.y[o * p.inner + c] = T(total);
    }
}
CLEARSKY_COMPILE_ONCE(sum)

template <class T>
struct Extremum {
  const T* x;      // (outer, n, inner), n at least 1
  T* y;            // (outer, inner)  written
  int64_t* index;  // (outer, inner)  written: the first position along n where y was found
  int64_t outer, n, inner;
  bool largest;
};

/// A NaN wins over every number, so that it is passed on.
template <class T>
void extremum(const Extremum<T>& p) {
  parallel_for(p.outer * p.inner, (std::max)(int64_t(1), 16384 / p.n), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const T* x = p.x + k / p.inner * p.n * p.inner + k % p.inner;
      T best = x[0];
      int64_t at = 0;
      for (int64_t i = 1; i < p.n && !(best != best); ++i) {
        const T v = x[i * p.inner];
        if (v != v || (p.largest ? v > best : v < best)) {
          best = v;
          at = i;
        }
      }
      p.y[k] = best;
      p.index[k] = at;
    }
  });
}
CLEARSKY_COMPILE_ONCE(extremum)

/// Between (outer, n, inner) and (outer, inner), along positions: `put` writes x at index and 0 elsewhere, `take` reads
/// x at index.
template <class T>
struct AlongIndex {
  const T* x;            // put: (outer, inner); take: (outer, n, inner)
  const int64_t* index;  // (outer, inner)
  T* y;                  // put: (outer, n, inner) written; take: (outer, inner) written
  int64_t outer, n, inner;
};

template <class T>
void put_along_index(const AlongIndex<T>& p) {
  for (int64_t o = 0; o < p.outer; ++o) {
    std::fill_n(p.y + o * p.n * p.inner, p.n * p.inner, T(0));
    for (int64_t c = 0; c < p.inner; ++c)
      p.y[(o * p.n + p.index[o * p.inner + c]) * p.inner + c] = p.x[o * p.inner + c];
  }
}
CLEARSKY_COMPILE_ONCE(put_along_index)
template <class T>
void take_along_index(const AlongIndex<T>& p) {
  for (int64_t o = 0; o < p.outer; ++o)
    for (int64_t c = 0; c < p.inner; ++c)
      p.y[o * p.inner + c] = p.x[(o * p.n + p.index[o * p.inner + c]) * p.inner + c];
}
CLEARSKY_COMPILE_ONCE(take_along_index)

}  // namespace clearsky::cpu

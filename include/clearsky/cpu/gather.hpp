#pragma once
// Reading along one dimension at given positions, and adding to them, which is its gradient.

#include <algorithm>
#include <cstdint>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/core/threads.hpp"

namespace clearsky::cpu {

/// y[o, j, i] = x[o, index, i] or y[o, index, i] += x[o, j, i], index = index[o index_outer + j index_middle + i
/// index_inner]. A stride of 0 uses one index for all.
template <class T>
struct Gather {
  const T* x;            // gather: (outer, n, inner); scatter_add: (outer, m, inner)
  const int64_t* index;  // each 0 to n - 1
  T* y;                  // gather: (outer, m, inner); scatter_add: (outer, n, inner); written
  int64_t outer, n, m, inner;
  int64_t index_outer, index_middle, index_inner;
};

namespace detail {

/// Calls body(o, begin, end) for pieces [begin, end) of the inner dimension: no two pieces touch the same elements.
template <class T, class Body>
inline void each_gather_piece(const Gather<T>& p, const Body& body) {
  constexpr int64_t kPiece = 256;
  const int64_t pieces = (p.inner + kPiece - 1) / kPiece;
  const int64_t work = (p.m + 1) * (std::min)(p.inner, kPiece);
  parallel_for(p.outer * pieces, (std::max)(int64_t(1), 16384 / (work + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t first = k % pieces * kPiece;
      body(k / pieces, first, (std::min)(p.inner, first + kPiece));
    }
  });
}

}  // namespace detail

template <class T>
void gather(const Gather<T>& p) {
  detail::each_gather_piece(p, [&](int64_t o, int64_t begin, int64_t end) {
    for (int64_t j = 0; j < p.m; ++j) {
      const int64_t* index = p.index + o * p.index_outer + j * p.index_middle;
      T* y = p.y + (o * p.m + j) * p.inner;
      for (int64_t i = begin; i < end; ++i) y[i] = p.x[(o * p.n + index[i * p.index_inner]) * p.inner + i];
    }
  });
}
CLEARSKY_COMPILE_ONCE(gather)

/// Adds in the order of j, so that the same positions give the same bits.
template <class T>
void scatter_add(const Gather<T>& p) {
  detail::each_gather_piece(p, [&](int64_t o, int64_t begin, int64_t end) {
    for (int64_t k = 0; k < p.n; ++k)
      std::fill(p.y + (o * p.n + k) * p.inner + begin, p.y + (o * p.n + k) * p.inner + end, T(0));
    for (int64_t j = 0; j < p.m; ++j) {
      const int64_t* index = p.index + o * p.index_outer + j * p.index_middle;
      const T* x = p.x + (o * p.m + j) * p.inner;
      for (int64_t i = begin; i < end; ++i) p.y[(o * p.n + index[i * p.index_inner]) * p.inner + i] += x[i];
    }
  });
}
CLEARSKY_COMPILE_ONCE(scatter_add)

}  // namespace clearsky::cpu

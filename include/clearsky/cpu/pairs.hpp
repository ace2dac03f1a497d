#pragma once
// Products whose factors are rounded to bfloat16 (Autocast) and whose sums are float. Two neighbours along the sum lie
// in one word, the first in its lower half, as AVX512-BF16 multiplies them, at twice the rate of a multiply-add in
// float: per lane
//
//     sum += b.second a.second,   sum += b.first a.first
//
// A sum of odd length ends with a 0 on both sides. A word is as wide as a float, so that the tile of tile.hpp takes
// either: a product of pairs is one of floats with half the steps.
//
// Factors are rounded to nearest, ties to even; NaN stays NaN, and what is above the largest bfloat16 becomes infinite.
// The instruction reads and writes denormal numbers, below 1.2e-38, as 0. Without it the same products are taken in
// float: as accurate, and slower than without rounding.

#include <cstdint>
#include <type_traits>
#include <utility>

#include "clearsky/core/device.hpp"
#include "clearsky/cpu/simd.hpp"

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && !defined(__CUDACC__)
#define CLEARSKY_PAIRS_IN_HARDWARE
#endif

namespace clearsky::cpu::detail {

/// Whether products in T take pairs. Read it before a parallel loop: the loop's threads have a precision of their own.
template <class T>
bool takes_pairs() {
  return std::is_same_v<T, float> && product_precision() == Precision::bfloat16;
}

using Pair = uint32_t;
using VecPair = Vec<Pair>;

/// Words of a sum of `count` factors.
inline constexpr int64_t pair_count(int64_t count) {
  return (count + 1) / 2;
}
/// The same in whole vectors.
inline constexpr int64_t pair_lanes(int64_t count) {
  return (pair_count(count) + kLanes<Pair> - 1) / kLanes<Pair> * kLanes<Pair>;
}

/// v in the upper halves, rounded; the lower halves are 0.
inline VecPair round_to_upper(Vec<float> v) {
  const VecPair bits = reinterpret_cast<VecPair>(v);
  const VecPair rounded = bits + 0x7fff + (bits >> 16 & 1);
  return (v != v ? (bits | 0x400000) : rounded) & 0xffff0000;
}

/// Words of the lanes of two vectors: first(i) in the lower half of word i, second(i) in the upper.
inline VecPair pair_up(Vec<float> first, Vec<float> second) {
#if defined(CLEARSKY_PAIRS_IN_HARDWARE)
  const auto both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first));
  const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                              6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return reinterpret_cast<VecPair>(_mm512_maskz_permutexvar_epi16(__mmask32(-1), interleave, both));
#else
  return round_to_upper(first) >> 16 | round_to_upper(second);
#endif
}

template <int64_t... Lane>
inline VecPair pair_neighbours(Vec<float> a, Vec<float> b, std::integer_sequence<int64_t, Lane...>) {
  return pair_up(shuffle<float, 2 * Lane...>(a, b), shuffle<float, (2 * Lane + 1)...>(a, b));
}
/// Words of two vectors one after the other: lanes 0 and 1 of a in word 0, and so on.
inline VecPair pair_neighbours(Vec<float> a, Vec<float> b) {
#if defined(CLEARSKY_PAIRS_IN_HARDWARE)
  return reinterpret_cast<VecPair>(_mm512_cvtne2ps_pbh(b, a));
#else
  return pair_neighbours(a, b, std::make_integer_sequence<int64_t, kLanes<float> >{});
#endif
}

/// The products of a step, lane by lane; a step of a sum of floats is one product.
inline Vec<float> multiply_add(Vec<float> sum, VecPair b, VecPair a) {
#if defined(CLEARSKY_PAIRS_IN_HARDWARE)
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(b), reinterpret_cast<__m512bh>(a));
#else
  const auto upper = [](VecPair v) { return reinterpret_cast<Vec<float> >(v & 0xffff0000); };
  sum += upper(b) * upper(a);
  return sum + upper(b << 16) * upper(a << 16);
#endif
}
template <class V>
inline V multiply_add(V sum, V b, V a) {
  return sum + b * a;
}

/// A row of `count` floats as words, whole vectors of which are written: 0 behind the last.
inline void pair_row(const float* x, int64_t count, Pair* to) {
  constexpr int64_t kLane = kLanes<float>;
  for (; count >= 2 * kLane; count -= 2 * kLane, x += 2 * kLane, to += kLane)
    store(to, pair_neighbours(load(x), load(x + kLane)));
  if (count > 0)
    store(to, pair_neighbours(load_partial(x, count),
                              count > kLane ? load_partial(x + kLane, count - kLane) : Vec<float>{}));
}

/// Rows (rows, count) that are `step` apart, each as words along the row.
/// @param to  (rows, pair_lanes(count))  written
/// @return    words from row to row; fewer where rows lie side by side and need no filling
inline int64_t pair_along_rows(const float* x, int64_t step, int64_t rows, int64_t count, Pair* to) {
  if (step == count && count % 2 == 0) {
    pair_row(x, rows * count, to);
    return count / 2;
  }
  const int64_t words = pair_lanes(count);
  for (int64_t r = 0; r < rows; ++r) pair_row(x + r * step, count, to + r * words);
  return words;
}

/// Rows (rows, count) that are `step` apart: neighbouring rows in the words of one row. The rows behind the last are 0,
/// and so are words up to a whole vector.
/// @param to  (pair_count(rows), to_step)  written, whole vectors; may begin where x does when to_step <= step
inline void pair_across_rows(const float* x, int64_t step, int64_t rows, int64_t count, Pair* to, int64_t to_step) {
  for (int64_t r = 0; r < rows; r += 2, x += 2 * step, to += to_step)
    for (int64_t c = 0; c < count; c += kLanes<float>) {
      const Vec<float> first = load_partial(x + c, count - c);
      store(to + c, pair_up(first, r + 1 < rows ? load_partial(x + step + c, count - c) : Vec<float>{}));
    }
}

}  // namespace clearsky::cpu::detail

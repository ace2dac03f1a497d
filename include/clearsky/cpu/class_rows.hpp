#pragma once
// Softmax of one pixel's classes at a time, for the losses that are fused with it.

#include <cstdint>
#include <utility>

#include "clearsky/cpu/simd.hpp"
#include "clearsky/cpu/simd_math.hpp"
#include "clearsky/cpu/transpose.hpp"

namespace clearsky::cpu::detail {

template <int64_t By, class T, int64_t... I>
inline Vec<T> rotate_lanes(Vec<T> v, std::integer_sequence<int64_t, I...>) {
  return shuffle<T, ((I + By) % kLanes<T>)...>(v, v);
}
template <int64_t By, class T>
inline Vec<T> rotate_lanes(Vec<T> v) {
  return rotate_lanes<By, T>(v, std::make_integer_sequence<int64_t, kLanes<T>>());
}
/// The largest lane, in each lane. The rotation by `By` and by its halves reaches every lane.
template <class T, int64_t By = kLanes<T> / 2>
inline Vec<T> max_everywhere(Vec<T> v) {
  v = vec_max<T>(v, rotate_lanes<By, T>(v));
  if constexpr (By > 1) return max_everywhere<T, By / 2>(v);
  else return v;
}
/// The sum of the lanes, in each lane: the same bits in all, since addition commutes.
template <class T, int64_t By = kLanes<T> / 2>
inline Vec<T> sum_everywhere(Vec<T> v) {
  v += rotate_lanes<By, T>(v);
  if constexpr (By > 1) return sum_everywhere<T, By / 2>(v);
  else return v;
}

template <class T, int64_t... I>
inline VecInt<T> lane_numbers(std::integer_sequence<int64_t, I...>) {
  return VecInt<T>{IntOf<T>(I)...};
}
/// v in the first `count` lanes, `other` in the rest.
template <class T>
inline Vec<T> first_lanes(Vec<T> v, int64_t count, T other) {
  if (count >= kLanes<T>) return v;
  const VecInt<T> lane = lane_numbers<T>(std::make_integer_sequence<int64_t, kLanes<T>>());
  return select<T>(lane < IntOf<T>(count), v, splat<T>(other));
}

/// What softmax of a row needs: its maximum and the sum of exp(x - max), each in every lane.
template <class T>
struct RowSoftmax {
  Vec<T> max, sum;
};

/// `size` rounded up to whole vectors.
template <class T>
constexpr int64_t whole_vectors(int64_t size) {
  return (size + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

/// @param left  elements from x to the end of the array; where there are enough, whole vectors are read
/// @param e     (whole_vectors(classes))  written: exp(x - max), 0 behind the classes
template <class T>
inline RowSoftmax<T> row_softmax(const T* x, int64_t classes, int64_t left, T* e) {
  constexpr int64_t kLane = kLanes<T>;
  constexpr T kLowest = -__builtin_huge_val();
  const auto load_scores = [&](int64_t c) { return left - c >= kLane ? load(x + c) : load_partial(x + c, left - c); };
  Vec<T> top = first_lanes<T>(load_scores(0), classes, kLowest);
  for (int64_t c = kLane; c < classes; c += kLane)
    top = vec_max<T>(top, first_lanes<T>(load_scores(c), classes - c, kLowest));
  top = max_everywhere<T>(top);
  Vec<T> sum{};
  for (int64_t c = 0; c < classes; c += kLane) {
    // The lanes behind the classes are cut off after exp and not set to -infinity before: numbers below the normal
    // range, which exp passes through then, cost a hundred cycles each.
    const Vec<T> v = first_lanes<T>(vec_exp<T>(load_scores(c) - top), classes - c, T(0));
    store(e + c, v);
    sum += v;
  }
  return {top, sum_everywhere<T>(sum)};
}

/// Rows of few elements, turned so that each lane has a row: column c of up to kLanes rows at to + c * kLanes. What is
/// one number per row is then one vector, and no lane waits for the others.
/// @param left  elements from x to the end of the array; where there are enough, whole vectors are read
/// @param to    (whole_vectors(columns), kLanes)  written; 0 in the lanes of missing rows, any value behind the columns
template <class T>
inline void load_turned(const T* x, int64_t rows, int64_t columns, int64_t left, T* to) {
  constexpr int64_t kLane = kLanes<T>;
  for (int64_t c = 0; c < columns; c += kLane) {
    Vec<T> square[kLane];
    CLEARSKY_UNROLL
    for (int64_t r = 0; r < kLane; ++r) {
      const int64_t at = r * columns + c;
      square[r] = r >= rows ? Vec<T>{} : left - at >= kLane ? load(x + at) : load_partial(x + at, left - at);
    }
    transpose_square<T>(square);
    CLEARSKY_UNROLL
    for (int64_t k = 0; k < kLane; ++k) store(to + (c + k) * kLane, square[k]);
  }
}
/// The way back.
/// @param left  elements from y on that this call or a later one writes: those may be touched before their time
template <class T>
inline void store_turned(const T* from, int64_t rows, int64_t columns, int64_t left, T* y) {
  constexpr int64_t kLane = kLanes<T>;
  const auto take = [&](int64_t c, auto&& put) {
    Vec<T> square[kLane];
    CLEARSKY_UNROLL
    for (int64_t k = 0; k < kLane; ++k) square[k] = load(from + (c + k) * kLane);
    transpose_square<T>(square);
    CLEARSKY_UNROLL
    for (int64_t r = 0; r < kLane; ++r)
      if (r < rows) put(r * columns + c, square[r]);
  };
  if (columns <= kLane) {  // what spills over a row's end is written by the next row
    take(0, [&](int64_t at, Vec<T> v) {
      if (left - at >= kLane) store(y + at, v);
      else store_partial(y + at, v, left - at);
    });
    return;
  }
  for (int64_t c = 0; c < columns; c += kLane)
    take(c, [&](int64_t at, Vec<T> v) { store_partial(y + at, v, columns - c); });
}

/// Whole vectors where the `left` elements from y on have room for one; what spills is written later.
template <class T>
inline void store_inside(T* y, Vec<T> v, int64_t left) {
  if (left >= kLanes<T>) store(y, v);
  else store_partial(y, v, left);
}

}  // namespace clearsky::cpu::detail

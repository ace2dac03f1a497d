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

template <class T>
struct PieceOf {
  typedef T type __attribute__((vector_size(16)));
  typedef T unaligned __attribute__((vector_size(16), aligned(alignof(T)), may_alias));
};
template <class T>
inline typename PieceOf<T>::type load_piece(const T* p) {
  return *reinterpret_cast<const typename PieceOf<T>::unaligned*>(p);
}

/// A vector of the pieces at p, p + step, p + 2 step, ...
template <class T>
inline Vec<T> load_pieces(const T* p, int64_t step) {
  if constexpr (kVectorBytes == 16) return load(p);
  else {
    const auto pair = [=](const T* q) {
      if constexpr (sizeof(T) == 4)
        return __builtin_shufflevector(load_piece(q), load_piece(q + step), 0, 1, 2, 3, 4, 5, 6, 7);
      else return __builtin_shufflevector(load_piece(q), load_piece(q + step), 0, 1, 2, 3);
    };
    if constexpr (kVectorBytes == 32) return pair(p);
    else if constexpr (sizeof(T) == 4)
      return __builtin_shufflevector(pair(p), pair(p + 2 * step), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    else return __builtin_shufflevector(pair(p), pair(p + 2 * step), 0, 1, 2, 3, 4, 5, 6, 7);
  }
}
/// The way back.
template <class T, int64_t I = 0>
inline void store_pieces(T* p, int64_t step, Vec<T> v) {
  constexpr int64_t kP = kPiece<T>;
  auto& to = *reinterpret_cast<typename PieceOf<T>::unaligned*>(p + I * step);
  if constexpr (kVectorBytes == 16) to = v;
  else if constexpr (kP == 4) to = __builtin_shufflevector(v, v, 4 * I, 4 * I + 1, 4 * I + 2, 4 * I + 3);
  else to = __builtin_shufflevector(v, v, 2 * I, 2 * I + 1);
  if constexpr ((I + 1) * kP < kLanes<T>) store_pieces<T, I + 1>(p, step, v);
}

/// Element k of a piece of v[i] and element i of the same piece of v[k] change places.
template <class T>
inline void transpose_pieces(Vec<T> (&v)[kPiece<T>]) {
  if constexpr (kPiece<T> == 2) {
    const Vec<T> first = interleave<T, 1, false>(v[0], v[1]);
    v[1] = interleave<T, 1, true>(v[0], v[1]);
    v[0] = first;
  } else {
    const Vec<T> a = interleave<T, 1, false>(v[0], v[1]), b = interleave<T, 1, true>(v[0], v[1]);
    const Vec<T> c = interleave<T, 1, false>(v[2], v[3]), d = interleave<T, 1, true>(v[2], v[3]);
    v[0] = interleave<T, 2, false>(a, c);
    v[1] = interleave<T, 2, true>(a, c);
    v[2] = interleave<T, 2, false>(b, d);
    v[3] = interleave<T, 2, true>(b, d);
  }
}

/// body(c) for the first of kPiece columns each, all of them; the last ones may have been in the call before as well.
template <class T, class Body>
inline void each_piece(int64_t columns, const Body& body) {
  for (int64_t c = 0; c + kPiece<T> < columns; c += kPiece<T>) body(c);
  body(columns - kPiece<T>);
}

/// Rows of few elements, turned so that each lane has a row: column c of up to kLanes rows at to + c * kLanes. What is
/// one number per row is then one vector, and no lane waits for the others.
/// @param to  (columns, kLanes)  written; 0 in the lanes of missing rows
template <class T>
inline void load_turned(const T* x, int64_t rows, int64_t columns, T* to) {
  constexpr int64_t kLane = kLanes<T>, kP = kPiece<T>;
  if (rows < kLane || columns < kP) {
    for (int64_t c = 0; c < columns; ++c)
      for (int64_t r = 0; r < kLane; ++r) to[c * kLane + r] = r < rows ? x[r * columns + c] : T(0);
    return;
  }
  each_piece<T>(columns, [=](int64_t c) {
    Vec<T> square[kP];  // in piece k of vector i: row k kPiece + i
    CLEARSKY_UNROLL
    for (int64_t i = 0; i < kP; ++i) square[i] = load_pieces(x + i * columns + c, kP * columns);
    transpose_pieces<T>(square);
    CLEARSKY_UNROLL
    for (int64_t i = 0; i < kP; ++i) store(to + (c + i) * kLane, square[i]);
  });
}
/// The way back.
/// @param y  (rows, columns)  written
template <class T>
inline void store_turned(const T* from, int64_t rows, int64_t columns, T* y) {
  constexpr int64_t kLane = kLanes<T>, kP = kPiece<T>;
  if (rows < kLane || columns < kP) {
    for (int64_t c = 0; c < columns; ++c)
      for (int64_t r = 0; r < rows; ++r) y[r * columns + c] = from[c * kLane + r];
    return;
  }
  each_piece<T>(columns, [=](int64_t c) {
    Vec<T> square[kP];
    CLEARSKY_UNROLL
    for (int64_t i = 0; i < kP; ++i) square[i] = load(from + (c + i) * kLane);
    transpose_pieces<T>(square);
    CLEARSKY_UNROLL
    for (int64_t i = 0; i < kP; ++i) store_pieces(y + i * columns + c, kP * columns, square[i]);
  });
}

/// Whole vectors where the `left` elements from y on have room for one; what spills is written later.
template <class T>
inline void store_inside(T* y, Vec<T> v, int64_t left) {
  if (left >= kLanes<T>) store(y, v);
  else store_partial(y, v, left);
}

}  // namespace clearsky::cpu::detail

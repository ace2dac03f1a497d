#pragma once
// Transposes a square of vectors in registers.

#include <utility>

#include "clearsky/cpu/simd.hpp"

namespace clearsky::cpu::detail {

/// Swaps the upper right with the lower left squares of `Step` lanes in rows a and b.
template <class T, int64_t Step, int64_t... Lane>
inline void swap_squares(Vec<T>& a, Vec<T>& b, std::integer_sequence<int64_t, Lane...>) {
  constexpr int64_t kLane = kLanes<T>;
  const Vec<T> upper = shuffle<T, ((Lane & Step) == 0 ? Lane : kLane + Lane - Step)...>(a, b);
  b = shuffle<T, ((Lane & Step) == 0 ? Lane + Step : kLane + Lane)...>(a, b);
  a = upper;
}

/// rows[i][j] and rows[j][i] change places: squares within squares.
template <class T, int64_t Step = kLanes<T> / 2>
inline void transpose_square(Vec<T> (&rows)[kLanes<T>]) {
  CLEARSKY_UNROLL
  for (int64_t i = 0; i < kLanes<T>; ++i)
    if ((i & Step) == 0)
      swap_squares<T, Step>(rows[i], rows[i + Step], std::make_integer_sequence<int64_t, kLanes<T>>{});
  if constexpr (Step > 1) transpose_square<T, Step / 2>(rows);
}

/// Elements in 16 bytes: shuffles of a vector that stay within such pieces are the cheapest.
template <class T>
inline constexpr int64_t kPiece = 16 / int64_t(sizeof(T));

/// In each piece: units of `Unit` elements, in turn from a and from b, of the pieces' upper or lower halves.
template <class T, int64_t Unit, bool Upper, int64_t... Lane>
inline Vec<T> interleave(Vec<T> a, Vec<T> b, std::integer_sequence<int64_t, Lane...>) {
  constexpr int64_t kP = kPiece<T>, kFrom = Upper ? kP / 2 : 0;
  return shuffle<T, (Lane / kP * kP + kFrom + Lane % kP / (2 * Unit) * Unit + Lane % Unit +
                     (Lane / Unit % 2 == 0 ? 0 : kLanes<T>))...>(a, b);
}
template <class T, int64_t Unit, bool Upper>
inline Vec<T> interleave(Vec<T> a, Vec<T> b) {
  return interleave<T, Unit, Upper>(a, b, std::make_integer_sequence<int64_t, kLanes<T>>{});
}

}  // namespace clearsky::cpu::detail

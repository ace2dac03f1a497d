#pragma once
// Channels to pixels and back: between (N, H, W, C r r) and (N, H r, W r, C).

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/cpu/simd.hpp"

namespace clearsky::cpu {

/// Sizes are those of the low-resolution side for both directions.
template <class T>
struct PixelShuffle {
  const T* x;  // shuffle: (batch, height, width, channels r r); unshuffle: (batch, height r, width r, channels)
  T* y;        // the other one; written
  int64_t batch, height, width, channels;
  int64_t factor;  // r
};

namespace detail {

// Of two vectors side by side: their even lanes, their odd lanes; or the first or second half of the two interleaved.
template <class T, int64_t... I>
inline Vec<T> even_lanes(Vec<T> a, Vec<T> b, std::integer_sequence<int64_t, I...>) {
  return shuffle<T, (2 * I)...>(a, b);
}
template <class T, int64_t... I>
inline Vec<T> odd_lanes(Vec<T> a, Vec<T> b, std::integer_sequence<int64_t, I...>) {
  return shuffle<T, (2 * I + 1)...>(a, b);
}
template <class T, int64_t... I>
inline Vec<T> interleave_low(Vec<T> a, Vec<T> b, std::integer_sequence<int64_t, I...>) {
  return shuffle<T, (I % 2 * kLanes<T> + I / 2)...>(a, b);
}
template <class T, int64_t... I>
inline Vec<T> interleave_high(Vec<T> a, Vec<T> b, std::integer_sequence<int64_t, I...>) {
  return shuffle<T, (I % 2 * kLanes<T> + kLanes<T> / 2 + I / 2)...>(a, b);
}

/// The four pixels of one 2x2 block: low[4 c + 2 i + j] <-> high[i][j][c]. `row` is the step from i to i + 1 in high.
template <class T>
inline void shuffle_block_2(const T* low, T* high, int64_t channels, int64_t row) {
  constexpr int64_t kLane = kLanes<T>;
  int64_t c = 0;
  if constexpr (std::is_floating_point_v<T>) {
    constexpr std::make_integer_sequence<int64_t, kLane> lanes{};
    for (; c + kLane <= channels; c += kLane) {
      const T* in = low + 4 * c;
      const Vec<T> a = load(in), b = load(in + kLane), d = load(in + 2 * kLane), e = load(in + 3 * kLane);
      // j = 0 with both i in turn, then j = 1.
      const Vec<T> left_low = even_lanes<T>(a, b, lanes), left_high = even_lanes<T>(d, e, lanes);
      const Vec<T> right_low = odd_lanes<T>(a, b, lanes), right_high = odd_lanes<T>(d, e, lanes);
      store(high + c, even_lanes<T>(left_low, left_high, lanes));
      store(high + channels + c, even_lanes<T>(right_low, right_high, lanes));
      store(high + row + c, odd_lanes<T>(left_low, left_high, lanes));
      store(high + row + channels + c, odd_lanes<T>(right_low, right_high, lanes));
    }
  }
  for (; c < channels; ++c) {
    high[c] = low[4 * c];
    high[channels + c] = low[4 * c + 1];
    high[row + c] = low[4 * c + 2];
    high[row + channels + c] = low[4 * c + 3];
  }
}

template <class T>
inline void unshuffle_block_2(const T* high, T* low, int64_t channels, int64_t row) {
  constexpr int64_t kLane = kLanes<T>;
  int64_t c = 0;
  if constexpr (std::is_floating_point_v<T>) {
    constexpr std::make_integer_sequence<int64_t, kLane> lanes{};
    for (; c + kLane <= channels; c += kLane) {
      const Vec<T> p00 = load(high + c), p01 = load(high + channels + c);
      const Vec<T> p10 = load(high + row + c), p11 = load(high + row + channels + c);
      const Vec<T> left_low = interleave_low<T>(p00, p10, lanes), left_high = interleave_high<T>(p00, p10, lanes);
      const Vec<T> right_low = interleave_low<T>(p01, p11, lanes), right_high = interleave_high<T>(p01, p11, lanes);
      T* out = low + 4 * c;
      store(out, interleave_low<T>(left_low, right_low, lanes));
      store(out + kLane, interleave_high<T>(left_low, right_low, lanes));
      store(out + 2 * kLane, interleave_low<T>(left_high, right_high, lanes));
      store(out + 3 * kLane, interleave_high<T>(left_high, right_high, lanes));
    }
  }
  for (; c < channels; ++c) {
    low[4 * c] = high[c];
    low[4 * c + 1] = high[channels + c];
    low[4 * c + 2] = high[row + c];
    low[4 * c + 3] = high[row + channels + c];
  }
}

/// Calls body(low, high) with the offsets of each low-resolution pixel and of its r x r block.
template <class T, class Body>
inline void each_block(const PixelShuffle<T>& p, const Body& body) {
  const int64_t r = p.factor, low_row = p.width * p.channels * r * r;
  if (p.batch * p.height * low_row == 0) return;
  parallel_for(p.batch * p.height, (std::max)(int64_t(1), 16384 / low_row), [&](int64_t begin, int64_t end) {
    // Row h of the low-resolution side has as many elements as its r rows on the other side: both start at the same
    // offset.
    for (int64_t h = begin; h < end; ++h)
      for (int64_t w = 0; w < p.width; ++w)
        body(h * low_row + w * p.channels * r * r, h * low_row + w * p.channels * r);
  });
}

}  // namespace detail

/// y[n, h r + i, w r + j, c] = x[n, h, w, c r r + i r + j]
template <class T>
void pixel_shuffle(const PixelShuffle<T>& p) {
  const int64_t r = p.factor, row = p.width * r * p.channels;
  detail::each_block(p, [&](int64_t low, int64_t high) {
    if (r == 2) return detail::shuffle_block_2(p.x + low, p.y + high, p.channels, row);
    for (int64_t i = 0; i < r; ++i)
      for (int64_t j = 0; j < r; ++j)
        for (int64_t c = 0; c < p.channels; ++c)
          p.y[high + i * row + j * p.channels + c] = p.x[low + (c * r + i) * r + j];
  });
}
CLEARSKY_COMPILE_ONCE(pixel_shuffle)

/// The inverse: y[n, h, w, c r r + i r + j] = x[n, h r + i, w r + j, c]
template <class T>
void pixel_unshuffle(const PixelShuffle<T>& p) {
  const int64_t r = p.factor, row = p.width * r * p.channels;
  detail::each_block(p, [&](int64_t low, int64_t high) {
    if (r == 2) return detail::unshuffle_block_2(p.x + high, p.y + low, p.channels, row);
    for (int64_t i = 0; i < r; ++i)
      for (int64_t j = 0; j < r; ++j)
        for (int64_t c = 0; c < p.channels; ++c)
          p.y[low + (c * r + i) * r + j] = p.x[high + i * row + j * p.channels + c];
  });
}
CLEARSKY_COMPILE_ONCE(pixel_unshuffle)

}  // namespace clearsky::cpu

#pragma once
// Pooling: the maximum or the mean over windows of an image.

#include <algorithm>
#include <cstdint>
#include <limits>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/separable.hpp"

namespace clearsky::cpu {

/// Windows of window x window pixels, `stride` apart, over an image with `padding` pixels around it.
struct PoolSizes {
  int64_t batch, height, width, channels;
  int64_t out_height, out_width;
  int64_t window, stride, padding;
};

template <class T>
struct MaxPool {
  const T* x;      // (batch, height, width, channels)
  T* y;            // (batch, out_height, out_width, channels)  written
  int64_t* index;  // (batch, out_height, out_width, channels)  written: the pixel h width + w that y was taken from
  PoolSizes s;
};

/// Between an image and its pooled values, along MaxPool's index: `scatter` is the gradient of the maximum, `take` that
/// of scatter.
template <class T>
struct MaxPoolRoute {
  const T* x;            // scatter: (batch, out_height, out_width, channels); take: (batch, height, width, channels)
  const int64_t* index;  // (batch, out_height, out_width, channels)
  T* y;                  // the other one; written
  PoolSizes s;
};

template <class T>
struct AvgPool {
  const T* x;  // forward: (batch, height, width, channels); transpose: (batch, out_height, out_width, channels)
  T* y;        // the other one; written
  PoolSizes s;
};

/// Pixels outside the image never win. The first of equal maxima wins, and a NaN over every number.
template <class T>
void max_pool(const MaxPool<T>& p) {
  constexpr int64_t kLane = kLanes<T>;
  const PoolSizes& s = p.s;
  const int64_t row = s.out_width * s.channels;
  if (s.batch * s.out_height * row == 0) return;
  const int64_t grain = (std::max)(int64_t(1), 16384 / (row * s.window * s.window));
  parallel_for(s.batch * s.out_height, grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const T* image = p.x + r / s.out_height * s.height * s.width * s.channels;
      const int64_t top = r % s.out_height * s.stride - s.padding;
      const int64_t h0 = (std::max)(int64_t(0), top), h1 = (std::min)(s.height, top + s.window);
      for (int64_t ow = 0; ow < s.out_width; ++ow) {
        const int64_t left = ow * s.stride - s.padding;
        const int64_t w0 = (std::max)(int64_t(0), left), w1 = (std::min)(s.width, left + s.window);
        const int64_t out = (r * s.out_width + ow) * s.channels;
        for (int64_t c = 0; c < s.channels; c += kLane) {
          const int64_t lanes = (std::min)(kLane, s.channels - c);
          using Index = detail::IntOf<T>;
          Vec<T> best = splat(-std::numeric_limits<T>::infinity());
          VecInt<T> at = VecInt<T>{} + Index(h0 * s.width + w0);
          for (int64_t h = h0; h < h1; ++h)
            for (int64_t w = w0; w < w1; ++w) {
              const Vec<T> v = load_partial(image + (h * s.width + w) * s.channels + c, lanes);
              const VecInt<T> wins = (v > best) | ((v != v) & (best == best));
              best = select<T>(wins, v, best);
              at = wins ? VecInt<T>{} + Index(h * s.width + w) : at;
            }
          store_partial(p.y + out + c, best, lanes);
          for (int64_t k = 0; k < lanes; ++k) p.index[out + c + k] = int64_t(at[k]);
        }
      }
    }
  });
}
CLEARSKY_COMPILE_ONCE(max_pool)

/// Each pixel gathers from the windows that cover it and were won by it.
template <class T>
void max_pool_scatter(const MaxPoolRoute<T>& p) {
  const PoolSizes& s = p.s;
  const int64_t row = s.width * s.channels;
  if (s.batch * s.height * row == 0) return;
  // Windows o with o stride - padding <= i < o stride - padding + window.
  const auto first = [&](int64_t i) {
    const int64_t over = i + s.padding - s.window;
    return over < 0 ? int64_t(0) : over / s.stride + 1;
  };
  const auto last = [&](int64_t i, int64_t count) { return (std::min)(count - 1, (i + s.padding) / s.stride); };
  parallel_for(s.batch * s.height, (std::max)(int64_t(1), 16384 / row), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t n = r / s.height, h = r % s.height;
      for (int64_t w = 0; w < s.width; ++w) {
        T* y = p.y + r * row + w * s.channels;
        std::fill_n(y, s.channels, T(0));
        for (int64_t oh = first(h); oh <= last(h, s.out_height); ++oh)
          for (int64_t ow = first(w); ow <= last(w, s.out_width); ++ow) {
            const int64_t out = ((n * s.out_height + oh) * s.out_width + ow) * s.channels;
            for (int64_t c = 0; c < s.channels; ++c) y[c] += p.index[out + c] == h * s.width + w ? p.x[out + c] : T(0);
          }
      }
    }
  });
}
CLEARSKY_COMPILE_ONCE(max_pool_scatter)

template <class T>
void max_pool_take(const MaxPoolRoute<T>& p) {
  const PoolSizes& s = p.s;
  const int64_t plane = s.out_height * s.out_width, image = s.height * s.width * s.channels;
  parallel_for(s.batch * plane, (std::max)(int64_t(1), 16384 / (s.channels + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t c = 0; c < s.channels; ++c)
        p.y[i * s.channels + c] = p.x[i / plane * image + p.index[i * s.channels + c] * s.channels + c];
  });
}
CLEARSKY_COMPILE_ONCE(max_pool_take)

namespace detail {

/// Each window adds its pixels inside the image times 1 / window: the padding counts as zeros.
template <class T>
AxisMap<T> pool_axis(int64_t size, int64_t out_size, const PoolSizes& s) {
  AxisMap<T> map;
  for (int64_t o = 0; o < out_size; ++o) {
    const int64_t begin = o * s.stride - s.padding;
    for (int64_t i = (std::max)(int64_t(0), begin); i < (std::min)(size, begin + s.window); ++i)
      map.add(i, 1 / double(s.window));
    map.next_output();
  }
  return map;
}

}  // namespace detail

template <class T>
void avg_pool(const AvgPool<T>& p) {
  const PoolSizes& s = p.s;
  apply_separable(p.x, p.y, s.batch, s.height, s.width, s.channels, detail::pool_axis<T>(s.height, s.out_height, s),
                  detail::pool_axis<T>(s.width, s.out_width, s));
}
CLEARSKY_COMPILE_ONCE(avg_pool)

template <class T>
void avg_pool_transpose(const AvgPool<T>& p) {
  const PoolSizes& s = p.s;
  apply_separable(p.x, p.y, s.batch, s.out_height, s.out_width, s.channels,
                  detail::pool_axis<T>(s.height, s.out_height, s).transposed(s.height),
                  detail::pool_axis<T>(s.width, s.out_width, s).transposed(s.width));
}
CLEARSKY_COMPILE_ONCE(avg_pool_transpose)

}  // namespace clearsky::cpu

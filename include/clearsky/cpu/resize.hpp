#pragma once
// Resizing of images by interpolation, and the transpose of it, which is its gradient.

#include <algorithm>
#include <cstdint>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/separable.hpp"

namespace clearsky {

/// How resize computes a pixel between pixels. The two nearest differ where sizes are no whole multiples: `nearest`
/// reads pixel floor(i in / out), `nearest_exact` the one that holds the new pixel's centre, floor((i + 1/2) in / out).
enum class Interpolation { nearest, bilinear, bicubic, nearest_exact };

namespace cpu {

template <class T>
struct Resize {
  const T* x;  // forward: (batch, height, width, channels); transpose: (batch, out_height, out_width, channels)
  T* y;        // the other one; written
  int64_t batch, height, width, out_height, out_width, channels;
  Interpolation interpolation;
};

namespace detail {

/// The taps of cubic convolution, a = -0.75, at a fraction t of the way between two samples; u = 1 - t. Factored, so
/// that small weights do not come from large terms that cancel.
/// @source  Keys, IEEE Trans. Acoust. Speech Signal Process. 29 (1981), 1153, eq. 4
inline void cubic_weights(double t, double u, double (&weight)[4]) {
  constexpr double a = -0.75;
  weight[0] = a * t * u * u;
  weight[1] = u * (1 + t * (1 - (a + 2) * t));
  weight[2] = t * (1 + u * (1 - (a + 2) * u));
  weight[3] = a * u * t * t;
}

/// The taps of one axis. The centre of output i lies at s = (i + 1/2) size / out_size - 1/2; samples outside repeat the
/// border. All positions are exact fractions with the denominator 2 out_size, so no rounding moves a tap.
template <class T>
AxisMap<T> resize_axis(int64_t size, int64_t out_size, Interpolation interpolation) {
  AxisMap<T> map;
  const int64_t denominator = 2 * out_size;
  const auto inside = [&](int64_t i) { return std::clamp(i, int64_t(0), size - 1); };
  for (int64_t i = 0; i < out_size; ++i) {
    if (interpolation == Interpolation::nearest) {
      map.add(i * size / out_size, 1);
    } else if (interpolation == Interpolation::nearest_exact) {
      map.add((2 * i + 1) * size / denominator, 1);
    } else {
      const int64_t numerator = (2 * i + 1) * size - out_size;
      const int64_t below = numerator >= 0 ? numerator / denominator : -1;  // floor; s is above -1
      const int64_t over = numerator - below * denominator;
      const double t = double(over) / double(denominator), u = double(denominator - over) / double(denominator);
      if (interpolation == Interpolation::bilinear) {
        map.add(inside(below), u);
        map.add(inside(below + 1), t);
      } else {
        double weight[4];
        cubic_weights(t, u, weight);
        for (int64_t k = 0; k < 4; ++k) map.add(inside(below - 1 + k), weight[k]);
      }
    }
    map.next_output();
  }
  return map;
}

}  // namespace detail

template <class T>
void resize(const Resize<T>& p) {
  apply_separable(p.x, p.y, p.batch, p.height, p.width, p.channels,
                  detail::resize_axis<T>(p.height, p.out_height, p.interpolation),
                  detail::resize_axis<T>(p.width, p.out_width, p.interpolation));
}
CLEARSKY_COMPILE_ONCE(resize)

template <class T>
void resize_transpose(const Resize<T>& p) {
  apply_separable(p.x, p.y, p.batch, p.out_height, p.out_width, p.channels,
                  detail::resize_axis<T>(p.height, p.out_height, p.interpolation).transposed(p.height),
                  detail::resize_axis<T>(p.width, p.out_width, p.interpolation).transposed(p.width));
}
CLEARSKY_COMPILE_ONCE(resize_transpose)

}  // namespace cpu
}  // namespace clearsky

#pragma once
// Padding of images, and the transpose of it, which is its gradient.

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/separable.hpp"

namespace clearsky::cpu {

/// What the new pixels repeat.
enum class PadSource {
  value,   ///< nothing, they hold one value
  mirror,  ///< the pixel as far inside the border pixel as they are outside
  border   ///< the border pixel
};

template <class T>
struct Pad {
  const T* x;  // forward: (batch, height, width, channels); transpose: that padded
  T* y;        // the other one; written
  int64_t batch, height, width, channels;
  int64_t top, bottom, left, right;
  PadSource source;
  T value;  // for PadSource::value
};

namespace detail {

/// The position in an axis of `size` that position i, from -before on, repeats; -1 for none.
inline int64_t padded_from(int64_t i, int64_t size, PadSource source) {
  if (0 <= i && i < size) return i;
  if (source == PadSource::value) return -1;
  if (source == PadSource::border) return i < 0 ? 0 : size - 1;
  return i < 0 ? -i : 2 * (size - 1) - i;
}

template <class T>
AxisMap<T> pad_axis(int64_t size, int64_t before, int64_t behind, PadSource source) {
  AxisMap<T> map;
  for (int64_t i = -before; i < size + behind; ++i) {
    const int64_t from = padded_from(i, size, source);
    if (from >= 0) map.add(from, 1);
    map.next_output();
  }
  return map;
}

}  // namespace detail

template <class T>
void pad(const Pad<T>& p) {
  const int64_t out_height = p.height + p.top + p.bottom, out_width = p.width + p.left + p.right;
  const int64_t row = out_width * p.channels;
  if (p.batch * out_height * row == 0) return;
  parallel_for(p.batch * out_height, (std::max)(int64_t(1), 32768 / row), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      T* y = p.y + r * row;
      const int64_t h = detail::padded_from(r % out_height - p.top, p.height, p.source);
      if (h < 0) {
        std::fill_n(y, row, p.value);
        continue;
      }
      const T* x = p.x + (r / out_height * p.height + h) * p.width * p.channels;
      const auto column = [&](int64_t w) {
        const int64_t from = detail::padded_from(w, p.width, p.source);
        if (from < 0) std::fill_n(y + (w + p.left) * p.channels, p.channels, p.value);
        else std::copy_n(x + from * p.channels, p.channels, y + (w + p.left) * p.channels);
      };
      for (int64_t w = -p.left; w < 0; ++w) column(w);
      std::copy_n(x, p.width * p.channels, y + p.left * p.channels);
      for (int64_t w = p.width; w < p.width + p.right; ++w) column(w);
    }
  });
}
CLEARSKY_COMPILE_ONCE(pad)

/// Each pixel of the image gathers what stands at its place and at the places that repeat it.
template <class T>
void pad_transpose(const Pad<T>& p) {
  apply_separable(p.x, p.y, p.batch, p.height + p.top + p.bottom, p.width + p.left + p.right, p.channels,
                  detail::pad_axis<T>(p.height, p.top, p.bottom, p.source).transposed(p.height),
                  detail::pad_axis<T>(p.width, p.left, p.right, p.source).transposed(p.width));
}
CLEARSKY_COMPILE_ONCE(pad_transpose)

}  // namespace clearsky::cpu

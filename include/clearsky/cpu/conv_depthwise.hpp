#pragma once
// Depthwise convolution: each channel has a window of its own (groups = channels = outputs). Memory-bound, so each
// kernel passes once over its images, vectors along the channels.

#include <algorithm>
#include <cstdint>

#include "clearsky/cpu/conv.hpp"

namespace clearsky::cpu {
namespace detail {

/// (channels, window) -> (window, channels): a vector of channels per tap. `mirrored` turns the window round.
template <class T>
void transpose_window(const T* weight, int64_t channels, int64_t window, bool mirrored, T* to) {
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t t = 0; t < window; ++t) to[(mirrored ? window - 1 - t : t) * channels + c] = weight[c * window + t];
}

/// One output row of a 3x3 window, stride 1, padding 1: y (width, channels).
/// @param rows  the three input rows, null where one lies outside the image
template <class T>
void depthwise3x3_row(const T* const rows[3], const T* taps, const T* bias, int64_t width, int64_t channels, T* y) {
  constexpr int64_t kLane = kLanes<T>;
  for (int64_t c = 0; c < channels; c += kLane) {
    const int64_t left = (std::min)(kLane, channels - c);
    Vec<T> w[9];
    CLEARSKY_UNROLL
    for (int t = 0; t < 9; ++t) w[t] = load_partial(taps + t * channels + c, left);
    const Vec<T> start = bias == nullptr ? Vec<T>{} : load_partial(bias + c, left);
    const auto pixel = [&](int64_t x, int first, int last) {
      Vec<T> acc = start;
      for (int i = 0; i < 3; ++i) {
        if (rows[i] == nullptr) continue;
        for (int j = first; j <= last; ++j)
          acc += w[3 * i + j] * load_partial(rows[i] + (x + j - 1) * channels + c, left);
      }
      store_partial(y + x * channels + c, acc, left);
    };
    if (width == 1) {
      pixel(0, 1, 1);
      continue;
    }
    pixel(0, 1, 2);
    if (rows[0] != nullptr && rows[2] != nullptr && left == kLane) {
      const T *a = rows[0] + c, *b = rows[1] + c, *d = rows[2] + c;
      T* to = y + c;
      for (int64_t x = 1; x + 1 < width; ++x) {
        const int64_t at = x * channels;
        Vec<T> acc = start;  // one chain in the order of the taps: the same bits as at the border
        acc += w[0] * load(a + at - channels);
        acc += w[1] * load(a + at);
        acc += w[2] * load(a + at + channels);
        acc += w[3] * load(b + at - channels);
        acc += w[4] * load(b + at);
        acc += w[5] * load(b + at + channels);
        acc += w[6] * load(d + at - channels);
        acc += w[7] * load(d + at);
        acc += w[8] * load(d + at + channels);
        store(to + at, acc);
      }
    } else {
      for (int64_t x = 1; x + 1 < width; ++x) pixel(x, 0, 2);
    }
    pixel(width - 1, 0, 1);
  }
}

inline bool is_depthwise3x3(const ConvShape& s) {
  return s.window_height == 3 && s.window_width == 3 && s.stride_height == 1 && s.stride_width == 1 &&
         s.padding_height == 1 && s.padding_width == 1 && s.dilation == 1;
}

/// y = 3x3 windows of x; forward with the taps as they are, the data gradient with mirrored ones.
template <class T>
void depthwise3x3(const T* x, const T* weight, bool mirrored, const T* bias, const ConvShape& s, T* y) {
  const int64_t row = s.width * s.channels;
  const Scratch<T> taps(9 * s.channels);
  transpose_window(weight, s.channels, 9, mirrored, taps.data());
  parallel_for(s.batch * s.height, (std::max)(int64_t(1), 8192 / (row + 1)), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t h = r % s.height;
      const T* const rows[3] = {h == 0 ? nullptr : x + (r - 1) * row, x + r * row,
                                h + 1 == s.height ? nullptr : x + (r + 1) * row};
      depthwise3x3_row(rows, taps.data(), bias, s.width, s.channels, y + r * row);
    }
  });
}

/// Taps i of a window of `count` whose source pixel exists: source = out * stride + i * dilation - padding in [0,
/// size).
struct TapRange {
  int64_t first, last;
  TapRange(int64_t out, int64_t stride, int64_t padding, int64_t dilation, int64_t count, int64_t size) {
    const int64_t origin = out * stride - padding;
    first = origin >= 0 ? 0 : (-origin + dilation - 1) / dilation;
    last = (std::min)(count, origin >= size ? 0 : (size - 1 - origin) / dilation + 1);
  }
};

/// The vector of the window's sum for channels [c, c + left) of output pixel (h, w).
template <class T>
Vec<T> depthwise_pixel(const T* image, const T* taps, const ConvShape& s, int64_t h, int64_t w, int64_t c, int64_t left,
                       Vec<T> acc) {
  const TapRange rows(h, s.stride_height, s.padding_height, s.dilation, s.window_height, s.height);
  const TapRange columns(w, s.stride_width, s.padding_width, s.dilation, s.window_width, s.width);
  for (int64_t i = rows.first; i < rows.last; ++i)
    for (int64_t j = columns.first; j < columns.last; ++j) {
      const int64_t y = h * s.stride_height + i * s.dilation - s.padding_height;
      const int64_t x = w * s.stride_width + j * s.dilation - s.padding_width;
      acc += load_partial(taps + (i * s.window_width + j) * s.channels + c, left) *
             load_partial(image + (y * s.width + x) * s.channels + c, left);
    }
  return acc;
}

}  // namespace detail

template <class T>
void conv2d_depthwise_forward(const Conv2dForward<T>& p) {
  const ConvShape& s = p.shape;
  if (s.batch * s.out_height * s.out_width * s.channels == 0) return;
  if (detail::is_depthwise3x3(s)) return detail::depthwise3x3(p.x, p.weight, false, p.bias, s, p.y);
  constexpr int64_t kLane = kLanes<T>;
  const int64_t window = s.window_height * s.window_width;
  const Scratch<T> taps(window * s.channels);
  detail::transpose_window(p.weight, s.channels, window, false, taps.data());
  parallel_for(s.batch * s.out_height, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t n = r / s.out_height, h = r % s.out_height;
      for (int64_t w = 0; w < s.out_width; ++w)
        for (int64_t c = 0; c < s.channels; c += kLane) {
          const int64_t left = (std::min)(kLane, s.channels - c);
          const Vec<T> start = p.bias == nullptr ? Vec<T>{} : load_partial(p.bias + c, left);
          store_partial(
              p.y + (r * s.out_width + w) * s.channels + c,
              detail::depthwise_pixel(p.x + n * s.height * s.width * s.channels, taps.data(), s, h, w, c, left, start),
              left);
        }
    }
  });
}

template <class T>
void conv2d_depthwise_data_gradient(const Conv2dDataGradient<T>& p) {
  const ConvShape& s = p.shape;
  if (s.batch * s.height * s.width * s.channels == 0) return;
  if (detail::is_depthwise3x3(s)) return detail::depthwise3x3<T>(p.dy, p.weight, true, nullptr, s, p.dx);
  constexpr int64_t kLane = kLanes<T>;
  const int64_t window = s.window_height * s.window_width;
  const Scratch<T> taps(window * s.channels);
  detail::transpose_window(p.weight, s.channels, window, false, taps.data());
  parallel_for(s.batch * s.height, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t n = r / s.height, h = r % s.height;
      const T* dy = p.dy + n * s.out_height * s.out_width * s.channels;
      for (int64_t w = 0; w < s.width; ++w)
        for (int64_t c = 0; c < s.channels; c += kLane) {
          const int64_t left = (std::min)(kLane, s.channels - c);
          Vec<T> acc{};
          // Output pixels whose window reaches (h, w): (h + padding - i dilation) / stride where that is whole.
          for (int64_t i = 0; i < s.window_height; ++i) {
            const int64_t y = h + s.padding_height - i * s.dilation;
            if (y < 0 || y % s.stride_height != 0 || y / s.stride_height >= s.out_height) continue;
            for (int64_t j = 0; j < s.window_width; ++j) {
              const int64_t x = w + s.padding_width - j * s.dilation;
              if (x < 0 || x % s.stride_width != 0 || x / s.stride_width >= s.out_width) continue;
              acc += load_partial(taps.data() + (i * s.window_width + j) * s.channels + c, left) *
                     load_partial(dy + (y / s.stride_height * s.out_width + x / s.stride_width) * s.channels + c, left);
            }
          }
          store_partial(p.dx + (r * s.width + w) * s.channels + c, acc, left);
        }
    }
  });
}

namespace detail {

/// Adds to acc[9] what one row of dy gives, for channels [c, c + left) and 3x3 windows.
template <class T>
void depthwise3x3_weight_row(const T* const rows[3], const T* dy, int64_t width, int64_t channels, int64_t c,
                             int64_t left, Vec<T> acc[9]) {
  constexpr int64_t kLane = kLanes<T>;
  for (int i = 0; i < 3; ++i) {
    if (rows[i] == nullptr) continue;
    const T *x = rows[i] + c, *g = dy + c;
    Vec<T> a = acc[3 * i], b = acc[3 * i + 1], d = acc[3 * i + 2];
    // x at w - 1, w and w + 1: each pixel is loaded once and moves on.
    Vec<T> before{}, here = load_partial(x, left);
    const auto step = [&](Vec<T> after, Vec<T> v) {
      a += v * before;
      b += v * here;
      d += v * after;
      before = here;
      here = after;
    };
    if (left == kLane)
      for (int64_t w = 0; w + 1 < width; ++w) step(load(x + (w + 1) * channels), load(g + w * channels));
    else
      for (int64_t w = 0; w + 1 < width; ++w)
        step(load_partial(x + (w + 1) * channels, left), load_partial(g + w * channels, left));
    step(Vec<T>{}, load_partial(g + (width - 1) * channels, left));
    acc[3 * i] = a;
    acc[3 * i + 1] = b;
    acc[3 * i + 2] = d;
  }
}

}  // namespace detail

template <class T>
void conv2d_depthwise_weight_gradient(const Conv2dWeightGradient<T>& p) {
  const ConvShape& s = p.shape;
  constexpr int64_t kLane = kLanes<T>;
  const int64_t window = s.window_height * s.window_width, count = window * s.channels;
  const int64_t total_rows = s.batch * s.out_height;
  if (count == 0) return;
  if (total_rows * s.out_width == 0) {
    std::fill_n(p.dweight, count, T(0));
    return;
  }
  const int64_t slots = (std::min)(detail::kSumSlots, total_rows);
  const Scratch<T> parts(slots * count), total(count);
  const bool plain = detail::is_depthwise3x3(s);
  parallel_for(slots, 1, [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) {
      T* dw = parts.data() + slot * count;  // (window, channels)
      std::fill_n(dw, count, T(0));
      for (int64_t r = total_rows * slot / slots; r < total_rows * (slot + 1) / slots; ++r) {
        const int64_t n = r / s.out_height, h = r % s.out_height;
        const T* image = p.x + n * s.height * s.width * s.channels;
        const T* dy = p.dy + r * s.out_width * s.channels;
        for (int64_t c = 0; c < s.channels; c += kLane) {
          const int64_t left = (std::min)(kLane, s.channels - c);
          if (plain) {
            const int64_t row = s.width * s.channels;
            const T* const rows[3] = {h == 0 ? nullptr : image + (h - 1) * row, image + h * row,
                                      h + 1 == s.height ? nullptr : image + (h + 1) * row};
            Vec<T> acc[9];
            for (int t = 0; t < 9; ++t) acc[t] = load_partial(dw + t * s.channels + c, left);
            detail::depthwise3x3_weight_row(rows, dy, s.width, s.channels, c, left, acc);
            for (int t = 0; t < 9; ++t) store_partial(dw + t * s.channels + c, acc[t], left);
            continue;
          }
          const detail::TapRange taps(h, s.stride_height, s.padding_height, s.dilation, s.window_height, s.height);
          for (int64_t i = taps.first; i < taps.last; ++i)
            for (int64_t j = 0; j < s.window_width; ++j) {
              const T* row = image + (h * s.stride_height + i * s.dilation - s.padding_height) * s.width * s.channels;
              T* to = dw + (i * s.window_width + j) * s.channels + c;
              Vec<T> acc = load_partial(to, left);
              for (int64_t w = 0; w < s.out_width; ++w) {
                const int64_t x = w * s.stride_width + j * s.dilation - s.padding_width;
                if (0 <= x && x < s.width)
                  acc += load_partial(row + x * s.channels + c, left) * load_partial(dy + w * s.channels + c, left);
              }
              store_partial(to, acc, left);
            }
        }
      }
    }
  });
  detail::add_slots(parts.data(), slots, count, total.data());
  for (int64_t c = 0; c < s.channels; ++c)
    for (int64_t t = 0; t < window; ++t) p.dweight[c * window + t] = total[t * s.channels + c];
}

}  // namespace clearsky::cpu

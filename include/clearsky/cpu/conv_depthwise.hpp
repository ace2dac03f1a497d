#pragma once
// Depthwise convolution: each channel has a window of its own (groups = channels = outputs). Memory-bound, so each
// kernel passes once over its images, vectors along the channels.

#include <algorithm>
#include <cstdint>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/conv.hpp"

namespace clearsky::cpu {
namespace detail {

/// (channels, window) -> (window, channels): a vector of channels per tap. `mirrored` turns the window round.
template <class T>
void transpose_window(const T* weight, int64_t channels, int64_t window, bool mirrored, T* to) {
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t t = 0; t < window; ++t) to[(mirrored ? window - 1 - t : t) * channels + c] = weight[c * window + t];
}

/// `Pixels` neighbouring outputs of `Rows` rows of a 3x3 window with stride 1, all channels.
///
/// Channels run innermost, so that memory is read in its order whatever the number of channels is, and a loaded pixel
/// serves all outputs of the block that it reaches.
template <class T>
struct DepthwiseBlock {
  const T* x[4];     // source rows of the first pixel, one more on each side than outputs; null outside the image
  bool left, right;  // whether there are pixels before the first and behind the last
  const T* taps;     // (9, channels)
  const T* bias;     // (channels), or null
  T* y[2];           // the first pixel of each output row
  int64_t channels;
};

template <class T, int Rows, int Pixels>
[[gnu::noinline]] void depthwise3x3_block(const DepthwiseBlock<T>& b) {
  const int64_t channels = b.channels;
  const bool left = b.left, right = b.right;
  const auto vector = [&](int64_t c, int64_t count) {
    Vec<T> w[9], sums[Rows][Pixels];
    CLEARSKY_UNROLL
    for (int t = 0; t < 9; ++t) w[t] = load_partial(b.taps + t * channels + c, count);
    const Vec<T> start = b.bias == nullptr ? Vec<T>{} : load_partial(b.bias + c, count);
    CLEARSKY_UNROLL
    for (int r = 0; r < Rows; ++r) {
      CLEARSKY_UNROLL
      for (int p = 0; p < Pixels; ++p) sums[r][p] = start;
    }
    CLEARSKY_UNROLL
    for (int i = 0; i < Rows + 2; ++i) {
      const T* x = b.x[i];
      if (x == nullptr) continue;
      x += c;
      if (i >= 2) {  // these rows are new: fetch what the next block needs
        CLEARSKY_UNROLL
        for (int p = 1; p <= Pixels; ++p) __builtin_prefetch(x + (Pixels + p) * channels);
      }
      CLEARSKY_UNROLL
      for (int p = -1; p <= Pixels; ++p) {
        if ((p == -1 && !left) || (p == Pixels && !right)) continue;
        const Vec<T> v = load_partial(x + p * channels, count);
        CLEARSKY_UNROLL
        for (int r = 0; r < Rows; ++r) {
          if (i - r < 0 || i - r > 2) continue;
          const int t = 3 * (i - r);
          if (p + 1 < Pixels) sums[r][p + 1] += w[t] * v;
          if (0 <= p && p < Pixels) sums[r][p] += w[t + 1] * v;
          if (p >= 1) sums[r][p - 1] += w[t + 2] * v;
        }
      }
    }
    CLEARSKY_UNROLL
    for (int r = 0; r < Rows; ++r) {
      CLEARSKY_UNROLL
      for (int p = 0; p < Pixels; ++p) store_partial(b.y[r] + p * channels + c, sums[r][p], count);
    }
  };
  int64_t c = 0;
  for (; c + kLanes<T> <= channels; c += kLanes<T>) vector(c, kLanes<T>);
  if (c < channels) vector(c, channels - c);
}

template <class T>
DepthwiseBlock<T> second_row(DepthwiseBlock<T> b) {
  std::copy(b.x + 1, b.x + 4, b.x);
  b.y[0] = b.y[1];
  return b;
}

/// One or two output rows (width, channels), the second right behind the first.
template <class T>
void depthwise3x3_rows(DepthwiseBlock<T> b, bool two, int64_t width) {
  constexpr int kPixels = 4;
  for (int64_t w = 0; w < width;) {
    const int64_t count = two && width - w >= kPixels ? kPixels : 1;
    b.left = w > 0;
    b.right = w + count < width;
    if (count == kPixels) {
      depthwise3x3_block<T, 2, kPixels>(b);
    } else {  // what blocks leave over, row by row
      depthwise3x3_block<T, 1, 1>(b);
      if (two) depthwise3x3_block<T, 1, 1>(second_row(b));
    }
    w += count;
    for (const T*& x : b.x)
      if (x != nullptr) x += count * b.channels;
    for (T*& y : b.y) y += count * b.channels;
  }
}

/// Rows h - 1 to h + 2 of an image, null outside it.
template <class T>
void source_rows(const T* image, int64_t h, int64_t height, int64_t row, const T* rows[4]) {
  for (int64_t i = 0; i < 4; ++i) {
    const int64_t source = h + i - 1;
    rows[i] = source < 0 || source >= height ? nullptr : image + source * row;
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
  const int64_t pairs = (s.height + 1) / 2;
  parallel_for(s.batch * pairs, 8192 / (row + 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t h = r % pairs * 2;
      DepthwiseBlock<T> b{};
      b.taps = taps.data();
      b.bias = bias;
      b.channels = s.channels;
      source_rows(x + r / pairs * s.height * row, h, s.height, row, b.x);
      b.y[0] = y + (r / pairs * s.height + h) * row;
      b.y[1] = b.y[0] + row;
      depthwise3x3_rows(b, h + 1 < s.height, s.width);
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
CLEARSKY_COMPILE_ONCE(conv2d_depthwise_forward)

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
CLEARSKY_COMPILE_ONCE(conv2d_depthwise_data_gradient)

namespace detail {

/// As DepthwiseBlock, for the gradient of the taps.
template <class T>
struct DepthwiseWeightBlock {
  const T* x[4];
  bool left, right;
  const T* dy[2];
  T* dtaps;  // (9, channels)  added to
  int64_t channels;
};

template <class T, int Rows, int Pixels>
[[gnu::noinline]] void depthwise3x3_weight_block(const DepthwiseWeightBlock<T>& b) {
  const int64_t channels = b.channels;
  const bool left = b.left, right = b.right;
  const auto vector = [&](int64_t c, int64_t count) {
    Vec<T> sums[9], dy[Rows][Pixels];
    CLEARSKY_UNROLL
    for (int t = 0; t < 9; ++t) sums[t] = load_partial(b.dtaps + t * channels + c, count);
    CLEARSKY_UNROLL
    for (int r = 0; r < Rows; ++r) {
      CLEARSKY_UNROLL
      for (int p = 0; p < Pixels; ++p) {
        dy[r][p] = load_partial(b.dy[r] + p * channels + c, count);
        __builtin_prefetch(b.dy[r] + (p + Pixels) * channels + c);
      }
    }
    CLEARSKY_UNROLL
    for (int i = 0; i < Rows + 2; ++i) {
      const T* x = b.x[i];
      if (x == nullptr) continue;
      x += c;
      if (i >= 2) {
        CLEARSKY_UNROLL
        for (int p = 1; p <= Pixels; ++p) __builtin_prefetch(x + (Pixels + p) * channels);
      }
      CLEARSKY_UNROLL
      for (int p = -1; p <= Pixels; ++p) {
        if ((p == -1 && !left) || (p == Pixels && !right)) continue;
        const Vec<T> v = load_partial(x + p * channels, count);
        CLEARSKY_UNROLL
        for (int r = 0; r < Rows; ++r) {
          if (i - r < 0 || i - r > 2) continue;
          const int t = 3 * (i - r);
          if (p + 1 < Pixels) sums[t] += dy[r][p + 1] * v;
          if (0 <= p && p < Pixels) sums[t + 1] += dy[r][p] * v;
          if (p >= 1) sums[t + 2] += dy[r][p - 1] * v;
        }
      }
    }
    CLEARSKY_UNROLL
    for (int t = 0; t < 9; ++t) store_partial(b.dtaps + t * channels + c, sums[t], count);
  };
  int64_t c = 0;
  for (; c + kLanes<T> <= channels; c += kLanes<T>) vector(c, kLanes<T>);
  if (c < channels) vector(c, channels - c);
}

template <class T>
DepthwiseWeightBlock<T> second_row(DepthwiseWeightBlock<T> b) {
  std::copy(b.x + 1, b.x + 4, b.x);
  b.dy[0] = b.dy[1];
  return b;
}

/// One or two rows of dy (width, channels), the second right behind the first.
template <class T>
void depthwise3x3_weight_rows(DepthwiseWeightBlock<T> b, bool two, int64_t width) {
  constexpr int kPixels = 4;
  for (int64_t w = 0; w < width;) {
    const int64_t count = two && width - w >= kPixels ? kPixels : 1;
    b.left = w > 0;
    b.right = w + count < width;
    if (count == kPixels) {
      depthwise3x3_weight_block<T, 2, kPixels>(b);
    } else {  // what blocks leave over, row by row
      depthwise3x3_weight_block<T, 1, 1>(b);
      if (two) depthwise3x3_weight_block<T, 1, 1>(second_row(b));
    }
    w += count;
    for (const T*& x : b.x)
      if (x != nullptr) x += count * b.channels;
    for (const T*& dy : b.dy) dy += count * b.channels;
  }
}

/// The gradient of 3x3 taps from pairs of rows [first, last) of all images.
/// @param dtaps  (9, channels)  written
template <class T>
void depthwise3x3_weight(const Conv2dWeightGradient<T>& p, int64_t first, int64_t last, T* dtaps) {
  const ConvShape& s = p.shape;
  const int64_t pairs = (s.height + 1) / 2, row = s.width * s.channels;
  std::fill_n(dtaps, 9 * s.channels, T(0));
  for (int64_t r = first; r < last; ++r) {
    const int64_t h = r % pairs * 2, image = r / pairs * s.height;
    DepthwiseWeightBlock<T> b{};
    source_rows(p.x + image * row, h, s.height, row, b.x);
    b.dy[0] = p.dy + (image + h) * row;
    b.dy[1] = b.dy[0] + row;
    b.dtaps = dtaps;
    b.channels = s.channels;
    depthwise3x3_weight_rows(b, h + 1 < s.height, s.width);
  }
}

/// The gradient of any taps from output rows [first, last) of all images.
/// @param dtaps  (window, channels)  written
template <class T>
void depthwise_weight(const Conv2dWeightGradient<T>& p, int64_t first, int64_t last, T* dtaps) {
  const ConvShape& s = p.shape;
  std::fill_n(dtaps, s.window_height * s.window_width * s.channels, T(0));
  for (int64_t r = first; r < last; ++r) {
    const int64_t h = r % s.out_height;
    const T* image = p.x + r / s.out_height * s.height * s.width * s.channels;
    const T* dy = p.dy + r * s.out_width * s.channels;
    const TapRange taps(h, s.stride_height, s.padding_height, s.dilation, s.window_height, s.height);
    for (int64_t i = taps.first; i < taps.last; ++i)
      for (int64_t j = 0; j < s.window_width; ++j) {
        const T* row = image + (h * s.stride_height + i * s.dilation - s.padding_height) * s.width * s.channels;
        for (int64_t c = 0; c < s.channels; c += kLanes<T>) {
          const int64_t left = s.channels - c;
          T* to = dtaps + (i * s.window_width + j) * s.channels + c;
          Vec<T> sum = load_partial(to, left);
          for (int64_t w = 0; w < s.out_width; ++w) {
            const int64_t x = w * s.stride_width + j * s.dilation - s.padding_width;
            if (0 <= x && x < s.width)
              sum += load_partial(row + x * s.channels + c, left) * load_partial(dy + w * s.channels + c, left);
          }
          store_partial(to, sum, left);
        }
      }
  }
}

}  // namespace detail

template <class T>
void conv2d_depthwise_weight_gradient(const Conv2dWeightGradient<T>& p) {
  const ConvShape& s = p.shape;
  const int64_t window = s.window_height * s.window_width, count = window * s.channels;
  if (count == 0) return;
  if (s.batch * s.out_height * s.out_width == 0) {
    std::fill_n(p.dweight, count, T(0));
    return;
  }
  const bool plain = detail::is_depthwise3x3(s);
  const int64_t units = s.batch * (plain ? (s.height + 1) / 2 : s.out_height);
  const int64_t slots = (std::min)(detail::kSumSlots, units);
  const Scratch<T> parts(slots * count), total(count);  // (window, channels)
  parallel_for(slots, 1, [&](int64_t begin, int64_t end) {
    for (int64_t slot = begin; slot < end; ++slot) {
      const int64_t first = units * slot / slots, last = units * (slot + 1) / slots;
      if (plain) detail::depthwise3x3_weight(p, first, last, parts.data() + slot * count);
      else detail::depthwise_weight(p, first, last, parts.data() + slot * count);
    }
  });
  detail::add_slots(parts.data(), slots, count, total.data());
  for (int64_t c = 0; c < s.channels; ++c)
    for (int64_t t = 0; t < window; ++t) p.dweight[c * window + t] = total[t * s.channels + c];
}
CLEARSKY_COMPILE_ONCE(conv2d_depthwise_weight_gradient)

}  // namespace clearsky::cpu

#pragma once
// Where the factors of a convolution lie, as sources for tile_product: windows of a channels-last image are never
// copied out (no im2col), only addressed. A window's element is a pixel and a tap (row i, column j, channel c), and its
// address the sum of what each of the two contributes; so is the row and the column at which it lies, which must be
// inside the image, else it is the padding's zero.

#include "clearsky/cpu/conv.hpp"
#include "clearsky/cuda/portable.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

/// One axis of a product of windows: result i of `results` is pixel first + i stride of the image that is written, and
/// meets tap k of `taps`, the weight's first_tap + k tap_stride, at pixel i step + origin + k tap_step of the source.
struct WindowAxis {
  int results, first, stride;
  int taps, first_tap, tap_stride;
  int source_size, step, origin, tap_step;
};

inline WindowAxis forward_axis(int64_t size, int64_t window, int64_t stride, int64_t padding, int64_t dilation,
                               int64_t outputs) {
  return {int(outputs), 0, 1, int(window), 0, 1, int(size), int(stride), int(-padding), int(dilation)};
}

/// The image's pixels at `phase` modulo the stride. Image pixel h meets tap k of output (h + padding - k dilation) /
/// stride where that is whole: for one phase these are every tap_stride-th taps, and no product is one by zero.
inline WindowAxis gradient_axis(int64_t size, int64_t window, int64_t stride, int64_t padding, int64_t dilation,
                                int64_t outputs, int64_t phase) {
  const int64_t reach = phase + padding;
  int64_t first = 0, apart = 1;
  while (first < window && (reach - first * dilation) % stride != 0) ++first;
  while (apart * dilation % stride != 0) ++apart;
  const int64_t taps = first < window ? (window - 1 - first) / apart + 1 : 0;
  return {int((size - phase + stride - 1) / stride),
          int(phase),
          int(stride),
          int(taps),
          int(first),
          int(apart),
          int(outputs),
          1,
          int((reach - first * dilation) / stride),
          int(-(apart * dilation / stride))};
}

/// A number as three digits, counted up without divisions.
struct Counter {
  int outer, middle, inner;
};
struct CounterDigits {
  int middle, inner;  // how many values these digits have

  /// Sizes may be 0, when there is nothing to count.
  CounterDigits(int middle_values, int inner_values)
      : middle(middle_values < 1 ? 1 : middle_values), inner(inner_values < 1 ? 1 : inner_values) {}
  __device__ __forceinline__ Counter of(int64_t i) const {
    return {int(i / inner / middle), int(i / inner % middle), int(i % inner)};
  }
  __device__ __forceinline__ void next(Counter& c, int n) const {
    c.inner += n;
    while (c.inner >= inner) {
      c.inner -= inner;
      if (++c.middle == middle) c.middle = 0, ++c.outer;
    }
  }
};

/// What a pixel or a tap contributes to the place of an element. 32 bits each, for a thread keeps several.
struct WindowPlace {
  int pixel;  // counted through all images
  int row, column, channel;
};
/// Far enough above the image that no tap reaches it: see check_window_sizes.
inline constexpr int kFarOutside = -(1 << 30);

struct Windows {
  const float* from;  // (batch, rows.source_size, columns.source_size, channels); the group's first channel
  WindowAxis rows, columns;
  int channels, batch;
  CounterDigits pixel_digits, tap_digits;  // (image, row, column) of results; (row, column, channel) of a window

  __device__ __forceinline__ WindowPlace pixel(const Counter& c) const {
    const int row = c.middle * rows.step + rows.origin, column = c.inner * columns.step + columns.origin;
    const bool inside = c.outer < batch;
    return {inside ? (c.outer * rows.source_size + row) * columns.source_size + column : 0, inside ? row : kFarOutside,
            column, 0};
  }
  __device__ __forceinline__ WindowPlace tap(const Counter& c) const {
    const int row = c.outer * rows.tap_step, column = c.middle * columns.tap_step;
    const bool inside = c.outer < rows.taps;
    return {inside ? row * columns.source_size + column : 0, inside ? row : kFarOutside, column, c.inner};
  }
  __device__ __forceinline__ const float* element(const WindowPlace& a, const WindowPlace& b, bool& inside) const {
    inside = unsigned(a.row + b.row) < unsigned(rows.source_size) &&
             unsigned(a.column + b.column) < unsigned(columns.source_size);
    return inside ? from + (int64_t(a.pixel + b.pixel) * channels + (a.channel + b.channel)) : from;
  }
};

/// Lines are pixels, steps run along the taps of a window.
struct WindowsByPixel {
  Windows windows;
  using Line = WindowPlace;
  using Step = Counter;
  __device__ __forceinline__ Line line(int64_t i) const { return windows.pixel(windows.pixel_digits.of(i)); }
  __device__ __forceinline__ Step step(int64_t i) const { return windows.tap_digits.of(i); }
  __device__ __forceinline__ void next(Step& s, int n) const { windows.tap_digits.next(s, n); }
  __device__ __forceinline__ const float* at(const Line& l, const Step& s, bool& inside) const {
    return windows.element(l, windows.tap(s), inside);
  }
};

/// Lines are taps, steps run along the pixels.
struct WindowsByTap {
  Windows windows;
  using Line = WindowPlace;
  using Step = Counter;
  __device__ __forceinline__ Line line(int64_t i) const { return windows.tap(windows.tap_digits.of(i)); }
  __device__ __forceinline__ Step step(int64_t i) const { return windows.pixel_digits.of(i); }
  __device__ __forceinline__ void next(Step& s, int n) const { windows.pixel_digits.next(s, n); }
  __device__ __forceinline__ const float* at(const Line& l, const Step& s, bool& inside) const {
    return windows.element(l, windows.pixel(s), inside);
  }
};

/// The weight of a data gradient: lines are its input channels, steps (tap row, tap column, output).
struct WeightsByInput {
  const float* from;  // (outputs, window_height, window_width, inputs) of one group
  WindowAxis rows, columns;
  int window_width, inputs;
  int64_t window;  // elements of one output
  CounterDigits tap_digits;

  using Line = int;  // the channel, or -1
  using Step = Counter;
  __device__ __forceinline__ Line line(int64_t i) const { return i < inputs ? int(i) : -1; }
  __device__ __forceinline__ Step step(int64_t i) const { return tap_digits.of(i); }
  __device__ __forceinline__ void next(Step& s, int n) const { tap_digits.next(s, n); }
  __device__ __forceinline__ const float* at(Line l, const Step& s, bool& inside) const {
    const int row = rows.first_tap + s.outer * rows.tap_stride,
              column = columns.first_tap + s.middle * columns.tap_stride;
    inside = l >= 0 && s.outer < rows.taps;
    return inside ? from + (s.inner * window + (int64_t(row) * window_width + column) * inputs + l) : from;
  }
};

/// @throws ShapeError when rows and columns would not fit the kernels' integers
inline void check_window_sizes(const cpu::ConvShape& s) {
  constexpr int64_t kMost = (int64_t(1) << 30) - 1;
  const int64_t height = s.height + 2 * s.padding_height + s.window_height * s.dilation;
  const int64_t width = s.width + 2 * s.padding_width + s.window_width * s.dilation;
  CLEARSKY_CHECK(ShapeError,
                 height <= kMost && width <= kMost && s.channels <= kMost && s.outputs <= kMost &&
                     (s.batch == 0 || height * width <= kMost / s.batch),
                 "conv2d: ", s.batch, " images of ", height, " x ", width, " with padding and window, ", s.channels,
                 " channels, ", s.outputs, " outputs; on a GPU use at most ", kMost,
                 " pixels; cut the tensor in parts");
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

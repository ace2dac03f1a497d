#pragma once
// Depthwise convolution: each channel has a window of its own. 3x3 windows with stride 1 and padding 1 walk down strips
// (conv_depthwise3x3.cuh); the kernels here take any window, stride, padding and dilation.
//
//     y(h, w, c) = bias(c) + sum_{i, j} x(h s + i d - p, w s + j d - p, c) weight(c, i, j)
//
// A thread computes one pixel, or four neighbouring channels of it, from windows read where they lie: threads side by
// side read neighbouring channels, and pixels that neighbouring windows share come from the cache. The data gradient is
// the same for each phase of the stride (see gradient_axis).

#include "clearsky/cpu/conv_depthwise.hpp"
#include "clearsky/cuda/kernels/conv_depthwise3x3.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using Conv2dForward = cpu::Conv2dForward<float>;
using Conv2dDataGradient = cpu::Conv2dDataGradient<float>;
using Conv2dWeightGradient = cpu::Conv2dWeightGradient<float>;

struct DepthwiseWindows {
  Windows windows;      // of the source; one channel each
  const float* weight;  // (channels, window_height, window_width)
  const float* bias;    // (channels), or null
  float* y;             // (batch, height, width, channels)  written where the axes say
  int height, width, window, window_width;
};

inline constexpr int kTapsAtOnce = 64;  ///< that lie in shared memory

/// grid (ceil(pixels / (256 / lanes)) x chunks, chunks running fastest), block 256; lanes = kStripChannels / Width
template <int Width, int Threads>
__global__ void __launch_bounds__(Threads) depthwise_windows(const DepthwiseWindows p) {
  constexpr int kLanes = kStripChannels / Width, kPixels = Threads / kLanes;
  CLEARSKY_SHARED(float, taps, [kTapsAtOnce][kStripChannels]);
  const Windows& w = p.windows;
  const unsigned chunks = unsigned(w.channels + kStripChannels - 1) / kStripChannels;
  const int first_channel = int(blockIdx.x % chunks) * kStripChannels, lane = int(threadIdx.x) % kLanes;
  const int channel = first_channel + lane * Width;
  const Counter c = w.pixel_digits.of(int64_t(blockIdx.x / chunks) * kPixels + threadIdx.x / kLanes);
  WindowPlace pixel = w.pixel(c);
  pixel.channel = channel;

  float sums[Width];
  for (int v = 0; v < Width; ++v) sums[v] = p.bias != nullptr && channel + v < w.channels ? p.bias[channel + v] : 0.0f;
  const int all = w.rows.taps * w.columns.taps;
  Counter tap{};
  for (int first = 0; first < all; first += kTapsAtOnce) {
    const int count = all - first < kTapsAtOnce ? all - first : kTapsAtOnce;
    for (int e = int(threadIdx.x); e < count * kStripChannels; e += Threads) {
      const int t = first + e / kStripChannels, of = first_channel + e % kStripChannels;
      const int i = w.rows.first_tap + t / w.columns.taps * w.rows.tap_stride;
      const int j = w.columns.first_tap + t % w.columns.taps * w.columns.tap_stride;
      taps[e / kStripChannels][e % kStripChannels] =
          of < w.channels ? p.weight[int64_t(of) * p.window + i * p.window_width + j] : 0.0f;
    }
    __syncthreads();
    for (int t = 0; t < count; ++t) {
      bool inside;
      const float* from = w.element(pixel, w.tap(tap), inside);
      if (inside && channel < w.channels) {
        float x[Width], tapped[Width];
        load_channels(x, from);
        load_channels(tapped, &taps[t][lane * Width]);
        for (int v = 0; v < Width; ++v) sums[v] += x[v] * tapped[v];
      }
      w.tap_digits.next(tap, 1);
    }
    __syncthreads();  // nobody reads these taps any more
  }
  if (c.outer >= w.batch || channel >= w.channels) return;
  const int64_t row = w.rows.first + int64_t(c.middle) * w.rows.stride;
  const int64_t column = w.columns.first + int64_t(c.inner) * w.columns.stride;
  float* to = p.y + ((int64_t(c.outer) * p.height + row) * p.width + column) * w.channels + channel;
  if constexpr (Width == 4) st4(to, make_float4(sums[0], sums[1], sums[2], sums[3]));
  else *to = sums[0];
}

struct DepthwiseWeight {
  Windows windows;
  const float* dy;  // (pixels, channels)
  float* parts;     // (slots, channels, window)  written
  int64_t pixels;
  int window;
};

inline constexpr int kTapSums = 9;  ///< taps that a thread of a weight gradient sums at once

/// grid (ceil(window / kTapSums) x chunks, chunks running fastest; slots), block (kWarp, Rows); neighbouring threads
/// take neighbouring channels.
template <int Rows>
__global__ void __launch_bounds__(kWarp* Rows) depthwise_weight(const DepthwiseWeight p) {
  const Windows& w = p.windows;
  const unsigned chunks = unsigned(w.channels + kWarp - 1) / kWarp;
  const int channel = int(blockIdx.x % chunks) * kWarp + int(threadIdx.x), first = int(blockIdx.x / chunks) * kTapSums;
  const int64_t slot = blockIdx.y, slots = gridDim.y, last = p.pixels * (slot + 1) / slots;
  float sums[kTapSums] = {};
  if (channel < w.channels) {  // the others must stay for the barriers
    int64_t i = p.pixels * slot / slots + threadIdx.y;
    Counter c = w.pixel_digits.of(i);
    for (; i < last; i += Rows) {
      WindowPlace pixel = w.pixel(c);
      pixel.channel = channel;
      const float dy = p.dy[i * w.channels + channel];
      Counter tap = w.tap_digits.of(first);
      for (int t = 0; t < kTapSums; ++t) {
        bool inside;
        const float* from = w.element(pixel, w.tap(tap), inside);  // taps behind the last one are outside
        if (inside) sums[t] += *from * dy;
        w.tap_digits.next(tap, 1);
      }
      w.pixel_digits.next(c, Rows);
    }
  }
  for (int t = 0; t < kTapSums; ++t) {
    const float total = sum_down_block(sums[t]);
    if (threadIdx.y == 0 && channel < w.channels && first + t < p.window)
      p.parts[(slot * w.channels + channel) * p.window + first + t] = total;
  }
}

namespace detail {

inline void launch_depthwise_windows(const float* source, const WindowAxis& rows, const WindowAxis& columns,
                                     const float* weight, const float* bias, float* y, int64_t height, int64_t width,
                                     const cpu::ConvShape& s, Stream stream) {
  const Windows windows{source,           rows, columns, int(s.channels), int(s.batch), {rows.results, columns.results},
                        {columns.taps, 1}};
  const DepthwiseWindows p{
      windows, weight, bias, y, int(height), int(width), int(s.window_height * s.window_width), int(s.window_width)};
  const int64_t pixels = s.batch * rows.results * columns.results,
                chunks = (s.channels + kStripChannels - 1) / kStripChannels;
  const bool fours = channels_in_fours(s.channels, source, y);
  const dim3 grid(blocks_of((pixels + (fours ? 31 : 7)) / (fours ? 32 : 8) * chunks, 1));
  launch(fours ? depthwise_windows<4, 256> : depthwise_windows<1, 256>, grid, 256, 0, stream, p);
}

inline int64_t depthwise_slots(const cpu::ConvShape& s) {
  return cpu::detail::is_depthwise3x3(s) ? strip_slots(strips_of(s))
                                         : column_slots(s.batch * s.out_height * s.out_width);
}

}  // namespace detail

/// Returns without waiting.
inline void conv2d_depthwise_forward(const Conv2dForward& p, Stream stream) {
  const cpu::ConvShape& s = p.shape;
  if (s.batch * s.out_height * s.out_width * s.channels == 0) return;
  check_window_sizes(s);
  if (cpu::detail::is_depthwise3x3(s)) return launch_depthwise3x3(p.x, p.weight, p.bias, p.y, s, false, stream);
  detail::launch_depthwise_windows(
      p.x, forward_axis(s.height, s.window_height, s.stride_height, s.padding_height, s.dilation, s.out_height),
      forward_axis(s.width, s.window_width, s.stride_width, s.padding_width, s.dilation, s.out_width), p.weight, p.bias,
      p.y, s.out_height, s.out_width, s, stream);
}

/// Returns without waiting. With a stride, a launch for each phase.
inline void conv2d_depthwise_data_gradient(const Conv2dDataGradient& p, Stream stream) {
  const cpu::ConvShape& s = p.shape;
  if (s.batch * s.height * s.width * s.channels == 0) return;
  check_window_sizes(s);
  if (cpu::detail::is_depthwise3x3(s)) return launch_depthwise3x3(p.dy, p.weight, nullptr, p.dx, s, true, stream);
  for (int64_t i = 0; i < s.stride_height && i < s.height; ++i)
    for (int64_t j = 0; j < s.stride_width && j < s.width; ++j)
      detail::launch_depthwise_windows(
          p.dy,
          gradient_axis(s.height, s.window_height, s.stride_height, s.padding_height, s.dilation, s.out_height, i),
          gradient_axis(s.width, s.window_width, s.stride_width, s.padding_width, s.dilation, s.out_width, j), p.weight,
          nullptr, p.dx, s.height, s.width, s, stream);
}

/// Floats of workspace that the weight gradient takes.
inline int64_t conv2d_depthwise_weight_gradient_workspace(const Conv2dWeightGradient& p) {
  return detail::depthwise_slots(p.shape) * p.shape.channels * p.shape.window_height * p.shape.window_width;
}

/// Returns without waiting. Without pixels the gradient is 0.
/// @param workspace  (conv2d_depthwise_weight_gradient_workspace(p))  overwritten
inline void conv2d_depthwise_weight_gradient(const Conv2dWeightGradient& p, float* workspace, Stream stream) {
  const cpu::ConvShape& s = p.shape;
  const int64_t window = s.window_height * s.window_width, count = window * s.channels;
  if (count == 0) return;
  check_window_sizes(s);
  if (cpu::detail::is_depthwise3x3(s)) return launch_depthwise3x3_weight(p.x, p.dy, p.dweight, s, workspace, stream);
  const Windows windows{
      p.x,
      forward_axis(s.height, s.window_height, s.stride_height, s.padding_height, s.dilation, s.out_height),
      forward_axis(s.width, s.window_width, s.stride_width, s.padding_width, s.dilation, s.out_width),
      int(s.channels),
      int(s.batch),
      {int(s.out_height), int(s.out_width)},
      {int(s.window_width), 1}};
  const int64_t slots = detail::depthwise_slots(s);
  const DepthwiseWeight call{windows, p.dy, workspace, s.batch * s.out_height * s.out_width, int(window)};
  const int64_t blocks = (window + kTapSums - 1) / kTapSums * ((s.channels + kWarp - 1) / kWarp);
  if (slots > 0)
    launch(depthwise_weight<kColumnRows>, dim3(blocks_of(blocks, 1), unsigned(slots)), dim3(kWarp, kColumnRows), 0,
           stream, call);
  launch_add_slots({workspace, p.dweight, slots, count, count, {}}, stream);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

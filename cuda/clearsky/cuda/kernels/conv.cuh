#pragma once
// Convolution of channels-last images as matrix products on windows that are never copied out (implicit GEMM), and its
// two gradients, for any window, stride, padding, dilation and groups. See tile_product.cuh for the kernel and
// windows.cuh for the addresses.
//
//                        rows of c           columns       steps
//     forward            output pixels       outputs       taps (row, column, channel) of a window
//     data gradient      input pixels        channels      taps (row, column, output) that reach these pixels
//     weight gradient    taps                outputs       output pixels, in slots
//
// A group is a product of its own. 1x1 windows with stride 1 and no padding are plain matrix products.
// Sources: Chetlur et al., "cuDNN", 2014, arXiv:1410.0759, sec. 3; Dumoulin, Visin, "A guide to convolution
// arithmetic", 2016, arXiv:1603.07285, ch. 4 (the data gradient as a convolution).

#include "clearsky/cuda/kernels/gemm.cuh"
#include "clearsky/cuda/kernels/windows.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using cpu::ConvShape;
using Conv2dForward = cpu::Conv2dForward<float>;
using Conv2dDataGradient = cpu::Conv2dDataGradient<float>;
using Conv2dWeightGradient = cpu::Conv2dWeightGradient<float>;

/// What follows the convolution in the same pass: y = activation(conv + bias) + residual.
struct ConvEpilogue {
  Activation activation = Activation::none;
  const float* residual = nullptr;  // (batch, out_height, out_width, outputs), or null; may be y
};

/// A problem of tile_product: rows are output pixels.
template <int Width>
struct ConvForwardProblem {
  static constexpr TileLayout kA = TileLayout::steps, kB = TileLayout::steps;
  static constexpr int kWidth = Width;
  static constexpr bool kTurned = false;
  WindowsByPixel x;
  MatrixSource weight;
  int64_t rows, columns, steps, bias_step, outputs;
  TileResult result;  // (rows, outputs)

  __device__ __forceinline__ WindowsByPixel a(int64_t group) const {
    WindowsByPixel s = x;
    s.windows.from += group * x.windows.tap_digits.inner;
    return s;
  }
  __device__ __forceinline__ MatrixSource b(int64_t group) const {
    MatrixSource s = weight;
    s.from += group * columns * steps;
    return s;
  }
  __device__ __forceinline__ int64_t to(int64_t group, int64_t, int64_t row) const {
    return row * outputs + group * columns;
  }
};

/// A problem of tile_product: rows are the input pixels of one phase of the stride.
template <int Width>
struct ConvDataGradientProblem {
  static constexpr TileLayout kA = TileLayout::steps, kB = TileLayout::lines;
  static constexpr int kWidth = Width;
  static constexpr bool kTurned = false;
  static constexpr int64_t bias_step = 0;
  WindowsByPixel dy;
  WeightsByInput weight;
  int64_t rows, columns, steps, height, width, channels;
  TileResult result;  // (batch, height, width, channels)

  __device__ __forceinline__ WindowsByPixel a(int64_t group) const {
    WindowsByPixel s = dy;
    s.windows.from += group * dy.windows.tap_digits.inner;
    return s;
  }
  __device__ __forceinline__ WeightsByInput b(int64_t group) const {
    WeightsByInput s = weight;
    s.from += group * dy.windows.tap_digits.inner * weight.window;
    return s;
  }
  __device__ __forceinline__ int64_t to(int64_t group, int64_t, int64_t i) const {
    const Windows& w = dy.windows;
    const Counter c = w.pixel_digits.of(i);
    const int64_t row = w.rows.first + int64_t(c.middle) * w.rows.stride;
    const int64_t column = w.columns.first + int64_t(c.inner) * w.columns.stride;
    return ((c.outer * height + row) * width + column) * channels + group * columns;
  }
};

/// A problem of tile_product: rows are taps, which lie side by side in the weight.
template <int Width>
struct ConvWeightGradientProblem {
  static constexpr TileLayout kA = TileLayout::lines, kB = TileLayout::lines;
  static constexpr int kWidth = Width;
  static constexpr bool kTurned = true;
  static constexpr int64_t bias_step = 0;
  WindowsByTap x;
  MatrixSource dy;
  int64_t rows, columns, steps, outputs;
  TileResult result;  // (slots, outputs, rows)

  __device__ __forceinline__ WindowsByTap a(int64_t group) const {
    WindowsByTap s = x;
    s.windows.from += group * x.windows.tap_digits.inner;
    return s;
  }
  __device__ __forceinline__ MatrixSource b(int64_t group) const {
    MatrixSource s = dy;
    s.from += group * columns;
    return s;
  }
  __device__ __forceinline__ int64_t to(int64_t group, int64_t slot, int64_t column) const {
    return (slot * outputs + group * columns + column) * rows;
  }
};

namespace detail {

inline bool aligned_in_fours(const float* p) {
  return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

/// The windows of the forward product.
inline Windows forward_windows(const float* x, const ConvShape& s) {
  return {x,
          forward_axis(s.height, s.window_height, s.stride_height, s.padding_height, s.dilation, s.out_height),
          forward_axis(s.width, s.window_width, s.stride_width, s.padding_width, s.dilation, s.out_width),
          int(s.channels),
          int(s.batch),
          {int(s.out_height), int(s.out_width)},
          {int(s.window_width), int(s.channels / s.groups)}};
}

template <int Width>
void launch_conv_forward(const Conv2dForward& p, const ConvEpilogue& epilogue, Precision precision, Stream stream) {
  const ConvShape& s = p.shape;
  const int64_t pixels = s.batch * s.out_height * s.out_width, outputs = s.outputs / s.groups;
  const int64_t window = s.window_height * s.window_width * (s.channels / s.groups);
  const TileResult result(p.y, {p.bias, epilogue.activation, epilogue.residual}, outputs);
  const ConvForwardProblem<Width> problem{{forward_windows(p.x, s)},
                                          {p.weight, window, 1, outputs, window},
                                          pixels,
                                          outputs,
                                          window,
                                          outputs,
                                          s.outputs,
                                          result};
  launch_tile_product(problem, precision, s.groups, 1, stream);
}

template <int Width>
void launch_conv_data_gradient(const Conv2dDataGradient& p, const WindowAxis& rows, const WindowAxis& columns,
                               Precision precision, Stream stream) {
  const ConvShape& s = p.shape;
  const int outputs = int(s.outputs / s.groups), inputs = int(s.channels / s.groups);
  const int64_t pixels = s.batch * rows.results * columns.results;
  const Windows windows{
      p.dy, rows, columns, int(s.outputs), int(s.batch), {rows.results, columns.results}, {columns.taps, outputs}};
  const WeightsByInput weight{p.weight,
                              rows,
                              columns,
                              int(s.window_width),
                              inputs,
                              s.window_height * s.window_width * inputs,
                              {columns.taps, outputs}};
  const int64_t steps = int64_t(rows.taps) * columns.taps * outputs;
  const ConvDataGradientProblem<Width> problem{
      {windows}, weight, pixels, inputs, steps, s.height, s.width, s.channels, TileResult(p.dx, {}, inputs)};
  launch_tile_product(problem, precision, s.groups, 1, stream);
}

inline int64_t weight_gradient_slots(const ConvShape& s) {
  return step_slots(s.window_height * s.window_width * (s.channels / s.groups), s.outputs / s.groups,
                    s.batch * s.out_height * s.out_width, s.groups);
}

template <int Width>
void launch_conv_weight_gradient(const Conv2dWeightGradient& p, Precision precision, float* workspace, Stream stream) {
  const ConvShape& s = p.shape;
  const int64_t pixels = s.batch * s.out_height * s.out_width, outputs = s.outputs / s.groups;
  const int64_t window = s.window_height * s.window_width * (s.channels / s.groups);
  const int64_t slots = workspace == nullptr ? 1 : weight_gradient_slots(s);
  const TileResult result(slots == 1 ? p.dweight : workspace, {}, 1);
  const ConvWeightGradientProblem<Width> problem{
      {forward_windows(p.x, s)}, {p.dy, 1, s.outputs, outputs, pixels}, window, outputs, pixels, s.outputs, result};
  launch_tile_product(problem, precision, s.groups, slots, stream);
  if (slots > 1) launch_add_slots({workspace, p.dweight, slots, s.outputs * window, window, {}}, stream);
}

/// The matrix product that the weight gradient of a 1x1 window is.
inline Gemm pointwise_weight_gradient(const Conv2dWeightGradient& p) {
  const ConvShape& s = p.shape;
  return {p.dy, p.x, nullptr,   p.dweight, 1,          s.outputs, s.channels, s.batch * s.height * s.width,
          0,    1,   s.outputs, 0,         s.channels, 1};
}

}  // namespace detail

/// Returns without waiting.
inline void conv2d_forward(const Conv2dForward& p, const ConvEpilogue& epilogue, Precision precision, Stream stream) {
  const ConvShape& s = p.shape;
  if (s.batch * s.out_height * s.out_width * s.outputs == 0) return;
  check_window_sizes(s);
  if (s.pointwise())
    return gemm({p.x, p.weight, p.bias, p.y, 1, s.batch * s.height * s.width, s.outputs, s.channels, 0, s.channels, 1,
                 0, 1, s.channels},
                {p.bias, epilogue.activation, epilogue.residual}, precision, nullptr, stream);
  const bool fours =
      s.channels / s.groups % 4 == 0 && detail::aligned_in_fours(p.x) && detail::aligned_in_fours(p.weight);
  const auto run = fours ? detail::launch_conv_forward<4> : detail::launch_conv_forward<1>;
  run(p, epilogue, precision, stream);
}
inline void conv2d_forward(const Conv2dForward& p, Precision precision, Stream stream) {
  conv2d_forward(p, {}, precision, stream);
}

/// Returns without waiting. With a stride, a launch for each phase: pixels at the same place modulo the stride meet the
/// same taps.
inline void conv2d_data_gradient(const Conv2dDataGradient& p, Precision precision, Stream stream) {
  const ConvShape& s = p.shape;
  if (s.batch * s.height * s.width * s.channels == 0) return;
  check_window_sizes(s);
  if (s.pointwise())
    return gemm({p.dy, p.weight, nullptr, p.dx, 1, s.batch * s.height * s.width, s.channels, s.outputs, 0, s.outputs, 1,
                 0, s.channels, 1},
                precision, nullptr, stream);
  const bool fours = s.channels / s.groups % 4 == 0 && s.outputs / s.groups % 4 == 0 &&
                     detail::aligned_in_fours(p.dy) && detail::aligned_in_fours(p.weight);
  const auto run = fours ? detail::launch_conv_data_gradient<4> : detail::launch_conv_data_gradient<1>;
  for (int64_t i = 0; i < s.stride_height && i < s.height; ++i)
    for (int64_t j = 0; j < s.stride_width && j < s.width; ++j)
      run(p, gradient_axis(s.height, s.window_height, s.stride_height, s.padding_height, s.dilation, s.out_height, i),
          gradient_axis(s.width, s.window_width, s.stride_width, s.padding_width, s.dilation, s.out_width, j),
          precision, stream);
}

/// Floats of workspace with which the sum over the pixels is spread over the device.
inline int64_t conv2d_weight_gradient_workspace(const Conv2dWeightGradient& p) {
  const ConvShape& s = p.shape;
  if (s.pointwise()) return gemm_workspace(detail::pointwise_weight_gradient(p));
  const int64_t slots = detail::weight_gradient_slots(s);
  return slots == 1 ? 0 : slots * s.outputs * s.window_height * s.window_width * (s.channels / s.groups);
}

/// Returns without waiting. Without pixels the gradient is 0.
/// @param workspace  (conv2d_weight_gradient_workspace(p))  overwritten; or null, and few blocks do all the work
inline void conv2d_weight_gradient(const Conv2dWeightGradient& p, Precision precision, float* workspace,
                                   Stream stream) {
  const ConvShape& s = p.shape;
  const int64_t inputs = s.channels / s.groups;
  if (s.outputs * s.window_height * s.window_width * inputs == 0) return;
  check_window_sizes(s);
  if (s.pointwise()) return gemm(detail::pointwise_weight_gradient(p), precision, workspace, stream);
  const bool fours = inputs % 4 == 0 && s.outputs / s.groups % 4 == 0 && detail::aligned_in_fours(p.x) &&
                     detail::aligned_in_fours(p.dy);
  const auto run = fours ? detail::launch_conv_weight_gradient<4> : detail::launch_conv_weight_gradient<1>;
  run(p, precision, workspace, stream);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

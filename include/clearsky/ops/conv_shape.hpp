#pragma once
// The options and shape rules of conv2d and conv_transpose2d, apart from the computation: every backend calls them, and
// they are tested without any data.

#include "clearsky/core/error.hpp"
#include "clearsky/core/shape.hpp"
#include "clearsky/cpu/conv.hpp"
#include "clearsky/ops/padding.hpp"

namespace clearsky {

/// How conv2d moves its windows over the image.
struct Conv2dOptions {
  int64_t stride = 1;                     ///< pixels between two windows
  int64_t padding = 0;                    ///< pixels added on each side
  int64_t dilation = 1;                   ///< pixels between two taps of one window
  int64_t groups = 1;                     ///< channel groups that do not mix
  Padding padding_mode = Padding::zeros;  ///< what the added pixels hold
  int64_t stride_w = -1, padding_w = -1;  ///< along W where they differ from those along H; -1: the same

  int64_t stride_along_w() const { return stride_w == -1 ? stride : stride_w; }
  int64_t padding_along_w() const { return padding_w == -1 ? padding : padding_w; }
};

/// How conv_transpose2d spreads its windows.
struct ConvTranspose2dOptions {
  int64_t stride = 1;          ///< output pixels between two windows
  int64_t padding = 0;         ///< output pixels cut off on each side
  int64_t output_padding = 0;  ///< output pixels added at the bottom and at the right, below stride
  int64_t dilation = 1;        ///< output pixels between two taps of one window
  int64_t groups = 1;          ///< channel groups that do not mix
};

namespace detail {

inline void check_window(const char* op, const Shape& w, int64_t stride_h, int64_t stride_w, int64_t padding_h,
                         int64_t padding_w, int64_t dilation, int64_t groups) {
  CLEARSKY_CHECK(ValueError, stride_h >= 1 && stride_w >= 1, op, ": stride ", stride_h, " along H and ", stride_w,
                 " along W; use at least 1");
  CLEARSKY_CHECK(ValueError, padding_h >= 0 && padding_w >= 0, op, ": padding ", padding_h, " along H and ", padding_w,
                 " along W; use at least 0, and slice to cut off pixels");
  CLEARSKY_CHECK(ValueError, dilation >= 1, op, ": dilation ", dilation, "; use at least 1");
  CLEARSKY_CHECK(ValueError, groups >= 1, op, ": groups ", groups, "; use at least 1");
  CLEARSKY_CHECK(ShapeError, w[1] >= 1 && w[2] >= 1, op, ": weight ", w, " has an empty window; use at least 1 x 1");
}

}  // namespace detail

/// The output shape of conv2d, or a ShapeError that says what to change.
///
///     H_out = floor((H + 2 padding - dilation (kH - 1) - 1) / stride) + 1, same for W
///
/// @param x  (N, H, W, C)
/// @param w  (O, kH, kW, C / groups)
/// @return   (N, H_out, W_out, O)
inline Shape conv2d_shape(const Shape& x, const Shape& w, const Conv2dOptions& opt) {
  CLEARSKY_CHECK(ShapeError, x.size() == 4, "conv2d: input must be (N, H, W, C), got ", x);
  CLEARSKY_CHECK(ShapeError, w.size() == 4, "conv2d: weight must be (O, kH, kW, C/groups), got ", w);
  const int64_t strides[2] = {opt.stride, opt.stride_along_w()};
  const int64_t paddings[2] = {opt.padding, opt.padding_along_w()};
  detail::check_window("conv2d", w, strides[0], strides[1], paddings[0], paddings[1], opt.dilation, opt.groups);
  CLEARSKY_CHECK(ShapeError, x[3] == w[3] * opt.groups, "conv2d: input ", x, " has ", x[3], " channels but weight ", w,
                 " reads ", w[3] * opt.groups, " (groups ", opt.groups, " x ", w[3], ")");
  CLEARSKY_CHECK(ShapeError, w[0] % opt.groups == 0, "conv2d: ", w[0], " output channels of weight ", w,
                 " cannot be divided into ", opt.groups, " groups");

  Shape y{x[0], 0, 0, w[0]};
  for (size_t d : {size_t(1), size_t(2)}) {
    const int64_t padded = x[d] + 2 * paddings[d - 1];
    const int64_t window = opt.dilation * (w[d] - 1) + 1;
    CLEARSKY_CHECK(ShapeError, window <= padded, "conv2d: a window of ", window, " does not fit ",
                   d == 1 ? "height " : "width ", x[d], " with padding ", paddings[d - 1], "; input ", x, ", weight ",
                   w, ", dilation ", opt.dilation);
    y[d] = (padded - window) / strides[d - 1] + 1;
  }
  return y;
}

/// The output shape of conv_transpose2d, or a ShapeError that says what to change.
///
///     H_out = (H - 1) stride - 2 padding + dilation (kH - 1) + output_padding + 1, same for W
///
/// @param x  (N, H, W, C)
/// @param w  (C, kH, kW, O / groups)
/// @return   (N, H_out, W_out, O)
inline Shape conv_transpose2d_shape(const Shape& x, const Shape& w, const ConvTranspose2dOptions& opt) {
  CLEARSKY_CHECK(ShapeError, x.size() == 4, "conv_transpose2d: input must be (N, H, W, C), got ", x);
  CLEARSKY_CHECK(ShapeError, w.size() == 4, "conv_transpose2d: weight must be (C, kH, kW, O/groups), got ", w);
  detail::check_window("conv_transpose2d", w, opt.stride, opt.stride, opt.padding, opt.padding, opt.dilation,
                       opt.groups);
  CLEARSKY_CHECK(ShapeError, x[3] == w[0], "conv_transpose2d: input ", x, " has ", x[3], " channels but weight ", w,
                 " reads ", w[0]);
  CLEARSKY_CHECK(ShapeError, w[0] % opt.groups == 0, "conv_transpose2d: ", w[0], " input channels of weight ", w,
                 " cannot be divided into ", opt.groups, " groups");
  CLEARSKY_CHECK(ValueError, 0 <= opt.output_padding && opt.output_padding < (std::max)(opt.stride, opt.dilation),
                 "conv_transpose2d: output_padding ", opt.output_padding, " with stride ", opt.stride, " and dilation ",
                 opt.dilation, "; use at least 0 and less than the larger of them");

  Shape y{x[0], 0, 0, w[3] * opt.groups};
  for (size_t d : {size_t(1), size_t(2)}) {
    y[d] =
        x[d] == 0 ? 0 : (x[d] - 1) * opt.stride - 2 * opt.padding + opt.dilation * (w[d] - 1) + opt.output_padding + 1;
    CLEARSKY_CHECK(ShapeError, y[d] >= (x[d] == 0 ? 0 : 1), "conv_transpose2d: ", d == 1 ? "height " : "width ", x[d],
                   " would give ", y[d], " pixels, padding ", opt.padding, " cuts off more than there is; input ", x,
                   ", weight ", w, ", stride ", opt.stride);
  }
  return y;
}

/// All sizes of one convolution, checked; what its kernels take.
inline cpu::ConvShape conv2d_sizes(const Shape& x, const Shape& w, const Conv2dOptions& opt) {
  const Shape y = conv2d_shape(x, w, opt);
  return {x[0],        x[1],
          x[2],        x[3],
          w[0],        w[1],
          w[2],        opt.groups,
          y[1],        y[2],
          opt.stride,  opt.stride_along_w(),
          opt.padding, opt.padding_along_w(),
          opt.dilation};
}

/// The sizes of the convolution whose data gradient conv_transpose2d is: its image is the larger, resulting one.
inline cpu::ConvShape conv_transpose2d_sizes(const Shape& x, const Shape& w, const ConvTranspose2dOptions& opt) {
  const Shape y = conv_transpose2d_shape(x, w, opt);
  return {x[0], y[1], y[2],       y[3],       w[0],        w[1],        w[2],        opt.groups,
          x[1], x[2], opt.stride, opt.stride, opt.padding, opt.padding, opt.dilation};
}

}  // namespace clearsky

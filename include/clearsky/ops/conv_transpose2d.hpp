#pragma once

#include "clearsky/core/compile_once.hpp"
#include "clearsky/ops/conv2d.hpp"

namespace clearsky {

/// Transposed convolution: the data gradient of a convolution, as a layer that makes images larger.
///
///     y(n, h s + i d - p, w s + j d - p, o) = bias(o) + sum of x(n, h, w, c) weight(c, i, j, o)
///
/// @param x       (N, H, W, C)
/// @param weight  (C, kH, kW, O / groups)
/// @param bias    (O), or undefined
/// @return        (N, H_out, W_out, O); see conv_transpose2d_sizes
/// @throws        ShapeError when channels, groups or sizes do not fit; ValueError for options out of range
/// @source        Dumoulin, Visin, "A guide to convolution arithmetic for deep learning", 2016, arXiv:1603.07285
template <class T>
Tensor<T> conv_transpose2d(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias = {},
                           const ConvTranspose2dOptions& options = {}) {
  const cpu::ConvShape sizes = conv_transpose2d_sizes(x.shape(), weight.shape(), options);
  CLEARSKY_CHECK(ShapeError, !bias.defined() || bias.shape() == Shape{sizes.channels}, "conv_transpose2d: bias ",
                 bias.shape(), " for weight ", weight.shape(), "; it must be (", sizes.channels, ")");
  const Tensor<T> y = apply(detail::Conv2dDataGradientOp<T>{sizes}, x, weight);
  return bias.defined() ? y + bias : y;
}

CLEARSKY_COMPILE_ONCE(conv_transpose2d)

}  // namespace clearsky

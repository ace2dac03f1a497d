#pragma once
// Convolution of channels-last images, and its two gradients. Each of the three is linear in both of its tensors, and
// their derivatives are again one of the three, so that any number of derivatives exists.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/conv.hpp"
#include "clearsky/cpu/conv_depthwise.hpp"
#include "clearsky/ops/conv_shape.hpp"
#include "clearsky/ops/pad.hpp"
#include "clearsky/ops/reduce.hpp"

namespace clearsky {
namespace detail {

template <class T>
inline Kernel<cpu::Conv2dForward<T>> conv2d_forward{"conv2d_forward", cpu::conv2d_forward<T>};
template <class T>
inline Kernel<cpu::Conv2dDataGradient<T>> conv2d_data_gradient{"conv2d_data_gradient", cpu::conv2d_data_gradient<T>};
template <class T>
inline Kernel<cpu::Conv2dWeightGradient<T>> conv2d_weight_gradient{"conv2d_weight_gradient",
                                                                   cpu::conv2d_weight_gradient<T>};
template <class T>
inline Kernel<cpu::Conv2dForward<T>> conv2d_depthwise_forward{"conv2d_depthwise_forward",
                                                              cpu::conv2d_depthwise_forward<T>};
template <class T>
inline Kernel<cpu::Conv2dDataGradient<T>> conv2d_depthwise_data_gradient{"conv2d_depthwise_data_gradient",
                                                                         cpu::conv2d_depthwise_data_gradient<T>};
template <class T>
inline Kernel<cpu::Conv2dWeightGradient<T>> conv2d_depthwise_weight_gradient{"conv2d_depthwise_weight_gradient",
                                                                             cpu::conv2d_depthwise_weight_gradient<T>};

inline bool is_depthwise(const cpu::ConvShape& s) {
  return s.groups == s.channels && s.outputs == s.channels && s.groups > 1;
}

template <class T>
struct Conv2dDataGradientOp;
template <class T>
struct Conv2dWeightGradientOp;

/// y = x * w + bias
template <class T>
struct Conv2dOp {
  static constexpr const char* kName = "conv2d";
  cpu::ConvShape shape;
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x, const Tensor<T>& w, const Tensor<T>& bias) const {
    const Tensor<T> dense_x = contiguous(x), dense_w = contiguous(w), dense_bias = contiguous(bias);
    saved.keep(saved.needs(1) ? x : Tensor<T>());
    saved.keep(saved.needs(0) ? w : Tensor<T>());
    Tensor<T> y({shape.batch, shape.out_height, shape.out_width, shape.outputs}, x.device());
    const auto& kernel = is_depthwise(shape) ? conv2d_depthwise_forward<T> : conv2d_forward<T>;
    kernel(x.device(), {dense_x.data(), dense_w.data(), dense_bias.data(), y.mutable_data(), shape});
    return y;
  }
  Grads<T, 3> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    // dx last: the caches still hold it when the operation before reads it.
    const Tensor<T> dw = saved.needs(1) ? apply(Conv2dWeightGradientOp<T>{shape}, saved[0], g) : Tensor<T>();
    const Tensor<T> dbias = saved.needs(2) ? sum(g, {0, 1, 2}) : Tensor<T>();
    return {saved.needs(0) ? apply(Conv2dDataGradientOp<T>{shape}, g, saved[1]) : Tensor<T>(), dw, dbias};
  }
};

/// dx = D(dy, w), the transpose of the convolution:  <D(dy, w), x> = <dy, x * w>
template <class T>
struct Conv2dDataGradientOp {
  static constexpr const char* kName = "conv2d_data_gradient";
  cpu::ConvShape shape;
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& dy, const Tensor<T>& w) const {
    const Tensor<T> dense_dy = contiguous(dy), dense_w = contiguous(w);
    saved.keep(saved.needs(1) ? dy : Tensor<T>());
    saved.keep(saved.needs(0) ? w : Tensor<T>());
    Tensor<T> dx({shape.batch, shape.height, shape.width, shape.channels}, dy.device());
    const auto& kernel = is_depthwise(shape) ? conv2d_depthwise_data_gradient<T> : conv2d_data_gradient<T>;
    kernel(dy.device(), {dense_dy.data(), dense_w.data(), dx.mutable_data(), shape});
    return dx;
  }
  Grads<T, 2> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    return {saved.needs(0) ? apply(Conv2dOp<T>{shape}, g, saved[1], Tensor<T>()) : Tensor<T>(),
            saved.needs(1) ? apply(Conv2dWeightGradientOp<T>{shape}, g, saved[0]) : Tensor<T>()};
  }
};

/// dw = W(x, dy):  <W(x, dy), w> = <dy, x * w>
template <class T>
struct Conv2dWeightGradientOp {
  static constexpr const char* kName = "conv2d_weight_gradient";
  cpu::ConvShape shape;
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x, const Tensor<T>& dy) const {
    const Tensor<T> dense_x = contiguous(x), dense_dy = contiguous(dy);
    saved.keep(saved.needs(1) ? x : Tensor<T>());
    saved.keep(saved.needs(0) ? dy : Tensor<T>());
    Tensor<T> dw({shape.outputs, shape.window_height, shape.window_width, shape.channels / shape.groups}, x.device());
    const auto& kernel = is_depthwise(shape) ? conv2d_depthwise_weight_gradient<T> : conv2d_weight_gradient<T>;
    kernel(x.device(), {dense_x.data(), dense_dy.data(), dw.mutable_data(), shape});
    return dw;
  }
  Grads<T, 2> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    return {saved.needs(0) ? apply(Conv2dDataGradientOp<T>{shape}, saved[1], g) : Tensor<T>(),
            saved.needs(1) ? apply(Conv2dOp<T>{shape}, saved[0], g, Tensor<T>()) : Tensor<T>()};
  }
};

}  // namespace detail

/// Convolution (cross-correlation, as everywhere in deep learning).
///
///     y(n, h, w, o) = bias(o) + sum_{i, j, c} x(n, h s + i d - p, w s + j d - p, c) weight(o, i, j, c)
///
/// @param x       (N, H, W, C)
/// @param weight  (O, kH, kW, C / groups)
/// @param bias    (O), or undefined
/// @return        (N, H_out, W_out, O); see conv2d_sizes
/// @throws        ShapeError when channels, groups or window do not fit
template <class T>
Tensor<T> conv2d(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias = {},
                 const Conv2dOptions& options = {}) {
  CLEARSKY_CHECK(ShapeError,
                 !bias.defined() || (bias.rank() == 1 && weight.rank() == 4 && bias.size(0) == weight.size(0)),
                 "conv2d: bias ", bias.shape(), " for weight ", weight.shape(), "; it must be (", weight.size(0), ")");
  const cpu::ConvShape sizes = conv2d_sizes(x.shape(), weight.shape(), options);
  if (options.padding_mode == Padding::zeros || (sizes.padding_height == 0 && sizes.padding_width == 0))
    return apply(detail::Conv2dOp<T>{sizes}, x, weight, bias);
  Conv2dOptions inner = options;
  inner.padding = inner.padding_w = 0;
  const Tensor<T> padded =
      pad(x, PadSizes{sizes.padding_height, sizes.padding_height, sizes.padding_width, sizes.padding_width},
          options.padding_mode);
  return apply(detail::Conv2dOp<T>{conv2d_sizes(padded.shape(), weight.shape(), inner)}, padded, weight, bias);
}

CLEARSKY_COMPILE_ONCE(conv2d)

}  // namespace clearsky

#pragma once
// Convolution layers.

#include "clearsky/nn/module.hpp"
#include "clearsky/ops/conv2d.hpp"
#include "clearsky/ops/conv_transpose2d.hpp"

namespace clearsky::nn {

/// Convolution with a square window; see clearsky::conv2d for the formula.
///
/// Input (N, H, W, inputs), output (N, H', W', outputs). Starts as PyTorch's: weight and bias uniform in
/// +- 1 / sqrt(kH kW inputs / groups).
template <class T = float>
struct Conv2d {
  using value_type = T;
  Parameter<T> weight;  ///< (outputs, window, window, inputs / groups)
  Parameter<T> bias;    ///< (outputs), or undefined
  Conv2dOptions options;

  /// An absent layer: it has no parameters, and cannot be called.
  Conv2d() = default;
  [[gnu::cold]] Conv2d(int64_t inputs, int64_t outputs, int64_t window, const Conv2dOptions& opt = {},
                       Bias with_bias = Bias::yes)
      : options(opt) {
    CLEARSKY_CHECK(ValueError, inputs > 0 && outputs > 0 && window > 0 && opt.groups > 0, "Conv2d: ", inputs,
                   " inputs, ", outputs, " outputs, a window of ", window, " and ", opt.groups,
                   " groups; all must be at least 1");
    CLEARSKY_CHECK(ValueError, inputs % opt.groups == 0 && outputs % opt.groups == 0, "Conv2d: ", inputs,
                   " inputs and ", outputs, " outputs cannot be divided into ", opt.groups, " groups");
    const int64_t fan_in = window * window * (inputs / opt.groups);
    weight = Parameter<T>({outputs, window, window, inputs / opt.groups}, init::fan_in_uniform(fan_in));
    if (with_bias == Bias::yes) bias = Parameter<T>({outputs}, init::fan_in_uniform(fan_in));
  }

  bool present() const { return weight.defined(); }
  Tensor<T> operator()(const Tensor<T>& x) const {
    const ProfileModule scope(*this);
    return conv2d(x, weight.value, bias.value, options);
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("weight", weight);
    visit("bias", bias);
  }
};

/// A convolution of each channel by itself, size kept: 3x3 windows, or another odd size.
template <class T = float>
Conv2d<T> depthwise_conv2d(int64_t channels, int64_t window = 3, Bias with_bias = Bias::no) {
  return Conv2d<T>(channels, channels, window, {.padding = window / 2, .groups = channels}, with_bias);
}

/// A linear map of each pixel's channels.
template <class T = float>
Conv2d<T> pointwise_conv2d(int64_t inputs, int64_t outputs, Bias with_bias = Bias::no) {
  return Conv2d<T>(inputs, outputs, 1, {}, with_bias);
}

/// Transposed convolution with a square window; see clearsky::conv_transpose2d.
///
/// Input (N, H, W, inputs), output (N, H', W', outputs). Starts uniform in +- 1 / sqrt(kH kW outputs / groups), as
/// PyTorch's does.
template <class T = float>
struct ConvTranspose2d {
  using value_type = T;
  Parameter<T> weight;  ///< (inputs, window, window, outputs / groups)
  Parameter<T> bias;    ///< (outputs), or undefined
  ConvTranspose2dOptions options;

  ConvTranspose2d() = default;
  ConvTranspose2d(int64_t inputs, int64_t outputs, int64_t window, const ConvTranspose2dOptions& opt = {},
                  Bias with_bias = Bias::yes)
      : options(opt) {
    CLEARSKY_CHECK(ValueError,
                   inputs > 0 && outputs > 0 && window > 0 && opt.groups > 0 && inputs % opt.groups == 0 &&
                       outputs % opt.groups == 0,
                   "ConvTranspose2d: ", inputs, " inputs, ", outputs, " outputs, a window of ", window, " and ",
                   opt.groups, " groups; all must be at least 1, and the groups divide inputs and outputs");
    const int64_t fan_in = window * window * (outputs / opt.groups);
    weight = Parameter<T>({inputs, window, window, outputs / opt.groups}, init::fan_in_uniform(fan_in));
    if (with_bias == Bias::yes) bias = Parameter<T>({outputs}, init::fan_in_uniform(fan_in));
  }

  Tensor<T> operator()(const Tensor<T>& x) const {
    const ProfileModule scope(*this);
    return conv_transpose2d(x, weight.value, bias.value, options);
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("weight", weight);
    visit("bias", bias);
  }
};

}  // namespace clearsky::nn

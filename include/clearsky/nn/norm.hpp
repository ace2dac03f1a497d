#pragma once
// Normalisation layers. The formulas and sources stand at the operations in clearsky/ops/norm.hpp.

#include "clearsky/nn/module.hpp"
#include "clearsky/ops/norm.hpp"

namespace clearsky::nn {

/// Over each pixel's channels: (..., channels). Starts as scale 1, shift 0.
template <class T = float>
struct LayerNorm {
  using value_type = T;
  Parameter<T> weight, bias;  ///< (channels)
  double eps = 1e-5;

  LayerNorm() = default;
  [[gnu::cold]] explicit LayerNorm(int64_t channels, double epsilon = 1e-5)
      : weight({channels}, init::constant(1)), bias({channels}, init::constant(0)), eps(epsilon) {}

  Tensor<T> operator()(const Tensor<T>& x) const {
    const ProfileModule scope(*this);
    return layer_norm(x, weight.value, bias.value, eps);
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("weight", weight);
    visit("bias", bias);
  }
};

/// Over each pixel's channels, without a mean and without a shift: (..., channels). Starts as scale 1.
template <class T = float>
struct RmsNorm {
  using value_type = T;
  Parameter<T> weight;  ///< (channels)
  double eps = 1e-5;

  explicit RmsNorm(int64_t channels, double epsilon = 1e-5) : weight({channels}, init::constant(1)), eps(epsilon) {}

  Tensor<T> operator()(const Tensor<T>& x) const {
    const ProfileModule scope(*this);
    return rms_norm(x, weight.value, eps);
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("weight", weight);
  }
};

/// Over an image and the channels of a group: (N, H, W, channels). Starts as scale 1, shift 0.
template <class T = float>
struct GroupNorm {
  using value_type = T;
  Parameter<T> weight, bias;  ///< (channels)
  int64_t groups;
  double eps;

  GroupNorm(int64_t group_count, int64_t channels, double epsilon = 1e-5)
      : weight({channels}, init::constant(1)), bias({channels}, init::constant(0)), groups(group_count), eps(epsilon) {
    CLEARSKY_CHECK(ValueError, groups >= 1 && channels % groups == 0, "GroupNorm: ", channels,
                   " channels cannot be divided into ", groups, " groups");
  }

  Tensor<T> operator()(const Tensor<T>& x) const {
    const ProfileModule scope(*this);
    return group_norm(x, groups, weight.value, bias.value, eps);
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("weight", weight);
    visit("bias", bias);
  }
};

/// Over all but the channels: (..., channels). In training by the batch's own statistics, which also move the running
/// ones; otherwise by the running ones. Starts as scale 1, shift 0, running mean 0 and variance 1.
template <class T = float>
struct BatchNorm {
  using value_type = T;
  Parameter<T> weight, bias;            ///< (channels)
  Buffer<T> running_mean, running_var;  ///< (channels)
  double momentum;                      ///< share of the newest batch in the running statistics
  double eps;

  explicit BatchNorm(int64_t channels, double newest_share = 0.1, double epsilon = 1e-5)
      : weight({channels}, init::constant(1)),
        bias({channels}, init::constant(0)),
        running_mean({channels}, 0),
        running_var({channels}, 1),
        momentum(newest_share),
        eps(epsilon) {}

  Tensor<T> operator()(const Tensor<T>& x, Mode mode) {
    const ProfileModule scope(*this);
    return batch_norm(x, weight.value, bias.value, running_mean.value, running_var.value, mode == Mode::training,
                      momentum, eps);
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("weight", weight);
    visit("bias", bias);
    visit("running_mean", running_mean);
    visit("running_var", running_var);
  }
};

}  // namespace clearsky::nn

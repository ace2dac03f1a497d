#pragma once
// The linear layer.

#include "clearsky/nn/module.hpp"
#include "clearsky/ops/matmul.hpp"

namespace clearsky::nn {

/// y = x W^T + bias over the last dimension: (..., inputs) to (..., outputs). Weight and bias start uniform in
/// +- 1 / sqrt(inputs).
template <class T = float>
struct Linear {
  using value_type = T;
  Parameter<T> weight;  ///< (outputs, inputs)
  Parameter<T> bias;    ///< (outputs), or undefined

  /// An absent layer: it has no parameters, and cannot be called.
  Linear() = default;
  [[gnu::cold]] Linear(int64_t inputs, int64_t outputs, Bias with_bias = Bias::yes) {
    CLEARSKY_CHECK(ValueError, inputs > 0 && outputs > 0, "Linear: ", inputs, " inputs and ", outputs,
                   " outputs; both must be at least 1");
    weight = Parameter<T>({outputs, inputs}, init::fan_in_uniform(inputs));
    if (with_bias == Bias::yes) bias = Parameter<T>({outputs}, init::fan_in_uniform(inputs));
  }

  Tensor<T> operator()(const Tensor<T>& x) const {
    const ProfileModule scope(*this);
    return linear(x, weight.value, bias.value);
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("weight", weight);
    visit("bias", bias);
  }
};

}  // namespace clearsky::nn

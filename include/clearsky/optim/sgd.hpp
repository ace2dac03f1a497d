#pragma once
// Gradient descent.

#include "clearsky/optim/optimizer.hpp"

namespace clearsky::optim {

struct SgdOptions {
  double momentum = 0;  ///< share of the old velocity, in [0, 1)
  bool nesterov = false;
  double weight_decay = 0;
};

/// Stochastic gradient descent, as PyTorch's.
///
///     g <- g + decay p        u <- momentum u + g
///     p <- p - lr u           with nesterov: p <- p - lr (g + momentum u)
///
/// Keeps `<name>.step`, and with momentum `<name>.momentum` (u).
/// @source  Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013, eq. 1-4,
///          with the learning rate outside the velocity
template <class T = float>
class Sgd : public Optimizer<T> {
 public:
  explicit Sgd(std::vector<nn::NamedParameter<T>> parameters, const SgdOptions& options = {})
      : Sgd(one_group(std::move(parameters)), options) {}
  explicit Sgd(std::vector<Group<T>> groups, const SgdOptions& options = {})
      : Optimizer<T>("Sgd", std::move(groups), options.weight_decay,
                     options.momentum > 0 ? std::vector<const char*>{"momentum"} : std::vector<const char*>{}),
        options_(options) {
    CLEARSKY_CHECK(ValueError, 0 <= options.momentum && options.momentum < 1, "Sgd: a momentum of ", options.momentum,
                   "; use a number in [0, 1)");
    CLEARSKY_CHECK(ValueError, !options.nesterov || options.momentum > 0,
                   "Sgd: nesterov without momentum is plain descent; set momentum, or leave nesterov off");
    tensors_.resize(this->slots_.size());
  }

 protected:
  void update(const detail::GradientsOf<T>& gradients, double lr, double grad_scale,
              WeightAverage<T>* average) override {
    for (size_t i = 0; i < tensors_.size(); ++i) {
      auto& slot = this->slots_[i];
      tensors_[i].gradient = gradients[i];
      if (gradients[i] == nullptr) continue;
      tensors_[i].value = this->parameters_[i].value.mutable_data();
      tensors_[i].velocity = slot.state.empty() ? nullptr : slot.state[0].mutable_data();
      tensors_[i].decay = T(slot.weight_decay);
      tensors_[i].rate = T(lr * slot.lr_factor);
    }
    detail::sgd_step<T>(this->device(),
                        {this->layout_.get(), tensors_.data(), T(options_.momentum), T(grad_scale), options_.nesterov});
    if (average != nullptr) average->update();
  }

 private:
  static std::vector<Group<T>> one_group(std::vector<nn::NamedParameter<T>> parameters) {
    std::vector<Group<T>> groups(1);
    groups[0].parameters = std::move(parameters);
    return groups;
  }

  SgdOptions options_;
  std::vector<cpu::SgdTensor<T>> tensors_;
};

}  // namespace clearsky::optim

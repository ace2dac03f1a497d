#pragma once
// Adam and AdamW.

#include "clearsky/optim/optimizer.hpp"

namespace clearsky::optim {

/// How Adam pulls weights towards 0.
enum class Decay {
  l2,         ///< decay p is added to the gradient, and so divided by its root mean square like the rest of it
  decoupled,  ///< p is multiplied by 1 - lr decay
};

struct AdamOptions {
  double beta1 = 0.9;    ///< share of the old mean of gradients
  double beta2 = 0.999;  ///< share of the old mean of squared gradients
  double eps = 1e-8;     ///< added to the root
  double weight_decay = 0;
};

/// Adam.
///
///     m <- beta1 m + (1 - beta1) g        v <- beta2 v + (1 - beta2) g^2
///     p <- p - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
///
/// t counts the updates of each parameter by itself. One pass over the bytes of all parameters.
/// Keeps `<name>.exp_avg` (m), `<name>.exp_avg_sq` (v) and `<name>.step` (t).
/// @source  Kingma, Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1
template <class T = float>
class Adam : public Optimizer<T> {
 public:
  explicit Adam(std::vector<nn::NamedParameter<T>> parameters, const AdamOptions& options = {}, Decay decay = Decay::l2)
      : Adam(one_group(std::move(parameters)), options, decay) {}
  explicit Adam(std::vector<Group<T>> groups, const AdamOptions& options = {}, Decay decay = Decay::l2)
      : Optimizer<T>(decay == Decay::l2 ? "Adam" : "AdamW", std::move(groups), options.weight_decay,
                     {"exp_avg", "exp_avg_sq"}),
        options_(options),
        decay_(decay) {
    const auto is_share = [](double beta) { return 0 <= beta && beta < 1; };
    CLEARSKY_CHECK(ValueError, is_share(options.beta1) && is_share(options.beta2) && options.eps >= 0, this->name_,
                   ": beta1 ", options.beta1, ", beta2 ", options.beta2, " and eps ", options.eps,
                   "; the betas must be in [0, 1) and eps at least 0");
    tensors_.resize(this->slots_.size());
  }

 protected:
  void update(const detail::GradientsOf<T>& gradients, double lr, double grad_scale,
              WeightAverage<T>* average) override {
    Workspace<T*> averages;
    if (average != nullptr) averages = average->averages_of(this->parameters_);
    for (size_t i = 0; i < tensors_.size(); ++i) {
      auto& slot = this->slots_[i];
      tensors_[i].gradient = gradients[i];
      tensors_[i].average = averages.empty() ? nullptr : averages[i];
      if (gradients[i] == nullptr) {
        tensors_[i].value = const_cast<T*>(this->parameters_[i].value.data());  // read by the average
        continue;
      }
      const double rate = lr * slot.lr_factor, steps = double(*slot.steps.data());
      tensors_[i].value = this->parameters_[i].value.mutable_data();
      tensors_[i].mean = slot.state[0].mutable_data();
      tensors_[i].square = slot.state[1].mutable_data();
      tensors_[i].keep = decay_ == Decay::decoupled ? T(1 - rate * slot.weight_decay) : T(1);
      tensors_[i].l2 = decay_ == Decay::l2 ? T(slot.weight_decay) : T(0);
      tensors_[i].rate = T(rate / (1 - std::pow(options_.beta1, steps)));
      tensors_[i].root_scale = T(1 / std::sqrt(1 - std::pow(options_.beta2, steps)));
    }
    detail::adam_step<T>(this->device(), {this->layout_.get(), tensors_.data(), T(1 - options_.beta1),
                                          T(options_.beta2), T(1 - options_.beta2), T(options_.eps), T(grad_scale),
                                          average == nullptr ? T(0) : average->share()});
    if (average != nullptr && averages.empty()) average->update();
  }

 private:
  static std::vector<Group<T>> one_group(std::vector<nn::NamedParameter<T>> parameters) {
    std::vector<Group<T>> groups(1);
    groups[0].parameters = std::move(parameters);
    return groups;
  }

  AdamOptions options_;
  Decay decay_;
  std::vector<cpu::AdamTensor<T>> tensors_;
};

/// Adam with decoupled weight decay: p <- (1 - lr decay) p before Adam's step.
/// @source  Loshchilov, Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2, with the decay
///          multiplied by the learning rate, as in PyTorch
template <class T = float>
class AdamW : public Adam<T> {
 public:
  explicit AdamW(std::vector<nn::NamedParameter<T>> parameters, const AdamOptions& options = {.weight_decay = 1e-2})
      : Adam<T>(std::move(parameters), options, Decay::decoupled) {}
  explicit AdamW(std::vector<Group<T>> groups, const AdamOptions& options = {.weight_decay = 1e-2})
      : Adam<T>(std::move(groups), options, Decay::decoupled) {}
};

}  // namespace clearsky::optim

#pragma once
// What all optimizers share: which parameters they train, and what they keep for each.

#include <map>
#include <optional>
#include <set>

#include "clearsky/nn/state_dict.hpp"
#include "clearsky/optim/clip.hpp"
#include "clearsky/optim/ema.hpp"

namespace clearsky::optim {

/// Parameters that are treated alike.
template <class T = float>
struct Group {
  std::vector<nn::NamedParameter<T>> parameters;
  double lr_factor = 1;                               ///< times the learning rate of each step
  std::optional<double> weight_decay = std::nullopt;  ///< instead of the optimizer's
};

/// Base of the optimizers.
///
///     optim::AdamW optimizer(nn::parameters(model), {.weight_decay = 1e-3});
///     loss.backward();
///     const double norm = optimizer.gradient_norm();
///     optimizer.step(rate.at(step), optim::clip_factor(norm, 0.5));
///     optimizer.zero_grad();
///
/// Parameters that are frozen when the optimizer is made are left out: no memory is kept for them. One that is frozen
/// later, or that has no gradient at a step, keeps its bits and its state.
template <class T = float>
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// One step against the gradients, which stay as they are.
  /// @param lr          learning rate, before the groups' factors
  /// @param grad_scale  what the gradients are multiplied by first: clip_factor, or 1 / number of accumulated passes
  /// @param average     updated as by its update(), to the same bits; by Adam in the pass over the weights that the
  /// step
  ///                    makes anyway. Null for none
  void step(double lr, double grad_scale = 1, WeightAverage<T>* average = nullptr) {
    CLEARSKY_CHECK(ValueError, std::isfinite(lr) && lr >= 0, name_, ": a learning rate of ", lr,
                   "; use a finite number of at least 0");
    CLEARSKY_CHECK(ValueError, std::isfinite(grad_scale), name_, ": a gradient scale of ", grad_scale,
                   "; use a finite number");
    CLEARSKY_CHECK(ValueError, average == nullptr || !average->swapped(), name_,
                   ": a step while the averages are swapped in; swap() first");
    const detail::GradientsOf<T> gradients(parameters_);
    for (size_t i = 0; i < slots_.size(); ++i)
      if (gradients[i] != nullptr) ++*slots_[i].steps.mutable_data();
    update(gradients, lr, grad_scale, average);
  }

  void zero_grad(Gradients what = Gradients::drop) { detail::drop_or_zero(parameters_, what); }

  /// As optim::gradient_norm, over the parameters of this optimizer.
  double gradient_norm() const { return detail::checked_gradient_norm(parameters_, layout_); }

  const std::vector<nn::NamedParameter<T>>& parameters() const { return parameters_; }

  /// What a checkpoint needs, by names such as `decoder.head.weight.exp_avg`; shares elements with the optimizer.
  nn::StateDict state() const {
    nn::StateDict dict;
    each_state([&](const std::string& name, const auto& tensor) { dict.emplace(name, tensor); });
    return dict;
  }

  /// The opposite of state(). @throws as nn::load_state, before anything has been changed
  void load_state(const nn::StateDict& dict, const std::string& source = "the given tensors") {
    std::vector<nn::detail::LoadTarget> targets;
    each_state([&](const std::string& name, const auto& tensor) {
      targets.push_back({name, tensor.shape(), tensor.dtype()});
    });
    nn::detail::compare_states(targets, dict, {.source = source, .owner = "the optimizer"});
    each_state([&](const std::string& name, const auto& tensor) { nn::detail::load_elements(dict.at(name), tensor); });
  }

 protected:
  /// What is kept for one parameter.
  struct Slot {
    double lr_factor;
    double weight_decay;
    Tensor<int64_t> steps;              // ()  how often it was updated
    std::vector<Tensor<T>> state = {};  // of the parameter's shape, zero at first
  };

  [[gnu::cold]] Optimizer(const char* name, std::vector<Group<T>> groups, double weight_decay,
                          const std::vector<const char*>& state_names)
      : name_(name), state_names_(state_names) {
    std::set<std::string> seen;
    int64_t given = 0;
    for (Group<T>& group : groups) {
      CLEARSKY_CHECK(ValueError, group.lr_factor >= 0, name, ": a group's factor of the learning rate is ",
                     group.lr_factor, "; use at least 0");
      const double decay = group.weight_decay.value_or(weight_decay);
      CLEARSKY_CHECK(ValueError, decay >= 0, name, ": a weight decay of ", decay, "; use at least 0");
      for (auto& p : group.parameters) {
        ++given;
        CLEARSKY_CHECK(ValueError, seen.insert(p.name).second, name, ": ", p.name,
                       " is given twice; each parameter belongs to one group");
        CLEARSKY_CHECK(ShapeError, p.value.is_contiguous(), name, ": ", p.name, " is not contiguous; clone it first");
        if (!p.value.requires_grad()) continue;
        layout_.add(p.value.numel());
        Slot slot{group.lr_factor, decay, zeros<int64_t>({})};
        for (size_t k = 0; k < state_names.size(); ++k)
          slot.state.push_back(zeros<T>(p.value.shape(), p.value.device()));
        slots_.push_back(std::move(slot));
        parameters_.push_back(std::move(p));
      }
    }
    CLEARSKY_CHECK(ValueError, !slots_.empty(), name, ": none of the ", given,
                   " parameters requires a gradient; unfreeze what is to be trained before making the optimizer");
  }

  /// @param average  null for none
  virtual void update(const detail::GradientsOf<T>& gradients, double lr, double grad_scale,
                      WeightAverage<T>* average) = 0;

  Device device() const { return detail::device_of(parameters_); }

  const char* name_;
  std::vector<const char*> state_names_;
  std::vector<nn::NamedParameter<T>> parameters_;
  std::vector<Slot> slots_;
  detail::Layout layout_;

 private:
  template <class Visit>
  void each_state(Visit&& visit) const {
    for (size_t i = 0; i < slots_.size(); ++i) {
      visit(parameters_[i].name + ".step", slots_[i].steps);
      for (size_t k = 0; k < state_names_.size(); ++k)
        visit(parameters_[i].name + "." + state_names_[k], slots_[i].state[k]);
    }
  }
};

}  // namespace clearsky::optim

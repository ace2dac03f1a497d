#pragma once
// A running average of the weights, which restores better than the last weights do.

#include "clearsky/nn/state_dict.hpp"
#include "clearsky/optim/parameter_set.hpp"

namespace clearsky::optim {

/// Exponential moving average of parameters.
///
///     a <- a + (1 - decay) (p - a)        a = p at first
///
/// @source  Polyak, Juditsky, SIAM J. Control Optim. 30 (1992), 838-855 (averaging of iterates)
template <class T = float>
class WeightAverage {
 public:
  /// @param decay  share of the old average at each update, in [0, 1)
  explicit WeightAverage(std::vector<nn::NamedParameter<T>> parameters, double decay = 0.999)
      : parameters_(std::move(parameters)), layout_(detail::layout_of(parameters_)), decay_(decay) {
    CLEARSKY_CHECK(ValueError, 0 <= decay && decay < 1, "WeightAverage: a decay of ", decay,
                   "; use a number in [0, 1)");
    for (const auto& p : parameters_) {
      CLEARSKY_CHECK(ShapeError, p.value.is_contiguous(), "WeightAverage: ", p.name,
                     " is not contiguous; clone it first");
      averages_.push_back(p.value.clone());
    }
  }

  /// After each step of the optimizer, unless step() was given this average.
  /// @throws ValueError while the averages are swapped in
  void update() {
    check_not_swapped();
    run(share(), false);
  }

  /// Exchanges the model's weights and their averages: before evaluation, and again after it. Nothing is rounded.
  void swap() {
    run(T(0), true);
    swapped_ = !swapped_;
  }
  bool swapped() const { return swapped_; }

  T share() const { return T(1 - decay_); }  ///< of the weights, in an update
  /// The averages, in the order of `parameters`, for an optimizer that updates them in its own pass; empty when these
  /// are not the parameters that are averaged. @throws ValueError while the averages are swapped in
  Workspace<T*> averages_of(const std::vector<nn::NamedParameter<T>>& parameters) {
    check_not_swapped();
    Workspace<T*> averages;
    if (parameters.size() != parameters_.size()) return averages;
    for (size_t i = 0; i < parameters.size(); ++i)
      if (parameters[i].value.data() != parameters_[i].value.data()) return averages;
    averages.reserve(averages_.size());
    for (const Tensor<T>& a : averages_) averages.push_back(a.mutable_data());
    return averages;
  }

  /// The averages under the names of the parameters; shares elements.
  nn::StateDict state() const {
    nn::StateDict dict;
    for (size_t i = 0; i < parameters_.size(); ++i)
      dict.emplace(parameters_[i].name, (swapped_ ? parameters_[i].value : averages_[i]).detach());
    return dict;
  }
  /// The opposite of state(). @throws as nn::load_state, before anything has been changed
  void load_state(const nn::StateDict& dict, const std::string& source = "the given tensors") {
    std::vector<nn::detail::LoadTarget> targets;
    for (const auto& p : parameters_) targets.push_back({p.name, p.value.shape(), p.value.dtype()});
    nn::detail::compare_states(targets, dict, {.source = source, .owner = "the average of the weights"});
    for (size_t i = 0; i < parameters_.size(); ++i)
      nn::detail::load_elements(dict.at(parameters_[i].name), swapped_ ? parameters_[i].value : averages_[i]);
  }

 private:
  void check_not_swapped() const {
    CLEARSKY_CHECK(ValueError, !swapped_, "WeightAverage: an update while the averages are swapped in; swap() first");
  }
  void run(T share, bool exchange) {
    Workspace<T*> averages, values;
    averages.reserve(averages_.size());
    values.reserve(averages_.size());
    for (size_t i = 0; i < averages_.size(); ++i) {
      averages.push_back(averages_[i].mutable_data());
      // A pass that only reads the weights must not look like a change to a backward that is still to come.
      values.push_back(exchange ? parameters_[i].value.mutable_data() : const_cast<T*>(parameters_[i].value.data()));
    }
    detail::average_step<T>(detail::device_of(parameters_),
                            {layout_.get(), averages.data(), values.data(), share, exchange});
  }

  std::vector<nn::NamedParameter<T>> parameters_;
  std::vector<Tensor<T>> averages_;
  detail::Layout layout_;
  double decay_;
  bool swapped_ = false;
};

/// The averages in place of the weights for as long as this object lives.
///
///     const optim::Averaged guard(average);
///     evaluate(model);
template <class T = float>
class [[nodiscard]] Averaged {
 public:
  explicit Averaged(WeightAverage<T>& average) : average_(average) { average_.swap(); }
  ~Averaged() { average_.swap(); }
  Averaged(const Averaged&) = delete;
  Averaged& operator=(const Averaged&) = delete;

 private:
  WeightAverage<T>& average_;
};

}  // namespace clearsky::optim

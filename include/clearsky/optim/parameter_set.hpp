#pragma once
// The tensors that one pass of an optimizer, a norm or an average goes over.

#include <string>
#include <utility>
#include <vector>

#include "clearsky/cpu/update.hpp"
#include "clearsky/nn/module.hpp"
#include "clearsky/ops/view.hpp"

namespace clearsky::optim {

/// Whether zero_grad gives the gradients' memory back to the pool, or fills them with zeros.
enum class Gradients { drop, zero };

namespace detail {

template <class T>
inline Kernel<cpu::AdamStep<T>> adam_step{"adam_step", cpu::adam_step<T>};
template <class T>
inline Kernel<cpu::SgdStep<T>> sgd_step{"sgd_step", cpu::sgd_step<T>};
template <class T>
inline Kernel<cpu::AverageStep<T>> average_step{"average_step", cpu::average_step<T>};
template <class T>
inline Kernel<cpu::ScaleStep<T>> scale_step{"scale_step", cpu::scale_step<T>};
template <class T>
inline Kernel<cpu::SquaredNorm<T>> squared_norm{"squared_norm", cpu::squared_norm<T>};

/// Places for tensors of fixed sizes along the common axis of clearsky/cpu/update.hpp.
class Layout {
 public:
  void add(int64_t count) {
    counts_.push_back(count);
    const int64_t rounded = (count + cpu::kUpdateAlign - 1) / cpu::kUpdateAlign * cpu::kUpdateAlign;
    starts_.push_back(starts_.back() + rounded);
  }
  cpu::UpdateLayout get() const { return {starts_.data(), counts_.data(), int64_t(counts_.size())}; }

 private:
  std::vector<int64_t> starts_{0}, counts_;
};

template <class T>
Layout layout_of(const std::vector<nn::NamedParameter<T>>& parameters) {
  Layout layout;
  for (const auto& p : parameters) layout.add(p.value.numel());
  return layout;
}

/// The gradients of some parameters, contiguous, for as long as this object lives. Null where a parameter has none or
/// is frozen.
template <class T>
class GradientsOf {
 public:
  explicit GradientsOf(const std::vector<nn::NamedParameter<T>>& parameters) {
    pointers_.reserve(parameters.size());
    for (const auto& p : parameters) {
      const Tensor<T> g = p.value.requires_grad() ? p.value.grad() : Tensor<T>();
      Tensor<T> dense = contiguous(g);
      pointers_.push_back(dense.data());
      if (g.defined() && !g.is_contiguous()) copies_.push_back(std::move(dense));
    }
  }
  const T* const* pointers() const { return pointers_.data(); }
  const T* operator[](size_t i) const { return pointers_[i]; }

 private:
  Workspace<const T*> pointers_;
  Workspace<Tensor<T>> copies_;
};

template <class T>
Device device_of(const std::vector<nn::NamedParameter<T>>& parameters) {
  return parameters.empty() ? Device::cpu : parameters.front().value.device();
}

template <class T>
int64_t non_finite_elements(const T* x, int64_t count) {
  int64_t found = 0;
  for (int64_t i = 0; i < count; ++i) found += !std::isfinite(x[i]);
  return found;
}

/// The sum of the squares of all gradients; NaN or infinite when one of them is.
template <class T>
double squared_gradient_norm(const std::vector<nn::NamedParameter<T>>& parameters, const Layout& layout) {
  const GradientsOf<T> gradients(parameters);
  double total = 0;
  squared_norm<T>(device_of(parameters), {layout.get(), gradients.pointers(), &total});
  return total;
}
template <class T>
double squared_gradient_norm(const std::vector<nn::NamedParameter<T>>& parameters) {
  return squared_gradient_norm(parameters, layout_of(parameters));
}

/// The Euclidean norm of all gradients together. @throws ValueError that names a parameter whose gradient is not finite
template <class T>
double checked_gradient_norm(const std::vector<nn::NamedParameter<T>>& parameters, const Layout& layout) {
  const double total = squared_gradient_norm(parameters, layout);
  if (!std::isfinite(total)) {
    for (size_t i = 0; i < parameters.size(); ++i) {
      const Tensor<T> g = parameters[i].value.requires_grad() ? parameters[i].value.grad() : Tensor<T>();
      if (!g.defined()) continue;
      const int64_t count = g.numel();
      const Tensor<T> host = clearsky::detail::copy_on(g, Device::cpu);
      const int64_t bad = non_finite_elements(host.data(), count);
      CLEARSKY_CHECK(ValueError, bad == 0, "gradient_norm: the gradient of ", parameters[i].name, " ",
                     parameters[i].value.shape(), " has ", bad, " elements of ", count,
                     " that are NaN or infinite; lower the learning rate, or look for NaN in the inputs");
    }
    CLEARSKY_FAIL(ValueError, "gradient_norm: the sum of squares is above ", (std::numeric_limits<double>::max)(),
                  "; lower the learning rate");
  }
  return std::sqrt(total);
}

template <class T>
void drop_or_zero(const std::vector<nn::NamedParameter<T>>& parameters, Gradients what) {
  for (const auto& p : parameters) {
    if (!p.value.grad().defined()) continue;
    if (what == Gradients::drop) {
      p.value.set_grad({});
    } else {
      const Tensor<T> g = p.value.grad();
      if (!g.is_contiguous()) p.value.set_grad(zeros<T>(g.shape(), g.device()));
      else clearsky::detail::fill_elements(g, T(0));
    }
  }
}

}  // namespace detail
}  // namespace clearsky::optim

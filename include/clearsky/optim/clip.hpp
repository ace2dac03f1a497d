#pragma once
// Limits on gradients.

#include "clearsky/optim/parameter_set.hpp"

namespace clearsky::optim {

/// What to multiply gradients by so that their common norm is at most `max_norm`:
///
///     min(1, max_norm / (norm + 1e-6))
///
/// Optimizers take it as the second argument of step(), which saves the pass over the gradients that clip_gradient_norm
/// makes.
/// @throws ValueError when max_norm is not above 0
inline double clip_factor(double norm, double max_norm) {
  CLEARSKY_CHECK(ValueError, max_norm > 0, "clip_factor: a largest norm of ", max_norm, "; use a number above 0");
  return (std::min)(1.0, max_norm / (norm + 1e-6));
}

/// The Euclidean norm of all gradients together, added up in double in a fixed order. Frozen parameters, and those
/// without a gradient, count as 0.
/// @throws ValueError that names the parameter when a gradient is NaN or infinite
template <class T>
double gradient_norm(const std::vector<nn::NamedParameter<T>>& parameters) {
  return detail::checked_gradient_norm(parameters, detail::layout_of(parameters));
}

namespace detail {

template <class T>
void scale_gradients(const std::vector<nn::NamedParameter<T>>& parameters, const Layout& layout, double scale,
                     double limit) {
  Workspace<T*> pointers;
  pointers.reserve(parameters.size());
  for (const auto& p : parameters) {
    Tensor<T> g = p.value.requires_grad() ? p.value.grad() : Tensor<T>();
    if (g.defined() && !g.is_contiguous()) p.value.set_grad(g = g.clone());
    pointers.push_back(g.mutable_data());
  }
  scale_step<T>(device_of(parameters), {layout.get(), pointers.data(), T(scale), T(limit)});
}

}  // namespace detail

/// Scales all gradients by one factor so that their common norm is at most `max_norm`.
/// @return  the norm before
/// @throws  ValueError when a gradient is NaN or infinite
template <class T>
double clip_gradient_norm(const std::vector<nn::NamedParameter<T>>& parameters, double max_norm) {
  const detail::Layout layout = detail::layout_of(parameters);
  const double norm = detail::checked_gradient_norm(parameters, layout);
  const double factor = clip_factor(norm, max_norm);
  if (factor < 1) detail::scale_gradients(parameters, layout, factor, double(INFINITY));
  return norm;
}

/// Cuts every element of every gradient to [-limit, limit].
template <class T>
void clip_gradient_values(const std::vector<nn::NamedParameter<T>>& parameters, double limit) {
  CLEARSKY_CHECK(ValueError, limit > 0, "clip_gradient_values: a limit of ", limit, "; use a number above 0");
  detail::scale_gradients(parameters, detail::layout_of(parameters), 1, limit);
}

}  // namespace clearsky::optim

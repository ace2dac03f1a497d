#pragma once
// gradcheck: compares the gradients of backward with central differences, in double.

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "clearsky/autograd/engine.hpp"

namespace clearsky {

/// What is differentiated. Erased, so that a file with fifty checks compiles the checking once.
using GradcheckFunction = std::function<Tensor<double>(const std::vector<Tensor<double>>&)>;

struct GradcheckOptions {
  /// The step h of (f(x + h) - f(x - h)) / 2h. The truncation error falls with h^2 and the rounding error rises with
  /// u / h; for functions of size 1 both are near 1e-10 at h = u^(1/3), about 6e-6.
  double step = 6e-6;
  /// Allowed difference, as a share of the largest gradient in the tensor (at least of 1).
  double tolerance = 2e-7;
  const char* name = "gradcheck";  ///< of the function, for messages
};

namespace detail {

/// A fixed seed tensor without structure: its sum with the output is what is differentiated, so that an error in one
/// element cannot hide behind another.
inline Tensor<double> check_weights(const Shape& shape) {
  return rand<double>(shape, Key{0x67726164}, 0.5, 1.5);
}

inline double weighted_sum(const Tensor<double>& y, const Tensor<double>& w) {
  double total = 0;
  const std::vector<double> values = y.to_vector();
  for (int64_t i = 0; i < y.numel(); ++i) total += values[size_t(i)] * w.data()[i];
  return total;
}

/// Compares d value / d point, as backward gave it, with central differences. `value` reads `point`.
inline void compare_with_differences(const std::function<double()>& value, const std::vector<Tensor<double>>& point,
                                     const std::vector<std::vector<double>>& grads, const GradcheckOptions& options) {
  int64_t wrong = 0, count = 0;
  std::string first;
  for (size_t k = 0; k < point.size(); ++k) {
    double largest = 1;
    for (double g : grads[k]) largest = std::fmax(largest, std::fabs(g));
    for (int64_t i = 0; i < point[k].numel(); ++i, ++count) {
      const double got = grads[k][size_t(i)], before = point[k].data()[i];
      double side[2];
      for (int s = 0; s < 2; ++s) {
        point[k].mutable_data()[i] = before + (s ? options.step : -options.step);
        side[s] = value();
      }
      point[k].mutable_data()[i] = before;
      const double want = (side[1] - side[0]) / (2 * options.step);
      // The difference of two sums carries their rounding: u * |value| / h.
      const double rounding = 4e-16 * (std::fabs(side[0]) + std::fabs(side[1])) / options.step;
      const double allowed = options.tolerance * largest + rounding;
      if (std::fabs(got - want) <= allowed) continue;
      if (++wrong == 1)
        first = "input " + std::to_string(k) + " " + to_text(point[k].shape()) + ", element " + std::to_string(i) +
                ": backward gives " + to_text(got) + ", central difference " + to_text(want) + ", allowed " +
                to_text(allowed);
    }
  }
  CLEARSKY_CHECK(AutogradError, wrong == 0, "gradcheck: ", options.name, ", ", first, "; ", wrong, " of ", count,
                 " elements differ");
}

inline std::vector<Tensor<double>> copies(const std::vector<Tensor<double>>& inputs, bool requires_grad) {
  std::vector<Tensor<double>> out;
  for (const auto& x : inputs) {
    out.push_back(x.clone());
    if (requires_grad) out.back().set_requires_grad();
  }
  return out;
}

}  // namespace detail

/// Checks d f / d inputs against central differences.
///
/// @param f       from a vector of tensors to one tensor; called 2 n + 1 times for n input elements
/// @param inputs  the point; each is differentiated
/// @throws AutogradError that names input, element, both values and the allowance
inline void gradcheck(const GradcheckFunction& f, const std::vector<Tensor<double>>& inputs,
                      const GradcheckOptions& options = {}) {
  const auto leaves = detail::copies(inputs, true);
  const Tensor<double> y = f(leaves);
  if (y.numel() == 0) return;
  CLEARSKY_CHECK(AutogradError, y.requires_grad(), "gradcheck: ", options.name,
                 ": the result does not depend on its inputs");
  const Tensor<double> w = detail::check_weights(y.shape());
  std::vector<std::vector<double>> grads;
  for (const auto& g : grad(y, leaves, w)) grads.push_back(g.to_vector());
  for (size_t k = 0; k < grads.size(); ++k) grads[k].resize(size_t(inputs[k].numel()), 0.0);

  const NoGrad guard;
  const auto point = detail::copies(inputs, false);
  detail::compare_with_differences([&] { return detail::weighted_sum(f(point), w); }, point, grads, options);
}

/// gradcheck of the gradient: checks the second derivatives, through those of sum_k <v_k, gradient k> for fixed v.
inline void gradgradcheck(const GradcheckFunction& f, const std::vector<Tensor<double>>& inputs,
                          const GradcheckOptions& options = {}) {
  const auto gradients_at = [&](const std::vector<Tensor<double>>& leaves) {
    const Tensor<double> y = f(leaves);
    return grad(y, leaves, detail::check_weights(y.shape()), CreateGraph::yes);
  };
  const auto direction = [](const Tensor<double>& g, size_t k) {
    return rand<double>(g.shape(), Key{0x68657373, k}, 0.5, 1.5);
  };
  const auto leaves = detail::copies(inputs, true);
  std::vector<std::vector<double>> second;
  for (const auto& x : inputs) second.emplace_back(size_t(x.numel()), 0.0);
  const auto first = gradients_at(leaves);
  for (size_t k = 0; k < first.size(); ++k) {
    // A gradient that does not depend on the inputs, as that of a sum, has no derivative to check: it must be constant.
    if (!first[k].defined() || !first[k].requires_grad()) continue;
    const auto part = grad(first[k], leaves, direction(first[k], k), CreateGraph::no, Retain::yes);
    for (size_t j = 0; j < part.size(); ++j) {
      const std::vector<double> values = part[j].to_vector();
      for (size_t i = 0; i < values.size(); ++i) second[j][i] += values[i];
    }
  }
  const auto point = detail::copies(inputs, true);
  detail::compare_with_differences(
      [&] {
        double total = 0;
        const auto gradients = gradients_at(point);
        for (size_t k = 0; k < gradients.size(); ++k)
          if (gradients[k].defined()) total += detail::weighted_sum(gradients[k], direction(gradients[k], k));
        return total;
      },
      point, second, options);
}

}  // namespace clearsky

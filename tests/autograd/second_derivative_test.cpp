#include <doctest/doctest.h>

#include <cmath>

#include "clearsky/ops/elementwise.hpp"
#include "clearsky/ops/reduce.hpp"

namespace clearsky {
namespace {

/// y = x^3 with a backward that stands for a fused kernel.
struct FusedCube {
  static constexpr const char* kName = "fused_cube";
  static constexpr bool kTwiceDifferentiable = false;
  Tensor<double> forward(Saved<double>& saved, const Tensor<double>& x) const {
    saved.keep(x);
    return x * x * x;
  }
  Grads<double, 1> backward(const Saved<double>& saved, const Tensor<double>& g) const {
    return {g * 3.0 * saved[0] * saved[0]};
  }
};

Tensor<double> leaf(double value) {
  return Tensor<double>({1}, {value}).set_requires_grad();
}

TEST_CASE("derivatives of derivatives, to the fourth") {
  const Tensor<double> x = leaf(0.7);
  Tensor<double> d = exp(x * 2.0);
  for (int order = 1; order <= 4; ++order) {
    d = grad(d, {x}, {}, CreateGraph::yes)[0];
    CHECK(d.item() == doctest::Approx(std::pow(2, order) * std::exp(1.4)).epsilon(1e-14));
  }
}

TEST_CASE("a mixed second derivative") {
  const Tensor<double> x = leaf(2), y = leaf(3);
  const Tensor<double> dx = grad(x * x * y, {x}, {}, CreateGraph::yes)[0];  // 2 x y
  CHECK(grad(dx, {y})[0].item() == 4);
}

TEST_CASE("a gradient can be part of a loss") {
  const Tensor<double> x = leaf(3);
  const Tensor<double> g = grad(x * x * x, {x}, {}, CreateGraph::yes)[0];  // 3 x^2
  (g * g).backward();                                                      // d (9 x^4) / dx = 36 x^3
  CHECK(x.grad().item() == 36 * 27);
}

TEST_CASE("an operation that keeps its output gives second derivatives through it") {
  const Tensor<double> x = leaf(0.3);
  const Tensor<double> d = grad(tanh(x), {x}, {}, CreateGraph::yes)[0];
  const double t = std::tanh(0.3);
  CHECK(grad(d, {x})[0].item() == doctest::Approx(-2 * t * (1 - t * t)).epsilon(1e-14));
}

TEST_CASE("a fused operation gives its gradient, and refuses the second by name") {
  const Tensor<double> x = leaf(2);
  const auto y = [&] { return apply(FusedCube{}, x); };
  CHECK(grad(y(), {x})[0].item() == 12);
  CHECK_THROWS_WITH_AS(grad(y(), {x}, {}, CreateGraph::yes),
                       doctest::Contains("fused_cube: no second derivative, its backward is a fused kernel"),
                       AutogradError);
}

TEST_CASE("without CreateGraph the gradient is a constant") {
  const Tensor<double> x = leaf(2);
  const Tensor<double> g = grad(x * x, {x})[0];
  CHECK_FALSE(g.requires_grad());
  CHECK_THROWS_AS(grad(g, {x}), AutogradError);
}

}  // namespace
}  // namespace clearsky

#include "clearsky/autograd/gradcheck.hpp"

#include <doctest/doctest.h>

#include "clearsky/ops/elementwise.hpp"
#include "clearsky/ops/reduce.hpp"

namespace clearsky {
namespace {

using Doubles = std::vector<Tensor<double>>;

/// y = x^2 with the gradient 2 x g, but for one element that is off by a planted factor.
struct PlantedSquare {
  static constexpr const char* kName = "planted_square";
  double factor;
  int64_t element;
  Tensor<double> forward(Saved<double>& saved, const Tensor<double>& x) const {
    saved.keep(x);
    return x * x;
  }
  Grads<double, 1> backward(const Saved<double>& saved, const Tensor<double>& g) const {
    Tensor<double> spoiled = full<double>(saved[0].shape(), 2);
    spoiled.mutable_data()[element] *= factor;
    return {g * saved[0] * spoiled};
  }
};

/// A right gradient whose own derivative is wrong: 2 x g, taken as if x were a constant.
struct PlantedSecond {
  static constexpr const char* kName = "planted_second";
  Tensor<double> forward(Saved<double>& saved, const Tensor<double>& x) const {
    saved.keep(x);
    return x * x;
  }
  Grads<double, 1> backward(const Saved<double>& saved, const Tensor<double>& g) const {
    return {g * 2.0 * saved[0].detach()};
  }
};

const Doubles kPoint{Tensor<double>({2, 3}, {0.5, -1, 2, 0.25, 3, -0.75})};

TEST_CASE("gradcheck passes right gradients and catches a wrong one") {
  const auto planted = [](double factor, int64_t element) {
    return [=](const Doubles& in) { return apply(PlantedSquare{factor, element}, in[0]); };
  };
  CHECK_NOTHROW(gradcheck(planted(1, 0), kPoint));
  CHECK_NOTHROW(gradgradcheck(planted(1, 0), kPoint));
  for (int64_t element = 0; element < 6; ++element) {
    const std::string where = "input 0 (2, 3), element " + std::to_string(element) + ": backward gives";
    CHECK_THROWS_WITH_AS(gradcheck(planted(1.00001, element), kPoint, {.name = "square"}),
                         doctest::Contains(where.c_str()), AutogradError);
  }
  CHECK_THROWS_WITH_AS(gradcheck(planted(-1, 2), kPoint, {.name = "square"}),
                       doctest::Contains("gradcheck: square, input 0 (2, 3), element 2: backward gives -"),
                       AutogradError);
  CHECK_THROWS_WITH_AS(gradcheck(planted(-1, 2), kPoint), doctest::Contains("1 of 6 elements differ"), AutogradError);
}

TEST_CASE("gradgradcheck catches a gradient whose derivative is wrong") {
  const auto f = [](const Doubles& in) { return apply(PlantedSecond{}, in[0]); };
  CHECK_NOTHROW(gradcheck(f, kPoint));
  CHECK_THROWS_AS(gradgradcheck(f, kPoint), AutogradError);
}

TEST_CASE("gradcheck looks at every input") {
  const Doubles two{kPoint[0], Tensor<double>({3}, {1, 2, 3})};
  CHECK_NOTHROW(gradcheck([](const Doubles& in) { return in[0] * in[1]; }, two));
  CHECK_NOTHROW(gradgradcheck([](const Doubles& in) { return in[0] * in[1] * in[1]; }, two));
  CHECK_THROWS_WITH_AS(gradcheck([](const Doubles& in) { return in[0] * (in[1] * in[1].detach()); }, two),
                       doctest::Contains("input 1 (3), element 0"), AutogradError);
}

TEST_CASE("gradcheck does not touch the point, and a function without a gradient is refused") {
  const std::vector<double> before = kPoint[0].to_vector();
  gradcheck([](const Doubles& in) { return exp(in[0]); }, kPoint);
  CHECK(kPoint[0].to_vector() == before);
  CHECK_FALSE(kPoint[0].requires_grad());
  CHECK_THROWS_WITH_AS(gradcheck([](const Doubles& in) { return in[0].detach(); }, kPoint, {.name = "cut"}),
                       doctest::Contains("gradcheck: cut: the result does not depend on its inputs"), AutogradError);
  CHECK_NOTHROW(gradcheck([](const Doubles& in) { return in[0] * 2.0; }, {Tensor<double>({0, 3})}));
}

}  // namespace
}  // namespace clearsky

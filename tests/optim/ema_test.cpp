#include "clearsky/optim/ema.hpp"

#include <doctest/doctest.h>

namespace clearsky::optim {
namespace {

std::vector<nn::NamedParameter<double>> two() {
  Tensor<double> a({3}, {1, 2, 3}), b = full<double>({40000}, 5);
  a.set_requires_grad();
  return {{"a", a}, {"b", b}};
}

TEST_CASE("the average starts at the weights and follows its formula") {
  const auto list = two();
  WeightAverage<double> average(list, 0.75);
  CHECK(Tensor<double>::from(average.state().at("a")).to_vector() == std::vector<double>{1, 2, 3});
  double want = 2;
  for (int step = 1; step <= 4; ++step) {
    list[0].value.mutable_data()[1] = step * 10;
    average.update();
    want = 0.75 * want + 0.25 * step * 10;
  }
  CHECK(Tensor<double>::from(average.state().at("a")).data()[1] == doctest::Approx(want).epsilon(1e-14));
  CHECK(Tensor<double>::from(average.state().at("b")).data()[39999] == 5);
}

TEST_CASE("swapping in and out gives every bit back") {
  const auto list = two();
  WeightAverage<double> average(list, 0.5);
  list[0].value.mutable_data()[0] = 9;
  list[1].value.mutable_data()[39999] = 0.1;
  average.update();
  {
    const Averaged guard(average);
    CHECK(average.swapped());
    CHECK(list[0].value.data()[0] == 5);
    CHECK(list[1].value.data()[39999] == 2.55);
    CHECK(Tensor<double>::from(average.state().at("a")).data()[0] == 5);  // the average, wherever it lies
    CHECK_THROWS_WITH_AS(average.update(), doctest::Contains("swap() first"), ValueError);
  }
  CHECK(list[0].value.data()[0] == 9);
  CHECK(list[1].value.data()[39999] == 0.1);
}

TEST_CASE("averages are saved and restored by name") {
  const auto list = two();
  WeightAverage<double> average(list, 0.5), other(list, 0.5);
  list[0].value.mutable_data()[0] = 9;
  average.update();
  other.load_state(average.state());
  CHECK(Tensor<double>::from(other.state().at("a")).data()[0] == 5);
  nn::StateDict wrong = average.state();
  wrong["a"] = zeros<double>({4});
  CHECK_THROWS_WITH_AS(other.load_state(wrong, "ema.safetensors"),
                       doctest::Contains("a is (4) in ema.safetensors but (3) in the average of the weights"),
                       ShapeError);
  CHECK_THROWS_WITH_AS(WeightAverage<double>(list, 1.0), doctest::Contains("a decay of 1"), ValueError);
}

}  // namespace
}  // namespace clearsky::optim

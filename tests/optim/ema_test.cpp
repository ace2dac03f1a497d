#include "clearsky/optim/ema.hpp"

#include <doctest/doctest.h>

#include <typeinfo>

#include "clearsky/optim/adamw.hpp"
#include "clearsky/optim/sgd.hpp"

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

template <class Make>
void check_step_with_average(const Make& make) {
  CAPTURE(typeid(Make).name());
  // Two runs of the same: one gives the average to the step, the other one updates it afterwards.
  const auto run = [&](bool together) {
    Tensor<float> a = full<float>({3, 5}, 0.5f), b = full<float>({40001}, -2), frozen = full<float>({4}, 7);
    Tensor<float> without = full<float>({70}, 3);  // of a gradient
    for (Tensor<float>* t : {&a, &b, &without}) t->set_requires_grad();
    const std::vector<nn::NamedParameter<float>> list{{"a", a}, {"b", b}, {"without", without}, {"frozen", frozen}};
    const auto optimizer = make(list);
    WeightAverage<float> average(optimizer->parameters(), 0.9);
    without.mutable_data()[69] = 4;  // the average follows all the same
    for (int step = 1; step <= 3; ++step) {
      for (Tensor<float>* t : {&a, &b}) {
        Tensor<float> g = zeros<float>(t->shape());
        for (int64_t i = 0; i < g.numel(); ++i) g.mutable_data()[i] = float((i * 7 + step) % 11) - 5;
        t->set_grad(g);
      }
      optimizer->step(0.01, 0.5, together ? &average : nullptr);
      if (!together) average.update();
    }
    std::vector<std::vector<float>> all;
    for (const char* name : {"a", "b", "without"})
      all.push_back(Tensor<float>::from(average.state().at(name)).to_vector());
    for (const auto& p : list) all.push_back(p.value.to_vector());
    return all;
  };
  CHECK(run(true) == run(false));
}

TEST_CASE("a step that is given the average updates it to the same bits as update() does") {
  using List = std::vector<nn::NamedParameter<float>>;
  check_step_with_average([](const List& l) { return std::make_unique<AdamW<float>>(l); });
  check_step_with_average(
      [](const List& l) { return std::make_unique<Adam<float>>(l, AdamOptions{.weight_decay = 0.1}); });
  check_step_with_average([](const List& l) { return std::make_unique<Sgd<float>>(l, SgdOptions{.momentum = 0.9}); });
}

TEST_CASE("a step that is given the average of other parameters updates all of them") {
  const auto list = two();
  WeightAverage<double> average(list, 0.5);  // of both; the optimizer has the first alone
  AdamW<double> optimizer(std::vector<nn::NamedParameter<double>>{list[0]});
  list[0].value.set_grad(full<double>({3}, 1));
  list[1].value.mutable_data()[0] = 6;
  optimizer.step(0.1, 1, &average);
  CHECK(Tensor<double>::from(average.state().at("b")).data()[0] == 5.5);
  CHECK(Tensor<double>::from(average.state().at("a")).data()[0] == doctest::Approx((1 + list[0].value.data()[0]) / 2));
  average.swap();
  CHECK_THROWS_WITH_AS(optimizer.step(0.1, 1, &average), doctest::Contains("swap() first"), ValueError);
  CHECK(*Tensor<int64_t>::from(optimizer.state().at("a.step")).data() == 1);  // nothing was changed
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

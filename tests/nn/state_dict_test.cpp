#include "clearsky/nn/state_dict.hpp"

#include <doctest/doctest.h>

#include "clearsky/nn/conv2d.hpp"
#include "clearsky/ops/view.hpp"

namespace clearsky::nn::state_dict_test {
namespace {

template <class T = float>
struct Pair {
  using value_type = T;
  Conv2d<T> first{3, 4, 3};
  Conv2d<T> second{4, 2, 1};
  Buffer<T> mean{{2}, 0};
  template <class Visit>
  void each_part(Visit&& visit) {
    visit("first", first);
    visit("second", second);
    visit("mean", mean);
  }
};

StateDict copy(const StateDict& dict) {
  StateDict out;
  for (const auto& [name, tensor] : dict) out.emplace(name, Tensor<float>::from(tensor).clone());
  return out;
}

TEST_CASE("a state dict holds parameters and buffers, and goes back in") {
  Pair<> a, b;
  initialise(a, 1);
  initialise(b, 2);
  a.mean.value.mutable_data()[1] = 3;
  const StateDict dict = state_dict(a);
  CHECK(dict.size() == 5);
  CHECK(dict.count("mean") == 1);
  CHECK(load_state(b, dict).missing.empty());
  CHECK(b.first.weight.value.to_vector() == a.first.weight.value.to_vector());
  CHECK(b.mean.value.to_vector() == std::vector<float>{0, 3});
  CHECK(b.first.weight.value.data() != a.first.weight.value.data());  // values were copied
  CHECK(b.first.weight.value.requires_grad());
}

TEST_CASE("weights are converted between floating types, from any strides") {
  Pair<double> wide;
  initialise(wide, 1);
  Pair<> narrow;
  load_state(narrow, state_dict(wide));
  CHECK(narrow.first.weight.value.data()[5] == float(wide.first.weight.value.data()[5]));

  StateDict dict = copy(state_dict(narrow));
  dict["second.weight"] = cast<BFloat16>(narrow.second.weight.value.detach());
  dict["second.bias"] = cast<Half>(narrow.second.bias.value.detach());
  const Tensor<float> turned = permute(narrow.first.weight.value.detach(), {3, 2, 1, 0}).clone();
  dict["first.weight"] = permute(turned, {3, 2, 1, 0});
  Pair<double> again;
  load_state(again, dict);
  CHECK(again.second.weight.value.data()[3] == double(float(BFloat16(narrow.second.weight.value.data()[3]))));
  CHECK(again.second.bias.value.data()[1] == double(float(Half(narrow.second.bias.value.data()[1]))));
  for (int64_t i = 0; i < 108; ++i)
    CHECK(again.first.weight.value.data()[i] == double(narrow.first.weight.value.data()[i]));
}

TEST_CASE("what does not fit is named, and nothing is changed") {
  Pair<> pair;
  initialise(pair, 1);
  const std::vector<float> before = pair.first.weight.value.to_vector();
  StateDict dict = copy(state_dict(pair));
  Tensor<float>::from(dict["first.weight"]).mutable_data()[0] = 99;

  SUBCASE("another shape") {
    dict["second.weight"] = zeros<float>({2, 3, 3, 5});
    dict["second.bias"] = zeros<float>({3});
    CHECK_THROWS_WITH_AS(load_state(pair, dict, {.source = "weights.safetensors"}),
                         doctest::Contains("load_weights: second.weight is (2, 3, 3, 5) in weights.safetensors but (2, "
                                           "1, 1, 4) in the model; 2 of 5 tensors differ"),
                         ShapeError);
    CHECK_THROWS_AS(load_state(pair, dict, {.strict = Strict::no}), ShapeError);
  }
  SUBCASE("a missing name") {
    dict.erase("mean");
    dict.erase("first.bias");
    CHECK_THROWS_WITH_AS(load_state(pair, dict, {.source = "w.safetensors"}),
                         doctest::Contains("load_weights: w.safetensors has no first.bias and 1 other of the 5 tensors "
                                           "of the model; load with Strict::no"),
                         ValueError);
  }
  SUBCASE("an unexpected name") {
    dict["third"] = zeros<float>({1});
    CHECK_THROWS_WITH_AS(load_state(pair, dict),
                         doctest::Contains("load_weights: the given tensors has third, which the model has not"),
                         ValueError);
  }
  SUBCASE("integers") {
    dict["mean"] = zeros<int64_t>({2});
    CHECK_THROWS_WITH_AS(load_state(pair, dict),
                         doctest::Contains("mean has elements of type int64 in the given tensors but float32"),
                         DTypeError);
  }
  CHECK(pair.first.weight.value.to_vector() == before);
}

TEST_CASE("a load that is not strict says what it left alone") {
  Pair<> pair;
  StateDict dict = copy(state_dict(pair));
  dict.erase("mean");
  dict["third"] = zeros<float>({1});
  const LoadReport report = load_state(pair, dict, {.strict = Strict::no});
  CHECK(report.missing == std::vector<std::string>{"mean"});
  CHECK(report.unexpected == std::vector<std::string>{"third"});
}

}  // namespace
}  // namespace clearsky::nn::state_dict_test

#include <doctest/doctest.h>

#include "clearsky/autograd/gradcheck.hpp"
#include "clearsky/nn/attention.hpp"
#include "clearsky/nn/dropout.hpp"
#include "clearsky/nn/norm.hpp"

namespace clearsky::nn::layers_test {
namespace {

template <class Module>
std::vector<std::string> names(Module& module) {
  std::vector<std::string> list;
  each_parameter(module, [&](const std::string& name, auto&) { list.push_back(name); });
  return list;
}

/// Every parameter of a module gets a gradient from sum(y * fixed numbers).
template <class Module>
void check_gradients_arrive(Module& module, const Tensor<float>& y) {
  sum(y * rand<float>(y.shape(), Key{77}, 0.5, 1.5)).backward();
  each_parameter(module, [&](const std::string& name, auto& p) {
    REQUIRE_MESSAGE(p.value.grad().defined(), name);
    double largest = 0;
    for (const float g : p.value.grad().to_vector()) largest = std::fmax(largest, std::fabs(double(g)));
    CHECK_MESSAGE(largest > 0, name);
  });
}

TEST_CASE("normalisation layers start as plain normalisation") {
  const Tensor<float> x = rand<float>({2, 3, 4, 6}, Key{1}, -1, 3);
  LayerNorm<> layer(6);
  CHECK(layer(x).to_vector() == layer_norm(x, ones<float>({6}), zeros<float>({6})).to_vector());
  check_gradients_arrive(layer, layer(x));
  CHECK(names(layer) == std::vector<std::string>{"weight", "bias"});

  RmsNorm<> rms(6);
  CHECK(rms(x).to_vector() == rms_norm(x, ones<float>({6})).to_vector());
  check_gradients_arrive(rms, rms(x));

  GroupNorm<> group(3, 6);
  CHECK(group(x).to_vector() == group_norm(x, 3, ones<float>({6}), zeros<float>({6})).to_vector());
  check_gradients_arrive(group, group(x));
  CHECK_THROWS_WITH_AS(GroupNorm<>(4, 6), doctest::Contains("6 channels cannot be divided into 4 groups"), ValueError);
}

TEST_CASE("batch normalisation: running statistics move in training only") {
  BatchNorm<double> norm(2, 0.5);
  const Tensor<double> x({4, 2}, {1, 10, 2, 20, 3, 30, 4, 40});
  norm(x, Mode::inference);
  CHECK(norm.running_mean.value.to_vector() == std::vector<double>{0, 0});
  const Tensor<double> y = norm(x, Mode::training);
  CHECK(norm.running_mean.value.data()[0] == doctest::Approx(1.25));              // halfway to 2.5
  CHECK(norm.running_var.value.data()[0] == doctest::Approx(0.5 + 0.5 * 5 / 3));  // of 4 values, dividing by 3
  CHECK(y.data()[0] == doctest::Approx(-1.5 / std::sqrt(1.25 + 1e-5)));           // dividing by 4
  const Tensor<double> z = norm(x, Mode::inference);
  CHECK(z.data()[0] == doctest::Approx((1 - 1.25) / std::sqrt(norm.running_var.value.data()[0] + 1e-5)));
  CHECK(names(norm) == std::vector<std::string>{"weight", "bias"});  // statistics are not trained
  initialise(norm, 1);
  CHECK(norm.running_var.value.to_vector() == std::vector<double>{1, 1});
}

TEST_CASE("dropout is off outside of training, and follows its key inside") {
  const Tensor<float> x = ones<float>({1000});
  const Dropout drop{0.25};
  CHECK(drop(x, Key{1}, Mode::inference).to_vector() == x.to_vector());
  const Tensor<float> a = drop(x, Key{1}, Mode::training);
  CHECK(a.to_vector() == drop(x, Key{1}, Mode::training).to_vector());
  CHECK(a.to_vector() != drop(x, Key{2}, Mode::training).to_vector());
  int zero = 0;
  for (const float v : a.to_vector()) zero += v == 0;
  CHECK(zero > 200);  // a drop probability: a quarter of 1000, deviation 14
  CHECK(zero < 300);
  const DropPath path{0.5};
  const Tensor<float> b = path(ones<float>({64, 3}), Key{1}, Mode::training);
  for (int64_t i = 0; i < 64; ++i) CHECK(b.at({i, 0}) == b.at({i, 2}));
  CHECK(path(x, Key{1}, Mode::inference).to_vector() == x.to_vector());
}

TEST_CASE("multi-head attention is scaled dot-product attention per channel block") {
  MultiHeadAttention<double> attention(6, 2);
  initialise(attention, 3);
  const Tensor<double> x = randn<double>({2, 5, 6}, Key{1}), context = randn<double>({2, 7, 6}, Key{2});
  const Tensor<double> y = attention(x, context);
  CHECK(y.shape() == x.shape());
  // One query of one head by hand.
  const Tensor<double> q = attention.query(x), k = attention.key(context), v = attention.value(context);
  double total = 0, weights[7], mixed[6] = {};
  for (const int64_t head : {0, 1}) {
    total = 0;
    for (int64_t j = 0; j < 7; ++j) {
      double dot = 0;
      for (int64_t c = 3 * head; c < 3 * head + 3; ++c) dot += q.at({1, 4, c}) * k.at({1, j, c});
      total += weights[j] = std::exp(dot / std::sqrt(3.0));
    }
    for (int64_t j = 0; j < 7; ++j)
      for (int64_t c = 3 * head; c < 3 * head + 3; ++c) mixed[c] += weights[j] / total * v.at({1, j, c});
  }
  for (int64_t o = 0; o < 6; ++o) {
    double want = attention.projection.bias.value.data()[o];
    for (int64_t c = 0; c < 6; ++c) want += attention.projection.weight.value.at({o, c}) * mixed[c];
    CHECK(y.at({1, 4, o}) == doctest::Approx(want).epsilon(1e-12));
  }
  CHECK_THROWS_WITH_AS(MultiHeadAttention<>(6, 4), doctest::Contains("6 channels cannot be divided into 4 heads"),
                       ValueError);
  MultiHeadAttention<float> narrow(8, 2);
  initialise(narrow, 1);
  check_gradients_arrive(narrow, narrow(randn<float>({2, 5, 8}, Key{1}), {.causal = true}));
}

TEST_CASE("window attention sees its own window only") {
  WindowAttention<float> attention(8, 2, 4);
  initialise(attention, 3);
  const Tensor<float> x = randn<float>({1, 8, 8, 8}, Key{1});
  const Tensor<float> before = attention(x);
  Tensor<float> changed = x.clone();
  changed.mutable_data()[(7 * 8 + 7) * 8] += 1;  // a pixel of the last window
  const Tensor<float> after = attention(changed);
  CHECK(after.at({0, 0, 0, 0}) == before.at({0, 0, 0, 0}));
  CHECK(after.at({0, 3, 7, 0}) == before.at({0, 3, 7, 0}));
  CHECK(after.at({0, 4, 4, 0}) != before.at({0, 4, 4, 0}));
  check_gradients_arrive(attention, attention(x));
}

TEST_CASE("MDTA keeps the shape and names its parameters") {
  Mdta<float> attention(8, 2);
  initialise(attention, 3);
  CHECK(names(attention) ==
        std::vector<std::string>{"qkv.weight", "qkv_depthwise.weight", "temperature", "projection.weight"});
  CHECK(attention.temperature.value.to_vector() == std::vector<float>{1, 1});
  const Tensor<float> x = randn<float>({2, 5, 3, 8}, Key{1});
  CHECK(attention(x).shape() == x.shape());
  check_gradients_arrive(attention, attention(x));

  Mdta<double> wide(4, 2);
  initialise(wide, 3);
  gradcheck([&](const std::vector<Tensor<double>>& in) { return wide(in[0]); }, {randn<double>({1, 3, 4, 4}, Key{1})},
            {.name = "Mdta"});
}

}  // namespace
}  // namespace clearsky::nn::layers_test

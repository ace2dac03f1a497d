#include "clearsky/ops/loss.hpp"

#include "../op_spec.hpp"
#include "clearsky/ops/carl.hpp"

namespace clearsky::test::loss_test {
namespace {

enum Weights { kNone, kPerPixel, kPerElement, kZero };

template <class T>
Tensor<T> weights_for(const Shape& shape, const Attrs& a) {
  const int64_t kind = a.integer("weights", kNone);
  if (kind == kNone) return {};
  Shape s = shape;
  if (kind != kPerElement) s[s.size() - 1] = 1;
  // A quarter of the pixels counts nothing; all numbers are exact in float.
  Tensor<T> w(s);
  for (int64_t i = 0; i < w.numel(); ++i) w.mutable_data()[i] = kind == kZero ? T(0) : T(i * 5 % 4) * T(0.75);
  return w;
}

std::function<Expected(const Inputs&, const Attrs&)> mean_of(double (*e)(double d, double parameter)) {
  return [e](const Inputs& in, const Attrs& a) -> Expected {
    const Shape& shape = in[0].shape();
    const Tensor<double> w = weights_for<double>(shape, a);
    double total = 0, count = 0;
    for (int64_t i = 0; i < in[0].numel(); ++i) {
      const double weight = !w.defined() ? 1 : w.data()[w.shape() == shape ? i : i / shape.back()];
      total += weight * e(in[0].data()[i] - in[1].data()[i], a.has("parameter") ? a.at("parameter") : 0);
      count += weight;
    }
    if (count == 0 && in[0].numel() > 0) return {{0}, {0}, 1};
    // Every term is rounded as a difference of two numbers of size 1.
    return {{total / count}, {std::fmax(1, total / count)}, double(in[0].numel())};
  };
}

std::vector<Sample> samples(double parameter) {
  std::vector<Sample> all;
  for (Weights w : {kNone, kPerPixel, kPerElement, kZero}) {
    const Attrs attrs{{"weights", double(w)}, {"parameter", parameter}};
    all.push_back({.inputs = {{2, 3, 2, 3}, {2, 3, 2, 3}}, .attrs = attrs});
    all.push_back({.inputs = {{0, 3}, {0, 3}}, .attrs = attrs});  // the mean of nothing
    all.push_back({.inputs = {{1}, {1}}, .attrs = attrs});
    all.push_back({.inputs = {{2, 45, 50, 13}, {2, 45, 50, 13}}, .attrs = attrs, .gradcheck = false});
  }
  return all;
}

const std::vector<Reject> kRejects{
    {{.inputs = {{2, 3}, {3, 2}}, .attrs = {{"parameter", 1}}},
     "prediction (2, 3) and target (3, 2) must have one shape"},
};

TEST_CASE("l1_loss") {
  run({.name = "l1_loss",
       .reference = mean_of([](double d, double) { return std::fabs(d); }),
       .samples = samples(0),
       .rejects = kRejects},
      [](const auto& in, const Attrs& a) {
        using T = typename std::decay_t<decltype(in[0])>::value_type;
        return l1_loss(in[0], in[1], weights_for<T>(in[0].shape(), a));
      });
}

TEST_CASE("mse_loss") {
  run({.name = "mse_loss",
       .reference = mean_of([](double d, double) { return d * d; }),
       .samples = samples(0),
       .rejects = kRejects},
      [](const auto& in, const Attrs& a) {
        using T = typename std::decay_t<decltype(in[0])>::value_type;
        return mse_loss(in[0], in[1], weights_for<T>(in[0].shape(), a));
      });
}

TEST_CASE("huber_loss") {
  run({.name = "huber_loss",
       .reference = mean_of([](double d, double delta) {
         return std::fabs(d) <= delta ? 0.5 * d * d : delta * (std::fabs(d) - 0.5 * delta);
       }),
       .samples = samples(0.625),
       .rejects = {kRejects[0],
                   {{.inputs = {{2}, {2}}, .attrs = {{"parameter", 0}}}, "huber_loss: delta 0; use a value above 0"}}},
      [](const auto& in, const Attrs& a) {
        using T = typename std::decay_t<decltype(in[0])>::value_type;
        return huber_loss(in[0], in[1], a.at("parameter"), weights_for<T>(in[0].shape(), a));
      });
}

TEST_CASE("charbonnier_loss") {
  run({.name = "charbonnier_loss",
       .reference = mean_of([](double d, double eps) { return std::sqrt(d * d + eps * eps); }),
       .samples = samples(0.125),
       .rejects = {kRejects[0],
                   {{.inputs = {{2}, {2}}, .attrs = {{"parameter", 0}}},
                    "charbonnier_loss: eps 0; use a value above 0"}}},
      [](const auto& in, const Attrs& a) {
        using T = typename std::decay_t<decltype(in[0])>::value_type;
        return charbonnier_loss(in[0], in[1], a.at("parameter"), weights_for<T>(in[0].shape(), a));
      });
}

TEST_CASE("l1_loss: a weight per pixel counts once per channel") {
  const Tensor<double> a({1, 1, 2, 2}, {1, 2, 3, 4}), b = zeros<double>({1, 1, 2, 2});
  const Tensor<double> w({1, 1, 2, 1}, {3, 1});
  CHECK(l1_loss(a, b, w).item() == doctest::Approx((3 * 1 + 3 * 2 + 3 + 4) / 8.0));
  CHECK_THROWS_WITH_AS(
      l1_loss(a, b, ones<double>({2})),
      doctest::Contains("weight (2) fits neither all elements (1, 1, 2, 2) nor all pixels (1, 1, 2, 1)"), ShapeError);
}

TEST_CASE("l1_loss: equal elements have no gradient, a NaN is carried") {
  Tensor<float> a = ones<float>({4}).set_requires_grad();
  l1_loss(a, ones<float>({4})).backward();
  CHECK(a.grad().to_vector() == std::vector<float>{0, 0, 0, 0});
  CHECK(std::isnan(l1_loss(a, full<float>({4}, std::numeric_limits<float>::quiet_NaN())).item()));
}

template <class T>
Tensor<T> carl_mask(const Shape& shape) {
  return cast<T>(cast<float>(rand<double>({shape[0], shape[1], shape[2], 1}, Key{7})));
}

TEST_CASE("carl_loss") {
  const auto reference = [](const Inputs& in, const Attrs& a) -> Expected {
    const Tensor<double> mask = carl_mask<double>(in[0].shape());
    double total = 0;
    for (int64_t i = 0; i < in[0].numel(); ++i) {
      const double p = in[0].data()[i], t = in[1].data()[i], cloudy = in[2].data()[i];
      const double m = mask.data()[i / in[0].shape().back()];
      total += std::fabs(m * (p - t)) + std::fabs((1 - m) * (p - cloudy)) + a.at("lambda") * std::fabs(p - t);
    }
    const double mean = total / double(in[0].numel());
    return {{mean}, {std::fmax(1, mean)}, double(in[0].numel())};
  };
  const auto sample = [](Shape x, double lambda, bool check = true) {
    return Sample{.inputs = {x, x, x}, .attrs = {{"lambda", lambda}}, .gradcheck = check};
  };
  run({.name = "carl_loss",
       .reference = reference,
       .samples = {sample({2, 3, 2, 3}, 1), sample({1, 2, 2, 1}, 0), sample({0, 2, 2, 3}, 1),
                   sample({2, 45, 50, 13}, 0.5, false)},
       .rejects = {{sample({1, 2, 2, 3}, -1), "lambda -1; use at least 0"}}},
      [](const auto& in, const Attrs& a) {
        using T = typename std::decay_t<decltype(in[0])>::value_type;
        return carl_loss(in[0], in[1], in[2], carl_mask<T>(in[0].shape()), a.at("lambda"));
      });
  const Tensor<float> x = zeros<float>({1, 2, 2, 3});
  CHECK_THROWS_WITH_AS(carl_loss(x, x, x, x), doctest::Contains("mask must be (1, 2, 2, 1), got (1, 2, 2, 3)"),
                       ShapeError);
}

}  // namespace
}  // namespace clearsky::test::loss_test

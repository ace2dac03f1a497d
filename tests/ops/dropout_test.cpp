#include "clearsky/ops/dropout.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::dropout_test {
namespace {

constexpr Key kKey{7, 3};

/// What is kept is divided by 1 - p; `unit` elements in a row share their fate.
Expected dropped(const Tensor<double>& x, double p, int64_t unit) {
  Expected e;
  for (int64_t i = 0; i < x.numel(); ++i)
    e.values.push_back(p == 1 || kKey.uniform(uint64_t(i / unit)) < p ? 0 : x.data()[i] / (1 - p));
  return e;
}

std::vector<Sample> samples(const std::vector<Shape>& shapes) {
  std::vector<Sample> all;
  for (double p : {0.0, 0.3, 0.5, 0.97, 1.0})
    for (const Shape& s : shapes)
      all.push_back({.inputs = {s}, .attrs = {{"p", p}}, .gradcheck = s.numel() < 100, .direction = true});
  return all;
}

std::vector<Reject> rejects(const std::string& op) {
  std::vector<Reject> all;
  for (double p : {-0.1, 1.5, double(NAN)})
    all.push_back({{.inputs = {{3}}, .attrs = {{"p", p}}}, op + ": drop probability "});
  return all;
}

TEST_CASE("dropout") {
  run({.name = "dropout",
       .reference = [](const Inputs& in, const Attrs& a) { return dropped(in[0], a.at("p"), 1); },
       .samples =
           samples({{3, 5}, {17}, {2, 3, 4}, {1}, {}, {0, 3}, {3, 0}, {3, 41, 100}}),  // the last: several blocks
       .rejects = rejects("dropout")},
      [](const auto& in, const Attrs& a) { return dropout(in[0], a.at("p"), kKey); });
  CHECK_THROWS_WITH_AS(dropout(ones({3}), 1.5, kKey), doctest::Contains("dropout: drop probability 1.5; use 0 to 1"),
                       ValueError);
}

TEST_CASE("drop_path drops whole samples") {
  run({.name = "drop_path",
       .reference =
           [](const Inputs& in, const Attrs& a) {
             return dropped(in[0], a.at("p"), in[0].numel() / std::max(in[0].size(0), int64_t(1)));
           },
       .samples = samples({{3, 5}, {17}, {5, 3, 4}, {1, 1}, {0, 3}, {3, 0}, {9, 3, 5, 33}}),
       .rejects = rejects("drop_path")},
      [](const auto& in, const Attrs& a) { return drop_path(in[0], a.at("p"), kKey); });
  CHECK_THROWS_WITH_AS(drop_path(full({}, 1.0f), 0.5, kKey),
                       doctest::Contains("drop_path: needs at least 1 dimension, got a scalar"), ShapeError);
}

TEST_CASE("the key alone decides what is dropped, and the mean is kept") {
  const int64_t n = 100000;
  const Tensor<> x = ones({n}), image = ones({n, 1, 1, 2});
  for (double p : {0.1, 0.5, 0.9}) {
    const auto y = dropout(x, p, Key{1}).to_vector(), z = drop_path(image, p, Key{1}).to_vector();
    CHECK(y == dropout(x * 1, p, Key{1}).to_vector());
    CHECK(y != dropout(x, p, Key{2}).to_vector());
    CHECK(y != dropout(x, p, Key{1, 1}).to_vector());
    double mean = 0, mean_path = 0;
    for (float v : y) mean += v / double(n);
    for (float v : z) mean_path += v / double(2 * n);
    // The mean of n draws of 0 or 1 / (1 - p) deviates by sqrt(p / (1 - p) / n); 4 deviations are allowed.
    const double deviation = std::sqrt(p / (1 - p) / double(n));
    CHECK(std::fabs(mean - 1) < 4 * deviation);
    CHECK(std::fabs(mean_path - 1) < 4 * deviation);
    bool together = true;
    for (size_t i = 0; i < z.size(); i += 2) together &= z[i] == z[i + 1];
    CHECK(together);
  }
}

TEST_CASE("dropout's gradient passes where the value did") {
  Tensor<> x = ones({1000});
  x.set_requires_grad();
  const Tensor<> y = dropout(x, 0.25, Key{5});
  sum(y).backward();
  CHECK(x.grad().to_vector() == y.detach().to_vector());  // x is 1 everywhere: both are the mask
}

TEST_CASE("dropping with p = 1 gives 0, with p = 0 the input itself") {
  const Tensor<> x = randn<float>({4, 3}, Key{1});
  CHECK(dropout(x, 0, Key{1}).storage() == x.storage());
  CHECK(drop_path(x, 0, Key{1}).storage() == x.storage());
  CHECK(dropout(x, 1, Key{1}).to_vector() == std::vector<float>(12, 0.0f));
  CHECK(drop_path(x, 1, Key{1}).to_vector() == std::vector<float>(12, 0.0f));
}

}  // namespace
}  // namespace clearsky::test::dropout_test

#include "clearsky/metrics/correlation.hpp"

#include <doctest/doctest.h>

namespace clearsky::metrics {
namespace {

double rho(std::vector<double> x, std::vector<double> y) {
  return spearman(std::span<const double>(x), std::span<const double>(y));
}

TEST_CASE("spearman sees order, not shape") {
  CHECK(rho({1, 2, 3, 4}, {1, 8, 27, 640}) == doctest::Approx(1));
  CHECK(rho({1, 2, 3, 4}, {0, -1, -100, -101}) == doctest::Approx(-1));
}

TEST_CASE("spearman by hand") {
  // Without ties: 1 - 6 sum d^2 / (n (n^2 - 1)); ranks 1 2 3 4 5 against 2 1 4 3 5, sum d^2 = 4.
  CHECK(rho({1, 2, 3, 4, 5}, {2, 1, 4, 3, 5}) == doctest::Approx(1 - 6 * 4.0 / (5 * 24)));
  // Ties share their mean rank: 1, 2.5, 2.5, 4 against 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5.
  CHECK(rho({1, 2, 2, 3}, {1, 2, 3, 4}) == doctest::Approx(4.5 / std::sqrt(4.5 * 5)));
}

TEST_CASE("spearman leaves out pairs with a NaN, and has no value without variation") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(rho({1, 2, nan, 3}, {1, 2, -7, 3}) == doctest::Approx(1));
  CHECK(std::isnan(rho({1, 1, 1}, {1, 2, 3})));
  CHECK(std::isnan(rho({1}, {1})));
  CHECK(std::isnan(rho({}, {})));
  CHECK_THROWS_WITH_AS(rho({1, 2}, {1}), doctest::Contains("2 and 1 values; give pairs"), ShapeError);
}

TEST_CASE("spearman of floats") {
  const std::vector<float> x{1, 2, 3}, y{3, 2, 1};
  CHECK(spearman(std::span<const float>(x), std::span<const float>(y)) == doctest::Approx(-1));
}

}  // namespace
}  // namespace clearsky::metrics

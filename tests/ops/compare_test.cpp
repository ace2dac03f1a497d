#include "clearsky/ops/compare.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "clearsky/ops/elementwise.hpp"
#include "clearsky/ops/reduce.hpp"

namespace clearsky::test::compare_test {
namespace {

/// Every comparison of a and b, element by element, against C++'s own.
template <class T>
void check_all(const Tensor<T>& a, const Tensor<T>& b, const Shape& shape) {
  const std::vector<T> x = expand(a, shape).to_vector(), y = expand(b, shape).to_vector();
  const auto check = [&](const Tensor<bool>& got, auto&& f) {
    REQUIRE(got.shape() == shape);
    for (size_t i = 0; i < x.size(); ++i) CHECK(got.data()[i] == f(x[i], y[i]));
  };
  check(a < b, [](T u, T v) { return u < v; });
  check(a <= b, [](T u, T v) { return u <= v; });
  check(a > b, [](T u, T v) { return u > v; });
  check(a >= b, [](T u, T v) { return u >= v; });
  check(equal(a, b), [](T u, T v) { return u == v; });
  check(not_equal(a, b), [](T u, T v) { return u != v; });
}

TEST_CASE("comparisons, with broadcasting, views, infinities and NaN") {
  constexpr float inf = std::numeric_limits<float>::infinity(), nan = NAN;
  const Tensor<> a({2, 3}, {0, -0.0f, nan, inf, -1, 2}), b({2, 3}, {-0.0f, 1, nan, inf, -inf, 2});
  check_all(a, b, {2, 3});
  check_all(transpose(a, 0, 1), transpose(b, 0, 1), {3, 2});
  check_all(a, select(b, 0, 1), {2, 3});
  check_all(slice(a, 1, 1, 3), slice(b, 1, 0, 1), {2, 2});
  check_all(reshape(a, {2, 3, 1}), reshape(b, {2, 1, 3}), {2, 3, 3});
  check_all(a, Tensor<>({}, {0}), {2, 3});
  check_all(Tensor<>({0, 3}), b.size(0) == 2 ? slice(b, 0, 0, 1) : b, {0, 3});
  check_all(Tensor<int64_t>({3}, {1, 2, 3}), Tensor<int64_t>({3}, {3, 2, 1}), {3});
}

TEST_CASE("comparisons with one number") {
  const Tensor<> a({4}, {0.5f, 1, NAN, 2});
  CHECK((a < 1).to_vector() == std::vector<bool>{true, false, false, false});
  CHECK((a <= 1).to_vector() == std::vector<bool>{true, true, false, false});
  CHECK((a > 1).to_vector() == std::vector<bool>{false, false, false, true});
  CHECK((a >= 1).to_vector() == std::vector<bool>{false, true, false, true});
  CHECK(equal(a, 1).to_vector() == std::vector<bool>{false, true, false, false});
  CHECK(not_equal(a, 1).to_vector() == std::vector<bool>{true, false, true, true});
}

TEST_CASE("comparisons carry no gradient, and serve where()") {
  Tensor<> x({3}, {-1, 0, 2});
  x.set_requires_grad(true);
  const Tensor<> y = where(x > 0, x * 3, x);
  sum(y).backward();
  CHECK(x.grad().to_vector() == std::vector<float>{1, 1, 3});
}

TEST_CASE("comparisons of shapes that do not broadcast") {
  CHECK_THROWS_WITH_AS((zeros({2, 3}) < zeros({2, 4})).numel(), doctest::Contains("less: "), ShapeError);
  CHECK_THROWS_WITH_AS(equal(zeros({2, 3}), zeros({4})), doctest::Contains("equal: "), ShapeError);
}

}  // namespace
}  // namespace clearsky::test::compare_test

#include "clearsky/core/shape.hpp"

#include <doctest/doctest.h>

#include <vector>

namespace clearsky {
namespace {

TEST_CASE("Shape: sizes, text, equality") {
  const Shape s{4, 128, 128, 13};
  CHECK(s.rank() == 4);
  CHECK(s.numel() == 4 * 128 * 128 * 13);
  CHECK(s.back() == 13);
  CHECK(to_text(s) == "(4, 128, 128, 13)");
  CHECK(to_text(Shape{}) == "()");
  CHECK(to_text(Shape{5}) == "(5)");
  CHECK(Shape{}.numel() == 1);
  CHECK(Shape{3, 0, 2}.numel() == 0);
  CHECK(s == Shape{4, 128, 128, 13});
  CHECK_FALSE(s == Shape{4, 128, 128});
  CHECK_FALSE(Shape{1} == Shape{});
  CHECK(Shape::filled(3, 7) == Shape{7, 7, 7});
  CHECK(Shape(std::vector<int64_t>{1, 2}) == Shape{1, 2});
}

[[gnu::noinline]] Shape empty_cube() {
  return {2, 2, 2, 0};
}
[[gnu::noinline]] Shape pair_and_empty() {
  return {3, 3, 0, 0};
}

// Compiled with -O2, at which g++ 12 with AVX-512 made (2, 2, 2, 2) of the first.
TEST_CASE("Shape: a last size of 0 is kept behind equal ones") {
  CHECK(to_text(empty_cube()) == "(2, 2, 2, 0)");
  CHECK(empty_cube().numel() == 0);
  CHECK(to_text(pair_and_empty()) == "(3, 3, 0, 0)");
}

TEST_CASE("Shape: insert, erase, push_back") {
  Shape s{2, 4};
  s.insert(1, 3);
  CHECK(s == Shape{2, 3, 4});
  s.insert(0, 1);
  s.insert(4, 5);
  CHECK(s == Shape{1, 2, 3, 4, 5});
  s.erase(0);
  s.erase(3);
  CHECK(s == Shape{2, 3, 4});
  s.push_back(9);
  CHECK(s == Shape{2, 3, 4, 9});
}

TEST_CASE("Shape: eight dimensions and no more") {
  Shape s = Shape::filled(8, 1);
  CHECK_THROWS_WITH_AS(s.push_back(1), doctest::Contains("Shape: at most 8 dimensions are supported"), ShapeError);
  CHECK_THROWS_WITH_AS((Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}),
                       doctest::Contains("Shape: 9 dimensions; at most 8 are supported"), ShapeError);
  CHECK_THROWS_AS(Shape::filled(9, 1), ShapeError);
  CHECK_THROWS_AS(Shape::filled(-1, 1), ShapeError);
}

TEST_CASE("dense_strides is row-major") {
  CHECK(detail::dense_strides({2, 3, 4}) == Shape{12, 4, 1});
  CHECK(detail::dense_strides({}) == Shape{});
}

TEST_CASE("normal_dim counts from either end and says what is allowed") {
  CHECK(detail::normal_dim("op", 0, {2, 3}) == 0);
  CHECK(detail::normal_dim("op", -1, {2, 3}) == 1);
  CHECK(detail::normal_dim("op", -2, {2, 3}) == 0);
  for (int64_t dim : {-3, 2})
    CHECK_THROWS_WITH_AS(detail::normal_dim("softmax", dim, {2, 3}),
                         doctest::Contains("is out of range for shape (2, 3); use -2 to 1"), ShapeError);
  CHECK_THROWS_WITH_AS(detail::normal_dim("softmax", 0, {}),
                       doctest::Contains("softmax: needs at least 1 dimension, got a scalar"), ShapeError);
}

TEST_CASE("broadcast_shape aligns at the back") {
  const auto both = [](const Shape& a, const Shape& b) {
    CHECK(detail::broadcast_shape("add", a, b) == detail::broadcast_shape("add", b, a));
    return detail::broadcast_shape("add", a, b);
  };
  CHECK(both({2, 3}, {3}) == Shape{2, 3});
  CHECK(both({2, 1, 4}, {3, 1}) == Shape{2, 3, 4});
  CHECK(both({}, {5}) == Shape{5});
  CHECK(both({0, 3}, {1, 3}) == Shape{0, 3});  // an empty dimension wins over 1, as any other size does
  CHECK_THROWS_WITH_AS(detail::broadcast_shape("add", {2, 3}, {2, 4}),
                       doctest::Contains("add: shapes (2, 3) and (2, 4) do not broadcast: sizes 3 and 4 at dim 1"),
                       ShapeError);
  CHECK_THROWS_AS(detail::broadcast_shape("add", {0}, {2}), ShapeError);
}

}  // namespace
}  // namespace clearsky

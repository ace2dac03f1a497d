#include "clearsky/ops/inplace.hpp"

#include <doctest/doctest.h>

#include "clearsky/ops/reduce.hpp"

namespace clearsky {
namespace {

TEST_CASE("fill_, zero_, copy_, add_, mul_ change the tensor that every handle sees") {
  Tensor<> x({2, 2}, {1, 2, 3, 4});
  const Tensor<> handle = x;
  CHECK(&add_(x, Tensor<>({2}, {10, 20})) == &x);
  CHECK(handle.to_vector() == std::vector<float>{11, 22, 13, 24});
  mul_(x, 2);
  CHECK(handle.to_vector() == std::vector<float>{22, 44, 26, 48});
  copy_(x, Tensor<int64_t>({2, 1}, {7, 8}));
  CHECK(handle.to_vector() == std::vector<float>{7, 7, 8, 8});
  fill_(x, 0.5f);
  CHECK(handle.to_vector() == std::vector<float>{0.5, 0.5, 0.5, 0.5});
  zero_(x);
  CHECK(handle.to_vector() == std::vector<float>{0, 0, 0, 0});

  Tensor<bool> mask({2}, {true, false});
  fill_(mask, true);
  CHECK(mask.to_vector() == std::vector<bool>{true, true});
  Tensor<Half> half({1});
  copy_(half, Tensor<>({1}, {0.5f}));
  CHECK(half.at({0}) == Half(0.5f));
}

TEST_CASE("in place on a view changes what the view shows, and nothing else") {
  const Tensor<> x({2, 3}, {1, 2, 3, 4, 5, 6});
  Tensor<> column = select(x, 1, 1);
  add_(column, Tensor<>({2}, {10, 20}));
  mul_(column, -1);
  CHECK(x.to_vector() == std::vector<float>{1, -12, 3, 4, -25, 6});
  Tensor<> row = slice(x, 0, 1, 2);
  zero_(row);
  CHECK(x.to_vector() == std::vector<float>{1, -12, 3, 0, 0, 0});
}

TEST_CASE("in place with an overlapping source reads before it writes") {
  Tensor<> x({2, 2}, {1, 2, 3, 4});
  copy_(x, transpose(x, 0, 1));
  CHECK(x.to_vector() == std::vector<float>{1, 3, 2, 4});
  add_(x, transpose(x, 0, 1));
  CHECK(x.to_vector() == std::vector<float>{2, 5, 5, 8});
  Tensor<> line = arange(5), head = slice(line, 0, 1, 5);
  copy_(head, slice(line, 0, 0, 4));
  CHECK(line.to_vector() == std::vector<float>{0, 0, 1, 2, 3});
}

TEST_CASE("in place is refused where a gradient would be silently wrong") {
  Tensor<> x = ones({2}).set_requires_grad();
  Tensor<> y = x * x;
  const Tensor<> c = ones({2});
  CHECK_THROWS_WITH_AS(add_(x, c),
                       doctest::Contains("add_: a tensor of shape (2) that requires a gradient cannot be "
                                         "changed while gradients are recorded"),
                       AutogradError);
  CHECK_THROWS_WITH_AS(mul_(y, 2), doctest::Contains("mul_: a tensor of shape (2)"), AutogradError);
  CHECK_THROWS_WITH_AS(fill_(y, 2), doctest::Contains("fill_: "), AutogradError);
  CHECK_THROWS_WITH_AS(zero_(x), doctest::Contains("zero_: "), AutogradError);
  CHECK_THROWS_WITH_AS(copy_(x, c), doctest::Contains("copy_: "), AutogradError);
  CHECK(x.to_vector() == std::vector<float>{1, 1});

  Tensor<> plain = ones({2});
  CHECK_THROWS_WITH_AS(add_(plain, x),
                       doctest::Contains("add_: the values come from a tensor of shape (2) that "
                                         "requires a gradient"),
                       AutogradError);
  CHECK_THROWS_AS(copy_(plain, y), AutogradError);
  CHECK_NOTHROW(add_(plain, x.detach()));

  const NoGrad guard;  // what an optimizer does
  add_(x, c);
  CHECK(x.to_vector() == std::vector<float>{2, 2});
}

TEST_CASE("in place refuses shapes that do not fit and elements that share memory") {
  Tensor<> x({2}), none;
  CHECK_THROWS_WITH_AS(add_(x, Tensor<>({2, 2})), doctest::Contains("add_: shape (2, 2) does not broadcast to (2)"),
                       ShapeError);
  CHECK_THROWS_WITH_AS(copy_(x, Tensor<>({3})), doctest::Contains("copy_: shapes (2) and (3) do not broadcast"),
                       ShapeError);
  Tensor<> wide = expand(Tensor<>({1, 2}), {3, 2});
  CHECK_THROWS_WITH_AS(fill_(wide, 1), doctest::Contains("fill_: shape (3, 2) was expanded along dim 0"), ShapeError);
  CHECK_THROWS_WITH_AS(zero_(none), doctest::Contains("zero_: the tensor is undefined"), ShapeError);
  CHECK_THROWS_WITH_AS(copy_(x, none), doctest::Contains("copy_: the tensor to read from is undefined"), ShapeError);
  Tensor<> empty_one({0, 2});
  CHECK_NOTHROW(fill_(empty_one, 1));
}

TEST_CASE("a value that backward needs and that was changed since is detected") {
  const Tensor<> x = ones({3}).set_requires_grad();
  Tensor<> c = full({3}, 2);
  const Tensor<> y = sum(x * c);  // saves c for dx
  fill_(c, 5);
  CHECK_THROWS_WITH_AS(y.backward(),
                       doctest::Contains("mul: a value of shape (3) that was saved for backward was changed in place"),
                       AutogradError);

  // Through a view of it, too; and through the plain pointer.
  Tensor<> d = full({3}, 2);
  const Tensor<> z = sum(x * d);
  Tensor<> part = slice(d, 0, 0, 1);
  zero_(part);
  CHECK_THROWS_AS(z.backward(), AutogradError);
  const Tensor<> e = full({3}, 2);
  const Tensor<> w = sum(x * e);
  e.mutable_data()[0] = 1;
  CHECK_THROWS_AS(w.backward(), AutogradError);

  // An output that was saved, as exp's.
  const Tensor<> out = exp(x);
  out.detach().mutable_data()[0] = 1;
  CHECK_THROWS_WITH_AS(sum(out).backward(), doctest::Contains("exp: a value"), AutogradError);
}

TEST_CASE("a change after backward, or of a value that backward does not need, is fine") {
  const Tensor<> x = ones({3}).set_requires_grad();
  Tensor<> c = full({3}, 2);
  sum(x * c).backward();
  fill_(c, 5);
  const Tensor<> y = sum(x + c);  // a sum needs no values
  fill_(c, 7);
  CHECK_NOTHROW(y.backward());
  CHECK(x.grad().to_vector() == std::vector<float>{3, 3, 3});
}

}  // namespace
}  // namespace clearsky

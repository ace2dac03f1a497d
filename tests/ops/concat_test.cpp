#include "clearsky/ops/concat.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::concat_test {
namespace {

Expected concat_reference(const Inputs& in, const Attrs& a) {
  const auto dim = size_t(a.integer("dim") < 0 ? a.integer("dim") + in[0].rank() : a.integer("dim"));
  Shape shape = in[0].shape();
  shape[dim] = 0;
  for (const auto& x : in) shape[dim] += x.shape()[dim];
  std::vector<double> y;
  for (int64_t i = 0; i < shape.numel(); ++i) {
    // The index of element i, then the input it falls into.
    int64_t index[kMaxRank] = {}, rest = i;
    for (size_t d = shape.size(); d-- > 0; rest /= shape[d]) index[d] = rest % shape[d];
    size_t k = 0;
    for (; index[dim] >= in[k].shape()[dim]; ++k) index[dim] -= in[k].shape()[dim];
    int64_t offset = 0;
    for (size_t d = 0; d < shape.size(); ++d) offset = offset * in[k].shape()[d] + index[d];
    y.push_back(in[k].data()[offset]);
  }
  return y;
}

TEST_CASE("concat") {
  run({.name = "concat",
       .reference = concat_reference,
       .samples = {{.inputs = {{2, 3}, {4, 3}}, .attrs = {{"dim", 0}}},
                   {.inputs = {{2, 3}, {2, 1}, {2, 4}}, .attrs = {{"dim", -1}}},
                   {.inputs = {{2, 3, 2}, {2, 0, 2}, {2, 1, 2}}, .attrs = {{"dim", 1}}},
                   {.inputs = {{3}}, .attrs = {{"dim", 0}}},
                   {.inputs = {{2, 70, 90, 5}, {2, 70, 90, 33}},
                    .attrs = {{"dim", 3}},
                    .gradcheck = false,
                    .direction = true}},
       .rejects = {{{.inputs = {{2, 3}, {3, 4}}, .attrs = {{"dim", 1}}},
                    "tensor 0 is (2, 3) but tensor 1 is (3, 4); sizes may differ along dim 1 only"},
                   {{.inputs = {}, .attrs = {{"dim", 0}}}, "concat: no tensors; give at least 1"},
                   {{.inputs = {{2, 3}, {2, 3, 1}}, .attrs = {{"dim", 1}}}, "tensor 1 is (2, 3, 1)"}}},
      [](const auto& in, const Attrs& a) { return concat(in, a.integer("dim")); });
}

TEST_CASE("stack") {
  const auto reference = [](const Inputs& in, const Attrs& a) -> Expected {
    Inputs parts;
    for (const auto& x : in) parts.push_back(unsqueeze(x, a.integer("dim")));
    return concat_reference(parts, a);
  };
  run({.name = "stack",
       .reference = reference,
       .samples = {{.inputs = {{2, 3}, {2, 3}}, .attrs = {{"dim", 0}}},
                   {.inputs = {{2, 3}, {2, 3}, {2, 3}}, .attrs = {{"dim", -1}}},
                   {.inputs = {{2, 3}, {2, 3}}, .attrs = {{"dim", 1}}}},
       .rejects = {{{.inputs = {{2, 3}, {2, 4}}, .attrs = {{"dim", 0}}}, "tensor 0 is (2, 3) but tensor 1 is (2, 4)"}}},
      [](const auto& in, const Attrs& a) { return stack(in, a.integer("dim")); });
}

TEST_CASE("split gives views of consecutive parts, with gradients") {
  Tensor<double> x = randn<double>({2, 5, 3}, Key{1}).set_requires_grad();
  const auto parts = split(x, {1, 4}, 1);
  REQUIRE(parts.size() == 2);
  CHECK(parts[0].shape() == Shape{2, 1, 3});
  CHECK(parts[1].shape() == Shape{2, 4, 3});
  CHECK(parts[1].storage().get() == x.storage().get());
  CHECK(parts[1].at({1, 2, 1}) == x.at({1, 3, 1}));
  CHECK(concat({parts[0], parts[1]}, 1).to_vector() == x.to_vector());
  sum(parts[1]).backward();
  CHECK(x.grad().at({0, 0, 2}) == 0);
  CHECK(x.grad().at({0, 1, 2}) == 1);
  CHECK_THROWS_WITH_AS(split(x, {1, 3}, 1),
                       doctest::Contains("the sizes add up to 4 but dim 1 of shape (2, 5, 3) has 5"), ShapeError);
}

TEST_CASE("concat joins labels") {
  const Tensor<uint8_t> a({2}, {1, 2}), b({1}, {255});
  CHECK(concat({a, b}, 0).to_vector() == std::vector<uint8_t>{1, 2, 255});
}

}  // namespace
}  // namespace clearsky::test::concat_test

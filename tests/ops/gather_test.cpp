#include "clearsky/ops/gather.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::gather_test {
namespace {

/// Positions that look like noise; some come twice, some not at all.
Tensor<int64_t> positions(const Shape& shape, int64_t size) {
  Tensor<int64_t> index(shape);
  for (int64_t i = 0; i < index.numel(); ++i) index.mutable_data()[i] = (i * 5 + i / 3) % size;
  return index;
}

int64_t normal(const Tensor<double>& x, const Attrs& a) {
  return a.integer("dim") < 0 ? a.integer("dim") + x.rank() : a.integer("dim");
}

/// Element i of a tensor of `shape`, with another position along dim.
int64_t moved(int64_t i, const Shape& from, const Shape& to, int64_t dim, int64_t position) {
  int64_t index[kMaxRank] = {}, offset = 0;
  for (int64_t d = from.rank() - 1; d >= 0; --d) {
    index[d] = i % from[size_t(d)];
    i /= from[size_t(d)];
  }
  index[dim] = position;
  for (int64_t d = 0; d < to.rank(); ++d) offset = offset * to[size_t(d)] + index[d];
  return offset;
}

TEST_CASE("gather") {
  const auto index_for = [](const Shape& x, const Attrs& a) {
    Shape shape = x;
    const auto dim = size_t(a.integer("dim") < 0 ? a.integer("dim") + x.rank() : a.integer("dim"));
    shape[dim] = a.integer("count");
    return positions(shape, x[dim]);
  };
  const auto reference = [&](const Inputs& in, const Attrs& a) -> Expected {
    const Tensor<int64_t> index = index_for(in[0].shape(), a);
    std::vector<double> y;
    for (int64_t i = 0; i < index.numel(); ++i)
      y.push_back(in[0].data()[moved(i, index.shape(), in[0].shape(), normal(in[0], a), index.data()[i])]);
    return y;
  };
  run({.name = "gather",
       .reference = reference,
       .samples =
           {{.inputs = {{3, 4}}, .attrs = {{"dim", 1}, {"count", 6}}},
            {.inputs = {{3, 4}}, .attrs = {{"dim", 0}, {"count", 2}}},
            {.inputs = {{2, 3, 4}}, .attrs = {{"dim", -2}, {"count", 3}}},
            {.inputs = {{5}}, .attrs = {{"dim", 0}, {"count", 7}}},
            {.inputs = {{5, 2}}, .attrs = {{"dim", 0}, {"count", 0}}},
            {.inputs = {{30, 20, 300}}, .attrs = {{"dim", 1}, {"count", 40}}, .gradcheck = false, .direction = true}},
       .rejects = {{{.inputs = {{2, 3}}, .attrs = {{"dim", 2}, {"count", 1}}}, "dim 2 is out of range"}}},
      [&](const auto& in, const Attrs& a) {
        if (a.integer("dim") >= in[0].rank()) return gather(in[0], a.integer("dim"), Tensor<int64_t>(Shape{0}));
        return gather(in[0], a.integer("dim"), index_for(in[0].shape(), a));
      });
  const Tensor<float> x = zeros<float>({2, 3});
  CHECK_THROWS_WITH_AS(gather(x, 1, Tensor<int64_t>({2, 2}, {0, 1, 3, 0})),
                       doctest::Contains("gather: index 3 at (1, 0) is none of the 3 positions 0 to 2"), ValueError);
  CHECK_THROWS_WITH_AS(gather(x, 1, Tensor<int64_t>({1, 2}, {0, 1})),
                       doctest::Contains("index (1, 2) does not fit shape (2, 3)"), ShapeError);
}

TEST_CASE("index_select") {
  const auto reference = [](const Inputs& in, const Attrs& a) -> Expected {
    const int64_t dim = normal(in[0], a);
    Shape shape = in[0].shape();
    const Tensor<int64_t> index = positions({a.integer("count")}, shape[size_t(dim)]);
    shape[size_t(dim)] = a.integer("count");
    int64_t inner = 1;
    for (int64_t d = dim + 1; d < shape.rank(); ++d) inner *= shape[size_t(d)];
    std::vector<double> y;
    for (int64_t i = 0; i < shape.numel(); ++i)
      y.push_back(in[0].data()[moved(i, shape, in[0].shape(), dim, index.data()[i / inner % shape[size_t(dim)]])]);
    return y;
  };
  run({.name = "index_select",
       .reference = reference,
       .samples =
           {{.inputs = {{3, 4}}, .attrs = {{"dim", 0}, {"count", 5}}},
            {.inputs = {{3, 4}}, .attrs = {{"dim", -1}, {"count", 5}}},
            {.inputs = {{2, 3, 4}}, .attrs = {{"dim", 1}, {"count", 2}}},
            {.inputs = {{5}}, .attrs = {{"dim", 0}, {"count", 3}}},
            {.inputs = {{0, 4}}, .attrs = {{"dim", 1}, {"count", 2}}},
            {.inputs = {{50, 600}}, .attrs = {{"dim", 0}, {"count", 90}}, .gradcheck = false, .direction = true}},
       .rejects = {}},
      [](const auto& in, const Attrs& a) {
        const int64_t dim = a.integer("dim");
        return index_select(in[0], dim, positions({a.integer("count")}, in[0].size(dim)));
      });
  const Tensor<float> x = zeros<float>({2, 3});
  CHECK_THROWS_WITH_AS(index_select(x, 0, Tensor<int64_t>({2}, {0, -1})),
                       doctest::Contains("index_select: index -1 at (1) is none of the 2 positions 0 to 1"),
                       ValueError);
  CHECK_THROWS_WITH_AS(index_select(x, 0, Tensor<int64_t>({1, 1}, {0})),
                       doctest::Contains("must be a vector, got (1, 1)"), ShapeError);
}

TEST_CASE("gather and index_select take labels") {
  const Tensor<uint8_t> x({3}, {5, 6, 255});
  CHECK(index_select(x, 0, Tensor<int64_t>({2}, {2, 0})).to_vector() == std::vector<uint8_t>{255, 5});
}

TEST_CASE("one_hot") {
  const Tensor<float> y = one_hot<float>(Tensor<uint8_t>({2, 1}, {2, 0}), 3);
  CHECK(y.shape() == Shape{2, 1, 3});
  CHECK(y.to_vector() == std::vector<float>{0, 0, 1, 1, 0, 0});
  CHECK(one_hot<double>(Tensor<int64_t>(Shape{0}), 3).shape() == Shape{0, 3});
  CHECK_THROWS_WITH_AS(one_hot<float>(Tensor<int64_t>({2}, {0, 3}), 3),
                       doctest::Contains("one_hot: index 3 at (1) is none of the 3 classes 0 to 2"), ValueError);
}

}  // namespace
}  // namespace clearsky::test::gather_test

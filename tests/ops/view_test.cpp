#include "../op_spec.hpp"

namespace clearsky::test::view_test {
namespace {

/// The elements in the order that `source(i)` names, i the index in the output.
template <class Source>
Expected picked(const Tensor<double>& x, int64_t count, const Source& source) {
  std::vector<double> y;
  for (int64_t i = 0; i < count; ++i) y.push_back(x.data()[source(i)]);
  return y;
}

TEST_CASE("reshape, flatten, squeeze, unsqueeze keep the order") {
  const auto same = [](const Inputs& in, const Attrs&) -> Expected { return in[0].to_vector(); };
  run({.name = "reshape",
       .reference = same,
       .samples = {{.inputs = {{3, 4, 5}}}, {.inputs = {{4, 15}}}, {.inputs = {{60}}}, {.inputs = {{0, 20}}}},
       .rejects = {{{.inputs = {{7}}}, "reshape: 7 elements of shape (7) do not fit (-1, 20)"}}},
      [](const auto& in, const Attrs&) {
        return reshape(in[0], {-1, 20});
      });
  run({.name = "flatten", .reference = same, .samples = {{.inputs = {{3, 4}}}, {.inputs = {{}}}}},
      [](const auto& in, const Attrs&) { return flatten(in[0]); });
  run({.name = "unsqueeze", .reference = same, .samples = {{.inputs = {{3, 4}}}, {.inputs = {{2, 1, 3}}}}},
      [](const auto& in, const Attrs&) { return unsqueeze(squeeze(unsqueeze(in[0], -1), -1), 1) * 1; });
  CHECK(unsqueeze(zeros({2, 3}), 1).shape() == Shape{2, 1, 3});
  CHECK_THROWS_WITH_AS(squeeze(zeros({2, 3}), 1), doctest::Contains("dim 1 of shape (2, 3) has size 3, not 1"),
                       ShapeError);
  CHECK_THROWS_WITH_AS(reshape(zeros({2, 3}), {4, 2}),
                       doctest::Contains("shape (2, 3) has 6 elements but (4, 2) has 8"), ShapeError);
}

TEST_CASE("permute, transpose") {
  run({.name = "permute",
       .reference = [](const Inputs& in, const Attrs&) -> Expected {
         const Shape s = in[0].shape();  // (a, b, c) -> (c, a, b)
         return picked(in[0], s.numel(), [&](int64_t i) {
           const int64_t b = i % s[1], a = i / s[1] % s[0], c = i / s[1] / s[0];
           return (a * s[1] + b) * s[2] + c;
         });
       },
       .samples = {{.inputs = {{2, 3, 4}}},
                   {.inputs = {{1, 5, 2}}},
                   {.inputs = {{0, 2, 3}}},
                   {.inputs = {{40, 33, 35}}, .gradcheck = false, .direction = true}},
       .rejects = {{{.inputs = {{2, 3}}}, "permute: order (2, 0, 1) for shape (2, 3)"}}},
      [](const auto& in, const Attrs&) {
        return permute(in[0], {2, 0, 1});
      });
  const Tensor<> x = arange(6);
  CHECK(transpose(reshape(x, {2, 3}), 0, -1).to_vector() == std::vector<float>{0, 3, 1, 4, 2, 5});
  CHECK_THROWS_WITH_AS(permute(reshape(x, {2, 3}), {0, 0}), doctest::Contains("names dim 0 twice"), ShapeError);
}

TEST_CASE("slice, select") {
  run({.name = "slice",
       .reference = [](const Inputs& in, const Attrs& a) -> Expected {
         const Shape s = in[0].shape();
         const int64_t begin = a.integer("begin"), step = a.integer("step"),
                       n = (a.integer("end") - begin + step - 1) / step;
         return picked(in[0], s[0] * n * s[2], [&](int64_t i) {
           return (i / s[2] / n * s[1] + begin + i / s[2] % n * step) * s[2] + i % s[2];
         });
       },
       .samples = {{.inputs = {{2, 7, 3}}, .attrs = {{"begin", 1}, {"end", 6}, {"step", 2}}},
                   {.inputs = {{2, 7, 3}}, .attrs = {{"begin", 0}, {"end", 7}, {"step", 1}}},
                   {.inputs = {{2, 7, 3}}, .attrs = {{"begin", 4}, {"end", 4}, {"step", 1}}},
                   {.inputs = {{1, 5, 1}}, .attrs = {{"begin", 0}, {"end", 5}, {"step", 4}}}},
       .rejects = {{{.inputs = {{2, 3, 1}}, .attrs = {{"begin", 2}, {"end", 5}, {"step", 1}}},
                    "slice: 2 to 5 along dim 1 of shape (2, 3, 1); use 0 <= begin <= end <= 3"}}},
      [](const auto& in, const Attrs& a) {
        return slice(in[0], 1, a.integer("begin"), a.integer("end"), a.integer("step"));
      });
  run({.name = "select",
       .reference = [](const Inputs& in, const Attrs&) -> Expected {
         const Shape s = in[0].shape();
         return picked(in[0], s[0] * s[2], [&](int64_t i) { return (i / s[2] * s[1] + s[1] - 1) * s[2] + i % s[2]; });
       },
       .samples = {{.inputs = {{2, 3, 4}}}, {.inputs = {{1, 1, 5}}}}},
      [](const auto& in, const Attrs&) { return select(in[0], 1, -1); });
  CHECK_THROWS_WITH_AS(select(zeros({2, 3}), 0, 2), doctest::Contains("select: index 2 along dim 0 of shape (2, 3)"),
                       ShapeError);
}

TEST_CASE("expand repeats without memory") {
  run({.name = "expand",
       .reference = [](const Inputs& in, const Attrs&) -> Expected {
         const Shape s = in[0].shape();  // (n, 1) -> (2, n, 4)
         return picked(in[0], 8 * s[0], [&](int64_t i) { return i / 4 % s[0]; });
       },
       .samples = {{.inputs = {{3, 1}}}, {.inputs = {{1, 1}}}},
       .rejects = {{{.inputs = {{3, 2}}}, "shapes (3, 2) and (2, 3, 4) do not broadcast"}}},
      [](const auto& in, const Attrs&) {
        return expand(in[0], {2, in[0].size(0), 4});
      });
  const Tensor<> x = ones({3, 1});
  CHECK(expand(x, {3, 1000}).storage() == x.storage());
}

TEST_CASE("views share storage, contiguous copies only what is not dense") {
  const Tensor<> x = reshape(arange(24), {2, 3, 4});
  CHECK(slice(x, 1, 0, 2).storage() == x.storage());
  CHECK(transpose(x, 0, 1).storage() == x.storage());
  CHECK(contiguous(x).storage() == x.storage());
  CHECK(contiguous(transpose(x, 0, 1)).storage() != x.storage());
  CHECK(contiguous(transpose(x, 0, 1)).is_contiguous());
}

TEST_CASE("cast rounds to nearest and carries the gradient") {
  Tensor<> x({3}, {1.5f, -2.25f, 3});
  x.set_requires_grad();
  const Tensor<double> y = cast<double>(x);
  sum(y * y).backward();
  CHECK(x.grad().to_vector() == std::vector<float>{3, -4.5f, 6});
  CHECK(cast<int64_t>(x).to_vector() == std::vector<int64_t>{1, -2, 3});
  CHECK(cast<float>(cast<BFloat16>(Tensor<>({1}, {1.0f + 0x1p-8f}))).item() == 1.0f);  // a tie goes to even
  CHECK(cast<bool>(Tensor<>({2}, {0, 0.5f})).to_vector() == std::vector<bool>{false, true});
}

}  // namespace
}  // namespace clearsky::test::view_test

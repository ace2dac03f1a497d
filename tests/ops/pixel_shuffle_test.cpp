#include "clearsky/ops/pixel_shuffle.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::pixel_shuffle_test {
namespace {

Expected shuffle_reference(const Inputs& in, const Attrs& attrs) {
  const Tensor<double>& x = in[0];
  const int64_t r = attrs.integer("factor"), height = x.size(1), width = x.size(2), channels = x.size(3) / (r * r);
  std::vector<double> y;
  for (int64_t n = 0; n < x.size(0); ++n)
    for (int64_t h = 0; h < height * r; ++h)
      for (int64_t w = 0; w < width * r; ++w)
        for (int64_t c = 0; c < channels; ++c) y.push_back(x.at({n, h / r, w / r, c * r * r + h % r * r + w % r}));
  return y;
}

Expected unshuffle_reference(const Inputs& in, const Attrs& attrs) {
  const Tensor<double>& x = in[0];
  const int64_t r = attrs.integer("factor");
  std::vector<double> y;
  for (int64_t n = 0; n < x.size(0); ++n)
    for (int64_t h = 0; h < x.size(1) / r; ++h)
      for (int64_t w = 0; w < x.size(2) / r; ++w)
        for (int64_t k = 0; k < x.size(3) * r * r; ++k)
          y.push_back(x.at({n, h * r + k / r % r, w * r + k % r, k / (r * r)}));
  return y;
}

TEST_CASE("pixel_shuffle") {
  run({.name = "pixel_shuffle",
       .reference = shuffle_reference,
       .samples = {{.inputs = {{2, 2, 3, 8}}, .attrs = {{"factor", 2}}},
                   {.inputs = {{1, 1, 2, 4 * 19}}, .attrs = {{"factor", 2}}},  // a full vector of channels and a rest
                   {.inputs = {{1, 2, 1, 18}}, .attrs = {{"factor", 3}}},
                   {.inputs = {{1, 2, 2, 3}}, .attrs = {{"factor", 1}}},
                   {.inputs = {{0, 2, 2, 4}}, .attrs = {{"factor", 2}}},
                   {.inputs = {{2, 40, 17, 132}}, .attrs = {{"factor", 2}}, .gradcheck = false, .direction = true}},
       .rejects = {{{.inputs = {{1, 2, 2, 6}}, .attrs = {{"factor", 2}}},
                    "input (1, 2, 2, 6) has 6 channels, no multiple of factor^2 = 4"},
                   {{.inputs = {{2, 2, 4}}, .attrs = {{"factor", 2}}}, "input must be (N, H, W, C), got (2, 2, 4)"},
                   {{.inputs = {{1, 2, 2, 4}}, .attrs = {{"factor", 0}}}, "factor 0; use at least 1"}}},
      [](const auto& in, const Attrs& a) { return pixel_shuffle(in[0], a.integer("factor")); });
}

TEST_CASE("pixel_unshuffle") {
  run({.name = "pixel_unshuffle",
       .reference = unshuffle_reference,
       .samples = {{.inputs = {{2, 4, 6, 2}}, .attrs = {{"factor", 2}}},
                   {.inputs = {{1, 2, 2, 19}}, .attrs = {{"factor", 2}}},
                   {.inputs = {{1, 3, 6, 2}}, .attrs = {{"factor", 3}}},
                   {.inputs = {{1, 0, 4, 2}}, .attrs = {{"factor", 2}}},
                   {.inputs = {{2, 80, 34, 33}}, .attrs = {{"factor", 2}}, .gradcheck = false, .direction = true}},
       .rejects = {{{.inputs = {{1, 3, 2, 1}}, .attrs = {{"factor", 2}}},
                    "has height 3 and width 2; both must be multiples of the factor 2"}}},
      [](const auto& in, const Attrs& a) { return pixel_unshuffle(in[0], a.integer("factor")); });
}

TEST_CASE("pixel_unshuffle takes pixel_shuffle back, for labels too") {
  const Tensor<uint8_t> x = randint<uint8_t>({2, 3, 5, 12}, Key{1}, 0, 256);
  CHECK(pixel_unshuffle(pixel_shuffle(x, 2), 2).to_vector() == x.to_vector());
}

}  // namespace
}  // namespace clearsky::test::pixel_shuffle_test

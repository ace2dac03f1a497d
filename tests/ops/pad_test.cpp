#include "clearsky/ops/pad.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::pad_test {
namespace {

Expected pad_reference(const Inputs& in, const Attrs& a) {
  const Tensor<double>& x = in[0];
  const auto mode = Padding(a.integer("mode"));
  // Walking outwards from the image, one step at a time.
  const auto source = [&](int64_t i, int64_t size) -> int64_t {
    if (mode == Padding::zeros) return i < 0 || i >= size ? -1 : i;
    if (mode == Padding::replicate) return std::clamp(i, int64_t(0), size - 1);
    return i < 0 ? -i : i >= size ? size - 1 - (i - (size - 1)) : i;
  };
  std::vector<double> y;
  for (int64_t n = 0; n < x.size(0); ++n)
    for (int64_t i = -a.integer("top"); i < x.size(1) + a.integer("bottom"); ++i)
      for (int64_t j = -a.integer("left"); j < x.size(2) + a.integer("right"); ++j)
        for (int64_t c = 0; c < x.size(3); ++c) {
          const int64_t h = source(i, x.size(1)), w = source(j, x.size(2));
          y.push_back(h < 0 || w < 0 ? a.at("value") : x.at({n, h, w, c}));
        }
  return y;
}

Sample sample(Shape x, Padding mode, PadSizes s, double value = 0, bool check = true) {
  return {.inputs = {x},
          .attrs = {{"mode", double(mode)},
                    {"top", double(s.top)},
                    {"bottom", double(s.bottom)},
                    {"left", double(s.left)},
                    {"right", double(s.right)},
                    {"value", value}},
          .gradcheck = check};
}

TEST_CASE("pad") {
  std::vector<Sample> samples;
  for (Padding mode : {Padding::zeros, Padding::reflect, Padding::replicate}) {
    samples.push_back(sample({2, 4, 5, 3}, mode, {1, 2, 3, 0}));
    samples.push_back(sample({1, 3, 3, 1}, mode, {2, 2, 2, 2}));  // every pixel is repeated, some three times
    samples.push_back(sample({1, 4, 4, 17}, mode, {0, 3, 0, 1}));
    samples.push_back(sample({1, 2, 2, 2}, mode, {}));
    samples.push_back(sample({0, 3, 3, 2}, mode, {1, 1, 1, 1}));
    samples.push_back(sample({1, 3, 3, 0}, mode, {1, 1, 1, 1}));
    samples.push_back(sample({2, 41, 30, 33}, mode, {7, 6, 2, 3}, 0, false));
  }
  samples.push_back(sample({1, 2, 3, 2}, Padding::zeros, {1, 0, 0, 1}, -2.5));
  samples.push_back(sample({1, 1, 1, 2}, Padding::replicate, {3, 3, 3, 3}));
  samples.push_back(sample({1, 0, 2, 1}, Padding::zeros, {1, 1, 0, 0}, 1));
  run({.name = "pad",
       .reference = pad_reference,
       .samples = samples,
       .rejects = {{sample({1, 4, 4, 1}, Padding::reflect, {0, 4, 0, 0}),
                    "height 4 of input (1, 4, 4, 1) is too small for 0 and 4 pixels"},
                   {sample({1, 4, 0, 1}, Padding::replicate, {0, 0, 1, 0}), "width 0 of input (1, 4, 0, 1)"},
                   {sample({1, 4, 4, 1}, Padding::zeros, {-1, 0, 0, 0}), "sizes top -1, bottom 0"},
                   {sample({4, 4, 1}, Padding::zeros, {1, 0, 0, 0}), "input must be (N, H, W, C), got (4, 4, 1)"}}},
      [](const auto& in, const Attrs& a) {
        using T = typename std::decay_t<decltype(in[0])>::value_type;
        return pad(in[0], {a.integer("top"), a.integer("bottom"), a.integer("left"), a.integer("right")},
                   Padding(a.integer("mode")), T(a.at("value")));
      });
}

}  // namespace
}  // namespace clearsky::test::pad_test

#include "clearsky/ops/resize.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::resize_test {
namespace {

/// The interpolation kernels as functions of the distance to a sample; long double, since a distance that comes from a
/// large coordinate has lost digits in double.
using Long = long double;
Long kernel(Interpolation interpolation, Long d) {
  d = std::fabs(d);
  if (interpolation == Interpolation::bilinear) return d < 1 ? 1 - d : 0;
  if (d < 1) return 1.25L * d * d * d - 2.25L * d * d + 1;
  if (d < 2) return -0.75L * d * d * d + 3.75L * d * d - 6 * d + 3;
  return 0;
}

/// The definition: every sample of the image, continued by its border, times the kernel at its distance.
Expected resize_reference(const Inputs& in, const Attrs& attrs) {
  const Tensor<double>& x = in[0];
  const auto interpolation = Interpolation(attrs.integer("interpolation"));
  const int64_t sizes[] = {x.size(1), x.size(2)}, out[] = {attrs.integer("height"), attrs.integer("width")};
  const auto weight = [&](int axis, int64_t i, int64_t k) {
    const Long s = (Long(i) + 0.5L) * Long(sizes[axis]) / Long(out[axis]) - 0.5L;
    if (interpolation == Interpolation::nearest) return i * sizes[axis] / out[axis] == k ? 1.0L : 0.0L;
    if (interpolation == Interpolation::nearest_exact) return Long(k) - 0.5L <= s && s < Long(k) + 0.5L ? 1.0L : 0.0L;
    Long total = 0;
    for (int64_t j = -3; j < sizes[axis] + 3; ++j)
      if (std::clamp(j, int64_t(0), sizes[axis] - 1) == k) total += kernel(interpolation, s - Long(j));
    return total;
  };
  Expected want;
  for (int64_t n = 0; n < x.size(0); ++n)
    for (int64_t i = 0; i < out[0]; ++i)
      for (int64_t j = 0; j < out[1]; ++j)
        for (int64_t c = 0; c < x.size(3); ++c) {
          double y = 0, scale = 0;
          for (int64_t h = 0; h < sizes[0]; ++h)
            for (int64_t w = 0; w < sizes[1]; ++w) {
              const auto term = double(weight(0, i, h) * weight(1, j, w) * Long(x.at({n, h, w, c})));
              y += term;
              scale += std::fabs(term);
            }
          want.values.push_back(y);
          want.scale.push_back(scale);
        }
  want.terms = interpolation == Interpolation::bicubic ? 16 : 4;
  return want;
}

TEST_CASE("resize") {
  for (int mode = 0; mode < 4; ++mode) {
    const auto sample = [&](Shape x, int64_t height, int64_t width, bool check = true) {
      return Sample{.inputs = {x},
                    .attrs = {{"height", double(height)}, {"width", double(width)}, {"interpolation", double(mode)}},
                    .gradcheck = check};
    };
    run({.name = "resize",
         .reference = resize_reference,
         .samples = {sample({2, 3, 4, 2}, 6, 8),   // twice
                     sample({1, 4, 3, 3}, 5, 7),   // no whole factor
                     sample({1, 8, 6, 1}, 3, 2),   // smaller: pixels between the taps get no gradient
                     sample({1, 1, 1, 2}, 3, 2),   // nothing but border
                     sample({1, 2, 3, 2}, 2, 3),   // the same size
                     sample({1, 2, 2, 19}, 3, 3),  // a whole vector of channels and a rest
                     sample({0, 2, 2, 3}, 4, 4), sample({1, 2, 2, 0}, 4, 4),
                     sample({2, 20, 15, 33}, 40, 31, false)},  // several blocks of rows
         .rejects = {{sample({2, 2, 3}, 2, 2), "input must be (N, H, W, C), got (2, 2, 3)"},
                     {sample({1, 2, 2, 1}, 0, 2), "the new size is 0 x 2; use at least 1 x 1"},
                     {sample({1, 0, 2, 1}, 2, 2), "input (1, 0, 2, 1) has no pixels"}}},
        [](const auto& in, const Attrs& a) {
          return resize(in[0], a.integer("height"), a.integer("width"), Interpolation(a.integer("interpolation")));
        });
  }
}

TEST_CASE("resize gives the values that torch.nn.functional.interpolate gives") {
  const Tensor<double> x({1, 1, 4, 1}, {1, 2, 4, 8});
  const auto row = [&](int64_t width, Interpolation mode) { return resize(x, 1, width, mode).to_vector(); };
  CHECK(row(8, Interpolation::bilinear) == std::vector<double>{1, 1.25, 1.75, 2.5, 3.5, 5, 7, 8});
  CHECK(row(2, Interpolation::bilinear) == std::vector<double>{1.5, 6});
  CHECK(row(8, Interpolation::nearest) == std::vector<double>{1, 1, 2, 2, 4, 4, 8, 8});
  CHECK(row(2, Interpolation::nearest) == std::vector<double>{1, 4});
  CHECK(row(2, Interpolation::nearest_exact) == std::vector<double>{2, 8});
  const std::vector<double> cubic = row(2, Interpolation::bicubic);
  // Weights -3/32, 19/32, 19/32, -3/32 half way between two samples.
  CHECK(cubic[0] == doctest::Approx((-3 * 1 + 19 * 1 + 19 * 2 - 3 * 4) / 32.0));
  CHECK(cubic[1] == doctest::Approx((-3 * 2 + 19 * 4 + 19 * 8 - 3 * 8) / 32.0));
}

TEST_CASE("resize to a whole multiple does not carry a NaN further than its taps") {
  Tensor<float> x = ones<float>({1, 3, 3, 1});
  x.mutable_data()[0] = std::numeric_limits<float>::quiet_NaN();
  const Tensor<float> y = resize(x, 6, 6, Interpolation::nearest);
  int64_t count = 0;
  for (float v : y.to_vector()) count += std::isnan(v);
  CHECK(count == 4);
}

}  // namespace
}  // namespace clearsky::test::resize_test

#include "clearsky/ops/ssim.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::ssim_test {
namespace {

/// The definition, window by window, with variances around the mean of the zero-padded window.
Expected ssim_reference(const Inputs& in, const Attrs&) {
  const Tensor<double>&x = in[0], &y = in[1];
  double window[11][11], window_sum = 0;
  for (int i = 0; i < 11; ++i)
    for (int j = 0; j < 11; ++j) {
      window[i][j] = std::exp(-((i - 5) * (i - 5) + (j - 5) * (j - 5)) / (2 * 1.5 * 1.5));
      window_sum += window[i][j];
    }
  double total = 0, condition = 0;
  for (int64_t n = 0; n < x.size(0); ++n)
    for (int64_t h = 0; h < x.size(1); ++h)
      for (int64_t w = 0; w < x.size(2); ++w)
        for (int64_t c = 0; c < x.size(3); ++c) {
          double mx = 0, my = 0, sx = 0, sy = 0, sxy = 0;
          const auto each = [&](auto&& visit) {
            for (int64_t i = 0; i < 11; ++i)
              for (int64_t j = 0; j < 11; ++j) {
                const int64_t u = h + i - 5, v = w + j - 5;
                const bool inside = 0 <= u && u < x.size(1) && 0 <= v && v < x.size(2);
                visit(window[i][j] / window_sum, inside ? x.at({n, u, v, c}) : 0, inside ? y.at({n, u, v, c}) : 0);
              }
          };
          each([&](double k, double a, double b) {
            mx += k * a;
            my += k * b;
          });
          each([&](double k, double a, double b) {
            sx += k * (a - mx) * (a - mx);
            sy += k * (b - my) * (b - my);
            sxy += k * (a - mx) * (b - my);
          });
          const double c1 = 1e-4, c2 = 9e-4;
          total += (2 * mx * my + c1) * (2 * sxy + c2) / ((mx * mx + my * my + c1) * (sx + sy + c2));
          // Roundings of the squared values, of size mx^2 + sx, count against sx + sy + c2.
          condition += (mx * mx + my * my + sx + sy) / (sx + sy + c2);
        }
  const double count = double(x.numel());
  return {{total / count}, {condition / count}, 22};
}

TEST_CASE("ssim") {
  run({.name = "ssim",
       .reference = ssim_reference,
       .samples =
           {{.inputs = {{1, 5, 6, 2}, {1, 5, 6, 2}}, .low = 0, .high = 1},  // smaller than the window
            {.inputs = {{2, 13, 12, 1}, {2, 13, 12, 1}}, .low = 0, .high = 1},
            {.inputs = {{1, 1, 1, 17}, {1, 1, 1, 17}}, .low = 0, .high = 1},
            {.inputs = {{0, 4, 4, 2}, {0, 4, 4, 2}}},  // the mean of nothing
            {.inputs = {{2, 37, 40, 13}, {2, 37, 40, 13}}, .low = 0, .high = 1, .gradcheck = false, .direction = true}},
       .rejects = {{{.inputs = {{1, 2, 2, 1}, {1, 2, 3, 1}}},
                    "both images must be (N, H, W, C) of one shape, got (1, 2, 2, 1) and (1, 2, 3, 1)"},
                   {{.inputs = {{2, 2}, {2, 2}}}, "both images must be (N, H, W, C)"}},
       .twice_differentiable = false,
       // Variances are differences of second moments, whose rounding counts (m^2 + s^2) / s^2 times: 4 for uniform
       // values.
       .gradient_condition = 4},
      [](const auto& in, const Attrs&) { return ssim(in[0], in[1]); });
}

TEST_CASE("ssim of an image with itself is 1 with no gradient") {
  Tensor<double> x = rand<double>({1, 12, 14, 3}, Key{5}).set_requires_grad();
  const Tensor<double> y = x.clone(), s = ssim(x, y);
  CHECK(s.item() == doctest::Approx(1).epsilon(1e-14));
  s.backward();
  for (double g : x.grad().to_vector()) CHECK(std::fabs(g) < 1e-14);
}

TEST_CASE("ssim carries a NaN") {
  Tensor<float> x = rand<float>({1, 12, 14, 3}, Key{5});
  const Tensor<float> y = x.clone();
  x.mutable_data()[7] = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(ssim(x, y).item()));
}

}  // namespace
}  // namespace clearsky::test::ssim_test

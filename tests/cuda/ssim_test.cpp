#include "clearsky/cuda/kernels/ssim.cuh"

#include "kernels.hpp"

namespace clearsky::test::ssim_test {
namespace {

struct Size {
  int64_t batch, height, width, channels;
  int64_t row() const { return width * channels; }
  int64_t numel() const { return batch * height * row(); }
};
// One pixel, less than a window, several tiles along the width and the height, one channel group and several, nothing.
const Size kSizes[] = {{1, 1, 1, 1},    {2, 5, 7, 3},  {1, 20, 30, 16}, {1, 3, 48, 17}, {2, 35, 9, 2},
                       {1, 2, 1016, 1}, {1, 4, 3, 40}, {0, 3, 3, 1},    {1, 0, 4, 3}};

/// The window's filter of values(i) at element i, over zeros outside the image.
template <class Values>
double filtered(const Size& s, int64_t i, const Values& values) {
  const int64_t h = i / s.row() % s.height, w = i / s.channels % s.width;
  double weights = 0, sum = 0;
  for (int64_t k = -5; k <= 5; ++k) weights += std::exp(-0.5 * double(k * k) / 2.25);
  for (int64_t a = -5; a <= 5; ++a)
    for (int64_t b = -5; b <= 5; ++b) {
      if (h + a < 0 || h + a >= s.height || w + b < 0 || w + b >= s.width) continue;
      const double weight = std::exp(-0.5 * double(a * a + b * b) / 2.25) / (weights * weights);
      sum += weight * values(size_t(i + a * s.row() + b * s.channels));
    }
  return sum;
}

TEST_CASE("SSIM: mean and derivatives as in double and on the CPU; gradient likewise") {
  for (const Size& s : kSizes) {
    CAPTURE(s.height);
    CAPTURE(s.width);
    CAPTURE(s.channels);
    const int64_t numel = s.numel();
    const Values<float> x = draw(numel, 1, 0, 1), y = draw(numel, 2, 0, 1), d_mean = draw(numel, 3),
                        d_squares = draw(numel, 4), d_product = draw(numel, 5), g = draw(1, 6);
    const auto forward = [&](float* mean, std::vector<float*> d, auto at) {
      return cuda::SsimForward{at(x), at(y), mean, d[0], d[1], d[2], d[3], s.batch, s.height, s.width, s.channels};
    };
    const auto backward = [&](float* dx, auto at) {
      return cuda::SsimBackward{at(g), at(x),   at(y),    at(d_mean), at(d_squares), at(d_product),
                                dx,    s.batch, s.height, s.width,    s.channels};
    };
    const auto out = in_every_order([&] {
      std::vector<Output> o{Output(1), Output(numel), Output(numel), Output(numel), Output(numel), Output(numel)};
      const auto p = forward(o[0].data(), {o[1].data(), o[2].data(), o[3].data(), o[4].data()}, OnDevice());
      Output workspace(cuda::ssim_forward_workspace(p));
      cuda::ssim_forward(p, workspace.data(), nullptr);
      CHECK(workspace.sentinels_intact());
      cuda::ssim_backward(backward(o[5].data(), OnDevice()), nullptr);
      return o;
    });
    if (numel == 0) {
      CHECK(std::isnan(out[0][0]));
      continue;
    }
    float cpu_mean = 0;
    std::vector<std::vector<float>> cpu_d(5, std::vector<float>(x.size()));
    cpu::ssim_forward(
        forward(&cpu_mean, {cpu_d[0].data(), cpu_d[1].data(), cpu_d[2].data(), cpu_d[3].data()}, OnHost()));
    cpu::ssim_backward(backward(cpu_d[4].data(), OnHost()));

    // The filter along two axes is a sum of 22 terms with rounded weights; all values here are positive, so that this
    // is a share of the result. From there on the errors are carried through the formulas; 2 for their own roundings.
    const double share = 2 * allowed_error(kRoundFloat, kRoundFloat, 2 * 11 + 2, 1);
    Worst worst, cpu;
    double total = 0, total_error = 0;
    for (int64_t i = 0; i < numel; ++i) {
      const double mx = filtered(s, i, [&](size_t k) { return double(x[k]); });
      const double my = filtered(s, i, [&](size_t k) { return double(y[k]); });
      const double squares = filtered(s, i, [&](size_t k) { return double(x[k]) * x[k] + double(y[k]) * y[k]; });
      const double product = filtered(s, i, [&](size_t k) { return double(x[k]) * y[k]; });
      const double means = mx * mx + my * my, c1 = 1e-4, c2 = 9e-4;
      const double a1 = 2 * mx * my + c1, a2 = 2 * (product - mx * my) + c2, b1 = means + c1, b2 = squares - means + c2;
      const double inverse = 1 / (b1 * b2), v = a1 * a2 * inverse;
      const double ea1 = share * 2 * a1, ea2 = share * 2 * (product + 2 * mx * my), eb1 = share * 2 * b1,
                   eb2 = share * (squares + 2 * means), eb = eb1 / b1 + eb2 / b2;
      const double ev = inverse * (std::abs(a2) * ea1 + a1 * ea2) + std::abs(v) * eb;
      const double cross = 2 * (a2 - a1) * inverse, own = 2 * v * (b1 - b2) * inverse;
      const double ecross = 2 * (ea1 + ea2) * inverse + std::abs(cross) * eb;
      const double eown = 2 * inverse * (ev * std::abs(b1 - b2) + std::abs(v) * (eb1 + eb2)) + std::abs(own) * eb;
      total += v / double(numel), total_error += ev / double(numel);
      const double want[4] = {my * cross + mx * own, mx * cross + my * own, -v / b2, 2 * a1 * inverse};
      const double error[4] = {my * (ecross + share * std::abs(cross)) + mx * (eown + share * std::abs(own)),
                               mx * (ecross + share * std::abs(cross)) + my * (eown + share * std::abs(own)),
                               (ev + std::abs(v) * eb2 / b2) / b2, 2 * inverse * (ea1 + a1 * eb)};
      for (size_t k = 0; k < 4; ++k) {
        worst.add(out[k + 1][i], want[k], error[k]);
        cpu.add(out[k + 1][i], cpu_d[k][size_t(i)], 2 * error[k]);
      }

      const auto gradient = [&](auto size) {
        const auto of = [&](const Values<float>& map) {
          return filtered(s, i, [&](size_t k) { return size(double(map[k])); });
        };
        const double to_square = 2 * double(x[size_t(i)]), to_product = double(y[size_t(i)]);
        return size(double(g[0])) / double(numel) *
               (of(d_mean) + to_square * of(d_squares) + to_product * of(d_product));
      };
      const double scale = gradient([](double d) { return std::abs(d); });
      const double allowed = allowed_error(kRoundFloat, kRoundFloat, 2 * 11 + 2 + 5, scale);
      worst.add(out[5][i], gradient([](double d) { return d; }), allowed);
      cpu.add(out[5][i], cpu_d[4][size_t(i)], 2 * allowed);
    }
    worst.add(out[0][0], total, total_error);
    cpu.add(out[0][0], cpu_mean, 2 * total_error);
    CHECK(worst.share() <= 1);
    CHECK(cpu.share() <= 1);

    // Each derivative alone, and none.
    for (size_t k = 0; k < 5; ++k) {
      Output mean(1), d(numel);
      std::vector<float*> wanted(4, nullptr);
      if (k < 4) wanted[k] = d.data();
      const auto p = forward(mean.data(), wanted, OnDevice());
      Output workspace(cuda::ssim_forward_workspace(p));
      cuda::ssim_forward(p, workspace.data(), nullptr);
      CHECK(mean.same_bits(out[0]));
      if (k < 4) CHECK(d.same_bits(out[k + 1]));
    }
  }
}

TEST_CASE("SSIM: equal images have a mean of 1; a NaN is not swallowed") {
  std::vector<float> values = draw(7 * 9 * 2, 1, 0, 1).vector();
  const auto mean_of = [&](const Values<float>& a, const Values<float>& b) {
    Output mean(1);
    const cuda::SsimForward p{a.device(), b.device(), mean.data(), nullptr, nullptr, nullptr, nullptr, 1, 7, 9, 2};
    Output workspace(cuda::ssim_forward_workspace(p));
    cuda::ssim_forward(p, workspace.data(), nullptr);
    return mean[0];
  };
  const Values<float> x(values);
  CHECK(mean_of(x, x) == doctest::Approx(1));
  values[100] = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(mean_of(x, Values<float>(values))));
}

TEST_CASE("SSIM: more images than a grid can have are refused") {
  CHECK_THROWS_WITH_AS(
      cuda::ssim_backward({nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, 65536, 1, 1, 1}, nullptr),
      doctest::Contains("ssim_backward: 65536 images of 1 tiles along the height, a grid can have 65535 of each"),
      ShapeError);
}

}  // namespace
}  // namespace clearsky::test::ssim_test

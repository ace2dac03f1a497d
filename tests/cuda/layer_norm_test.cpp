#include "clearsky/cuda/kernels/layer_norm.cuh"

#include "kernels.hpp"

namespace clearsky::test::layer_norm_test {
namespace {

struct Size {
  int64_t rows, cols;
};
// One row, one column, odd ones, both sides of 128 and of 512, more than 64 rows (several slots), and nothing at all.
// 12, 32 and 60 columns: several rows to a warp, of which the last has less.
const Size kSizes[] = {{1, 1},   {3, 5},    {70, 33}, {7, 12},  {33, 32}, {9, 60}, {2, 128},
                       {5, 129}, {131, 96}, {2, 512}, {3, 515}, {2, 516}, {0, 8},  {4, 0}};
constexpr float kEps = 1e-5f;

struct Inputs {
  Size size;
  Values<float> x, gamma, beta, dy, mean, rstd;
  explicit Inputs(Size s)
      : size(s),
        x(draw(s.rows * s.cols, 1, -2, 3)),
        gamma(draw(s.cols, 2)),
        beta(draw(s.cols, 3)),
        dy(draw(s.rows * s.cols, 4)) {
    std::vector<float> y(x.size()), means(size_t(s.rows)), rstds(size_t(s.rows));
    cpu::layer_norm_forward<float>(
        {x.data(), gamma.data(), beta.data(), y.data(), means.data(), rstds.data(), s.rows, s.cols, kEps});
    mean = means, rstd = rstds;
  }
};

/// xhat of a row in double, and its mean and rstd.
struct ExactRow {
  double mean = 0, rstd = 0, largest = 0;
  std::vector<double> xhat;
  ExactRow(const float* x, int64_t cols) : xhat(size_t(cols)) {
    double var = 0;
    for (int64_t c = 0; c < cols; ++c) mean += x[c] / double(cols);
    for (int64_t c = 0; c < cols; ++c) var += (x[c] - mean) * (x[c] - mean) / double(cols);
    rstd = 1 / std::sqrt(var + double(kEps));
    for (int64_t c = 0; c < cols; ++c) {
      xhat[size_t(c)] = (x[c] - mean) * rstd;
      largest = std::fmax(largest, std::abs(double(x[c])));
    }
  }
};

TEST_CASE("layer norm forward: as in double, and as on the CPU") {
  for (size_t i = 0; i < 2 * std::size(kSizes); ++i) {
    const Size size = kSizes[i / 2];
    const OnDevice device{int64_t(i % 2)};  // aligned, and not
    CAPTURE(device.shift);
    CAPTURE(size.rows);
    CAPTURE(size.cols);
    const Inputs in(size);
    const auto run = [&](bool statistics) {
      std::vector<Output> out{Output(size.rows * size.cols), Output(size.rows), Output(size.rows)};
      cuda::layer_norm_forward(
          {device(in.x), device(in.gamma), device(in.beta), out[0].data(), statistics ? out[1].data() : nullptr,
           statistics ? out[2].data() : nullptr, size.rows, size.cols, kEps},
          nullptr);
      return out;
    };
    const std::vector<Output> out = in_every_order([&] { return run(true); });
    if (size.cols == 0) continue;
    Worst y, mean, rstd, cpu;
    for (int64_t r = 0; r < size.rows; ++r) {
      const ExactRow exact(in.x.data() + r * size.cols, size.cols);
      const double scale = exact.largest;
      const double mean_allowed = allowed_error(kRoundFloat, kRoundFloat, double(size.cols), scale);
      mean.add(out[1][r], exact.mean, mean_allowed);
      // rstd changes by its own share of half the variance's relative change: cols terms around the mean.
      rstd.add(out[2][r], exact.rstd, allowed_error(kRoundFloat, kRoundFloat, double(size.cols), exact.rstd));
      cpu.add(out[1][r], in.mean[size_t(r)], 2 * mean_allowed);
      for (int64_t c = 0; c < size.cols; ++c) {
        const double gamma = in.gamma[size_t(c)], beta = in.beta[size_t(c)];
        // The mean's error moves x - mean; the rest is a share of the value itself.
        const double terms = std::abs(gamma) * (std::abs(exact.xhat[size_t(c)]) + scale * exact.rstd) + std::abs(beta);
        y.add(out[0][r * size.cols + c], gamma * exact.xhat[size_t(c)] + beta,
              allowed_error(kRoundFloat, kRoundFloat, double(size.cols), terms));
      }
    }
    CHECK(y.share() <= 1);
    CHECK(mean.share() <= 1);
    CHECK(rstd.share() <= 1);
    CHECK(cpu.share() <= 1);
    const std::vector<Output> alone = run(false);
    CHECK(alone[0].same_bits(out[0]));
    for (int64_t r = 0; r < size.rows; ++r) CHECK(std::isnan(alone[1][r]));
  }
}

TEST_CASE("layer norm backward: as in double, and as on the CPU; sums of rows in a fixed order") {
  for (size_t i = 0; i < 2 * std::size(kSizes); ++i) {
    const Size size = kSizes[i / 2];
    const OnDevice device{int64_t(i % 2)};  // aligned, and not
    CAPTURE(device.shift);
    CAPTURE(size.rows);
    CAPTURE(size.cols);
    const Inputs in(size);
    const int64_t rows = size.rows, cols = size.cols;
    const auto arguments = [&](float* dx, float* dgamma, float* dbeta, auto at) {
      return cuda::LayerNormBackward{at(in.x), at(in.gamma), at(in.mean), at(in.rstd), at(in.dy),
                                     dx,       dgamma,       dbeta,       rows,        cols};
    };
    const std::vector<Output> out = in_every_order([&] {
      std::vector<Output> o{Output(rows * cols), Output(cols), Output(cols)};
      Output workspace(cuda::layer_norm_backward_workspace(rows, cols));
      cuda::layer_norm_backward(arguments(o[0].data(), o[1].data(), o[2].data(), device), workspace.data(), nullptr);
      CHECK(workspace.sentinels_intact());
      return o;
    });
    if (cols == 0) continue;
    std::vector<float> cpu_dx(in.x.size()), cpu_dgamma(size_t(cols), 0.f), cpu_dbeta(size_t(cols), 0.f);
    cpu::layer_norm_backward(arguments(cpu_dx.data(), cpu_dgamma.data(), cpu_dbeta.data(), OnHost()));

    std::vector<double> dgamma(size_t(cols), 0.), dbeta(size_t(cols), 0.), dgamma_scale(size_t(cols), 0.),
        dbeta_scale(size_t(cols), 0.);
    Worst worst, cpu;
    for (int64_t r = 0; r < rows; ++r) {
      // From the mean and rstd that the kernel is given: their rounding is the forward's.
      const double mean = in.mean[size_t(r)], rstd = in.rstd[size_t(r)];
      double mean_h = 0, mean_hx = 0, h_scale = 0, hx_scale = 0;
      for (int64_t c = 0; c < cols; ++c) {
        const double g = in.dy[size_t(r * cols + c)], h = g * in.gamma[size_t(c)];
        const double xhat = (in.x[size_t(r * cols + c)] - mean) * rstd;
        mean_h += h / double(cols), mean_hx += h * xhat / double(cols);
        h_scale += std::abs(h) / double(cols), hx_scale += std::abs(h * xhat) / double(cols);
        dgamma[size_t(c)] += g * xhat, dbeta[size_t(c)] += g;
        dgamma_scale[size_t(c)] += std::abs(g * xhat), dbeta_scale[size_t(c)] += std::abs(g);
      }
      for (int64_t c = 0; c < cols; ++c) {
        const double h = double(in.dy[size_t(r * cols + c)]) * in.gamma[size_t(c)];
        const double xhat = (in.x[size_t(r * cols + c)] - mean) * rstd;
        const double allowed = allowed_error(kRoundFloat, kRoundFloat, double(cols),
                                             rstd * (std::abs(h) + h_scale + std::abs(xhat) * hx_scale));
        worst.add(out[0][r * cols + c], rstd * (h - mean_h - xhat * mean_hx), allowed);
        cpu.add(out[0][r * cols + c], cpu_dx[size_t(r * cols + c)], 2 * allowed);
      }
    }
    for (int64_t c = 0; c < cols; ++c) {
      const auto allowed = [&](double scale) { return allowed_error(kRoundFloat, kRoundFloat, double(rows), scale); };
      worst.add(out[1][c], dgamma[size_t(c)], allowed(dgamma_scale[size_t(c)]));
      worst.add(out[2][c], dbeta[size_t(c)], allowed(dbeta_scale[size_t(c)]));
      cpu.add(out[1][c], cpu_dgamma[size_t(c)], 2 * allowed(dgamma_scale[size_t(c)]));
      cpu.add(out[2][c], cpu_dbeta[size_t(c)], 2 * allowed(dbeta_scale[size_t(c)]));
    }
    CHECK(worst.share() <= 1);
    CHECK(cpu.share() <= 1);

    // Each output alone.
    Output dx(rows * cols), dbeta_alone(cols), workspace(cuda::layer_norm_backward_workspace(rows, cols));
    cuda::layer_norm_backward(arguments(dx.data(), nullptr, nullptr, device), nullptr, nullptr);
    cuda::layer_norm_backward(arguments(nullptr, nullptr, dbeta_alone.data(), device), workspace.data(), nullptr);
    CHECK(dx.same_bits(out[0]));
    CHECK(dbeta_alone.same_bits(out[2]));
  }
}

}  // namespace
}  // namespace clearsky::test::layer_norm_test

#include "clearsky/cuda/kernels/carl.cuh"

#include "kernels.hpp"

namespace clearsky::test::carl_test {
namespace {

struct Size {
  int64_t rows, cols;
};
const Size kSizes[] = {{1, 1}, {3, 5}, {7, 13}, {131, 1}, {9, 8}, {2600, 13}, {0, 3}};
constexpr float kLambda = 0.75f;

TEST_CASE("CARL: loss and gradients as in double and on the CPU, aligned or not, each gradient alone") {
  for (const Size& s : kSizes)
    for (int64_t shift : {0, 1}) {
      CAPTURE(s.rows);
      CAPTURE(s.cols);
      CAPTURE(shift);
      const int64_t numel = s.rows * s.cols;
      const Values<float> x = draw(numel, 1), target = draw(numel, 2), input = draw(numel, 3),
                          mask = draw(s.rows, 4, 0, 1), g = draw(1, 5);
      const auto backward = [&](float* dx, float* dt, float* di) {
        cuda::carl_backward({g.device(), x.device(shift), target.device(shift), input.device(shift), mask.device(), dx,
                             dt, di, s.rows, s.cols, kLambda},
                            nullptr);
      };
      const auto out = in_every_order([&] {
        std::vector<Output> o{Output(1), Output(numel), Output(numel), Output(numel)};
        Output workspace(cuda::carl_workspace(s.rows, s.cols));
        cuda::carl_forward({x.device(shift), target.device(shift), input.device(shift), mask.device(), o[0].data(),
                            s.rows, s.cols, kLambda},
                           workspace.data(), nullptr);
        CHECK(workspace.sentinels_intact());
        backward(o[1].data(), o[2].data(), o[3].data());
        return o;
      });
      if (numel == 0) {
        CHECK(std::isnan(out[0][0]));
        continue;
      }
      float cpu_loss = 0;
      std::vector<float> cpu_dx(x.size()), cpu_dt(x.size()), cpu_di(x.size());
      cpu::carl_forward<float>(
          {x.data(), target.data(), input.data(), mask.data(), &cpu_loss, s.rows, s.cols, kLambda});
      cpu::carl_backward<float>({g.data(), x.data(), target.data(), input.data(), mask.data(), cpu_dx.data(),
                                 cpu_dt.data(), cpu_di.data(), s.rows, s.cols, kLambda});
      Worst worst, cpu;
      double loss = 0, scale = 0;
      for (int64_t i = 0; i < numel; ++i) {
        const auto at = size_t(i);
        const double m = mask[size_t(i / s.cols)], n = double(numel), v = x[at];
        const double to_target = v - target[at], to_input = v - input[at];
        const double size = std::abs(v) + std::fmax(std::abs(target[at]), std::abs(input[at]));
        loss += ((m + double(kLambda)) * std::abs(to_target) + (1 - m) * std::abs(to_input)) / n;
        scale += (1 + double(kLambda)) * size / n;
        const double t = g[0] / n * (m + double(kLambda)) * ((to_target > 0) - (to_target < 0));
        const double u = g[0] / n * (1 - m) * ((to_input > 0) - (to_input < 0));
        // g, 1/n, the mask's sum and the product are rounded: twice a product's bound.
        const double allowed =
            2 * allowed_error(kRoundFloat, kRoundFloat, 1, std::abs(double(g[0])) / n * (1 + double(kLambda)));
        worst.add(out[1][i], t + u, allowed);
        worst.add(out[2][i], -t, allowed);
        worst.add(out[3][i], -u, allowed);
        cpu.add(out[1][i], cpu_dx[at], 2 * allowed);
        cpu.add(out[2][i], cpu_dt[at], 2 * allowed);
        cpu.add(out[3][i], cpu_di[at], 2 * allowed);
      }
      const double allowed = allowed_error(kRoundFloat, kRoundFloat, double(numel), scale);
      worst.add(out[0][0], loss, allowed);
      cpu.add(out[0][0], cpu_loss, 2 * allowed);
      CHECK(worst.share() <= 1);
      CHECK(cpu.share() <= 1);

      for (size_t k = 1; k < 4; ++k) {
        Output alone(numel);
        backward(k == 1 ? alone.data() : nullptr, k == 2 ? alone.data() : nullptr, k == 3 ? alone.data() : nullptr);
        CHECK(alone.same_bits(out[k]));
      }
    }
}

TEST_CASE("CARL: a NaN is not swallowed") {
  std::vector<float> spoiled(3, 1.f);
  spoiled[1] = std::numeric_limits<float>::quiet_NaN();
  const Values<float> x(spoiled), other(std::vector<float>(3, 0.5f)), mask(std::vector<float>(3, 1.f));
  Output loss(1), workspace(cuda::carl_workspace(3, 1)), dx(3);
  cuda::carl_forward({x.device(), other.device(), other.device(), mask.device(), loss.data(), 3, 1, kLambda},
                     workspace.data(), nullptr);
  cuda::carl_backward({mask.device(), x.device(), other.device(), other.device(), mask.device(), dx.data(), nullptr,
                       nullptr, 3, 1, kLambda},
                      nullptr);
  CHECK(std::isnan(loss[0]));
  CHECK(std::isnan(dx[1]));
  CHECK(!std::isnan(dx[0]));
}

}  // namespace
}  // namespace clearsky::test::carl_test

#include "clearsky/cuda/kernels/softmax.cuh"

#include "kernels.hpp"

namespace clearsky::test::softmax_test {
namespace {

struct Size {
  int64_t outer, n, inner;
};
const Size kSizes[] = {{1, 1, 1},   {5, 7, 1}, {9, 32, 1}, {17, 10, 1}, {5, 24, 1}, {6, 60, 1}, {3, 100, 1},
                       {2, 260, 1}, {1, 5, 3}, {2, 9, 70}, {3, 1, 2},   {0, 4, 1},  {2, 0, 3},  {2, 3, 0}};

TEST_CASE("softmax: values and gradients as in double and on the CPU, along rows and columns") {
  for (const Size& s : kSizes)
    for (int64_t variant = 0; variant < 4; ++variant) {
      const bool logarithm = variant % 2 == 1;
      const OnDevice device{variant / 2};  // aligned, and not
      CAPTURE(device.shift);
      CAPTURE(s.outer);
      CAPTURE(s.n);
      CAPTURE(s.inner);
      CAPTURE(logarithm);
      const int64_t count = s.outer * s.n * s.inner;
      // Around 100: e^x alone would overflow.
      const Values<float> x = draw(count, 1, 96, 104), dy = draw(count, 2);
      const auto y = in_every_order([&] {
        std::vector<Output> out{Output(count)};
        cuda::softmax({device(x), out[0].data(), s.outer, s.n, s.inner, logarithm}, nullptr);
        return out;
      });
      std::vector<float> on_cpu(x.size());  // the backward's y
      cpu::softmax<float>({x.data(), on_cpu.data(), s.outer, s.n, s.inner, logarithm});
      const Values<float> given(on_cpu);
      const auto dx = in_every_order([&] {
        std::vector<Output> out{Output(count)};
        cuda::softmax_backward({device(given), device(dy), out[0].data(), s.outer, s.n, s.inner, logarithm}, nullptr);
        return out;
      });

      Worst forward, backward, cpu;
      for (int64_t at = 0; at < count; ++at) {
        const int64_t start = at - at / s.inner % s.n * s.inner;
        double sum = 0, products = 0, scale = 0;
        for (int64_t i = start; i < start + s.n * s.inner; i += s.inner) {
          sum += std::exp(double(x[size_t(i)]) - x[size_t(at)]);
          const double term = logarithm ? double(dy[size_t(i)]) : double(dy[size_t(i)]) * given[size_t(i)];
          products += term, scale += std::abs(term);
        }
        // x - m is exact to 4 u of 8, and so e^(x - m) to 32 u of itself; the sum of n such terms adds its own.
        const double want = logarithm ? -std::log(sum) : 1 / sum;
        const double allowed =
            8 * allowed_error(kRoundFloat, kRoundFloat, double(s.n), std::fmax(std::abs(want), logarithm));
        forward.add(y[0][at], want, allowed);
        cpu.add(y[0][at], given[size_t(at)], 2 * allowed);
        const double g = dy[size_t(at)], p = logarithm ? std::exp(double(given[size_t(at)])) : given[size_t(at)];
        // The exponential of the given logarithm carries its condition, |y|.
        const double factor = logarithm ? 1 + std::abs(double(given[size_t(at)])) : 1;
        backward.add(dx[0][at], logarithm ? g - p * products : p * (g - products),
                     factor * allowed_error(kRoundFloat, kRoundFloat, double(s.n),
                                            logarithm ? std::abs(g) + p * scale : p * (std::abs(g) + scale)));
      }
      CHECK(forward.share() <= 1);
      CHECK(backward.share() <= 1);
      CHECK(cpu.share() <= 1);
    }
}

TEST_CASE("softmax: a NaN spoils its own row only, and minus infinity is a probability of 0") {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const float x[] = {1, nan, 3, -inf, 0, 0, -inf, -inf, -inf};
  for (int64_t inner : {1, 3}) {
    std::vector<float> laid_out(9);
    for (int64_t r = 0; r < 3; ++r)
      for (int64_t c = 0; c < 3; ++c) laid_out[size_t(inner == 1 ? r * 3 + c : c * 3 + r)] = x[r * 3 + c];
    Output y(9);
    const Values<float> given(laid_out);
    cuda::softmax({given.device(), y.data(), inner == 1 ? 3 : 1, 3, inner, false}, nullptr);
    const auto at = [&](int64_t r, int64_t c) { return y[inner == 1 ? r * 3 + c : c * 3 + r]; };
    for (int64_t c = 0; c < 3; ++c) {
      CHECK(std::isnan(at(0, c)));
      CHECK(std::isnan(at(2, c)));
    }
    CHECK(at(1, 0) == 0);
    CHECK(at(1, 1) == 0.5f);
    CHECK(at(1, 2) == 0.5f);
  }
}

}  // namespace
}  // namespace clearsky::test::softmax_test

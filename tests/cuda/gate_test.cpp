#include "clearsky/cuda/kernels/gate.cuh"

#include "kernels.hpp"

namespace clearsky::test::gate_test {
namespace {

struct Size {
  int64_t rows, half;
};
const Size kSizes[] = {{1, 1}, {7, 3}, {5, 4}, {100, 12}, {3, 129}, {0, 4}, {4, 0}};

void check_gates(const Size& s, bool gelu, bool shifted) {
  CAPTURE(s.rows);
  CAPTURE(s.half);
  CAPTURE(gelu);
  const int64_t count = s.rows * s.half, shift = shifted ? 1 : 0;  // one float further: no 16-byte access is possible
  const Values<float> in = draw(2 * count, 1, -6, 6), dy_in = draw(count, 2);
  const float *x = in.data(), *dy = dy_in.data();
  const auto forward = in_every_order([&] {
    std::vector<Output> out{Output(count)};
    const cuda::GateForward p{in.device(shift), out[0].data(), s.rows, s.half};
    gelu ? cuda::gelu_gate_forward(p, nullptr) : cuda::simple_gate_forward(p, nullptr);
    return out;
  });
  const auto backward = in_every_order([&] {
    std::vector<Output> out{Output(2 * count)};
    const cuda::GateBackward p{in.device(shift), dy_in.device(shift), out[0].data(), s.rows, s.half};
    gelu ? cuda::gelu_gate_backward(p, nullptr) : cuda::simple_gate_backward(p, nullptr);
    return out;
  });
  std::vector<float> cpu_y(size_t(count), 0.f), cpu_dx(size_t(2 * count), 0.f);
  const cuda::GateForward f{x, cpu_y.data(), s.rows, s.half};
  const cuda::GateBackward b{x, dy, cpu_dx.data(), s.rows, s.half};
  gelu ? cpu::gelu_gate_forward(f) : cpu::simple_gate_forward(f);
  gelu ? cpu::gelu_gate_backward(b) : cpu::simple_gate_backward(b);

  Worst worst, cpu;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at_a = i / s.half * 2 * s.half + i % s.half, at_b = at_a + s.half;
    const double va = x[at_a], vb = x[at_b], g = dy[i];
    const double phi = gelu ? 0.5 * std::erfc(-va / std::sqrt(2.0)) : 1;
    const double density = gelu ? std::exp(-va * va / 2) / std::sqrt(2 * 3.14159265358979323846) : 0;
    // The condition of Phi at a is |a| phi(a) / Phi(a), and of phi it is a^2.
    const double phi_scale = phi + std::abs(va) * density, density_scale = density * (1 + va * va);
    const double a_gelu = gelu ? va * phi : va, a_scale = std::abs(va) * (gelu ? phi_scale : 1);
    const double slope = gelu ? phi + va * density : 1;
    const double slope_scale = gelu ? phi_scale + std::abs(va) * density_scale : 1;
    const auto check = [&](float got, float on_cpu, double want, double scale, double cpu_scale) {
      worst.add(got, want, 2 * allowed_error(kRoundFloat, kRoundFloat, 1, scale));
      cpu.add(got, on_cpu, 4 * allowed_error(kRoundFloat, kRoundFloat, 1, cpu_scale));
    };
    // The CPU forms 1 + erf, which is only right to a share of 1.
    check(forward[0][i], cpu_y[size_t(i)], a_gelu * vb, a_scale * std::abs(vb), std::abs(va * vb));
    check(backward[0][at_a], cpu_dx[size_t(at_a)], g * vb * slope, std::abs(g * vb) * slope_scale,
          std::abs(g * vb) * (1 + slope_scale));
    check(backward[0][at_b], cpu_dx[size_t(at_b)], g * a_gelu, std::abs(g) * a_scale, std::abs(g * va));
  }
  CHECK(worst.share() <= 1);
  CHECK(cpu.share() <= 1);
}

TEST_CASE("gates: values and gradients as in double and on the CPU, with and without 16-byte accesses") {
  for (const Size& s : kSizes)
    for (bool gelu : {false, true})
      for (bool shifted : {false, true}) check_gates(s, gelu, shifted);
}

}  // namespace
}  // namespace clearsky::test::gate_test

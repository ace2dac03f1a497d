#include "clearsky/cuda/kernels/adam.cuh"

#include "kernels.hpp"

namespace clearsky::test {
namespace {

TEST_CASE("adam step: tensors of any size in one launch, as on the CPU and in double") {
  // Tiny ones that share a block, an empty one, one without a gradient (index 4), and one of several blocks.
  const std::vector<int64_t> counts{1, 63, 64, 0, 70, 3001, 5, 1024};
  constexpr size_t kWithout = 4;
  std::vector<int64_t> starts{0};
  for (int64_t c : counts)
    starts.push_back(starts.back() + (c + cpu::kUpdateAlign - 1) / cpu::kUpdateAlign * cpu::kUpdateAlign);

  struct State {
    std::vector<Output> value, mean, square;
    std::vector<std::vector<float>> gradient;
    std::vector<cuda::AdamTensor> tensors;
  };
  const auto make = [&] {
    State s;
    for (size_t i = 0; i < counts.size(); ++i) {
      s.value.emplace_back(draw(counts[i], 10 * i));
      s.mean.emplace_back(draw(counts[i], 10 * i + 1));
      s.square.emplace_back(draw(counts[i], 10 * i + 2, 0, 1));
      s.gradient.push_back(draw(counts[i], 10 * i + 3));
      const float part = float(i) / 100;
      s.tensors.push_back({s.value[i].data(), i == kWithout ? nullptr : s.gradient[i].data(), s.mean[i].data(),
                           s.square[i].data(), 1 - part, part, 0.01f + part, 1.5f});
    }
    return s;
  };
  const auto step_of = [&](const State& s) {
    return cuda::AdamStep{
        {starts.data(), counts.data(), int64_t(counts.size())}, s.tensors.data(), 0.1f, 0.99f, 0.01f, 1e-8f, 0.5f};
  };
  const auto out = in_every_order([&] {
    State s = make();
    cuda::adam_step(step_of(s), starts.back(), nullptr);
    std::vector<Output> all;
    for (auto* kind : {&s.value, &s.mean, &s.square})
      for (const Output& o : *kind) all.push_back(o);
    return all;
  });
  State on_cpu = make();
  const State before = make();
  cpu::adam_step(step_of(on_cpu));

  Worst worst, cpu;
  for (size_t i = 0; i < counts.size(); ++i) {
    const Output &value = out[i], &mean = out[counts.size() + i], &square = out[2 * counts.size() + i];
    if (i == kWithout) {
      CHECK(value.same_bits(before.value[i]));
      CHECK(mean.same_bits(before.mean[i]));
      CHECK(square.same_bits(before.square[i]));
      continue;
    }
    const cuda::AdamTensor& t = before.tensors[i];
    const cuda::AdamStep s = step_of(before);
    for (int64_t k = 0; k < counts[i]; ++k) {
      const double p = before.value[i][k], m0 = before.mean[i][k], v0 = before.square[i][k];
      const double g0 = before.gradient[i][size_t(k)];
      const double g = double(s.grad_scale) * g0 + double(t.l2) * p;
      const double g_scale = double(s.grad_scale) * std::abs(g0) + double(t.l2) * std::abs(p);
      const double m = m0 + double(s.one_minus_beta1) * (g - m0);
      const double m_scale = std::abs(m0) + double(s.one_minus_beta1) * (g_scale + std::abs(m0));
      const double v = double(s.beta2) * v0 + double(s.one_minus_beta2) * g * g;
      const double v_scale = v0 + double(s.one_minus_beta2) * g_scale * g_scale;
      const double root = double(t.root_scale) * std::sqrt(v) + double(s.eps);
      const double want = double(t.keep) * p - double(t.rate) * m / root;
      const double scale = std::abs(double(t.keep) * p) + double(t.rate) * m_scale / root * (1 + v_scale / v);
      const auto check = [&](float got, const Output& kernel, double exact, double size) {
        const double allowed = allowed_error(kRoundFloat, kRoundFloat, 3, size);
        worst.add(got, exact, allowed);
        cpu.add(got, kernel[k], 2 * allowed);
      };
      check(mean[k], on_cpu.mean[i], m, m_scale);
      check(square[k], on_cpu.square[i], v, v_scale);
      check(value[k], on_cpu.value[i], want, scale);
    }
  }
  CHECK(worst.share() <= 1);
  CHECK(cpu.share() <= 1);
  cuda::adam_step({{starts.data(), counts.data(), 0}, nullptr, 0, 0, 0, 0, 0}, 0, nullptr);  // no tensors
}

}  // namespace
}  // namespace clearsky::test

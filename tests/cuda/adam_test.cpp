#include "clearsky/cuda/kernels/adam.cuh"

#include "kernels.hpp"

namespace clearsky::test::adam_test {
namespace {

TEST_CASE("adam step: tensors of any size in one launch, as on the CPU and in double") {
  // Tiny ones that share a block, an empty one, one without a gradient (index 4), and one of several blocks. All but
  // two have an average, the one without a gradient too.
  const std::vector<int64_t> counts{1, 63, 64, 0, 70, 3001, 5, 1024};
  constexpr size_t kWithout = 4;
  std::vector<int64_t> starts{0};
  for (int64_t c : counts)
    starts.push_back(starts.back() + (c + cpu::kUpdateAlign - 1) / cpu::kUpdateAlign * cpu::kUpdateAlign);

  const auto tensor_of = [](size_t i, float* value, const float* gradient, float* mean, float* square, float* average) {
    const float part = float(i) / 100;
    return cuda::AdamTensor{value, i == kWithout ? nullptr : gradient,  mean, square, 1 - part, part, 0.01f + part,
                            1.5f,  i == 1 || i == 6 ? nullptr : average};
  };
  const auto step_of = [&](const int64_t* first, const int64_t* sizes, const cuda::AdamTensor* tensors) {
    return cuda::AdamStep{{first, sizes, int64_t(counts.size())}, tensors, 0.1f, 0.99f, 0.01f, 1e-8f, 0.5f, 0.25f};
  };
  struct State {
    std::vector<std::vector<float>> value, mean, square, average;
    std::vector<Values<float>> gradient;
  };
  State before;
  for (size_t i = 0; i < counts.size(); ++i) {
    before.value.push_back(draw(counts[i], 10 * i).vector());
    before.mean.push_back(draw(counts[i], 10 * i + 1).vector());
    before.square.push_back(draw(counts[i], 10 * i + 2, 0, 1).vector());
    before.average.push_back(draw(counts[i], 10 * i + 4).vector());
    before.gradient.push_back(draw(counts[i], 10 * i + 3));
  }
  const auto out = in_every_order([&] {
    std::vector<Output> all;
    for (const auto* kind : {&before.value, &before.mean, &before.square, &before.average})
      for (const std::vector<float>& v : *kind) all.emplace_back(v);
    std::vector<cuda::AdamTensor> tensors;
    for (size_t i = 0; i < counts.size(); ++i)
      tensors.push_back(tensor_of(i, all[i].data(), before.gradient[i].device(), all[counts.size() + i].data(),
                                  all[2 * counts.size() + i].data(), all[3 * counts.size() + i].data()));
    const Values<int64_t> first(starts), sizes(counts);
    const Values<cuda::AdamTensor> records(tensors);
    cuda::adam_step(step_of(first.device(), sizes.device(), records.device()), starts.back(), nullptr);
    return all;
  });
  State on_cpu = before;
  std::vector<cuda::AdamTensor> tensors;
  for (size_t i = 0; i < counts.size(); ++i)
    tensors.push_back(tensor_of(i, on_cpu.value[i].data(), before.gradient[i].data(), on_cpu.mean[i].data(),
                                on_cpu.square[i].data(), on_cpu.average[i].data()));
  const cuda::AdamStep s = step_of(starts.data(), counts.data(), tensors.data());
  cpu::adam_step(s);

  Worst worst, cpu;
  for (size_t i = 0; i < counts.size(); ++i) {
    const Output &value = out[i], &mean = out[counts.size() + i], &square = out[2 * counts.size() + i];
    const Output& average = out[3 * counts.size() + i];
    const cuda::AdamTensor& t = tensors[i];
    if (t.average == nullptr) CHECK(average.vector() == before.average[i]);
    for (int64_t k = 0; k < counts[i] && t.average != nullptr; ++k) {
      const double a = before.average[i][size_t(k)], p = value[k];  // the new p
      worst.add(average[k], a + double(s.average_share) * (p - a),
                allowed_error(kRoundFloat, kRoundFloat, 2,
                              std::abs(a) + double(s.average_share) * (std::abs(p) + std::abs(a))));
    }
    if (i == kWithout) {
      CHECK(value.vector() == before.value[i]);
      CHECK(mean.vector() == before.mean[i]);
      CHECK(square.vector() == before.square[i]);
      continue;
    }
    for (int64_t k = 0; k < counts[i]; ++k) {
      const double p = before.value[i][size_t(k)], m0 = before.mean[i][size_t(k)], v0 = before.square[i][size_t(k)];
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
      const auto check = [&](float got, const std::vector<float>& kernel, double exact, double size) {
        const double allowed = allowed_error(kRoundFloat, kRoundFloat, 3, size);
        worst.add(got, exact, allowed);
        cpu.add(got, kernel[size_t(k)], 2 * allowed);
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
}  // namespace clearsky::test::adam_test

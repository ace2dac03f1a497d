#include "clearsky/cuda/kernels/prompt_fusion.cuh"

#include "kernels.hpp"

namespace clearsky::test::prompt_fusion_test {
namespace {

using Sizes = cuda::PromptFusionSizes;
// One pixel; odd ones; a prompt of the feature's size and a larger one; several tiles each way, forward's and
// backward's; several pieces of channels, whole and not; nothing.
const Sizes kSizes[] = {{1, 1, 1, 1, 1, 1},    {2, 3, 5, 7, 2, 2},  {1, 9, 17, 4, 9, 17}, {1, 4, 3, 2, 6, 5},
                        {1, 18, 33, 20, 5, 8}, {2, 2, 3, 36, 1, 1}, {1, 3, 18, 33, 2, 3}, {0, 2, 2, 4, 1, 1},
                        {1, 0, 2, 4, 1, 1},    {1, 2, 2, 0, 1, 1}};

struct Inputs {
  Sizes s;
  Values<float> optical, sar, projected, prompt, context, weight, bias, dy;
  explicit Inputs(const Sizes& sizes)
      : s(sizes),
        optical(draw(numel(), 1)),
        sar(draw(numel(), 2)),
        projected(draw(numel(), 3)),
        prompt(draw(s.batch * s.prompt_height * s.prompt_width * s.channels, 4)),
        context(draw(s.batch * s.channels, 5, -2, 2)),
        weight(draw(s.channels * 9, 6)),
        bias(draw(s.channels, 7)),
        dy(draw(numel(), 8)) {}
  int64_t numel() const { return s.batch * s.height * s.width * s.channels; }
  int64_t pixels() const { return s.batch * s.height * s.width; }

  template <class At>
  cuda::PromptFusionForward forward(float* y, float* reliance, bool replace, bool with_prompt, At at) const {
    return {at(optical), at(sar),    at(projected), with_prompt ? at(prompt) : nullptr,
            at(context), at(weight), at(bias),      y,
            reliance,    s,          replace};
  }
  template <class At>
  cuda::PromptFusionBackward backward(const std::vector<float*>& d, bool replace, bool with_prompt, At at) const {
    return {at(optical), at(sar),    at(projected), with_prompt ? at(prompt) : nullptr,
            at(context), at(weight), at(bias),      at(dy),
            d[0],        d[1],       d[2],          d[3],
            d[4],        d[5],       d[6],          s,
            replace};
  }
  /// Elements of each gradient, in backward's order.
  std::vector<int64_t> gradients() const {
    return {numel(),
            numel(),
            numel(),
            int64_t(prompt.size()),
            int64_t(context.size()),
            int64_t(weight.size()),
            int64_t(bias.size())};
  }
};

/// Values, and the same with every term replaced by its size.
struct Exact {
  std::vector<double> y, y_scale, reliance, reliance_scale;
  std::vector<std::vector<double>> d, d_scale;
};
Exact exact(const Inputs& in, bool replace, bool with_prompt) {
  const Sizes& s = in.s;
  const auto size = [](int64_t n) { return std::vector<double>(size_t(n), 0.); };
  Exact e;
  e.y = e.y_scale = size(in.numel());
  e.reliance = e.reliance_scale = size(in.pixels());
  for (int64_t n : in.gradients()) e.d.push_back(size(n)), e.d_scale.push_back(size(n));
  const auto element = [&](int64_t n, int64_t h, int64_t w, int64_t c) {
    return size_t(((n * s.height + h) * s.width + w) * s.channels + c);
  };
  const auto inside = [&](int64_t h, int64_t w) { return 0 <= h && h < s.height && 0 <= w && w < s.width; };
  // The four prompt pixels around a pixel, and their weights.
  const auto each_prompt = [&](int64_t h, int64_t w, const auto& use) {
    const double y = (double(h) + 0.5) * double(s.prompt_height) / double(s.height) - 0.5;
    const double x = (double(w) + 0.5) * double(s.prompt_width) / double(s.width) - 0.5;
    for (int64_t i = 0; i < 2; ++i)
      for (int64_t j = 0; j < 2; ++j) {
        const double at_y = std::floor(y) + double(i), at_x = std::floor(x) + double(j);
        const double weight = (1 - std::abs(y - at_y)) * (1 - std::abs(x - at_x));
        const auto clamp = [](double v, int64_t count) { return std::clamp<int64_t>(int64_t(v), 0, count - 1); };
        if (with_prompt && weight != 0)
          use(clamp(at_y, s.prompt_height) * s.prompt_width + clamp(at_x, s.prompt_width), weight);
      }
  };
  std::vector<double> map = size(in.numel()), map_scale = map, h_map = map, h_scale = map;
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t h = 0; h < s.height; ++h)
      for (int64_t w = 0; w < s.width; ++w)
        for (int64_t c = 0; c < s.channels; ++c) {
          double &v = map[element(n, h, w, c)], &scale = map_scale[element(n, h, w, c)];
          v = in.projected[element(n, h, w, c)], scale = std::abs(v);
          each_prompt(h, w, [&](int64_t pixel, double weight) {
            const double q = in.prompt[size_t((n * s.prompt_height * s.prompt_width + pixel) * s.channels + c)];
            v += weight * q, scale += weight * std::abs(q);
          });
        }
  const auto each_tap = [&](int64_t h, int64_t w, const auto& use) {
    for (int64_t k = 0; k < 9; ++k)
      if (inside(h + k / 3 - 1, w + k % 3 - 1)) use(k, h + k / 3 - 1, w + k % 3 - 1);
  };
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t h = 0; h < s.height; ++h)
      for (int64_t w = 0; w < s.width; ++w)
        for (int64_t c = 0; c < s.channels; ++c) {
          const size_t at = element(n, h, w, c);
          const double context = in.context[size_t(n * s.channels + c)], bias = in.bias[size_t(c)];
          double b = context + bias, b_scale = std::abs(context) + std::abs(bias);
          each_tap(h, w, [&](int64_t k, int64_t y, int64_t x) {
            const double weight = in.weight[size_t(c * 9 + k)];
            b += weight * map[element(n, y, x, c)], b_scale += std::abs(weight) * map_scale[element(n, y, x, c)];
          });
          const double gate = 1 / (1 + std::exp(-b)), condition = 1 + b_scale;
          const double o = in.optical[at], v = in.sar[at], g = in.dy[at];
          const double to = replace ? v - o : v, to_scale = std::abs(v) + (replace ? std::abs(o) : 0);
          e.y[at] = o + gate * to, e.y_scale[at] = std::abs(o) + gate * to_scale * condition;
          e.reliance[at / size_t(s.channels)] += gate / double(s.channels);
          e.reliance_scale[at / size_t(s.channels)] += gate * condition / double(s.channels);
          e.d[0][at] = replace ? g * (1 - gate) : g, e.d_scale[0][at] = std::abs(g) * condition;
          e.d[1][at] = g * gate, e.d_scale[1][at] = std::abs(g) * gate * condition;
          h_map[at] = g * to * gate * (1 - gate), h_scale[at] = std::abs(g) * to_scale * gate * condition;
        }
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t h = 0; h < s.height; ++h)
      for (int64_t w = 0; w < s.width; ++w)
        for (int64_t c = 0; c < s.channels; ++c) {
          const size_t at = element(n, h, w, c), image = size_t(n * s.channels + c);
          e.d[4][image] += h_map[at], e.d_scale[4][image] += h_scale[at];
          e.d[6][size_t(c)] += h_map[at], e.d_scale[6][size_t(c)] += h_scale[at];
          each_tap(h, w, [&](int64_t k, int64_t y, int64_t x) {
            const size_t from = element(n, y, x, c), tap = size_t(c * 9 + k);
            e.d[5][tap] += h_map[at] * map[from], e.d_scale[5][tap] += h_scale[at] * map_scale[from];
            e.d[2][from] += in.weight[tap] * h_map[at], e.d_scale[2][from] += std::abs(in.weight[tap]) * h_scale[at];
          });
        }
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t h = 0; h < s.height; ++h)
      for (int64_t w = 0; w < s.width; ++w)
        for (int64_t c = 0; c < s.channels; ++c)
          each_prompt(h, w, [&](int64_t pixel, double weight) {
            const auto to = size_t((n * s.prompt_height * s.prompt_width + pixel) * s.channels + c);
            e.d[3][to] += weight * e.d[2][element(n, h, w, c)];
            e.d_scale[3][to] += weight * e.d_scale[2][element(n, h, w, c)];
          });
  return e;
}

TEST_CASE("prompt fusion: values, reliance and gradients as in double and on the CPU") {
  for (const Sizes& s : kSizes)
    for (int64_t variant = 0; variant < 4; ++variant) {
      const bool replace = variant % 2 == 1, with_prompt = variant != 2;
      const OnDevice device{variant / 2};  // aligned, and not
      CAPTURE(s.height);
      CAPTURE(s.width);
      CAPTURE(s.channels);
      CAPTURE(variant);
      const Inputs in(s);
      const std::vector<int64_t> gradients = in.gradients();
      const auto y = in_every_order([&] {
        std::vector<Output> out{Output(in.numel()), Output(in.pixels())};
        cuda::prompt_fusion_forward(in.forward(out[0].data(), out[1].data(), replace, with_prompt, device), nullptr);
        return out;
      });
      // All gradients, or the one with this number.
      const auto backward = [&](size_t only = 7) {
        std::vector<Output> out;
        std::vector<float*> d;
        for (int64_t n : gradients) out.emplace_back(n);
        for (size_t k = 0; k < 7; ++k)
          d.push_back((only == 7 || only == k) && (k != 3 || with_prompt) ? out[k].data() : nullptr);
        const auto p = in.backward(d, replace, with_prompt, device);
        Output workspace(cuda::prompt_fusion_backward_workspace(p));
        cuda::prompt_fusion_backward(p, workspace.data(), nullptr);
        CHECK(workspace.sentinels_intact());
        return out;
      };
      const auto d = in_every_order([&] { return backward(); });
      if (s.channels == 0) continue;

      std::vector<float> cpu_y(size_t(in.numel())), cpu_reliance(size_t(in.pixels()));
      cpu::prompt_fusion_forward(in.forward(cpu_y.data(), cpu_reliance.data(), replace, with_prompt, OnHost()));
      std::vector<std::vector<float>> cpu_d;
      std::vector<float*> pointers;
      for (int64_t n : gradients) cpu_d.emplace_back(size_t(n), 0.f);
      for (size_t k = 0; k < 7; ++k) pointers.push_back(k == 3 && !with_prompt ? nullptr : cpu_d[k].data());
      cpu::prompt_fusion_backward(in.backward(pointers, replace, with_prompt, OnHost()));

      const Exact e = exact(in, replace, with_prompt);
      Worst worst, cpu;
      const auto check = [&](float got, float on_cpu, double want, double scale, int64_t terms) {
        // Twice: the gate is rounded in several steps of its own. 9 taps of 5 terms each lead to it.
        const double allowed = 2 * allowed_error(kRoundFloat, kRoundFloat, double(terms + 45), scale);
        worst.add(got, want, allowed);
        cpu.add(got, on_cpu, 2 * allowed);
      };
      for (int64_t i = 0; i < in.numel(); ++i)
        check(y[0][i], cpu_y[size_t(i)], e.y[size_t(i)], e.y_scale[size_t(i)], 2);
      for (int64_t i = 0; i < in.pixels(); ++i)
        check(y[1][i], cpu_reliance[size_t(i)], e.reliance[size_t(i)], e.reliance_scale[size_t(i)], s.channels);
      for (size_t k = 0; k < 7; ++k) {
        if (k == 3 && !with_prompt) continue;
        const int64_t terms = k < 3 ? 9 : s.height * s.width * (k == 4 ? 1 : s.batch);
        for (int64_t i = 0; i < gradients[k]; ++i)
          check(d[k][i], cpu_d[k][size_t(i)], e.d[k][size_t(i)], e.d_scale[k][size_t(i)], terms);
      }
      CHECK(worst.share() <= 1);
      CHECK(cpu.share() <= 1);

      if (variant % 3 != 0) continue;
      Output y_alone(in.numel());
      cuda::prompt_fusion_forward(in.forward(y_alone.data(), nullptr, replace, with_prompt, device), nullptr);
      CHECK(y_alone.same_bits(y[0]));
      for (size_t k = 0; k < 7; ++k)
        if (k != 3 || with_prompt) CHECK(backward(k)[k].same_bits(d[k]));
    }
}

TEST_CASE("prompt fusion: what a grid or 32 bits cannot hold is refused") {
  cuda::PromptFusionForward p{};
  p.s = {70000, 1, 1, 1, 1, 1};
  CHECK_THROWS_WITH_AS(cuda::prompt_fusion_forward(p, nullptr),
                       doctest::Contains("prompt_fusion_forward: 70000 images of 1 rows and 1 channels, more than a "
                                         "grid can have; cut the batch in parts"),
                       ShapeError);
  cuda::PromptFusionBackward b{};
  b.s = {1, 40000, 1, 1, 40000, 1};
  CHECK_THROWS_WITH_AS(cuda::prompt_fusion_backward(b, nullptr, nullptr),
                       doctest::Contains("prompt_fusion_backward: a prompt of 40000 x 1 pixels for 40000 x 1"),
                       ShapeError);
}

}  // namespace
}  // namespace clearsky::test::prompt_fusion_test

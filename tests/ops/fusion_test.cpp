#include "clearsky/ops/fusion.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::fusion_test {
namespace {

FusionMode mode_of(const Attrs& a) {
  return a.flag("inject") ? FusionMode::inject : FusionMode::replace;
}

/// G = 1 / (1 + e^-(context + bias)) of element i of (N, H, W, C).
double gate_at(const Tensor<double>& context, const Tensor<double>& bias, int64_t i) {
  const Shape s = bias.shape();
  const int64_t image = s[1] * s[2] * s[3];
  return 1 / (1 + std::exp(-(context.data()[i / image * s[3] + i % s[3]] + bias.data()[i])));
}

/// Scale: the sum context + bias is rounded, and G (1 - G) <= min(G, 1 / 4) of that reaches G.
Expected mix_reference(const Inputs& in, const Attrs& a) {
  const Shape s = in[0].shape();
  const int64_t image = s[1] * s[2] * s[3];
  Expected e;
  for (int64_t i = 0; i < in[0].numel(); ++i) {
    const double o = in[0].data()[i], r = in[1].data()[i], g = gate_at(in[2], in[3], i);
    const double size = std::fabs(in[2].data()[i / image * s[3] + i % s[3]]) + std::fabs(in[3].data()[i]);
    const double added = a.flag("inject") ? std::fabs(r) : std::fabs(r) + std::fabs(o);
    e.values.push_back(a.flag("inject") ? o + g * r : o + g * (r - o));
    e.scale.push_back(std::fabs(o) + added * g * (1 + (1 - g) * size));
    e.terms = 2;
  }
  return e;
}

Sample sample(const Shape& x, double inject, double low = -1, double high = 1, bool check = true) {
  return {.inputs = {x, x, {x[0], 1, 1, x[3]}, x},
          .attrs = {{"inject", inject}},
          .low = low,
          .high = high,
          .gradcheck = check,
          .direction = !check};
}

std::vector<Sample> samples() {
  std::vector<Sample> all;
  for (double inject : {0, 1})
    for (const Sample& s :
         {sample({2, 2, 3, 5}, inject), sample({1, 1, 2, 17}, inject), sample({3, 2, 1, 1}, inject),
          sample({1, 1, 1, 16}, inject), sample({0, 2, 2, 3}, inject), sample({2, 0, 2, 3}, inject),
          sample({2, 2, 2, 0}, inject), sample({2, 27, 29, 33}, inject, -1, 1, false),  // several slots an image
          sample({1, 2, 2, 9000}, inject, -1, 1, false),                                // a row longer than a block
          sample({2, 3, 3, 7}, inject, -50, 50, false)})                                // gates that are shut, or open
      all.push_back(s);
  return all;
}

TEST_CASE("prompt_guided_mix, replace and inject") {
  run({.name = "prompt_guided_mix",
       .reference = mix_reference,
       .samples = samples(),
       .rejects = {{{.inputs = {{1, 2, 2, 3}, {1, 2, 2, 4}, {1, 1, 1, 3}, {1, 2, 2, 3}}},
                    "prompt_guided_mix: optical (1, 2, 2, 3), sar (1, 2, 2, 4) and bias (1, 2, 2, 3) must all be one"},
                   {{.inputs = {{1, 2, 2, 3}, {1, 2, 2, 3}, {1, 1, 1, 3}, {1, 2, 1, 3}}},
                    "sar (1, 2, 2, 3) and bias (1, 2, 1, 3) must all be one (N, H, W, C)"},
                   {{.inputs = {{2, 2, 3}, {2, 2, 3}, {1, 1, 1, 3}, {2, 2, 3}}}, "must all be one (N, H, W, C)"},
                   {{.inputs = {{2, 2, 2, 3}, {2, 2, 2, 3}, {1, 1, 1, 3}, {2, 2, 2, 3}}},
                    "context (1, 1, 1, 3) for optical (2, 2, 2, 3); it must be (2, 1, 1, 3)"}},
       .twice_differentiable = false},
      [](const auto& in, const Attrs& a) { return prompt_guided_mix(in[0], in[1], in[2], in[3], mode_of(a)); });
}

TEST_CASE("reliance is the mean of the gate over the channels") {
  for (const Shape& shape : {Shape{2, 3, 2, 5}, Shape{1, 2, 2, 16}, Shape{1, 9, 31, 33}, Shape{2, 1, 1, 1}}) {
    const Inputs in = detail::draw(sample(shape, 0, -3, 3));
    Expected e;
    e.terms = double(shape[3]);
    for (int64_t p = 0; p < shape.numel() / shape[3]; ++p) {
      long double total = 0;
      for (int64_t c = 0; c < shape[3]; ++c) total += gate_at(in[2], in[3], p * shape[3] + c);
      e.values.push_back(double(total / shape[3]));
      e.scale.push_back(e.values.back() * (1 + 6));  // context + bias, up to 6, is rounded
    }
    const auto x = detail::typed<float>(in);
    for (FusionMode mode : {FusionMode::replace, FusionMode::inject}) {
      Tensor<> reliance;
      prompt_guided_mix(x[0], x[1], x[2], x[3], mode, &reliance);
      CHECK(reliance.shape() == Shape{shape[0], shape[1], shape[2], 1});
      CHECK(!reliance.requires_grad());
      detail::check_values(reliance, e, "reliance");
    }
  }
}

TEST_CASE("prompt_guided_mix: reliance changes nothing else, and inputs without a gradient get none") {
  const auto x = detail::typed<float>(detail::draw(sample({2, 3, 3, 7}, 0)));
  const auto y = prompt_guided_mix(x[0], x[1], x[2], x[3]);
  // All of the gradients against each one alone.
  std::vector<Tensor<>> all;
  for (const auto& t : x) all.push_back(t.clone().set_requires_grad());
  Tensor<> reliance;
  const auto with = prompt_guided_mix(all[0], all[1], all[2], all[3], FusionMode::replace, &reliance);
  CHECK(with.detach().to_vector() == y.to_vector());
  const auto grads = grad(with, all, ones(y.shape()));
  for (size_t k = 0; k < 4; ++k) {
    auto in = x;
    in[k] = x[k].clone().set_requires_grad();
    const auto alone = grad(prompt_guided_mix(in[0], in[1], in[2], in[3]), {in[k]}, ones(y.shape()));
    CHECK(alone[0].to_vector() == grads[k].to_vector());
  }
}

}  // namespace
}  // namespace clearsky::test::fusion_test

#include "clearsky/ops/prompt_fusion.hpp"

#include "../op_spec.hpp"
#include "clearsky/ops/conv2d.hpp"
#include "clearsky/ops/resize.hpp"

namespace clearsky::test::prompt_fusion_test {
namespace {

FusionMode mode_of(const Attrs& a) {
  return a.flag("inject") ? FusionMode::inject : FusionMode::replace;
}

/// The operation put together from those it replaces.
template <class T>
Tensor<T> composed(const std::vector<Tensor<T>>& in, FusionMode mode, Tensor<T>* reliance = nullptr) {
  const Tensor<T>& o = in[0];
  const Tensor<T> s = in[2] + resize(in[3], o.size(1), o.size(2));
  const Tensor<T> b = conv2d(s, in[5], in[6], {.padding = 1, .groups = o.size(3)});
  return prompt_guided_mix(o, in[1], in[4], b, mode, reliance);
}

/// Scale: each of the gate's terms is rounded, and G (1 - G) <= min(G, 1 / 4) of that reaches G.
Expected fusion_reference(const Inputs& in, const Attrs& a) {
  Expected e;
  e.terms = 12;
  if (in[0].numel() == 0) return e;
  const Tensor<double> y = composed<double>(in, mode_of(a));
  std::vector<Tensor<double>> sizes;
  for (const auto& t : in) sizes.push_back(abs(t));
  const Tensor<double>&o = sizes[0], &s = sizes[1];
  const Tensor<double> sum = conv2d(sizes[2] + resize(sizes[3], o.size(1), o.size(2)), sizes[5], sizes[6],
                                    {.padding = 1, .groups = o.size(3)}) +
                             sizes[4];
  const Tensor<double> added = a.flag("inject") ? s : s + o;
  const Tensor<double> scale = o + added * (sum + 1.0);
  e.values = y.to_vector();
  e.scale = scale.to_vector();
  return e;
}

Sample sample(const Shape& x, int64_t h, int64_t w, double inject, double low = -1, double high = 1,
              bool check = true) {
  return {.inputs = {x, x, x, {x[0], h, w, x[3]}, {x[0], 1, 1, x[3]}, {x[3], 3, 3, 1}, {x[3]}},
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
         {sample({2, 2, 3, 5}, 1, 2, inject), sample({1, 1, 2, 17}, 1, 1, inject), sample({1, 4, 3, 2}, 4, 3, inject),
          sample({1, 5, 4, 1}, 2, 2, inject), sample({1, 1, 1, 16}, 1, 1, inject),
          sample({1, 3, 2, 2}, 5, 4, inject),  // a prompt larger than the feature
          sample({0, 2, 2, 3}, 1, 1, inject), sample({2, 0, 2, 3}, 1, 1, inject), sample({2, 2, 2, 0}, 1, 1, inject),
          sample({2, 27, 29, 33}, 7, 9, inject, -1, 1, false),  // several slots an image
          sample({2, 3, 3, 7}, 2, 1, inject, -5, 5, false)})    // gates that are shut, or open
      all.push_back(s);
  return all;
}

TEST_CASE("prompt_guided_fusion, replace and inject") {
  run({.name = "prompt_guided_fusion",
       .reference = fusion_reference,
       .samples = samples(),
       .rejects =
           {{{.inputs = {{1, 2, 2, 3}, {1, 2, 2, 3}, {1, 2, 1, 3}, {1, 1, 1, 3}, {1, 1, 1, 3}, {3, 3, 3, 1}, {3}}},
             "optical (1, 2, 2, 3), sar (1, 2, 2, 3) and projected (1, 2, 1, 3) must all be one (N, H, W, C)"},
            {{.inputs = {{1, 2, 2, 3}, {1, 2, 2, 3}, {1, 2, 2, 3}, {1, 1, 0, 3}, {1, 1, 1, 3}, {3, 3, 3, 1}, {3}}},
             "prompt (1, 1, 0, 3) for optical (1, 2, 2, 3); it must be (1, h, w, 3) with at least 1 x 1 pixels"},
            {{.inputs = {{1, 2, 2, 3}, {1, 2, 2, 3}, {1, 2, 2, 3}, {1, 1, 1, 3}, {1, 1, 1, 4}, {3, 3, 3, 1}, {3}}},
             "context (1, 1, 1, 4) for optical (1, 2, 2, 3); it must be (1, 1, 1, 3)"},
            {{.inputs = {{1, 2, 2, 3}, {1, 2, 2, 3}, {1, 2, 2, 3}, {1, 1, 1, 3}, {1, 1, 1, 3}, {3, 3, 3, 1}, {2}}},
             "weight (3, 3, 3, 1) and bias (2) for 3 channels; they must be (3, 3, 3, 1) and (3)"}},
       .twice_differentiable = false},
      [](const auto& in, const Attrs& a) {
        return prompt_guided_fusion(in[0], in[1], in[2], in[3], in[4], in[5], in[6], mode_of(a));
      });
}

TEST_CASE("prompt_guided_fusion: values, reliance and every gradient of the operations it replaces") {
  for (const Sample& s : {sample({2, 9, 7, 5}, 4, 3, 0), sample({1, 6, 20, 18}, 6, 7, 1)})
    for (FusionMode mode : {FusionMode::replace, FusionMode::inject}) {
      std::vector<Tensor<double>> in, other;
      for (const auto& t : detail::typed<double>(detail::draw(s))) {
        in.push_back(t.clone().set_requires_grad());
        other.push_back(t.clone().set_requires_grad());
      }
      Tensor<double> reliance, want_reliance;
      const auto y = prompt_guided_fusion(in[0], in[1], in[2], in[3], in[4], in[5], in[6], mode, &reliance);
      const auto want = composed<double>(other, mode, &want_reliance);
      CHECK(!reliance.requires_grad());
      const auto same = [](const Tensor<double>& a, const Tensor<double>& b) {
        REQUIRE(a.shape() == b.shape());
        for (int64_t i = 0; i < a.numel(); ++i)
          CHECK(a.to_vector()[size_t(i)] == doctest::Approx(b.to_vector()[size_t(i)]).epsilon(1e-12));
      };
      same(reliance, want_reliance);
      same(y.detach(), want.detach());
      const auto g = randn<double>(y.shape(), Key{5});
      const auto grads = grad(y, in, g), want_grads = grad(want, other, g);
      for (size_t k = 0; k < grads.size(); ++k) {
        same(grads[k], want_grads[k]);
        // Each alone: the same bits.
        auto alone = detail::typed<double>(detail::draw(s));
        alone[k] = alone[k].clone().set_requires_grad();
        const auto z = prompt_guided_fusion(alone[0], alone[1], alone[2], alone[3], alone[4], alone[5], alone[6], mode);
        CHECK(grad(z, {alone[k]}, g)[0].to_vector() == grads[k].to_vector());
      }
    }
}

}  // namespace
}  // namespace clearsky::test::prompt_fusion_test

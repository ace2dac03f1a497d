// The blocks under Autocast(Precision::bfloat16), forward and backward: fused ones against composed ones, and both
// against float.
//
// Where both round the same factors, those differ in float's roundings only: a few in 2^16 lie so near a tie that they
// round apart, each off by 2^-8, which is at most 2^-7 2^-8 = 2^-15 of a result in the mean of squares. Where a fused
// block rounds another matrix than the composed one does (M = P A in place of P and A), the difference is that of
// roundings: 2^-9 per factor, both factors of each product, up to eight products in a row with the gradients', of
// random sign: 4 of them. Sums over the pixels that nearly cancel may lose twice that.

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "clearsky/ops/channel_attention.hpp"
#include "clearsky/ops/conv2d.hpp"
#include "clearsky/ops/gate.hpp"
#include "clearsky/ops/naf.hpp"
#include "clearsky/ops/norm.hpp"
#include "clearsky/ops/pool.hpp"
#include "clearsky/ops/restormer.hpp"

namespace clearsky::test::bfloat16_test {
namespace {

using Tensors = std::vector<Tensor<float>>;
using Block = std::function<Tensor<float>(const Tensors&)>;

/// The output, then the gradients of all inputs.
Tensors run(const Block& block, const Tensors& values, Precision precision) {
  const Autocast guard(precision);
  Tensors in;
  for (const Tensor<float>& t : values) in.push_back(t.clone().set_requires_grad());
  const Tensor<float> y = block(in);
  Tensors results{y.detach()};
  for (const Tensor<float>& g : grad(y, in, randn<float>(y.shape(), Key{99}))) results.push_back(g);
  return results;
}

/// |a - b| / |b|
double distance(const Tensor<float>& a, const Tensor<float>& b) {
  double off = 0, size = 0;
  const std::vector<float> u = a.to_vector(), v = b.to_vector();
  REQUIRE(u.size() == v.size());
  for (size_t i = 0; i < u.size(); ++i) {
    off += std::pow(double(u[i]) - double(v[i]), 2);
    size += std::pow(double(v[i]), 2);
  }
  return std::sqrt(off / size);
}

/// Values of a trained block's sizes: the first is an image, vectors are near 1, matrices keep the size of what they
/// are multiplied with.
Tensors draw(const std::vector<Shape>& shapes) {
  Tensors in;
  for (size_t i = 0; i < shapes.size(); ++i) {
    const Shape& s = shapes[i];
    const Key key{i + 1};
    if (i == 0) in.push_back(randn<float>(s, key));
    else if (s.size() == 1) in.push_back(rand<float>(s, key, 0.5, 1.5));
    else in.push_back(randn<float>(s, key) * float(1 / std::sqrt(double(s[1] * s[2] * s[3]))));
  }
  return in;
}

Tensor<float> expand(const Tensors& in) {
  const Tensor<float> u = conv2d(layer_norm(in[0], in[1], in[2]), in[3]);
  return conv2d(u, in[4], {}, {.padding = 1, .groups = u.size(3)});
}

constexpr double kSameFactors = 0x1p-15, kOtherFactors = 8 * 0x1p-9, kOfFloat = 16 * 0x1p-9;

void compare(const std::string& name, const Block& fused, const Block& composed, const Tensors& in, double allowed) {
  const Tensors f = run(fused, in, Precision::bfloat16), c = run(composed, in, Precision::bfloat16),
                exact = run(fused, in, Precision::float32);
  for (size_t i = 0; i < f.size(); ++i) {
    INFO(name, ", result ", i, " of output and gradients");
    CHECK(distance(f[i], c[i]) <= allowed);
    CHECK(distance(f[i], exact[i]) > 0x1p-14);  // it does round
    CHECK(distance(f[i], exact[i]) < kOfFloat);
    CHECK(distance(c[i], exact[i]) > 0x1p-14);
  }
  const int64_t before = threads();
  for (const int64_t count : {1, 2, 3}) {
    set_threads(count);
    const Tensors again = run(fused, in, Precision::bfloat16);
    for (size_t i = 0; i < f.size(); ++i) CHECK(again[i].to_vector() == f[i].to_vector());
  }
  set_threads(before);
}

TEST_CASE("bfloat16: restormer_feed_forward and the composed block round the same factors") {
  const Block fused = [](const Tensors& in) {
    return restormer_feed_forward<float>(in[0], {in[1], in[2], in[3], in[4]}, in[5]);
  };
  const Block composed = [](const Tensors& in) { return in[0] + conv2d(gelu_gate(expand(in)), in[5]); };
  for (const int64_t hidden : {85, 64})  // odd: the gates' sums end with a single factor
    compare("feed forward", fused, composed,
            draw({{2, 13, 41, 32}, {32}, {32}, {2 * hidden, 1, 1, 32}, {2 * hidden, 3, 3, 1}, {32, 1, 1, hidden}}),
            kSameFactors);
}

TEST_CASE("bfloat16: restormer_attention is as far from the composed block as roundings are") {
  const Block fused = [](const Tensors& in) {
    return restormer_attention<float>(in[0], {in[1], in[2], in[3], in[4]}, in[5], in[6]);
  };
  const Block composed = [](const Tensors& in) {
    return in[0] + conv2d(channel_attention_qkv(expand(in), in[5]), in[6]);
  };
  for (const int64_t channels : {32, 15})
    compare("attention", fused, composed,
            draw({{2, 13, 41, channels},
                  {channels},
                  {channels},
                  {3 * channels, 1, 1, channels},
                  {3 * channels, 3, 3, 1},
                  {channels == 32 ? 2 : 1},
                  {channels, 1, 1, channels}}),
            kOtherFactors);
}

TEST_CASE("bfloat16: naf_block is as far from the composed block as roundings are") {
  const Block fused = [](const Tensors& in) {
    return naf_block<float>(in[0],
                            {{in[1], in[2], in[3], in[4]}, in[5], in[6], in[7], in[8], in[9], in[10], in[11], in[12]});
  };
  const Block composed = [](const Tensors& in) {
    const Tensor<float> t = simple_gate(expand(in));
    const Tensor<float> y = in[0] + conv2d(t * conv2d(global_avg_pool(t), in[5]), in[6]) * in[7];
    return y + conv2d(simple_gate(conv2d(layer_norm(y, in[8], in[9]), in[10])), in[11]) * in[12];
  };
  for (const int64_t c : {32, 15}) {
    const Shape vector{c}, square{c, 1, 1, c}, twice{2 * c, 1, 1, c};
    compare("naf", fused, composed,
            draw({{2, 13, 41, c},
                  vector,
                  vector,
                  twice,
                  {2 * c, 3, 3, 1},
                  square,
                  square,
                  vector,
                  vector,
                  vector,
                  twice,
                  square,
                  vector}),
            kOtherFactors);
  }
}

TEST_CASE("bfloat16: a NaN reaches the windows that see it, and no other pixel") {
  const Autocast guard(Precision::bfloat16);
  Tensors in = draw({{1, 9, 12, 16}, {16}, {16}, {42, 1, 1, 16}, {42, 3, 3, 1}, {16, 1, 1, 21}});
  in[0].mutable_data()[(4 * 12 + 5) * 16 + 3] = NAN;
  const Tensor<float> y = restormer_feed_forward<float>(in[0], {in[1], in[2], in[3], in[4]}, in[5]);
  int64_t wrong = 0;
  for (int64_t h = 0; h < 9; ++h)
    for (int64_t w = 0; w < 12; ++w)
      for (int64_t c = 0; c < 16; ++c)
        wrong += std::isnan(y.at({0, h, w, c})) != (std::abs(h - 4) <= 1 && std::abs(w - 5) <= 1);
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace clearsky::test::bfloat16_test

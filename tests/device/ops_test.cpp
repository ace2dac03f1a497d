// Every operation on the simt device against the CPU, forward and backward. What each kernel computes is tested in
// tests/cuda; here it is that the operations reach the right kernel with the right arguments.

#include <doctest/doctest.h>

#include <functional>

#include "clearsky/clearsky.hpp"
#include "simt.hpp"
#include "tolerance.hpp"

namespace clearsky::test {
namespace {

using List = std::vector<Tensor<float>>;
using Operation = std::function<Tensor<float>(const List&)>;

/// The largest difference as a share of what `terms` roundings of values of this size may make.
double share(const std::vector<float>& got, const std::vector<float>& want, double terms) {
  REQUIRE(got.size() == want.size());
  double scale = 1e-30, worst = 0;
  for (float v : want) scale = std::max(scale, std::abs(double(v)));
  for (size_t i = 0; i < want.size(); ++i) {
    const double error = std::abs(double(got[i]) - double(want[i]));
    if (!(error <= worst)) worst = std::isnan(error) ? INFINITY : error;
  }
  return worst / (2 * allowed_error(kRoundFloat, kRoundFloat, terms, scale));
}

/// f of the inputs, and the gradients of all of them, on a device; downloaded.
std::vector<std::vector<float>> run(const Operation& f, const List& inputs, Device device) {
  List leaves;
  for (const Tensor<float>& x : inputs) leaves.push_back(x.to(device).detach().set_requires_grad());
  const Tensor<float> y = f(leaves);
  CHECK(y.device() == device);
  std::vector<std::vector<float>> results{y.to_vector()};
  if (!y.requires_grad()) return results;
  y.backward(rand(y.shape(), Key{77}, -1, 1).to(device));
  for (const Tensor<float>& x : leaves) {
    CHECK(x.grad().device() == device);
    results.push_back(x.grad().to_vector());
  }
  return results;
}

void compare(const char* name, const Operation& f, const List& inputs, double terms = 64) {
  const Device simt = use_simt();
  CAPTURE(std::string(name));
  const auto want = run(f, inputs, Device::cpu), got = run(f, inputs, simt);
  for (size_t i = 0; i < want.size(); ++i) {
    CAPTURE(i);
    CHECK(share(got[i], want[i], terms) <= 1);
  }
}

Tensor<float> draw(const Shape& shape, uint64_t seed, double low = -1, double high = 1) {
  return rand(shape, Key{seed}, low, high);
}

TEST_CASE("elementwise operations and broadcasting") {
  const Tensor<float> a = draw({3, 5, 7}, 1), b = draw({5, 1}, 2), positive = draw({3, 5, 7}, 3, 0.2, 2);
  compare("add", [](const List& x) { return x[0] + x[1]; }, {a, b});
  compare("sub", [](const List& x) { return x[0] - x[1]; }, {a, b});
  compare("mul", [](const List& x) { return x[0] * x[1]; }, {a, b});
  compare("div", [](const List& x) { return x[0] / x[1]; }, {a, positive});
  compare("scalars", [](const List& x) { return 2.0f / (1.5f - (x[0] * 0.5f + 3.0f) / 7.0f); }, {a});
  compare("minimum", [](const List& x) { return minimum(x[0], x[1]); }, {a, b});
  compare("maximum", [](const List& x) { return maximum(x[0], x[1]); }, {a, b});
  compare("exp", [](const List& x) { return exp(x[0]); }, {a});
  compare("log", [](const List& x) { return log(x[0]); }, {positive});
  compare("sqrt", [](const List& x) { return sqrt(x[0]); }, {positive});
  compare("rsqrt", [](const List& x) { return rsqrt(x[0]); }, {positive});
  compare("tanh", [](const List& x) { return tanh(x[0]); }, {a});
  compare("sigmoid", [](const List& x) { return sigmoid(x[0]); }, {a});
  compare("abs", [](const List& x) { return abs(x[0]); }, {a});
  compare("softplus", [](const List& x) { return softplus(x[0]); }, {a});
  compare("pow", [](const List& x) { return pow(x[0], 2.5); }, {positive});
  compare("square", [](const List& x) { return square(-x[0]); }, {a});
  compare("clamp", [](const List& x) { return clamp(x[0], -0.5f, 0.25f); }, {a});
  compare("relu", [](const List& x) { return relu(x[0]); }, {a});
  compare("leaky_relu", [](const List& x) { return leaky_relu(x[0], 0.1); }, {a});
  compare("gelu", [](const List& x) { return gelu(x[0]); }, {a});
  compare("gelu_tanh", [](const List& x) { return gelu_tanh(x[0]); }, {a});
  compare("silu", [](const List& x) { return silu(x[0]); }, {a});
  compare("where", [](const List& x) { return where(x[0] > x[1], x[0], x[1] * 2.0f); }, {a, b});
  compare("dropout", [](const List& x) { return dropout(x[0], 0.3, Key{4}); }, {a});
}

TEST_CASE("views, copies, joins and reductions") {
  const Tensor<float> a = draw({3, 5, 7, 4}, 1), b = draw({3, 2, 7, 4}, 2);
  compare("permute", [](const List& x) { return contiguous(permute(x[0], {2, 0, 3, 1})); }, {a});
  compare("slice", [](const List& x) { return slice(x[0], 1, 1, 5, 2) * 2.0f; }, {a});
  compare("concat", [](const List& x) { return concat({x[0], x[1]}, 1); }, {a, b});
  compare("stack", [](const List& x) { return stack({x[0], x[0] * 2.0f}, 1); }, {a});
  compare(
      "sum",
      [](const List& x) {
        return sum(x[0], {1, 2});
      },
      {a}, 512);
  compare(
      "mean", [](const List& x) { return mean(x[0]); }, {a}, 512);
  compare("max", [](const List& x) { return max(x[0], 1); }, {a});
  compare("norm", [](const List& x) { return norm(x[0], 2, {3}); }, {a});
  compare("var", [](const List& x) { return var(x[0], {3}); }, {a});
  compare("index_select",
          [](const List& x) {
            const Tensor<int64_t> index({4}, {2, 0, 2, 1});
            return index_select(x[0], 0, index.to(x[0].device()));
          },
          {a});
  compare("pad reflect", [](const List& x) { return pad(x[0], {.top = 1, .right = 3}, Padding::reflect); }, {a});
  compare("pad replicate", [](const List& x) { return pad(x[0], {.bottom = 2, .left = 1}, Padding::replicate); }, {a});
  compare("expand", [](const List& x) { return expand(x[0], {3, 5, 7, 4}) + 0.0f; }, {draw({5, 1, 4}, 5)});
}

TEST_CASE("products and convolutions") {
  const Tensor<float> x = draw({2, 9, 7, 6}, 1);
  compare("matmul", [](const List& v) { return matmul(v[0], v[1]); }, {draw({2, 5, 33}, 1), draw({33, 9}, 2)});
  compare("linear", [](const List& v) { return linear(v[0], v[1], v[2]); },
          {draw({4, 10}, 1), draw({7, 10}, 2), draw({7}, 3)});
  for (int64_t stride : {1, 2})
    compare(
        "conv2d", [=](const List& v) { return conv2d(v[0], v[1], v[2], {.stride = stride, .padding = 1}); },
        {x, draw({8, 3, 3, 6}, 2), draw({8}, 3)}, 256);
  compare(
      "conv2d of groups",
      [](const List& v) { return conv2d(v[0], v[1], v[2], {.padding = 2, .dilation = 2, .groups = 2}); },
      {x, draw({4, 3, 3, 3}, 2), draw({4}, 3)}, 256);
  compare(
      "depthwise", [](const List& v) { return conv2d(v[0], v[1], v[2], {.padding = 1, .groups = 6}); },
      {x, draw({6, 3, 3, 1}, 2), draw({6}, 3)}, 256);
  compare(
      "pointwise", [](const List& v) { return conv2d(v[0], v[1]); }, {x, draw({5, 1, 1, 6}, 2)}, 256);
  compare(
      "transposed", [](const List& v) { return conv_transpose2d(v[0], v[1], {}, {.stride = 2, .padding = 1}); },
      {x, draw({6, 3, 3, 4}, 2)}, 256);
}

TEST_CASE("normalisation, softmax, gates, shuffles, pools and resizing") {
  const Tensor<float> x = draw({2, 8, 6, 8}, 1);
  compare(
      "layer_norm", [](const List& v) { return layer_norm(v[0], v[1], v[2]); }, {x, draw({8}, 2), draw({8}, 3)}, 256);
  compare(
      "group_norm", [](const List& v) { return group_norm(v[0], 2, v[1], v[2]); }, {x, draw({8}, 2), draw({8}, 3)},
      256);
  compare("softmax", [](const List& v) { return softmax(v[0], -1); }, {x});
  compare("log_softmax", [](const List& v) { return log_softmax(v[0], 1); }, {x});
  compare("gelu_gate", [](const List& v) { return gelu_gate(v[0]); }, {x});
  compare("simple_gate", [](const List& v) { return simple_gate(v[0]); }, {x});
  compare("pixel_shuffle", [](const List& v) { return pixel_shuffle(v[0], 2); }, {x});
  compare("pixel_unshuffle", [](const List& v) { return pixel_unshuffle(v[0], 2); }, {x});
  compare("max_pool2d", [](const List& v) { return max_pool2d(v[0], 2); }, {x});
  compare("avg_pool2d", [](const List& v) { return avg_pool2d(v[0], 2); }, {x});
  compare("global_avg_pool", [](const List& v) { return global_avg_pool(v[0]); }, {x});
  compare("resize up", [](const List& v) { return resize(v[0], 13, 12); }, {x});
  compare("resize down", [](const List& v) { return resize(v[0], 3, 5); }, {x});
  compare("prompt_guided_mix", [](const List& v) { return prompt_guided_mix(v[0], v[1], v[2], v[3]); },
          {x, draw({2, 8, 6, 8}, 2), draw({2, 1, 1, 8}, 3), draw({2, 8, 6, 8}, 4)});
}

TEST_CASE("attention") {
  compare(
      "channel_attention", [](const List& v) { return channel_attention_qkv(v[0], v[1]); },
      {draw({2, 8, 6, 24}, 1), draw({2}, 2, 0.5, 2)}, 512);
  const List qkv{draw({2, 2, 19, 8}, 1), draw({2, 2, 23, 8}, 2), draw({2, 2, 23, 8}, 3)};
  compare(
      "attention", [](const List& v) { return scaled_dot_product_attention(v[0], v[1], v[2]); }, qkv, 256);
  compare(
      "causal", [](const List& v) { return scaled_dot_product_attention(v[0], v[1], v[2], {.causal = true}); }, qkv,
      256);
  const List image{draw({1, 8, 8, 8}, 1), draw({1, 8, 8, 8}, 2), draw({1, 8, 8, 8}, 3)};
  compare(
      "windows", [](const List& v) { return window_attention(v[0], v[1], v[2], 2, 4); }, image, 256);
}

TEST_CASE("attention under autocast rounds the factors of its products") {
  const Device simt = use_simt();
  // All scores are 0, so that each of 16 weights is 1/16, which no rounding changes.
  const Tensor<float> q = zeros({1, 2, 16, 8}), k = draw({1, 2, 16, 8}, 1), v = draw({1, 2, 16, 8}, 2);
  const auto outcome = [&](Device device, const Tensor<float>& value, const Tensor<float>& slope) {
    const Tensor<float> x = value.to(device).detach().set_requires_grad();
    const Tensor<float> y = scaled_dot_product_attention(q.to(device), k.to(device), x);
    y.backward(slope.to(device));
    return std::pair(y.to_vector(), x.grad().to_vector());
  };
  const auto seen = [](const Tensor<float>& x) {
    Tensor<float> r(x.shape());
    for (int64_t i = 0; i < x.numel(); ++i) r.mutable_data()[i] = float(BFloat16(x.data()[i]));
    return r;
  };
  const Tensor<float> slope = draw(v.shape(), 3);
  const Autocast guard(Precision::bfloat16);
  const auto [y, dv] = outcome(simt, v, slope);
  const auto [want_y, want_dv] = outcome(Device::cpu, seen(v), seen(slope));
  const auto [other_y, other_dv] = outcome(Device::cpu, v, slope);
  CHECK(share(y, want_y, 16) <= 1);
  CHECK(share(dv, want_dv, 16) <= 1);
  CHECK(share(y, other_y, 16) > 1);
  CHECK(share(dv, other_dv, 16) > 1);
}

TEST_CASE("losses") {
  const Tensor<float> a = draw({2, 12, 13, 3}, 1, 0, 1), b = draw({2, 12, 13, 3}, 2, 0, 1),
                      weight = draw({2, 12, 13, 1}, 3, 0, 1);
  const auto on = [](const Tensor<float>& t, const List& v) { return t.to(v[0].device()); };
  compare(
      "l1", [](const List& v) { return l1_loss(v[0], v[1]); }, {a, b}, 1024);
  compare(
      "weighted l1", [=](const List& v) { return l1_loss(v[0], v[1], on(weight, v)); }, {a, b}, 1024);
  compare(
      "mse", [](const List& v) { return mse_loss(v[0], v[1]); }, {a, b}, 1024);
  compare(
      "huber", [](const List& v) { return huber_loss(v[0], v[1], 0.2); }, {a, b}, 1024);
  compare(
      "charbonnier", [](const List& v) { return charbonnier_loss(v[0], v[1]); }, {a, b}, 1024);
  compare(
      "ssim", [](const List& v) { return ssim(v[0], v[1]); }, {a, b}, 4096);
  compare(
      "carl", [=](const List& v) { return carl_loss(v[0], v[1], v[2], on(weight, v)); },
      {a, b, draw(a.shape(), 4, 0, 1)}, 1024);
  Tensor<uint8_t> labels = cast<uint8_t>(randint<int64_t>({2, 6, 5}, Key{9}, 0, 4));
  labels.mutable_data()[3] = 255;
  const Tensor<int64_t> wide = cast<int64_t>(labels);
  const List logits{draw({2, 6, 5, 4}, 5, -3, 3)};
  compare(
      "cross_entropy",
      [=](const List& v) {
        return cross_entropy(v[0], labels.to(v[0].device()), {.class_weights = {1, 2, 0.5, 1}, .label_smoothing = 0.1});
      },
      logits, 1024);
  compare(
      "cross_entropy of int64", [=](const List& v) { return cross_entropy(v[0], wide.to(v[0].device())); }, logits,
      1024);
  compare(
      "focal", [=](const List& v) { return focal_loss(v[0], labels.to(v[0].device())); }, logits, 1024);
  compare(
      "dice", [=](const List& v) { return dice_loss(v[0], labels.to(v[0].device())); }, logits, 1024);
  labels.mutable_data()[7] = 9;
  const Device simt = use_simt();
  CHECK_THROWS_WITH_AS(cross_entropy(logits[0].to(simt), labels.to(simt)),
                       doctest::Contains("cross_entropy: label 9 at (0, 1, 2) is none of the 4 classes"), ValueError);
}

}  // namespace
}  // namespace clearsky::test

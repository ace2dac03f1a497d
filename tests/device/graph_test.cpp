// A step of training captured once and replayed; products in bfloat16 with weights in float.

#include <doctest/doctest.h>

#include "clearsky/clearsky.hpp"
#include "simt.hpp"

namespace clearsky::test {
namespace {

/// A small network with a convolution, a normalisation and a gate.
struct Net {
  Tensor<float> w1, gamma, beta, w2;
  explicit Net(Device device)
      : w1(rand({8, 3, 3, 4}, Key{1}, -0.3, 0.3, device)),
        gamma(ones({8}, device)),
        beta(zeros({8}, device)),
        w2(rand({4, 1, 1, 4}, Key{2}, -0.5, 0.5, device)) {
    for (Tensor<float>* p : {&w1, &gamma, &beta, &w2}) p->set_requires_grad();
  }
  Tensor<float> loss(const Tensor<float>& x, const Tensor<float>& target) const {
    return mse_loss(conv2d(gelu_gate(layer_norm(conv2d(x, w1, {}, {.padding = 1}), gamma, beta)), w2), target);
  }
  std::vector<Tensor<float>> parameters() const { return {w1, gamma, beta, w2}; }
};

TEST_CASE("a captured step gives the eager step's loss and gradients, bit for bit, for new inputs too") {
  const Device simt = use_simt();
  const Net net(simt);
  Tensor<float> x = rand({2, 6, 5, 4}, Key{3}, -1, 1, simt), target = rand({2, 6, 5, 4}, Key{4}, -1, 1, simt);
  Tensor<float> loss;
  std::vector<Tensor<float>> gradients;
  const auto graph = capture(simt, [&] {
    loss = net.loss(x, target);
    loss.backward();
    for (const Tensor<float>& p : net.parameters()) gradients.push_back(p.grad());
  });
  for (uint64_t step : {5, 6}) {
    copy_(x, rand({2, 6, 5, 4}, Key{step}, -1, 1, simt));
    graph->launch();
    const std::vector<float> replayed = loss.to_vector();
    std::vector<std::vector<float>> g;
    for (const Tensor<float>& t : gradients) g.push_back(t.to_vector());
    for (const Tensor<float>& p : net.parameters()) p.set_grad({});
    const Tensor<float> eager = net.loss(x, target);
    eager.backward();
    CHECK(eager.to_vector() == replayed);
    for (size_t i = 0; i < g.size(); ++i) CHECK(net.parameters()[i].grad().to_vector() == g[i]);
  }
}

TEST_CASE("reading a value inside a capture is refused, and nothing is left captured") {
  const Device simt = use_simt();
  const Tensor<float> x = ones({3}, simt);
  CHECK_THROWS_WITH_AS(capture(simt, [&] { (void)sum(x).item(); }), doctest::Contains("not while a graph is captured"),
                       ValueError);
  CHECK(sum(x).item() == 3);
  Tensor<uint8_t> labels = Tensor<uint8_t>({2}, {0, 7}).to(simt);
  const Tensor<float> logits = rand({2, 3}, Key{1}, -1, 1, simt);
  Tensor<float> loss;
  const auto graph = capture(simt, [&] { loss = cross_entropy(logits, labels); });
  CHECK_THROWS_WITH_AS(graph->launch(), doctest::Contains("cross_entropy: the label of row 1 is no class"), ValueError);
}

TEST_CASE("autocast: products of factors in bfloat16, near those in float, gradients and weights in float") {
  const Device simt = use_simt();
  const Net net(simt);
  const Tensor<float> x = rand({2, 6, 5, 4}, Key{3}, -1, 1, simt), target = rand({2, 6, 5, 4}, Key{4}, -1, 1, simt);
  const auto run = [&](Precision precision) {
    const Autocast guard(precision);
    const Tensor<float> loss = net.loss(x, target);
    loss.backward();
    std::vector<float> all = loss.to_vector();
    for (const Tensor<float>& p : net.parameters()) {
      for (float v : p.grad().to_vector()) all.push_back(v);
      p.set_grad({});
    }
    return all;
  };
  const auto exact = run(Precision::float32), tf32 = run(Precision::tf32), bfloat16 = run(Precision::bfloat16);
  const auto distance = [&](const std::vector<float>& a) {
    double error = 0, size = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      error += std::pow(double(a[i]) - exact[i], 2);
      size += std::pow(double(exact[i]), 2);
    }
    return std::sqrt(error / size);
  };
  // Rounding of 2^-11 and 2^-8, three products deep.
  CHECK(distance(tf32) > 0);
  CHECK(distance(tf32) < 8 * 0x1p-11);
  CHECK(distance(bfloat16) > distance(tf32));
  CHECK(distance(bfloat16) < 8 * 0x1p-8);
  CHECK(product_precision() == Precision::float32);
}

}  // namespace
}  // namespace clearsky::test

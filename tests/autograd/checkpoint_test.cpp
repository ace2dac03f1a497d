#include "clearsky/autograd/checkpoint.hpp"

#include <doctest/doctest.h>

#include "clearsky/ops/elementwise.hpp"
#include "clearsky/ops/reduce.hpp"

namespace clearsky {
namespace {

/// Ten steps that each save what they read.
Tensor<> block(Tensor<> x, const Tensor<>& w) {
  for (int i = 0; i < 10; ++i) x = tanh(x * w);
  return x;
}

struct Run {
  std::vector<std::vector<float>> bits;  ///< output, gradients of x and w
  int64_t peak_bytes;
};

Run run(bool checkpointed, bool weight_is_input) {
  const Tensor<> x = rand({1 << 16}, Key{1}).set_requires_grad(), w = rand({1}, Key{2}).set_requires_grad();
  const int64_t before = memory_stats().live_bytes;
  reset_peak_memory();
  Tensor<> y = x;
  for (int b = 0; b < 4; ++b) {
    if (!checkpointed) y = block(y, w);
    else if (weight_is_input)
      y = checkpoint([](std::span<const Tensor<>> in) { return block(in[0], in[1]); }, std::vector<Tensor<>>{y, w});
    else y = checkpoint([w](std::span<const Tensor<>> in) { return block(in[0], w); }, std::vector<Tensor<>>{y});
  }
  sum(y * y).backward();
  return {{y.to_vector(), x.grad().to_vector(), w.grad().to_vector()}, memory_stats().peak_bytes - before};
}

TEST_CASE("checkpoint: the same bits with less memory") {
  const Run plain = run(false, true), inputs = run(true, true);
  CHECK(inputs.bits[0] == plain.bits[0]);
  CHECK(inputs.bits[1] == plain.bits[1]);
  // Each block adds up its own share of w's gradient first, then the shares are added: another order of one sum of 40
  // terms, each rounded once.
  CHECK(inputs.bits[2][0] == doctest::Approx(plain.bits[2][0]).epsilon(40 * 0x1p-24));
  // 40 steps of two saved values each, against 4 inputs and the 10 steps of one block.
  CHECK(inputs.peak_bytes < plain.peak_bytes / 2);
}

TEST_CASE("checkpoint: a parameter that the function holds gets the very same gradient") {
  const Run plain = run(false, false), held = run(true, false);
  CHECK(held.bits == plain.bits);
  CHECK(held.peak_bytes < plain.peak_bytes / 2);
}

TEST_CASE("checkpoint: one block, and a weight used inside and outside") {
  const auto gradients = [](bool checkpointed) {
    const Tensor<> x = rand({100}, Key{1}).set_requires_grad(), w = rand({1}, Key{2}).set_requires_grad();
    const auto f = [w](std::span<const Tensor<>> in) { return block(in[0], w); };
    const std::vector<Tensor<>> in{x * w};
    const Tensor<> y = checkpointed ? checkpoint(f, in) : f(in);
    sum(y * w).backward();
    return std::vector<std::vector<float>>{x.grad().to_vector(), w.grad().to_vector()};
  };
  CHECK(gradients(true) == gradients(false));
}

TEST_CASE("checkpoint: a value that was computed outside and is only held gets its gradient, too") {
  const auto gradients = [](bool checkpointed, bool used_after) {
    const Tensor<> x = rand({10}, Key{1}).set_requires_grad(), w = rand({10}, Key{2}).set_requires_grad();
    const Tensor<> scale = exp(w);
    const auto f = [scale](std::span<const Tensor<>> in) { return tanh(in[0] * scale); };
    const std::vector<Tensor<>> in{x * scale};
    const Tensor<> y = checkpointed ? checkpoint(f, in) : f(in);
    sum(used_after ? y * scale : y).backward();
    return std::vector<std::vector<float>>{x.grad().to_vector(), w.grad().to_vector()};
  };
  for (const bool used_after : {true, false}) CHECK(gradients(true, used_after) == gradients(false, used_after));
}

TEST_CASE("checkpoint: works inside grad(), which then leaves .grad() alone") {
  const Tensor<> x = rand({10}, Key{1}).set_requires_grad(), w = rand({10}, Key{2}).set_requires_grad();
  const auto y = [&](bool checkpointed) {
    const auto f = [w](std::span<const Tensor<>> in) { return tanh(in[0] * w); };
    const std::vector<Tensor<>> in{x};
    return sum(checkpointed ? checkpoint(f, in) : f(in));
  };
  const auto got = grad(y(true), {x, w}), want = grad(y(false), {x, w});
  CHECK(got[0].to_vector() == want[0].to_vector());
  CHECK(got[1].to_vector() == want[1].to_vector());
  CHECK_FALSE(w.grad().defined());
}

TEST_CASE("checkpoint: nested, and with an input that needs no gradient") {
  const Tensor<> x = rand({10}, Key{1}).set_requires_grad(), c = rand({10}, Key{2});
  const auto gradient = [&](bool checkpointed) {
    const auto inner = [](std::span<const Tensor<>> in) { return tanh(in[0] * in[1]); };
    const auto outer = [=](std::span<const Tensor<>> in) {
      const std::vector<Tensor<>> both{in[0] * in[0], in[1]};
      return exp(checkpointed ? checkpoint(inner, both) : inner(both));
    };
    const std::vector<Tensor<>> in{x, c};
    sum(checkpointed ? checkpoint(outer, in) : outer(in)).backward();
    const Tensor<> g = x.grad();
    x.set_grad({});
    return g.to_vector();
  };
  CHECK(gradient(true) == gradient(false));
  CHECK_FALSE(c.grad().defined());
}

TEST_CASE("checkpoint: no second derivative, said by name; nothing recorded without a need") {
  const auto f = [](std::span<const Tensor<>> in) { return in[0] * in[0]; };
  const Tensor<> x = ones({1}).set_requires_grad();
  const std::vector<Tensor<>> in{x}, constant{ones({1})};
  CHECK_THROWS_WITH_AS(grad(checkpoint(f, in), {x}, {}, CreateGraph::yes),
                       doctest::Contains("checkpoint: no second derivative"), AutogradError);
  CHECK_FALSE(checkpoint(f, constant).requires_grad());
}

}  // namespace
}  // namespace clearsky

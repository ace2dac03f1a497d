// How long values live: freed as backward consumes them, and no recursion however long the chain.
#include <doctest/doctest.h>

#include "clearsky/ops/elementwise.hpp"
#include "clearsky/ops/reduce.hpp"

namespace clearsky {
namespace {

constexpr int64_t kTensor = 1 << 20;  // bytes: a size of the pool's, with 64 of them for the guard
constexpr int64_t kElements = (kTensor - 64) / 4;

int64_t live() {
  return memory_stats().live_bytes;
}

/// ((x^2)^2)^2 ...: each step saves its input.
Tensor<> squares(Tensor<> x, int steps) {
  for (int i = 0; i < steps; ++i) x = x * x;
  return x;
}

TEST_CASE("without recording, no value outlives its use") {
  const Tensor<> x = ones({kElements}).set_requires_grad();
  const int64_t before = live();
  reset_peak_memory();
  {
    const NoGrad guard;
    const Tensor<> y = squares(x, 20);
    CHECK(live() - before < 3 * kTensor / 2);  // y, and no more
  }
  CHECK(memory_stats().peak_bytes - before < 5 * kTensor / 2);  // one in, one out
  CHECK(live() == before);
}

TEST_CASE("recorded values live until backward has consumed them, step by step") {
  const Tensor<> x = ones({kElements}).set_requires_grad();
  const int64_t before = live();
  Tensor<> y = squares(x, 20);
  const int64_t recorded = live() - before;
  CHECK(recorded > 19 * kTensor);
  CHECK(recorded < 21 * kTensor);

  y = Tensor<>();
  CHECK(live() == before);

  // At each step the hook sees one saved value fewer.
  std::vector<int64_t> seen;
  {
    std::vector<Tensor<>> chain{x};
    for (int i = 0; i < 10; ++i) {
      Tensor<> next = chain.back() * chain.back();
      register_hook(next, [&](const Tensor<>& g) {
        seen.push_back(live() - before);
        return g;
      });
      chain.push_back(next);
    }
    const Tensor<> total = sum(chain.back());
    chain.clear();
    total.backward();
  }
  REQUIRE(seen.size() == 10);
  for (size_t i = 3; i < seen.size(); ++i) CHECK(seen[i] <= seen[i - 1] - kTensor / 2);
  CHECK(live() - before < 3 * kTensor / 2);  // x's gradient
}

TEST_CASE("dropping the result frees the graph") {
  const Tensor<> x = ones({kElements}).set_requires_grad();
  const int64_t before = live();
  { const Tensor<> y = squares(x, 10); }
  CHECK(live() == before);
  // Operations that keep their output must not keep themselves alive with it.
  { const Tensor<> y = exp(exp(x)) + sqrt(x) + tanh(x); }
  CHECK(live() == before);
}

TEST_CASE("retain keeps the graph, and the pass after it frees it") {
  const Tensor<> x = ones({kElements}).set_requires_grad();
  const Tensor<> y = sum(squares(x, 10));
  const int64_t recorded = live();
  y.backward(Retain::yes);
  CHECK(live() > recorded);
  y.backward();
  CHECK(live() < recorded - 8 * kTensor);
}

TEST_CASE("a steady loop of forward and backward asks the system for nothing") {
  const Tensor<> x = randn({1000}, Key{1}).set_requires_grad();
  const auto step = [&] {
    sum(exp(x) * x + squares(x, 3)).backward();
    x.set_grad({});
  };
  for (int i = 0; i < 3; ++i) step();
  const MemoryStats before = memory_stats();
  for (int i = 0; i < 50; ++i) step();
  CHECK(memory_stats().system_allocations == before.system_allocations);
  CHECK(memory_stats().live_bytes == before.live_bytes);
}

TEST_CASE("chains of 100,000 operations go through backward and away without recursion") {
  for (const bool through_backward : {true, false}) {
    const Tensor<> x = ones({1}).set_requires_grad();
    Tensor<> y = x;
    for (int i = 0; i < 100000; ++i) y = y + x;
    if (through_backward) {
      y.backward();
      CHECK(x.grad().item() == 100001);
    } else {
      // Also where each operation saved the one before.
      for (int i = 0; i < 100000; ++i) y = y * x;
    }
    y = Tensor<>();
  }
}

}  // namespace
}  // namespace clearsky

#include "clearsky/optim/loss_scaler.hpp"

#include <doctest/doctest.h>

#include "clearsky/ops/reduce.hpp"
#include "clearsky/optim/adamw.hpp"

namespace clearsky::optim {
namespace {

Tensor<float> parameter() {
  Tensor<float> p({3}, std::vector<float>{1, -2, 0.5});
  p.set_requires_grad();
  return p;
}

TEST_CASE("a scaled step is the plain step, bit for bit") {
  const Tensor<float> plain = parameter(), scaled = parameter();
  AdamW<float> a({{"p", plain}}), b({{"p", scaled}});
  LossScaler scaler;
  for (int step = 0; step < 3; ++step) {
    sum(plain * plain).backward();
    const double norm = a.gradient_norm();
    a.step(0.1, clip_factor(norm, 0.5));
    a.zero_grad();
    (sum(scaled * scaled) * float(scaler.scale())).backward();
    const auto unscaled = scaler.norm(b);
    REQUIRE(unscaled.has_value());
    CHECK(*unscaled == norm);
    b.step(0.1, clip_factor(*unscaled, 0.5) / scaler.scale());
    scaler.update(true);
    b.zero_grad();
    CHECK(plain.to_vector() == scaled.to_vector());
  }
}

TEST_CASE("gradients that are not finite make it shrink, many good steps make it grow, up to a limit") {
  const Tensor<float> p = parameter();
  AdamW<float> optimizer({{"p", p}});
  LossScaler scaler({.start = 8, .interval = 2, .largest = 16});
  for (float bad : {INFINITY, -INFINITY, NAN}) {
    p.set_grad(Tensor<float>({3}, std::vector<float>{1, bad, 1}));
    CHECK(!scaler.norm(optimizer).has_value());
    scaler.update(false);
  }
  CHECK(scaler.scale() == 1);
  CHECK(scaler.skipped() == 3);
  p.set_grad(Tensor<float>({3}, std::vector<float>{3, 0, 4}));
  CHECK(*scaler.norm(optimizer) == 5);
  const double want[] = {1, 2, 2, 4, 4, 8, 8, 16, 16, 16};
  for (double scale : want) {
    scaler.update(true);
    CHECK(scaler.scale() == scale);
  }
  scaler.update(false);
  scaler.update(true);
  CHECK(scaler.scale() == 8);  // one good step is not two in a row
}

TEST_CASE("options that cannot work are refused") {
  CHECK_THROWS_WITH_AS(LossScaler({.growth = 1}), doctest::Contains("growth must be above 1"), ValueError);
  CHECK_THROWS_WITH_AS(LossScaler({.backoff = 1}), doctest::Contains("backoff in (0, 1)"), ValueError);
  CHECK_THROWS_WITH_AS(LossScaler({.start = 0}), doctest::Contains("LossScaler: start 0 must be in"), ValueError);
}

}  // namespace
}  // namespace clearsky::optim

#include "clearsky/optim/schedule.hpp"

#include <doctest/doctest.h>

namespace clearsky::optim {
namespace {

doctest::Approx near(double value) {
  return doctest::Approx(value).epsilon(1e-12);
}

TEST_CASE("steps and milestones") {
  CHECK(ConstantRate{0.3}.at(1000) == 0.3);
  const StepRate steps{.lr = 1, .period = 10, .factor = 0.5};
  CHECK(steps.at(0) == 1);
  CHECK(steps.at(9) == 1);
  CHECK(steps.at(10) == 0.5);
  CHECK(steps.at(35) == 0.125);
  const MultiStepRate milestones{.lr = 1, .milestones = {3, 5}, .factor = 0.1};
  CHECK(milestones.at(2) == 1);
  CHECK(milestones.at(3) == near(0.1));
  CHECK(milestones.at(4) == near(0.1));
  CHECK(milestones.at(5) == near(0.01));
  CHECK_THROWS_WITH_AS((StepRate{.lr = 1, .period = 0}.at(1)), doctest::Contains("a period of 0 steps"), ValueError);
}

TEST_CASE("cosine: start, middle, end, and after it") {
  const CosineRate rate{.lr = 1, .steps = 100, .lowest = 0.2};
  CHECK(rate.at(0) == 1);
  CHECK(rate.at(50) == near(0.6));
  CHECK(rate.at(25) == near(0.2 + 0.8 * (1 + std::sqrt(0.5)) / 2));
  CHECK(rate.at(100) == near(0.2));
  CHECK(rate.at(1000) == near(0.2));
}

TEST_CASE("warm-up then cosine") {
  const WarmupCosineRate rate{.lr = 1, .warmup_steps = 10, .steps = 110};
  CHECK(rate.at(0) == near(0.1));  // not 0: the first step must not be wasted
  CHECK(rate.at(4) == near(0.5));
  CHECK(rate.at(9) == near(1));
  CHECK(rate.at(10) == near(1));
  CHECK(rate.at(60) == near(0.5));
  CHECK(std::fabs(rate.at(110)) < 1e-15);
  for (int64_t s = 10; s < 110; ++s) CHECK(rate.at(s + 1) < rate.at(s));
  CHECK(WarmupCosineRate{.lr = 1, .warmup_steps = 0, .steps = 10}.at(0) == 1);
  CHECK(WarmupCosineRate{.lr = 1, .warmup_steps = 5, .steps = 5}.at(4) == 1);
}

TEST_CASE("one cycle") {
  // torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=100), its defaults: 25 and 10000 times 25.
  const OneCycleRate rate{.lr = 1, .steps = 100};
  CHECK(rate.at(0) == near(1 / 25.0));
  CHECK(rate.at(29) == near(1));
  CHECK(rate.at(99) == near(1 / 250000.0));
  for (int64_t s = 0; s < 29; ++s) CHECK(rate.at(s + 1) > rate.at(s));
  for (int64_t s = 29; s < 99; ++s) CHECK(rate.at(s + 1) < rate.at(s));
}

}  // namespace
}  // namespace clearsky::optim

#pragma once
// Learning rates as functions of the step. Nothing is kept between steps, so that a run which is continued needs the
// number of its step and no more.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "clearsky/core/error.hpp"

namespace clearsky::optim {

namespace detail {

/// From a to b along half a cosine; share from 0 to 1.
inline double cosine_between(double a, double b, double share) {
  const double s = std::clamp(share, 0.0, 1.0);
  return b + (a - b) * (1 + std::cos(3.14159265358979323846 * s)) / 2;
}

inline double share_of(int64_t step, int64_t steps) {
  return steps <= 0 ? 1.0 : double(step) / double(steps);
}

}  // namespace detail

/// The same at every step.
struct ConstantRate {
  double lr;
  double at(int64_t) const { return lr; }
};

/// lr * factor^floor(step / period)
struct StepRate {
  double lr;
  int64_t period;
  double factor = 0.1;
  double at(int64_t step) const {
    CLEARSKY_CHECK(ValueError, period >= 1, "StepRate: a period of ", period, " steps; use at least 1");
    return lr * std::pow(factor, double(step / period));
  }
};

/// lr * factor^(number of milestones at or before the step); milestones in rising order.
struct MultiStepRate {
  double lr;
  std::vector<int64_t> milestones;
  double factor = 0.1;
  double at(int64_t step) const {
    const auto passed = std::upper_bound(milestones.begin(), milestones.end(), step) - milestones.begin();
    return lr * std::pow(factor, double(passed));
  }
};

/// From lr at step 0 along half a cosine to `lowest` at step `steps`, where it stays.
/// @source Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, eq. 5
struct CosineRate {
  double lr;
  int64_t steps;
  double lowest = 0;
  double at(int64_t step) const { return detail::cosine_between(lr, lowest, detail::share_of(step, steps)); }
};

/// Rises in equal steps to lr, which step `warmup_steps` - 1 reaches, then falls along half a cosine to `lowest` at
/// step `steps`. Step 0 already has lr / warmup_steps, since a rate of 0 would waste it.
struct WarmupCosineRate {
  double lr;
  int64_t warmup_steps;
  int64_t steps;
  double lowest = 0;
  double at(int64_t step) const {
    if (step < warmup_steps) return lr * double(step + 1) / double(warmup_steps);
    return detail::cosine_between(lr, lowest, detail::share_of(step - warmup_steps, steps - warmup_steps));
  }
};

/// Rises along a cosine from lr / start_divisor to lr at `rise` of the steps, and falls to lr / end_divisor.
/// @source Smith, Topin, "Super-Convergence", 2018, arXiv:1708.07120, with PyTorch's cosine in place of straight lines
struct OneCycleRate {
  double lr;
  int64_t steps;
  double rise = 0.3;
  double start_divisor = 25;
  double end_divisor = 250000;
  double at(int64_t step) const {
    const double top = rise * double(steps) - 1, end = double(steps - 1);
    const double s = double(step);
    if (s <= top) return detail::cosine_between(lr / start_divisor, lr, top > 0 ? s / top : 1);
    return detail::cosine_between(lr, lr / end_divisor, end > top ? (s - top) / (end - top) : 1);
  }
};

}  // namespace clearsky::optim

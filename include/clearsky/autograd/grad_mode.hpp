#pragma once
// Whether operations record themselves for backward. One flag per thread, set by guards.

namespace clearsky {
namespace detail {
inline thread_local bool grad_is_enabled = true;

class GradModeGuard {
 public:
  explicit GradModeGuard(bool on) : before_(grad_is_enabled) { grad_is_enabled = on; }
  ~GradModeGuard() { grad_is_enabled = before_; }
  GradModeGuard(const GradModeGuard&) = delete;
  GradModeGuard& operator=(const GradModeGuard&) = delete;

 private:
  bool before_;
};
}  // namespace detail

inline bool grad_enabled() {
  return detail::grad_is_enabled;
}

/// While alive, operations on this thread record nothing, so inference holds no activations.
///
///     NoGrad guard;
///     Tensor<> restored = model(cloudy);
///
/// Guards nest; each puts back what it found, also when an exception leaves the scope.
class [[nodiscard]] NoGrad : detail::GradModeGuard {
 public:
  NoGrad() : GradModeGuard(false) {}
};

/// While alive, operations on this thread are recorded, also inside a NoGrad.
class [[nodiscard]] EnableGrad : detail::GradModeGuard {
 public:
  EnableGrad() : GradModeGuard(true) {}
};

}  // namespace clearsky

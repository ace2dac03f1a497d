#pragma once
// Loss scaling: for training with products in a short float format, whose gradients would vanish below its range.

#include "clearsky/optim/optimizer.hpp"

namespace clearsky::optim {

struct LossScalerOptions {
  double start = 65536;
  double growth = 2;            ///< factor after `interval` good steps
  double backoff = 0.5;         ///< factor after a step whose gradients were not finite
  int64_t interval = 2000;      ///< good steps in a row before it grows
  double largest = 16777216.0;  ///< never above
};

/// Multiplies the loss, so that small gradients survive, and divides the gradients by the same number when they are
/// used. A step whose gradients are NaN or infinite is left out, and the factor shrinks; after many good ones it grows.
///
///     optim::LossScaler scaler;
///     (loss * float(scaler.scale())).backward();
///     const auto norm = scaler.norm(optimizer);
///     if (norm) optimizer.step(rate, optim::clip_factor(*norm, 0.5) / scaler.scale());
///     scaler.update(norm.has_value());
///     optimizer.zero_grad();
///
/// Powers of two: scaling changes no bit of a gradient that neither vanishes nor overflows.
/// @source  Micikevicius et al., "Mixed Precision Training", ICLR 2018, arXiv:1710.03740, sec. 3.2
class LossScaler {
 public:
  /// @throws ValueError for factors that do not shrink or grow, or a start outside (0, largest]
  explicit LossScaler(const LossScalerOptions& options = {}) : options_(options), scale_(options.start) {
    CLEARSKY_CHECK(ValueError,
                   options.growth > 1 && 0 < options.backoff && options.backoff < 1 && options.interval >= 1,
                   "LossScaler: growth ", options.growth, ", backoff ", options.backoff, ", interval ",
                   options.interval, "; growth must be above 1, backoff in (0, 1), the interval at least 1");
    CLEARSKY_CHECK(ValueError, 0 < options.start && options.start <= options.largest, "LossScaler: start ",
                   options.start, " must be in (0, ", options.largest, "]");
  }

  double scale() const { return scale_; }
  /// Good steps in a row, up to now.
  int64_t good() const { return good_; }
  /// Steps left out so far.
  int64_t skipped() const { return skipped_; }
  /// Goes on where another one was. @throws ValueError for a scale that is not in (0, largest], or a negative number
  void load(double scale, int64_t good, int64_t skipped) {
    CLEARSKY_CHECK(ValueError, 0 < scale && scale <= options_.largest && good >= 0 && skipped >= 0,
                   "LossScaler: scale ", scale, ", ", good, " good and ", skipped,
                   " skipped steps; the scale must be in (0, ", options_.largest, "], the others at least 0");
    scale_ = scale, good_ = good, skipped_ = skipped;
  }

  /// The norm that the gradients have without the factor; none when one of them is not finite: do not step then.
  template <class T>
  std::optional<double> norm(const Optimizer<T>& optimizer) const {
    const double scaled = std::sqrt(detail::squared_gradient_norm(optimizer.parameters()));
    return std::isfinite(scaled) ? std::optional<double>(scaled / scale_) : std::nullopt;
  }

  /// At the end of each step. @param finite  whether its gradients were
  void update(bool finite) {
    if (!finite) {
      good_ = 0;
      ++skipped_;
      scale_ *= options_.backoff;
    } else if (++good_ == options_.interval) {
      good_ = 0;
      scale_ = (std::min)(scale_ * options_.growth, options_.largest);
    }
  }

 private:
  LossScalerOptions options_;
  double scale_;
  int64_t good_ = 0, skipped_ = 0;
};

}  // namespace clearsky::optim

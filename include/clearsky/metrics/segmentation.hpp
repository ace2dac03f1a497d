#pragma once
// How well a map of classes fits its labels.

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "clearsky/core/error.hpp"

namespace clearsky::metrics {

/// What a mean over classes does with a class that has no value, because it occurs neither in the labels nor, for IoU
/// and F1, in the predictions.
enum class Absent {
  zero,      ///< it counts as 0, as in most published tables
  left_out,  ///< the mean is over the other classes
};

/// Counts of (label, prediction) over a whole set; every segmentation metric follows from it. The set has one matrix: a
/// mean of per-image values would be another number.
class ConfusionMatrix {
 public:
  /// @throws ValueError for less than 1 class
  explicit ConfusionMatrix(int64_t classes) : classes_(classes) {
    CLEARSKY_CHECK(ValueError, classes >= 1, "ConfusionMatrix: ", classes, " classes; use at least 1");
    counts_.assign(size_t(classes * classes), 0);
  }

  /// Adds pixels.
  /// @param prediction, label  (pixels)  integers, 0 to classes - 1; a label of `ignore` leaves the pixel out
  /// @param counts             (pixels)  0 leaves the pixel out; empty means every pixel counts
  /// @throws ShapeError when the sizes differ; ValueError for a value that is no class. Nothing has been added then
  template <class Prediction, class Label>
  void add(std::span<const Prediction> prediction, std::span<const Label> label, int64_t ignore = 255,
           std::span<const uint8_t> counts = {}) {
    CLEARSKY_CHECK(ShapeError, prediction.size() == label.size() && (counts.empty() || counts.size() == label.size()),
                   "ConfusionMatrix: ", int64_t(prediction.size()), " predictions, ", int64_t(label.size()),
                   " labels and a mask of ", int64_t(counts.size()));
    const auto left_out = [&](size_t i) { return int64_t(label[i]) == ignore || (!counts.empty() && counts[i] == 0); };
    for (size_t i = 0; i < label.size(); ++i) {
      if (left_out(i)) continue;
      check_class("label", int64_t(label[i]), i);
      check_class("prediction", int64_t(prediction[i]), i);
    }
    for (size_t i = 0; i < label.size(); ++i)
      if (!left_out(i)) ++counts_[size_t(int64_t(label[i]) * classes_ + int64_t(prediction[i]))];
  }
  void merge(const ConfusionMatrix& other) {
    CLEARSKY_CHECK(ShapeError, other.classes_ == classes_, "ConfusionMatrix: merging ", other.classes_,
                   " classes into ", classes_);
    for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  }

  int64_t classes() const { return classes_; }
  int64_t count(int64_t label, int64_t prediction) const { return counts_.at(size_t(label * classes_ + prediction)); }
  int64_t labelled(int64_t c) const {
    return sum_over([&](int64_t k) { return count(c, k); });
  }
  int64_t predicted(int64_t c) const {
    return sum_over([&](int64_t k) { return count(k, c); });
  }
  int64_t total() const {
    return sum_over([&](int64_t k) { return labelled(k); });
  }

  /// Intersection over union of a class; NaN when it is neither labelled nor predicted.
  double iou(int64_t c) const { return ratio(count(c, c), labelled(c) + predicted(c) - count(c, c)); }
  /// Share of a class's pixels that were found (recall); NaN when it is not labelled.
  double class_accuracy(int64_t c) const { return ratio(count(c, c), labelled(c)); }
  /// Harmonic mean of precision and recall of a class; NaN when it is neither labelled nor predicted.
  double f1(int64_t c) const { return ratio(2 * count(c, c), labelled(c) + predicted(c)); }

  double mean_iou(Absent absent) const {
    return mean(absent, [&](int64_t c) { return iou(c); });
  }
  double mean_accuracy(Absent absent) const {
    return mean(absent, [&](int64_t c) { return class_accuracy(c); });
  }
  double macro_f1(Absent absent) const {
    return mean(absent, [&](int64_t c) { return f1(c); });
  }
  /// Share of pixels that are right; NaN for none.
  double overall_accuracy() const { return ratio(agreed(), total()); }
  /// Cohen's kappa: agreement beyond what two independent maps with these class shares would have by chance.
  ///
  ///     kappa = (po - pe) / (1 - pe)        pe = sum over classes of labelled * predicted / total^2
  ///
  /// @return  NaN for no pixels, or when chance alone explains all
  /// @source  Cohen, Educ. Psychol. Meas. 20 (1960), 37
  double kappa() const {
    const double n = double(total());
    double chance = 0;
    for (int64_t c = 0; c < classes_; ++c) chance += double(labelled(c)) / n * (double(predicted(c)) / n);
    return chance == 1 ? std::numeric_limits<double>::quiet_NaN() : (overall_accuracy() - chance) / (1 - chance);
  }

 private:
  void check_class(const char* what, int64_t value, size_t at) const {
    CLEARSKY_CHECK(ValueError, 0 <= value && value < classes_, "ConfusionMatrix: ", what, " ", value, " at pixel ",
                   int64_t(at), " is none of the ", classes_, " classes 0 to ", classes_ - 1);
  }
  template <class F>
  int64_t sum_over(F f) const {
    int64_t sum = 0;
    for (int64_t k = 0; k < classes_; ++k) sum += f(k);
    return sum;
  }
  int64_t agreed() const {
    return sum_over([&](int64_t c) { return count(c, c); });
  }
  static double ratio(int64_t top, int64_t bottom) {
    return bottom == 0 ? std::numeric_limits<double>::quiet_NaN() : double(top) / double(bottom);
  }
  template <class F>
  double mean(Absent absent, F f) const {
    double sum = 0;
    int64_t counted = 0;
    for (int64_t c = 0; c < classes_; ++c) {
      const double value = f(c);
      if (std::isnan(value)) {
        counted += absent == Absent::zero;
      } else {
        sum += value;
        ++counted;
      }
    }
    return counted == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / double(counted);
  }

  int64_t classes_;
  std::vector<int64_t> counts_;  // (label, prediction)
};

}  // namespace clearsky::metrics

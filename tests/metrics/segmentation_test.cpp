#include "clearsky/metrics/segmentation.hpp"

#include <doctest/doctest.h>

namespace clearsky::metrics {
namespace {

ConfusionMatrix matrix(int64_t classes, std::vector<uint8_t> prediction, std::vector<uint8_t> label) {
  ConfusionMatrix m(classes);
  m.add(std::span<const uint8_t>(prediction), std::span<const uint8_t>(label));
  return m;
}

TEST_CASE("ConfusionMatrix by hand") {
  // Class 0: 3 labelled, 2 found, 1 taken for 1. Class 1: 2 labelled, 1 found, 1 taken for 0. One pixel without label.
  const auto m = matrix(2, {0, 0, 1, 1, 0, 1}, {0, 0, 0, 1, 1, 255});
  CHECK(m.total() == 5);
  CHECK(m.count(0, 0) == 2);
  CHECK(m.count(0, 1) == 1);
  CHECK(m.count(1, 0) == 1);
  CHECK(m.iou(0) == doctest::Approx(2.0 / 4));
  CHECK(m.iou(1) == doctest::Approx(1.0 / 3));
  CHECK(m.mean_iou(Absent::zero) == doctest::Approx((0.5 + 1.0 / 3) / 2));
  CHECK(m.overall_accuracy() == doctest::Approx(0.6));
  CHECK(m.mean_accuracy(Absent::zero) == doctest::Approx((2.0 / 3 + 0.5) / 2));
  CHECK(m.macro_f1(Absent::zero) == doctest::Approx((2.0 / 3 + 0.5) / 2));
  // po = 0.6, pe = (3 * 3 + 2 * 2) / 25 = 0.52
  CHECK(m.kappa() == doctest::Approx(0.08 / 0.48));
}

TEST_CASE("ConfusionMatrix: absent classes in both conventions") {
  // Class 2 is predicted once and never labelled; class 3 does not occur.
  const auto m = matrix(4, {0, 1, 2}, {0, 1, 1});
  CHECK(m.iou(2) == 0);
  CHECK(std::isnan(m.iou(3)));
  CHECK(std::isnan(m.class_accuracy(2)));
  CHECK(m.mean_iou(Absent::zero) == doctest::Approx((1 + 0.5) / 4));
  CHECK(m.mean_iou(Absent::left_out) == doctest::Approx((1 + 0.5) / 3));
  CHECK(m.mean_accuracy(Absent::zero) == doctest::Approx((1 + 0.5) / 4));
  CHECK(m.mean_accuracy(Absent::left_out) == doctest::Approx((1 + 0.5) / 2));
}

TEST_CASE("ConfusionMatrix: rows are labels") {
  const auto m = matrix(2, {1}, {0});
  CHECK(m.count(0, 1) == 1);
  CHECK(m.labelled(0) == 1);
  CHECK(m.predicted(1) == 1);
}

TEST_CASE("ConfusionMatrix: masks and merging") {
  ConfusionMatrix a(2), b(2);
  const std::vector<int64_t> prediction{0, 1, 1};
  const std::vector<uint8_t> label{0, 0, 1}, counts{1, 0, 1};
  a.add(std::span<const int64_t>(prediction), std::span<const uint8_t>(label), 255, counts);
  CHECK(a.overall_accuracy() == 1);
  b.add(std::span<const int64_t>(prediction), std::span<const uint8_t>(label));
  a.merge(b);
  CHECK(a.total() == 5);
  CHECK(a.overall_accuracy() == doctest::Approx(0.8));
}

TEST_CASE("ConfusionMatrix of nothing") {
  const ConfusionMatrix m(3);
  CHECK(std::isnan(m.overall_accuracy()));
  CHECK(std::isnan(m.mean_iou(Absent::left_out)));
  CHECK(m.mean_iou(Absent::zero) == 0);
  CHECK(std::isnan(m.kappa()));
  CHECK(std::isnan(matrix(2, {0, 0}, {0, 0}).kappa()));  // chance explains all
}

TEST_CASE("ConfusionMatrix names a value that is no class, and adds nothing") {
  ConfusionMatrix m(3);
  const std::vector<uint8_t> good{0, 1}, bad{0, 7};
  const auto add = [&](const std::vector<uint8_t>& p, const std::vector<uint8_t>& l) {
    m.add(std::span<const uint8_t>(p), std::span<const uint8_t>(l));
  };
  CHECK_THROWS_WITH_AS(add(good, bad), doctest::Contains("label 7 at pixel 1 is none of the 3 classes 0 to 2"),
                       ValueError);
  CHECK_THROWS_WITH_AS(add(bad, good), doctest::Contains("prediction 7 at pixel 1"), ValueError);
  CHECK_THROWS_WITH_AS(add(good, {0}), doctest::Contains("2 predictions, 1 labels"), ShapeError);
  CHECK(m.total() == 0);
}

}  // namespace
}  // namespace clearsky::metrics

// The metrics against scikit-image, SciPy and NumPy; tests/golden/README.md says how the file was made.
#include <doctest/doctest.h>

#include <string>

#include "clearsky/io/safetensors.hpp"
#include "clearsky/metrics/correlation.hpp"
#include "clearsky/metrics/image.hpp"
#include "clearsky/metrics/segmentation.hpp"

namespace clearsky::metrics {
namespace {

const io::TensorFile& golden() {
  static const io::TensorFile file = [] {
    std::string folder = __FILE__;
    folder.resize(folder.rfind("metrics/golden_metrics_test.cpp"));
    return io::read_safetensors(folder + "golden/data/metrics.safetensors");
  }();
  return file;
}

/// Equal but for the rounding of sums over some thousand pixels in double.
void check_same(double got, double want, const std::string& what) {
  if (std::isnan(want)) CHECK_MESSAGE(std::isnan(got), what, ": ", got, ", expected NaN");
  else CHECK_MESSAGE(got == doctest::Approx(want).epsilon(1e-12), what, ": ", got, ", expected ", want);
}

const std::string kRegions[] = {"all", "clear", "cloudy"};

/// 1 where a pixel belongs to the region.
std::vector<uint8_t> region_mask(const std::string& region, std::span<const uint8_t> cloudy) {
  std::vector<uint8_t> mask;
  for (uint8_t c : cloudy) mask.push_back(region == "all" || (c != 0) == (region == "cloudy"));
  return mask;
}

TEST_CASE("golden values: image metrics") {
  const Tensor<float> prediction = golden().get<float>("images/prediction"),
                      target = golden().get<float>("images/target");
  const Tensor<uint8_t> cloudy = golden().get<uint8_t>("images/cloudy");
  const int64_t count = prediction.size(0), height = prediction.size(1), width = prediction.size(2);
  const int64_t bands = prediction.size(3), pixels = height * width;
  std::vector<float> a = prediction.to_vector(), b = target.to_vector();
  clamp_to_unit(a);
  clamp_to_unit(b);
  const std::vector<uint8_t> clouds = cloudy.to_vector();
  for (int64_t i = 0; i < count; ++i) {
    const auto image = [&](const std::vector<float>& v) {
      return std::span<const float>(v).subspan(size_t(i * pixels * bands), size_t(pixels * bands));
    };
    ImagePair pair{image(a), image(b), height, width, bands};
    const std::vector<double> map = ssim_map(pair);
    for (const std::string& region : kRegions) {
      const auto mask =
          region_mask(region, std::span<const uint8_t>(clouds).subspan(size_t(i * pixels), size_t(pixels)));
      pair.valid = mask;
      const auto got = image_scores(pair, map).values();
      const char* names[] = {"psnr", "ssim", "sam", "mae", "rmse"};
      for (size_t k = 0; k < got.size(); ++k) {
        const std::string name = "images/" + region + "/" + names[k];
        check_same(got[k], golden().get<double>(name).to_vector()[size_t(i)], name);
      }
    }
    if (i != 1) continue;
    const std::vector<double> want = golden().get<double>("images/ssim_map").to_vector();
    for (int64_t k = 0; k < pixels; ++k) {
      double mean = 0;
      for (int64_t band = 0; band < bands; ++band) mean += want[size_t(k * bands + band)] / double(bands);
      check_same(map[size_t(k)], mean, "images/ssim_map");
    }
  }
}

TEST_CASE("golden values: segmentation metrics") {
  const auto prediction = golden().get<int64_t>("segmentation/predictions").to_vector();
  const auto label = golden().get<int64_t>("segmentation/labels").to_vector();
  const auto cloudy = golden().get<uint8_t>("segmentation/cloudy").to_vector();
  for (const std::string& region : kRegions) {
    const std::string at = "segmentation/" + region + "/";
    ConfusionMatrix m(7);
    m.add(std::span<const int64_t>(prediction), std::span<const int64_t>(label), 255, region_mask(region, cloudy));
    const Tensor<int64_t> counts = golden().get<int64_t>(at + "confusion");
    for (int64_t y = 0; y < 7; ++y)
      for (int64_t p = 0; p < 7; ++p) CHECK(m.count(y, p) == counts.at({y, p}));
    const auto value = [&](const std::string& name) { return golden().get<double>(at + name).item(); };
    check_same(m.mean_iou(Absent::zero), value("miou_zero"), "miou_zero");
    check_same(m.mean_iou(Absent::left_out), value("miou_present"), "miou_present");
    check_same(m.mean_accuracy(Absent::zero), value("mean_accuracy_zero"), "mean_accuracy_zero");
    check_same(m.mean_accuracy(Absent::left_out), value("mean_accuracy_present"), "mean_accuracy_present");
    check_same(m.macro_f1(Absent::zero), value("f1_macro_zero"), "f1_macro_zero");
    check_same(m.macro_f1(Absent::left_out), value("f1_macro_present"), "f1_macro_present");
    check_same(m.overall_accuracy(), value("overall_accuracy"), "overall_accuracy");
    check_same(m.kappa(), value("kappa"), "kappa");
    for (int64_t c = 0; c < 7; ++c) {
      check_same(m.iou(c), golden().get<double>(at + "iou").at({c}), "iou");
      check_same(m.class_accuracy(c), golden().get<double>(at + "class_accuracy").at({c}), "class_accuracy");
      check_same(m.f1(c), golden().get<double>(at + "f1").at({c}), "f1");
    }
  }
}

TEST_CASE("golden values: Spearman's correlation") {
  const auto x = golden().get<double>("spearman/x").to_vector(), y = golden().get<double>("spearman/y").to_vector();
  check_same(spearman(std::span<const double>(x), std::span<const double>(y)),
             golden().get<double>("spearman/value").item(), "spearman");
}

}  // namespace
}  // namespace clearsky::metrics

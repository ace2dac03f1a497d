#include "clearsky/metrics/image.hpp"

#include <doctest/doctest.h>

namespace clearsky::metrics {
namespace {

ImagePair pair(std::span<const float> a, std::span<const float> b, int64_t bands, std::span<const uint8_t> valid = {}) {
  return {a, b, 1, int64_t(a.size()) / bands, bands, valid};
}

/// A picture with structure, seeded by `phase`.
std::vector<float> picture(int64_t height, int64_t width, int64_t bands, double phase) {
  std::vector<float> v;
  for (int64_t h = 0; h < height; ++h)
    for (int64_t w = 0; w < width; ++w)
      for (int64_t b = 0; b < bands; ++b)
        v.push_back(float(0.5 + 0.4 * std::sin(0.7 * double(h) + phase * double(w) + double(b))));
  return v;
}

TEST_CASE("mae, rmse, psnr") {
  const float a[] = {0.5f, 0.5f, 0.75f, 0.25f}, b[] = {0.25f, 0.5f, 0.25f, 0.25f};
  const uint8_t second[] = {0, 1};
  CHECK(mae(pair(a, b, 2)) == doctest::Approx(0.75 / 4));
  CHECK(rmse(pair(a, b, 2)) == doctest::Approx(std::sqrt((0.0625 + 0.25) / 4)));
  CHECK(psnr(pair(a, b, 2)) == doctest::Approx(-10 * std::log10(0.3125 / 4)));
  CHECK(mae(pair(a, b, 2, second)) == doctest::Approx(0.25));
  CHECK(rmse(pair(a, b, 2, second)) == doctest::Approx(std::sqrt(0.125)));
  CHECK(std::isinf(psnr(pair(a, a, 2))));
}

TEST_CASE("an error of 0.1 everywhere is 20 dB") {
  const std::vector<float> a(30, 0.5f), b(30, 0.6f);
  CHECK(psnr(pair(a, b, 3)) == doctest::Approx(20).epsilon(1e-6));
}

TEST_CASE("spectral_angle_degrees") {
  const float a[] = {1, 0, 1, 0};  // 2 pixels, 2 bands
  const float b[] = {2, 0, 0, 3};
  const uint8_t first_only[] = {1, 0};
  CHECK(spectral_angle_degrees(pair(a, a, 2)) == 0);
  CHECK(spectral_angle_degrees(pair(a, b, 2)) == doctest::Approx(45));  // mean of 0 and 90
  CHECK(spectral_angle_degrees(pair(a, b, 2, first_only)) == 0);        // gain alone is no angle
}

TEST_CASE("spectral_angle_degrees looks across bands, not along rows") {
  // A gain error in one band turns every spectrum; a metric over the wrong axis would report 0.
  const float a[] = {1, 1, 1, 1}, b[] = {1, 2, 1, 2};
  CHECK(spectral_angle_degrees(pair(a, b, 2)) == doctest::Approx(18.434948822922010));
}

TEST_CASE("spectral_angle_degrees keeps its digits for small angles") {
  const float a[] = {1, 0}, b[] = {1, 1e-6f};
  CHECK(spectral_angle_degrees(pair(a, b, 2)) == doctest::Approx(double(1e-6f) * 180 / 3.14159265358979).epsilon(1e-9));
}

TEST_CASE("spectral_angle_degrees leaves out pixels without a spectrum") {
  const float a[] = {0, 0, 1, 0}, b[] = {1, 0, 0, 1}, zero[] = {0, 0};
  CHECK(spectral_angle_degrees(pair(a, b, 2)) == doctest::Approx(90));
  CHECK(std::isnan(spectral_angle_degrees(pair(zero, zero, 2))));
  CHECK_THROWS_WITH_AS(spectral_angle_degrees(pair(zero, zero, 1)), doctest::Contains("needs at least 2 bands, got 1"),
                       ShapeError);
}

TEST_CASE("ssim of a picture with itself is 1, and it is symmetric") {
  const auto a = picture(14, 12, 3, 0.3), b = picture(14, 12, 3, 0.5);
  CHECK(ssim({a, a, 14, 12, 3}) == doctest::Approx(1).epsilon(1e-12));
  const double s = ssim({a, b, 14, 12, 3});
  CHECK(s < 0.9);
  CHECK(s == doctest::Approx(ssim({b, a, 14, 12, 3})).epsilon(1e-12));
}

TEST_CASE("ssim of one pixel, by hand") {
  // Only the window's centre meets the image: every mean is the value times w, every second moment its square times w.
  double line = 0;
  for (int k = -5; k <= 5; ++k) line += std::exp(-k * k / 4.5);
  const double w = 1 / (line * line), a = 0.25, b = 0.5;
  const float x[] = {float(a)}, y[] = {float(b)};
  const double ma = w * a, mb = w * b, va = w * a * a - ma * ma, vb = w * b * b - mb * mb, ab = w * a * b - ma * mb;
  const double want = (2 * ma * mb + 1e-4) * (2 * ab + 9e-4) / ((ma * ma + mb * mb + 1e-4) * (va + vb + 9e-4));
  CHECK(ssim({x, y, 1, 1, 1}) == doctest::Approx(want).epsilon(1e-12));
}

TEST_CASE("ssim of bands is the mean of each band alone") {
  const auto a = picture(13, 15, 2, 0.3), b = picture(13, 15, 2, 0.4);
  double mean = 0;
  for (size_t band = 0; band < 2; ++band) {
    std::vector<float> u, v;
    for (size_t i = band; i < a.size(); i += 2) {
      u.push_back(a[i]);
      v.push_back(b[i]);
    }
    mean += 0.5 * ssim({u, v, 13, 15, 1});
  }
  CHECK(ssim({a, b, 13, 15, 2}) == doctest::Approx(mean).epsilon(1e-12));
}

TEST_CASE("a metric of nothing is NaN") {
  const float a[] = {1, 2};
  const uint8_t none[] = {0};
  const ImagePair p = pair(a, a, 2, none);
  for (double v : image_scores(p).values()) CHECK(std::isnan(v));
  CHECK(std::isnan(mae({{}, {}, 0, 5, 3})));
}

TEST_CASE("metrics refuse sizes that do not fit") {
  const float a[] = {1, 2, 3};
  const uint8_t mask[] = {1, 1};
  CHECK_THROWS_WITH_AS(mae({a, a, 2, 2, 1}),
                       doctest::Contains("mae: 2 x 2 pixels of 1 bands are 4 values, got 3 restored and 3 clear"),
                       ShapeError);
  CHECK_THROWS_WITH_AS(rmse({a, a, 1, 3, 1, mask}), doctest::Contains("mask has 2 pixels, the images have 3"),
                       ShapeError);
}

TEST_CASE("clamp_to_unit") {
  float v[] = {-0.5f, 0, 0.25f, 1, 1.5f, std::numeric_limits<float>::quiet_NaN()};
  clamp_to_unit(v);
  CHECK(v[0] == 0);
  CHECK(v[2] == 0.25f);
  CHECK(v[4] == 1);
  CHECK(std::isnan(v[5]));
}

TEST_CASE("cloud_bucket") {
  CHECK(cloud_bucket(0) == 0);
  CHECK(cloud_bucket(0.19) == 0);
  CHECK(cloud_bucket(0.2) == 1);
  CHECK(cloud_bucket(1) == 4);
  CHECK_THROWS_WITH_AS(cloud_bucket(20), doctest::Contains("a cover of 20; use 0 to 1"), ValueError);
}

TEST_CASE("ImageReport averages over images, by region and bucket") {
  // Image 1: 4 pixels, errors 0.1 where clear (3 pixels) and 0.3 where cloudy. Image 2: all clear, error 0.2.
  const std::vector<float> clear(8, 0.5f);
  std::vector<float> first(8, 0.6f), second(8, 0.7f);
  first[6] = first[7] = 0.8f;
  const uint8_t cloudy[] = {0, 0, 0, 1}, none[] = {0, 0, 0, 0};
  ImageReport report, other;
  report.add({first, clear, 2, 2, 2}, cloudy);
  other.add({second, clear, 2, 2, 2}, none);
  report.merge(other);
  CHECK(report.of(Region::all).images() == 2);
  CHECK(report.of(Region::all).mean().mae == doctest::Approx((0.15 + 0.2) / 2));
  CHECK(report.of(Region::clear).mean().mae == doctest::Approx((0.1 + 0.2) / 2));
  CHECK(report.of(Region::cloudy).images() == 1);  // the second image has no cloudy pixel
  CHECK(report.of(Region::cloudy).mean().mae == doctest::Approx(0.3));
  CHECK(report.of(Region::all, 1).mean().mae == doctest::Approx(0.15));  // 25 % cover
  CHECK(report.of(Region::all, 0).mean().mae == doctest::Approx(0.2));
  CHECK(std::isnan(report.of(Region::all, 4).mean().mae));
  report.add({second, clear, 2, 2, 2});
  CHECK(report.of(Region::all).images() == 3);
  CHECK(report.of(Region::clear).images() == 2);  // no mask: unknown
}

}  // namespace
}  // namespace clearsky::metrics

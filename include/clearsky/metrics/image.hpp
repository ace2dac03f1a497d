#pragma once
// How close a restored image is to the clear one. Every metric is taken per image; averages over images come from
// ImageScoresMean. Values lie in [0, 1]: apply clamp_to_unit to both images first, as published results do.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "clearsky/core/error.hpp"
#include "clearsky/core/threads.hpp"

namespace clearsky::metrics {

/// Sets values below 0 to 0 and above 1 to 1; NaN stays. A step of its own: no metric does it.
inline void clamp_to_unit(std::span<float> values) {
  for (float& v : values) v = v < 0 ? 0 : v > 1 ? 1 : v;
}

/// Two images to compare, and the pixels that count.
struct ImagePair {
  std::span<const float> restored;      ///< (height, width, bands)  reflectance, 0 to 1
  std::span<const float> clear;         ///< (height, width, bands)  the same unit
  int64_t height, width, bands;         ///< pixels, pixels, at least 1
  std::span<const uint8_t> valid = {};  ///< (height, width)  0 leaves the pixel out; empty means every pixel counts

  int64_t pixels() const { return height * width; }
  bool counts(int64_t pixel) const { return valid.empty() || valid[size_t(pixel)] != 0; }
};

namespace detail {

inline void check_pair(const char* metric, const ImagePair& p) {
  CLEARSKY_CHECK(ShapeError, p.height >= 0 && p.width >= 0 && p.bands >= 1, metric, ": an image of ", p.height, " x ",
                 p.width, " pixels and ", p.bands, " bands; needs at least 1 band");
  const int64_t size = p.pixels() * p.bands;
  CLEARSKY_CHECK(ShapeError, int64_t(p.restored.size()) == size && int64_t(p.clear.size()) == size, metric, ": ",
                 p.height, " x ", p.width, " pixels of ", p.bands, " bands are ", size, " values, got ",
                 int64_t(p.restored.size()), " restored and ", int64_t(p.clear.size()), " clear");
  CLEARSKY_CHECK(ShapeError, p.valid.empty() || int64_t(p.valid.size()) == p.pixels(), metric, ": mask has ",
                 int64_t(p.valid.size()), " pixels, the images have ", p.pixels());
}

/// The mean of e(difference) over the bands of the pixels that count; NaN when there is none.
template <class E>
double mean_error(const char* metric, const ImagePair& p, E e) {
  check_pair(metric, p);
  double total = 0;
  int64_t counted = 0;
  for (int64_t i = 0; i < p.pixels(); ++i) {
    if (!p.counts(i)) continue;
    ++counted;
    for (int64_t k = i * p.bands; k < (i + 1) * p.bands; ++k)
      total += e(double(p.restored[size_t(k)]) - double(p.clear[size_t(k)]));
  }
  return counted == 0 ? std::numeric_limits<double>::quiet_NaN() : total / double(counted * p.bands);
}

}  // namespace detail

/// Mean absolute error, in the images' unit; NaN when no pixel counts.
inline double mae(const ImagePair& p) {
  return detail::mean_error("mae", p, [](double d) { return std::fabs(d); });
}
/// Root of the mean squared error, in the images' unit; NaN when no pixel counts.
inline double rmse(const ImagePair& p) {
  return std::sqrt(detail::mean_error("rmse", p, [](double d) { return d * d; }));
}
/// Peak signal-to-noise ratio, in dB; the peak is 1.
///
///     PSNR = -10 log10(mean squared error)        over all bands and pixels that count
///
/// @return  infinity for equal images; NaN when no pixel counts
inline double psnr(const ImagePair& p) {
  return -10 * std::log10(detail::mean_error("psnr", p, [](double d) { return d * d; }));
}

/// Mean spectral angle, in degrees; 0 is best.
///
///     angle = acos( <a, b> / (|a| |b|) )     per pixel, over its bands
///
/// A gain common to all bands leaves the angle at 0: the metric sees colour, not brightness.
///
/// @return  mean over the pixels that count; a pixel that is 0 in every band has no angle and is left out; NaN when no
///          pixel is left
/// @throws  ShapeError when the sizes do not fit or there are fewer than 2 bands
/// @source  Kruse et al., Remote Sens. Environ. 44 (1993), 145
inline double spectral_angle_degrees(const ImagePair& p) {
  detail::check_pair("spectral_angle_degrees", p);
  CLEARSKY_CHECK(ShapeError, p.bands >= 2, "spectral_angle_degrees: needs at least 2 bands, got ", p.bands);
  double total = 0;
  int64_t counted = 0;
  for (int64_t i = 0; i < p.pixels(); ++i) {
    if (!p.counts(i)) continue;
    const float* a = p.restored.data() + i * p.bands;
    const float* b = p.clear.data() + i * p.bands;
    double aa = 0, bb = 0;
    for (int64_t k = 0; k < p.bands; ++k) {
      aa += double(a[k]) * a[k];
      bb += double(b[k]) * b[k];
    }
    if (aa == 0 || bb == 0) continue;
    // tan(angle / 2) = |a/|a| - b/|b|| / |a/|a| + b/|b||: exact for small angles, where acos has lost half its digits.
    const double la = std::sqrt(aa), lb = std::sqrt(bb);
    double apart = 0, along = 0;
    for (int64_t k = 0; k < p.bands; ++k) {
      const double u = double(a[k]) / la, v = double(b[k]) / lb;
      apart += (u - v) * (u - v);
      along += (u + v) * (u + v);
    }
    total += 2 * std::atan2(std::sqrt(apart), std::sqrt(along));
    ++counted;
  }
  if (counted == 0) return std::numeric_limits<double>::quiet_NaN();
  return total / double(counted) * (180 / 3.14159265358979323846);
}

/// Structural similarity per pixel, the mean over its bands; 1 where the surroundings are equal.
///
///     SSIM = (2 ma mb + C1) (2 sab + C2) / ((ma^2 + mb^2 + C1) (sa^2 + sb^2 + C2))
///
/// Means, variances and covariance under a Gaussian window of 11 x 11 pixels, sigma 1.5; outside the image is 0.
/// C1 = 0.01^2, C2 = 0.03^2. Windows also read pixels that do not count, so all values must be finite.
///
/// @return  (height, width)
/// @source  Wang et al., IEEE Trans. Image Process. 13 (2004), 600, eq. 13
inline std::vector<double> ssim_map(const ImagePair& p) {
  detail::check_pair("ssim_map", p);
  constexpr int64_t kRadius = 5, kTaps = 2 * kRadius + 1;
  constexpr double kC1 = 0.01 * 0.01, kC2 = 0.03 * 0.03;
  double window[kTaps], window_sum = 0;
  for (int64_t k = 0; k < kTaps; ++k) window_sum += window[k] = std::exp(-double((k - kRadius) * (k - kRadius)) / 4.5);
  for (double& w : window) w /= window_sum;

  const int64_t row = p.width * p.bands, border = kRadius * p.bands, step = row + 2 * border;
  std::vector<double> map(size_t(p.pixels()));
  parallel_for(row == 0 ? 0 : p.height, 8, [&](int64_t begin, int64_t end) {
    // Filtered along the height: a, b, a^2 + b^2 and a b, with zeros on both sides; then along the width.
    std::vector<double> columns(size_t(4 * step), 0), filtered(size_t(4 * row));
    for (int64_t h = begin; h < end; ++h) {
      for (int m = 0; m < 4; ++m) std::fill_n(columns.data() + m * step + border, row, 0.0);
      for (int64_t k = (std::max)(int64_t(0), h - kRadius); k <= (std::min)(p.height - 1, h + kRadius); ++k) {
        const double w = window[k - h + kRadius];
        const float *a = p.restored.data() + k * row, *b = p.clear.data() + k * row;
        double* to = columns.data() + border;
        for (int64_t i = 0; i < row; ++i) {
          const double x = a[i], y = b[i];
          to[i] += w * x;
          to[i + step] += w * y;
          to[i + 2 * step] += w * (x * x + y * y);
          to[i + 3 * step] += w * (x * y);
        }
      }
      for (int m = 0; m < 4; ++m)
        for (int64_t i = 0; i < row; ++i) {
          double sum = 0;
          for (int64_t k = 0; k < kTaps; ++k) sum += window[k] * columns[size_t(m * step + i + k * p.bands)];
          filtered[size_t(m * row + i)] = sum;
        }
      for (int64_t w = 0; w < p.width; ++w) {
        double sum = 0;
        for (int64_t i = w * p.bands; i < (w + 1) * p.bands; ++i) {
          const double ma = filtered[size_t(i)], mb = filtered[size_t(row + i)], product = ma * mb;
          const double squares = ma * ma + mb * mb, variances = filtered[size_t(2 * row + i)] - squares;
          const double covariance = filtered[size_t(3 * row + i)] - product;
          sum += (2 * product + kC1) * (2 * covariance + kC2) / ((squares + kC1) * (variances + kC2));
        }
        map[size_t(h * p.width + w)] = sum / double(p.bands);
      }
    }
  });
  return map;
}

namespace detail {

inline double mean_over(const ImagePair& p, std::span<const double> map) {
  double total = 0;
  int64_t counted = 0;
  for (int64_t i = 0; i < p.pixels(); ++i) {
    if (!p.counts(i)) continue;
    total += map[size_t(i)];
    ++counted;
  }
  return counted == 0 ? std::numeric_limits<double>::quiet_NaN() : total / double(counted);
}

}  // namespace detail

/// Mean of ssim_map over the pixels that count; NaN when there is none.
inline double ssim(const ImagePair& p) {
  return detail::mean_over(p, ssim_map(p));
}

/// What the tables of results show.
struct ImageScores {
  double psnr = 0;                    ///< dB
  double ssim = 0;                    ///< at most 1
  double spectral_angle_degrees = 0;  ///< NaN for images with one band
  double mae = 0;                     ///< reflectance
  double rmse = 0;                    ///< reflectance

  std::array<double, 5> values() const { return {psnr, ssim, spectral_angle_degrees, mae, rmse}; }
  static ImageScores from(const std::array<double, 5>& v) { return {v[0], v[1], v[2], v[3], v[4]}; }
};

/// All scores of one pair.
/// @param map  ssim_map of the pair, whatever its mask: regions of one image share it
inline ImageScores image_scores(const ImagePair& p, std::span<const double> map) {
  CLEARSKY_CHECK(ShapeError, int64_t(map.size()) == p.pixels(), "image_scores: the SSIM map has ", int64_t(map.size()),
                 " pixels, the images have ", p.pixels());
  const double angle = p.bands >= 2 ? spectral_angle_degrees(p) : std::numeric_limits<double>::quiet_NaN();
  return {psnr(p), detail::mean_over(p, map), angle, mae(p), rmse(p)};
}
inline ImageScores image_scores(const ImagePair& p) {
  return image_scores(p, ssim_map(p));
}

/// The mean of scores over images, each image counting once. A score that is NaN, because the image has no pixel of the
/// kind asked for, is left out of its mean.
class ImageScoresMean {
 public:
  void add(const ImageScores& scores) {
    const auto values = scores.values();
    for (size_t k = 0; k < values.size(); ++k) {
      if (std::isnan(values[k])) continue;
      total_[k] += values[k];
      ++count_[k];
    }
  }
  void merge(const ImageScoresMean& other) {
    for (size_t k = 0; k < total_.size(); ++k) {
      total_[k] += other.total_[k];
      count_[k] += other.count_[k];
    }
  }
  /// NaN for a score that no image had. The mean of PSNR is infinite once one image was restored without any error.
  ImageScores mean() const {
    std::array<double, 5> m;
    for (size_t k = 0; k < m.size(); ++k) m[k] = total_[k] / double(count_[k]);
    return ImageScores::from(m);
  }
  /// Images that had a pixel to measure.
  int64_t images() const { return count_[3]; }

 private:
  std::array<double, 5> total_{};
  std::array<int64_t, 5> count_{};
};

/// Which pixels of an image are measured.
enum class Region { all, clear, cloudy };

inline constexpr int64_t kCloudBuckets = 5;

/// 0 to 4 for a cloud cover of 0-20 %, ..., 80-100 %, the upper border excluded but for 1.
/// @param cover  share of cloudy pixels, 0 to 1
inline int64_t cloud_bucket(double cover) {
  CLEARSKY_CHECK(ValueError, 0 <= cover && cover <= 1, "cloud_bucket: a cover of ", cover, "; use 0 to 1");
  return (std::min)(int64_t(cover * double(kCloudBuckets)), kCloudBuckets - 1);
}

/// Mean scores of a set of images: for all, clear and cloudy pixels, over the whole set and per bucket of cloud cover.
class ImageReport {
 public:
  /// Adds one image.
  /// @param p       its mask says which pixels have data
  /// @param cloudy  (height, width)  not 0 where the input was cloudy; empty when that is not known: then only
  ///                Region::all gets a score
  /// @param bucket  0 to 4; -1 takes it from `cloudy`, and leaves the buckets out when that is empty
  void add(const ImagePair& p, std::span<const uint8_t> cloudy = {}, int64_t bucket = -1) {
    detail::check_pair("ImageReport", p);
    CLEARSKY_CHECK(ShapeError, cloudy.empty() || int64_t(cloudy.size()) == p.pixels(), "ImageReport: cloud mask has ",
                   int64_t(cloudy.size()), " pixels, the images have ", p.pixels());
    CLEARSKY_CHECK(ValueError, -1 <= bucket && bucket < kCloudBuckets, "ImageReport: bucket ", bucket, "; use 0 to ",
                   kCloudBuckets - 1, ", or -1 to take it from the cloud mask");
    if (bucket < 0 && !cloudy.empty()) {
      int64_t count = 0;
      for (uint8_t c : cloudy) count += c != 0;
      bucket = cloud_bucket(double(count) / double(cloudy.size()));
    }
    const std::vector<double> map = ssim_map(p);
    std::vector<uint8_t> mask(size_t(p.pixels()));
    for (Region region : {Region::all, Region::clear, Region::cloudy}) {
      if (region != Region::all && cloudy.empty()) continue;
      ImagePair part = p;
      if (region != Region::all) {
        for (int64_t i = 0; i < p.pixels(); ++i)
          mask[size_t(i)] = p.counts(i) && (cloudy[size_t(i)] != 0) == (region == Region::cloudy);
        part.valid = mask;
      }
      const ImageScores scores = image_scores(part, map);
      whole_[size_t(region)].add(scores);
      if (bucket >= 0) buckets_[size_t(region)][size_t(bucket)].add(scores);
    }
  }
  void merge(const ImageReport& other) {
    for (size_t r = 0; r < whole_.size(); ++r) {
      whole_[r].merge(other.whole_[r]);
      for (size_t b = 0; b < buckets_[r].size(); ++b) buckets_[r][b].merge(other.buckets_[r][b]);
    }
  }
  const ImageScoresMean& of(Region region) const { return whole_[size_t(region)]; }
  const ImageScoresMean& of(Region region, int64_t bucket) const { return buckets_[size_t(region)].at(size_t(bucket)); }

 private:
  std::array<ImageScoresMean, 3> whole_;
  std::array<std::array<ImageScoresMean, size_t(kCloudBuckets)>, 3> buckets_;
};

}  // namespace clearsky::metrics

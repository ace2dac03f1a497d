#pragma once
// Random crops, flips and turns, alike for all images of a sample, and clouds over its clear image.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "clearsky/core/philox.hpp"
#include "clearsky/data/sample.hpp"
#include "clearsky/data/simulate.hpp"

namespace clearsky::data {

struct AugmentOptions {
  int64_t crop = 0;                 ///< side of a random square in pixels; 0 keeps the whole image
  bool flips = true;                ///< left-right and top-bottom, each with probability 1/2
  bool rotations = true;            ///< by 0, 90, 180 or 270 degrees; a whole image must then be square
  double simulate_probability = 0;  ///< of putting simulated clouds on the clear image in place of the real cloudy one
  /// Standard deviation of a random gain and offset of each SAR polarisation, which keeps a network that sees few
  /// scenes from telling them apart by their overall backscatter.
  double sar_jitter = 0;
  /// Of blending a sample with another one, images alike. Samples with labels are never blended.
  double mix_probability = 0;
};

/// Nothing random: for validation and test.
inline AugmentOptions no_augmentation() {
  return {.crop = 0, .flips = false, .rotations = false};
}

/// Where each output pixel comes from: a window, then perhaps its transpose, then flips.
struct PixelMap {
  int64_t row = 0, column = 0;    ///< of the window's corner
  int64_t height = 0, width = 0;  ///< of the output
  bool transpose = false, flip_rows = false, flip_columns = false;
};

/// Copies a window of x through a map.
///
/// @param x   (H, W) or (H, W, C)
/// @param to  (map.height, map.width[, C])  written
template <class T>
void copy_mapped(const Tensor<T>& x, const PixelMap& map, T* to) {
  const int64_t channels = x.rank() == 3 ? x.size(2) : 1;
  const Tensor<T> dense = x.is_contiguous() ? x : x.clone();
  const int64_t line = dense.size(1) * channels;
  // Steps in the source for one step down and one to the right in the output.
  int64_t down = map.transpose ? channels : line, right = map.transpose ? line : channels;
  const T* from = dense.data() + map.row * line + map.column * channels;
  if (map.flip_rows) from += (map.height - 1) * down, down = -down;
  if (map.flip_columns) from += (map.width - 1) * right, right = -right;
  for (int64_t r = 0; r < map.height; ++r, from += down) {
    if (right == channels) {
      to = std::copy_n(from, map.width * channels, to);
    } else {
      const T* p = from;
      for (int64_t c = 0; c < map.width; ++c, p += right) to = std::copy_n(p, channels, to);
    }
  }
}

/// The map that a key draws for an image of this size.
/// @throws ShapeError when the crop does not fit, or a turn would change the size
inline PixelMap draw_map(int64_t height, int64_t width, const Key& key, const AugmentOptions& options) {
  PixelMap map{0, 0, height, width};
  if (options.crop > 0) {
    CLEARSKY_CHECK(ShapeError, options.crop <= height && options.crop <= width, "augment: a crop of ", options.crop,
                   " does not fit an image of ", height, " x ", width);
    map.height = map.width = options.crop;
    map.row = key.integer(0, height - options.crop + 1);
    map.column = key.integer(1, width - options.crop + 1);
  }
  CLEARSKY_CHECK(ShapeError, !options.rotations || map.height == map.width, "augment: an image of ", map.height, " x ",
                 map.width, " cannot be turned by 90 degrees; set a crop, or rotations to false");
  // A transpose and two flips make all eight symmetries of the square.
  map.transpose = options.rotations && key.integer(2, 2) == 1;
  map.flip_rows = (options.flips || options.rotations) && key.integer(3, 2) == 1;
  map.flip_columns = (options.flips || options.rotations) && key.integer(4, 2) == 1;
  if (options.rotations && !options.flips) {
    // Turns alone: an even number of mirrorings.
    map.flip_columns = map.transpose != map.flip_rows;
  }
  return map;
}

/// sar <- gain sar + offset, for each polarisation: gain = e^(spread n1), offset = spread n2, n normal.
inline void jitter_sar(const Tensor<float>& sar, const Key& key, double spread) {
  float gain[2], offset[2];
  for (uint64_t c = 0; c < 2; ++c) {
    gain[c] = float(std::exp(spread * key.normal(2 * c)));
    offset[c] = float(spread * key.normal(2 * c + 1));
  }
  float* x = sar.mutable_data();
  for (int64_t i = 0; i < sar.numel(); ++i) x[i] = gain[i % 2] * x[i] + offset[i % 2];
}

/// a <- share a + (1 - share) b, image by image; only those that both have. The share follows the arcsine law
/// Beta(1/2, 1/2), so that most blends are close to one of the two.
/// @source  Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018, arXiv:1710.09412
inline void mix_samples(Sample& a, const Sample& b, const Key& key) {
  const double s = std::sin(1.57079632679489661923 * key.uniform(0));
  const float share = float(s * s);
  const auto blend = [&](Tensor<float>& x, const Tensor<float>& y) {
    if (!x.defined() || !y.defined()) {
      x = {};
      return;
    }
    float* to = x.mutable_data();
    const float* from = y.data();
    for (int64_t i = 0; i < x.numel(); ++i) to[i] = share * to[i] + (1 - share) * from[i];
  };
  blend(a.optical_cloudy, b.optical_cloudy);
  blend(a.optical_clear, b.optical_clear);
  blend(a.sar, b.sar);
  blend(a.cloud_mask, b.cloud_mask);
  blend(a.thickness, b.thickness);
}

/// One sample, augmented as the key says; all its images alike.
///
/// Without a cloudy image, clouds are always simulated.
/// @throws ValueError when clouds are to be simulated and there is no clear image
inline Sample augment(const Sample& sample, const Key& key, const AugmentOptions& options) {
  check_sample(sample);
  const PixelMap map = draw_map(sample.height(), sample.width(), key.at(1), options);
  const bool simulate = !sample.optical_cloudy.defined() || key.at(2).uniform(0) < options.simulate_probability;
  CLEARSKY_CHECK(ValueError, !simulate || sample.optical_clear.defined(), "augment: sample ", sample.info.id,
                 " has no clear image to simulate clouds on");
  Sample out;
  out.info = sample.info;
  out.invalid_values = sample.invalid_values;
  const auto apply = [&](const auto& x, auto& to, bool wanted) {
    if (!wanted || !x.defined()) return;
    Shape shape = x.shape();
    shape[0] = map.height;
    shape[1] = map.width;
    to = std::decay_t<decltype(x)>(shape);
    copy_mapped(x, map, to.mutable_data());
  };
  apply(sample.optical_cloudy, out.optical_cloudy, !simulate);
  apply(sample.optical_clear, out.optical_clear, true);
  apply(sample.sar, out.sar, true);
  apply(sample.labels, out.labels, true);
  apply(sample.cloud_mask, out.cloud_mask, !simulate);
  apply(sample.thickness, out.thickness, !simulate);
  if (options.sar_jitter > 0 && out.sar.defined()) jitter_sar(out.sar, key.at(5), options.sar_jitter);
  if (simulate) {
    const CloudedImage clouds = simulate_clouds(out.optical_clear, key.at(3), random_clouds(key.at(4)));
    out.optical_cloudy = clouds.optical;
    out.cloud_mask = clouds.mask;
    out.thickness = clouds.thickness;
  }
  return out;
}

}  // namespace clearsky::data

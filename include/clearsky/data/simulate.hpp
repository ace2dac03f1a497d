#pragma once
// Clouds over a clear image, with their mask and thickness known.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "clearsky/core/tensor.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/data/noise.hpp"
#include "clearsky/data/scaling.hpp"
#include "clearsky/data/scene.hpp"

namespace clearsky::data {

struct CloudOptions {
  double coverage = 0.6;              ///< share of pixels under water clouds, in [0, 1]
  double optical_depth = 3;           ///< of the thickest part; 0.5 is a veil, 4 hides the ground
  double softness = 0.8;              ///< width of the edges: 0.2 cumulus, 1.5 stratus
  double feature_pixels = 70;         ///< size of the largest clouds
  double cirrus_depth = 0.3;          ///< optical depth of the thickest ice cloud, above the others; 0 for none
  double shadow = 0.7;                ///< how much of the direct light a thick cloud takes away, in [0, 1]
  double sun_azimuth_degrees = 150;   ///< clockwise from north (up)
  double sun_elevation_degrees = 45;  ///< above the horizon
  double cloud_height_metres = 400;   ///< with the sun, gives the shadow's offset
  double pixel_size_metres = 10;
};

struct CloudedImage {
  Tensor<float> optical;    ///< (H, W, 13)  reflectance in [0, 1]
  Tensor<float> mask;       ///< (H, W)      1 where clouds take more than a tenth of the light, else 0
  Tensor<float> thickness;  ///< (H, W)      opacity at 560 nm: 1 - exp(-optical depth), in [0, 1]
  Tensor<float> shadow;     ///< (H, W)      share of the direct light taken from the ground, in [0, 1]
};

namespace detail {

/// How clouds look in a band.
struct CloudBand {
  float water_brightness;   ///< reflectance of a thick water cloud
  float water_extinction;   ///< optical depth relative to 560 nm
  float cirrus_brightness;  ///< reflectance of a thick ice cloud
  float cirrus_extinction;
  float direct_light;  ///< share of the light that comes straight from the sun and can be shadowed
};

// Ice absorbs in the short-wave infrared (B11, B12) more than water. Low clouds lie under most of the water vapour and
// hardly show in B10 and weakly in B9; ice clouds lie above it and are bright there. Haze scatters blue light more.
inline constexpr CloudBand kCloudBands[kBands] = {
    {0.72f, 1.06f, 0.62f, 1.05f, 0.52f}, {0.74f, 1.04f, 0.63f, 1.03f, 0.60f},  {0.75f, 1.00f, 0.64f, 1.00f, 0.68f},
    {0.77f, 0.97f, 0.65f, 0.98f, 0.76f}, {0.78f, 0.96f, 0.65f, 0.97f, 0.78f},  {0.79f, 0.95f, 0.66f, 0.96f, 0.80f},
    {0.80f, 0.94f, 0.66f, 0.95f, 0.82f}, {0.80f, 0.93f, 0.66f, 0.94f, 0.84f},  {0.80f, 0.93f, 0.66f, 0.94f, 0.85f},
    {0.40f, 0.93f, 0.55f, 0.93f, 0.86f}, {0.012f, 0.92f, 0.42f, 0.90f, 0.90f}, {0.56f, 0.86f, 0.34f, 0.70f, 0.92f},
    {0.42f, 0.80f, 0.26f, 0.62f, 0.94f}};

}  // namespace detail

/// Covers a clear image with clouds.
///
///     out = ground * (1 - shadow_b) * T_b + cloud_b * (1 - T_b),    T_b = exp(-depth * extinction_b)
///
/// for water clouds, then the same once more for the cirrus above them. The depth is fractal noise above the threshold
/// that yields the coverage; the shadow is the same cloud seen from the sun, moved away from it by height /
/// tan(elevation).
///
/// @param clear  (H, W, 13)  reflectance in [0, 1]
inline CloudedImage simulate_clouds(const Tensor<float>& clear, const Key& key, const CloudOptions& options = {}) {
  CLEARSKY_CHECK(ShapeError, clear.rank() == 3 && clear.size(2) == kBands, "simulate_clouds: needs (H, W, 13), got ",
                 clear.shape());
  CLEARSKY_CHECK(ValueError, 0 <= options.coverage && options.coverage <= 1, "simulate_clouds: coverage ",
                 options.coverage, "; use 0 to 1");
  CLEARSKY_CHECK(ValueError, options.sun_elevation_degrees > 0 && options.pixel_size_metres > 0,
                 "simulate_clouds: sun_elevation_degrees ", options.sun_elevation_degrees, " and pixel_size_metres ",
                 options.pixel_size_metres, " must be above 0");
  const int64_t h = clear.size(0), w = clear.size(1), pixels = h * w;
  const Tensor<float> ground = clear.is_contiguous() ? clear : clear.clone();
  CloudedImage out{Tensor<float>({h, w, kBands}), Tensor<float>({h, w}), Tensor<float>({h, w}), Tensor<float>({h, w})};
  if (pixels == 0) return out;

  constexpr double kRadian = 3.14159265358979323846 / 180;
  const double reach = options.cloud_height_metres / std::tan(options.sun_elevation_degrees * kRadian) /
                       options.pixel_size_metres;  // pixels from a cloud to its shadow
  const double shadow_row = reach * std::cos(options.sun_azimuth_degrees * kRadian);
  const double shadow_column = -reach * std::sin(options.sun_azimuth_degrees * kRadian);
  NoiseOptions shape{.feature_pixels = options.feature_pixels, .octaves = 6, .gain = 0.55};
  const Tensor<float> above = fractal_noise(h, w, key.at(1), shape);
  shape.row = -shadow_row;  // the cloud that darkens this pixel stands this far towards the sun
  shape.column = -shadow_column;
  const Tensor<float> sunward = fractal_noise(h, w, key.at(1), shape);
  const Tensor<float> billow = fractal_noise(h, w, key.at(2), {.feature_pixels = 24, .octaves = 4, .gain = 0.6});
  const Tensor<float> ice = fractal_noise(
      h, w, key.at(3),
      {.feature_pixels = 60, .octaves = 5, .gain = 0.6, .stretch = 4, .angle_degrees = key.at(4).uniform(0, 0, 180)});
  const float threshold = options.coverage > 0 ? detail::quantile(above, 1 - options.coverage) : 1e30f;
  const float ice_threshold = detail::quantile(ice, 0.35);
  const float rise = float(1 / (0.5 * (std::max)(options.softness, 0.02)));  // the noise's deviation is about 1/4

  /// Optical depth of the water cloud where the noise is n.
  const auto depth_of = [&](float n) {
    const float e = (std::clamp)((n - threshold) * rise + (options.coverage >= 1 ? 0.3f : 0.0f), 0.0f, 1.0f);
    return float(options.optical_depth) * e * (0.4f + 0.6f * e);
  };
  float* const optical = out.optical.mutable_data();
  float* const mask = out.mask.mutable_data();
  float* const thickness = out.thickness.mutable_data();
  float* const shadow = out.shadow.mutable_data();
  parallel_for(pixels, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const float water = depth_of(above.data()[p]);
      const float thin = (std::clamp)((ice.data()[p] - ice_threshold) * 1.6f, 0.0f, 1.0f);
      const float cirrus = float(options.cirrus_depth) * thin * thin * (3 - 2 * thin);
      const float shade = float(options.shadow) * (1 - std::exp(-depth_of(sunward.data()[p])));
      const float relief = 1 + 0.35f * billow.data()[p];  // lit and shaded sides of the cloud's surface
      for (int64_t b = 0; b < kBands; ++b) {
        const detail::CloudBand& band = detail::kCloudBands[b];
        const float through = std::exp(-water * band.water_extinction);
        const float through_ice = std::exp(-cirrus * band.cirrus_extinction);
        float v = ground.data()[p * kBands + b] * (1 - shade * band.direct_light);
        v = v * through + band.water_brightness * relief * (1 - through);
        v = v * through_ice + band.cirrus_brightness * (1 - through_ice);
        optical[p * kBands + b] = (std::clamp)(v, 0.0f, 1.0f);
      }
      thickness[p] = 1 - std::exp(-water - cirrus);
      mask[p] = thickness[p] > 0.1f ? 1.0f : 0.0f;
      shadow[p] = shade;
    }
  });
  return out;
}

/// Weather as it comes: cover mostly 30 to 90 %, thin veils and thick clouds, sharp and soft edges, some cirrus.
inline CloudOptions random_clouds(const Key& key) {
  CloudOptions o;
  const double u = key.uniform(0);
  o.coverage = u < 0.10 ? key.uniform(1, 0.03, 0.3) : u < 0.95 ? key.uniform(1, 0.3, 0.9) : key.uniform(1, 0.9, 1);
  o.optical_depth = 0.8 * std::exp(key.uniform(2) * 2.0);  // 0.8 to 5.9
  o.softness = key.uniform(3, 0.3, 1.4);
  o.feature_pixels = key.uniform(4, 40, 110);
  o.cirrus_depth = key.uniform(5) < 0.4 ? key.uniform(6, 0.05, 0.6) : 0;
  o.shadow = key.uniform(7, 0.4, 0.8);
  o.sun_azimuth_degrees = key.uniform(8, 110, 170);
  o.sun_elevation_degrees = key.uniform(9, 30, 65);
  o.cloud_height_metres = key.uniform(10, 150, 500);
  return o;
}

}  // namespace clearsky::data

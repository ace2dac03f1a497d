#pragma once
// A procedural scene: land cover, what a multispectral camera sees of it, and what a radar sees of it.
//
// Optics and radar come from the same map and the same mixing within each class, so what clouds hide from one can in
// part be told from the other: that is what a model trained on these scenes learns.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "clearsky/core/tensor.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/data/land_cover.hpp"
#include "clearsky/data/noise.hpp"

namespace clearsky::data {

struct SceneOptions {
  int64_t height = 256, width = 256;  ///< pixels of 10 m
  double region_pixels = 36;          ///< typical size of a land-cover region
  bool fields = true;                 ///< cropland is cut into fields of one growth stage each
  bool rivers = true;
  bool roads = true;
  int looks = 4;  ///< of the radar: speckle has a relative standard deviation of 1/sqrt(looks); 1 to 8
};

struct Scene {
  Tensor<float> optical;   ///< (H, W, 13)  top-of-atmosphere reflectance in [0, 1]
  Tensor<float> sar_db;    ///< (H, W, 2)   VV, VH; dB
  Tensor<uint8_t> labels;  ///< (H, W)      the class each pixel was made from
};

namespace detail {

/// The value below which a share of a field's pixels lies.
inline float quantile(const Tensor<float>& field, double share) {
  std::vector<float> values = field.to_vector();
  const size_t at = size_t((std::clamp)(share, 0.0, 1.0) * double(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + std::ptrdiff_t(at), values.end());
  return values[at];
}

/// Classes and mixing of one scene, before any sensor looks at it.
struct LandMap {
  Tensor<uint8_t> labels;  // (H, W)
  Tensor<float> mixing;    // (H, W)  0: like the class's first end, 1: like its second
  Tensor<float> gain;      // (H, W)  brightness of the region or field, around 1
};

// Purposes of random numbers, so that no two share a sequence.
enum SceneStream : uint64_t {
  kWeights = 1,
  kWarpRow,
  kWarpColumn,
  kElevation,
  kMoisture,
  kRiver,
  kRoad,
  kCells,
  kFields,
  kMixing,
  kTexture,
  kHaze,
  kSpeckle,
  kBackscatter,
  kScatterers,
  kBandNoise
};

/// A region: its point in a jittered lattice, what covers it, and the pattern of its fields.
struct Region {
  float row, column;
  uint8_t cover;
  double mix, bright;
  double sine, cosine, wide, tall;  // fields are cells of a lattice turned by the region's own angle; pixels
  Key fields;

  /// A number that names the field a pixel lies in.
  Key field_at(double r, double c) const {
    const auto i = int64_t(std::floor((cosine * r + sine * c) / tall));
    const auto j = int64_t(std::floor((cosine * c - sine * r) / wide));
    return fields.at((uint64_t(uint32_t(i)) << 32) | uint32_t(j));
  }
};

/// A class for each region: the scene's own mixture of the five that form regions (water and wetland follow the
/// terrain).
struct RegionClasses {
  double cumulative[5];
  explicit RegionClasses(const Key& key) {
    constexpr double kTypical[] = {0.24, 0.28, 0.20, 0.16, 0.12};
    double total = 0;
    for (int i = 0; i < 5; ++i) cumulative[i] = total += kTypical[i] * std::exp(0.7 * key.normal(uint64_t(i)));
    for (double& c : cumulative) c /= total;
  }
  uint8_t pick(double u) const {
    int i = 0;
    while (i < 4 && u >= cumulative[i]) ++i;
    constexpr uint8_t kRegional[] = {kForest, kCropland, kGrassland, kBuilt, kBare};
    return kRegional[i];
  }
};

inline Region make_region(const Key& key, const RegionClasses& classes, int64_t i, int64_t j, double size) {
  const Key own = key.at(uint64_t(i), uint64_t(j));
  const double angle = own.uniform(0, 0, 3.14159265);
  Region r;
  r.row = float((double(i) + own.uniform(1, 0.1, 0.9)) * size);
  r.column = float((double(j) + own.uniform(2, 0.1, 0.9)) * size);
  r.cover = classes.pick(own.uniform(3));
  r.mix = own.uniform(4);
  r.bright = own.normal(5);
  r.sine = std::sin(angle);
  r.cosine = std::cos(angle);
  r.wide = own.uniform(6, 9, 16);
  r.tall = own.uniform(7, 14, 26);
  r.fields = own.at(kFields);
  return r;
}

inline LandMap make_land(const SceneOptions& o, const Key& key) {
  const int64_t h = o.height, w = o.width;
  LandMap land{Tensor<uint8_t>({h, w}), Tensor<float>({h, w}), Tensor<float>({h, w})};
  const RegionClasses classes(key.at(kWeights));
  const double size = o.region_pixels;
  const Tensor<float> warp_row = fractal_noise(h, w, key.at(kWarpRow), {.feature_pixels = size, .octaves = 4});
  const Tensor<float> warp_column = fractal_noise(h, w, key.at(kWarpColumn), {.feature_pixels = size, .octaves = 4});
  const Tensor<float> elevation = fractal_noise(h, w, key.at(kElevation), {.feature_pixels = 3 * size, .octaves = 5});
  const Tensor<float> moisture = fractal_noise(h, w, key.at(kMoisture), {.feature_pixels = 2 * size, .octaves = 3});
  const Tensor<float> river = fractal_noise(h, w, key.at(kRiver), {.feature_pixels = 4 * size, .octaves = 3});
  const Tensor<float> patches = fractal_noise(h, w, key.at(kMixing), {.feature_pixels = size, .octaves = 4});

  const Key draw = key.at(kWeights, 1);
  const float shore = quantile(elevation, draw.uniform(0, 0.02, 0.26));
  const float marsh = quantile(elevation, draw.uniform(1, 0.20, 0.42));
  const bool has_river = o.rivers && draw.uniform(2) < 0.4;
  const double river_half_width = draw.uniform(3, 1.2, 3.5);  // pixels
  const Key cells = key.at(kCells);

  // The regions that can reach into the window, with a margin for the warp.
  const double bend = 0.45 * size;  // pixels per unit of the warp's noise, whose standard deviation is about 1/4
  const int64_t first_i = -2, cells_down = int64_t(double(h) / size) + 6;
  const int64_t first_j = -2, cells_across = int64_t(double(w) / size) + 6;
  std::vector<Region> regions;
  for (int64_t i = 0; i < cells_down; ++i)
    for (int64_t j = 0; j < cells_across; ++j)
      regions.push_back(make_region(cells, classes, first_i + i, first_j + j, size));

  // A road is a gently bent line; its half width is 1.1 pixels.
  struct Road {
    double row, column, dr, dc, curvature;
  } roads[2];
  const int road_count = o.roads ? int(key.at(kRoad).integer(0, 3)) : 0;
  for (int i = 0; i < road_count; ++i) {
    const Key k = key.at(kRoad, uint64_t(i + 1));
    const double turn = k.uniform(0, 0, 3.14159265);
    roads[i] = {k.uniform(1, 0.2, 0.8) * double(h), k.uniform(2, 0.2, 0.8) * double(w), std::sin(turn), std::cos(turn),
                k.uniform(3, -0.002, 0.002)};
  }

  uint8_t* const label = land.labels.mutable_data();
  float* const mixing = land.mixing.mutable_data();
  float* const gain = land.gain.mutable_data();
  parallel_for(h, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t c = 0; c < w; ++c) {
        const int64_t p = r * w + c;
        const double y = double(r) + bend * double(warp_row.data()[p]),
                     x = double(c) + bend * double(warp_column.data()[p]);
        const int64_t ci = (std::clamp)(int64_t(std::floor(y / size)) - first_i, int64_t(1), cells_down - 2);
        const int64_t cj = (std::clamp)(int64_t(std::floor(x / size)) - first_j, int64_t(1), cells_across - 2);
        int64_t region = 0;
        double nearest = 1e30;
        for (int64_t i = ci - 1; i <= ci + 1; ++i)
          for (int64_t j = cj - 1; j <= cj + 1; ++j) {
            const Region& q = regions[size_t(i * cells_across + j)];
            const double dy = y - double(q.row), dx = x - double(q.column), d = dy * dy + dx * dx;
            if (d < nearest) {
              nearest = d;
              region = i * cells_across + j;
            }
          }
        const Region& own = regions[size_t(region)];
        uint8_t cover = own.cover;
        double mix = own.mix, bright = own.bright;

        if (cover == kCropland && o.fields) {
          const Key field = own.field_at(double(r), double(c));
          // Most fields are green or bare, few in between.
          const double u = field.uniform(0);
          mix = u < 0.5 ? 0.5 * u : 0.5 + 0.5 * u;
          bright = field.normal(1);
        } else {
          mix = (std::clamp)(0.25 + 0.5 * mix + 0.7 * double(patches.data()[p]), 0.0, 1.0);
        }
        if (cover == kBuilt) {  // blocks of houses between streets
          const Key block = own.field_at(double(r) * 3, double(c) * 3);
          mix = (std::clamp)(0.5 * mix + 0.5 * block.uniform(0), 0.0, 1.0);
        }
        const float ground = elevation.data()[p];
        if (ground < marsh && moisture.data()[p] > 0.02f) cover = kWetland, bright = 0.3 * bright;
        const double from_road = [&] {
          double d = 1e30;
          for (int i = 0; i < road_count; ++i) {
            const Road& q = roads[i];
            const double dy = double(r) - q.row, dx = double(c) - q.column, along = dy * q.dr + dx * q.dc;
            d = (std::min)(d, std::abs(dy * q.dc - dx * q.dr - q.curvature * along * along));
          }
          return d;
        }();
        // The noise changes by about 1 per feature, so its zero line is this wide.
        const bool in_river = has_river && std::abs(double(river.data()[p])) < river_half_width / (4 * size) * 1.6;
        if (ground < shore || in_river) {
          cover = kWater;
          mix = in_river ? 0.8 : (std::clamp)(0.35 + 1.2 * double(patches.data()[p]), 0.0, 1.0);
          bright = 0;
        }
        if (from_road < 1.1) cover = kBuilt, mix = 0.3, bright = 0;
        label[p] = cover;
        mixing[p] = float(mix);
        gain[p] = float(1 + double(kCovers[cover].brightness_spread) * bright);
      }
  });
  return land;
}

/// to = (1, 2, 1) / 4 of three lines; `to` may be one of them.
inline void blur_line(const float* before, const float* here, const float* after, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = 0.25f * before[i] + 0.5f * here[i] + 0.25f * after[i];
}

/// Blurs rows and columns with (1, 2, 1) / 4, `passes` times: a lens that mixes neighbouring pixels. Borders repeat.
inline void blur(float* plane, int64_t h, int64_t w, int passes) {
  Scratch<float> padded(w + 2), above(w), here(w);
  for (int pass = 0; pass < passes; ++pass) {
    for (int64_t r = 0; r < h; ++r) {
      float* const row = plane + r * w;
      std::copy_n(row, w, padded.data() + 1);
      padded[0] = row[0];
      padded[w + 1] = row[w - 1];
      blur_line(padded.data(), padded.data() + 1, padded.data() + 2, row, w);
    }
    // Downwards a row at a time, keeping the unblurred row above: columns would miss the cache at every step.
    std::copy_n(plane, w, above.data());
    for (int64_t r = 0; r < h; ++r) {
      float* const row = plane + r * w;
      std::copy_n(row, w, here.data());
      blur_line(above.data(), here.data(), r + 1 < h ? row + w : here.data(), row, w);
      std::copy_n(here.data(), w, above.data());
    }
  }
}

/// Sentinel-2's sharpness: 10 m bands are nearly sharp, 20 m and 60 m bands were resampled.
inline constexpr int kBlurPasses[kBands] = {10, 1, 1, 1, 2, 2, 2, 1, 2, 10, 10, 2, 2};

inline Tensor<float> look_optical(const LandMap& land, const Key& key) {
  const int64_t h = land.labels.size(0), w = land.labels.size(1), pixels = h * w;
  const Tensor<float> fine = fractal_noise(h, w, key.at(kTexture), {.feature_pixels = 8, .octaves = 3, .gain = 0.8});
  const Key haze = key.at(kHaze), grain = key.at(kBandNoise);
  const double light = haze.uniform(0, 0.94, 1.06);  // the sun's height
  const double path = 0.010 * haze.normal(1);        // scattered into the blue
  Tensor<float> out({h, w, kBands});
  float* const to = out.mutable_data();
  parallel_for(kBands, 1, [&](int64_t begin, int64_t end) {
    Scratch<float> plane(pixels);
    for (int64_t b = begin; b < end; ++b) {
      for (int64_t p = 0; p < pixels; ++p) {
        const Cover& cover = kCovers[land.labels.data()[p]];
        const float m = land.mixing.data()[p];
        const float base = cover.ends[0].reflectance[b] * (1 - m) + cover.ends[1].reflectance[b] * m;
        plane[p] = base * 0.001f * land.gain.data()[p] * (1 + 4 * cover.texture * fine.data()[p]);
      }
      blur(plane.data(), h, w, kBlurPasses[b]);
      std::array<uint32_t, 4> words{};
      const double blue = 443 / kBandNanometres[b], scattered = b == kB10 ? 0 : path * blue * blue * blue;
      for (int64_t p = 0; p < pixels; ++p) {
        if (p % 4 == 0) words = grain.bits(uint64_t(p / 4 * kBands + b));
        const double noise = 0.0012 * (double(words[size_t(p % 4)]) * 0x1p-32 - 0.5);
        to[p * kBands + b] = float((std::clamp)(double(plane[p]) * light + scattered + noise, 0.0, 1.0));
      }
    }
  });
  return out;
}

/// Backscatter in intensity, blurred a little, times gamma-distributed speckle of mean 1.
inline Tensor<float> look_sar(const LandMap& land, const Key& key, int looks) {
  const int64_t h = land.labels.size(0), w = land.labels.size(1), pixels = h * w;
  const Tensor<float> relief = fractal_noise(h, w, key.at(kBackscatter), {.feature_pixels = 40, .octaves = 4});
  const Key speckle = key.at(kSpeckle), scatterers = key.at(kScatterers);
  const double wind = key.at(kBackscatter, 1).uniform(0, -2, 2);  // dB on open water
  Tensor<float> out({h, w, kPolarisations});
  float* const to = out.mutable_data();
  parallel_for(kPolarisations, 1, [&](int64_t begin, int64_t end) {
    Scratch<float> plane(pixels);
    for (int64_t k = begin; k < end; ++k) {
      for (int64_t p = 0; p < pixels; ++p) {
        const uint8_t label = land.labels.data()[p];
        const Cover& cover = kCovers[label];
        const double m = double(land.mixing.data()[p]);
        const double first = double(k == 0 ? cover.ends[0].vv_db : cover.ends[0].vh_db);
        const double second = double(k == 0 ? cover.ends[1].vv_db : cover.ends[1].vh_db);
        double db = first * (1 - m) + second * m + 2 * double(relief.data()[p]);
        if (label == kWater) db += wind;
        if (label == kBuilt) {  // walls and streets form corners that send everything back
          const double u = scatterers.uniform(uint64_t(p));
          db += u < 0.06 ? 8 : -1;
        }
        plane[p] = float(std::pow(10, 0.1 * db));
      }
      blur(plane.data(), h, w, 1);
      for (int64_t p = 0; p < pixels; ++p) {
        // A sum of `looks` exponential draws is the logarithm of a product of uniform ones.
        double log_product = 0;
        for (int first = 0; first < looks; first += 4) {
          const auto r = speckle.bits(uint64_t((p * kPolarisations + k) * 2 + first / 4));
          double product = 1;
          for (int i = 0; i < (std::min)(4, looks - first); ++i) product *= (double(r[size_t(i)]) + 1) * 0x1p-32;
          log_product += std::log(product);
        }
        const double intensity = double(plane[p]) * -log_product / looks;
        to[p * kPolarisations + k] = float(10 * std::log10((std::max)(intensity, 1e-5)));
      }
    }
  });
  return out;
}

}  // namespace detail

/// Makes a scene; the same key and options give the same bits on any number of threads.
///
///     Scene scene = make_scene(Key{7}, {.height = 256, .width = 256});
inline Scene make_scene(const Key& key, const SceneOptions& options = {}) {
  CLEARSKY_CHECK(ValueError, options.height >= 1 && options.width >= 1, "make_scene: size ", options.height, " x ",
                 options.width, "; both must be at least 1");
  CLEARSKY_CHECK(ValueError, options.region_pixels >= 4, "make_scene: region_pixels ", options.region_pixels,
                 "; use 4 or more");
  CLEARSKY_CHECK(ValueError, 1 <= options.looks && options.looks <= 8, "make_scene: looks ", options.looks,
                 "; use 1 to 8");
  const detail::LandMap land = detail::make_land(options, key);
  return {detail::look_optical(land, key), detail::look_sar(land, key, options.looks), land.labels};
}

}  // namespace clearsky::data

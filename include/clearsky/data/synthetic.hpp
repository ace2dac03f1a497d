#pragma once
// The built-in dataset: procedural scenes under simulated clouds, made when asked for, from nothing but a seed.

#include <cmath>
#include <cstdint>
#include <string>

#include "clearsky/data/dataset.hpp"
#include "clearsky/data/scene.hpp"
#include "clearsky/data/simulate.hpp"

namespace clearsky::data {

struct SyntheticOptions {
  int64_t count = 64;
  int64_t height = 128, width = 128;  ///< pixels of 10 m
  uint64_t seed = 1;
  int64_t patches_per_roi = 4;        ///< samples that share a region's name, so that a split by region can be made
  double radiometric_spread = 0.015;  ///< the cloudy image was taken on another day: its ground is brighter or darker
  SarScaling sar = {};
  SceneOptions scene = {};  ///< its height and width are replaced by the above
};

/// Scene i under weather i.
///
///     auto data = std::make_shared<Synthetic>(SyntheticOptions{.count = 256});
class Synthetic : public Dataset {
 public:
  explicit Synthetic(const SyntheticOptions& options) : options_(options) {
    CLEARSKY_CHECK(ValueError, options.count >= 0 && options.patches_per_roi >= 1, "Synthetic: count ", options.count,
                   " must be at least 0 and patches_per_roi ", options.patches_per_roi, " at least 1");
    options_.scene.height = options.height;
    options_.scene.width = options.width;
  }
  int64_t size() const override { return options_.count; }

  /// The bucket of simulated clouds is known only after they are made: empty here, filled by load().
  SampleInfo info(int64_t index) const override {
    check_index(index);
    const int64_t roi = index / options_.patches_per_roi + 1;
    const std::string region = (roi < 10 ? "0" : "") + std::to_string(roi);
    return {"ROIs_" + region + "_p" + std::to_string(index), "", region};
  }

  Sample load(int64_t index) const override {
    Sample s;
    s.info = info(index);
    const Key key = Key{options_.seed}.at(0x7363656e65, uint64_t(index));
    const Scene scene = make_scene(key.at(1), options_.scene);
    Tensor<float> before = scene.optical.clone();
    const double gain = 1 + options_.radiometric_spread * key.at(2).normal(0);
    for (float *p = before.mutable_data(), *end = p + before.numel(); p != end; ++p) *p *= float(gain);
    const CloudedImage cloudy = simulate_clouds(before, key.at(3), random_clouds(key.at(4)));
    s.optical_cloudy = cloudy.optical;
    s.optical_clear = scene.optical;
    s.sar = scale_sar(scene.sar_db, options_.sar);
    s.labels = scene.labels;
    s.cloud_mask = cloudy.mask;
    s.thickness = cloudy.thickness;
    s.info.bucket = cloud_bucket(cloud_cover(s.cloud_mask));
    return s;
  }

 private:
  SyntheticOptions options_;
};

}  // namespace clearsky::data

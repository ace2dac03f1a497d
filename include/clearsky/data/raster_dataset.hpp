#pragma once
// A dataset of GeoTIFF files: one list of paths per sample, whatever the layout of their folders.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "clearsky/data/dataset.hpp"
#include "clearsky/geo/geotiff.hpp"

namespace clearsky::data {

/// Where a sample's images lie; an empty path means there is none.
struct RasterPaths {
  SampleInfo info;
  std::string optical_cloudy, optical_clear, sar, labels, mask;
  std::optional<double> dn_offset = {};  ///< where it differs from the data set's
};

struct RasterOptions {
  OpticalScaling optical = {};
  SarScaling sar = {};
  LabelMap labels = {};
};

/// The data set's scaling, or the sample's own.
inline OpticalScaling optical_scaling(const RasterPaths& paths, const RasterOptions& options) {
  OpticalScaling scaling = options.optical;
  if (paths.dn_offset) scaling.dn_offset = *paths.dn_offset;
  return scaling;
}

/// Reads and scales the images of one sample.
/// @throws IoError for a file that cannot be read, ShapeError when the images differ in size
inline Sample read_sample(const RasterPaths& paths, const RasterOptions& options) {
  Sample s;
  s.info = paths.info;
  const auto pixels = [](const std::string& path, int64_t bands) { return geo::read_geotiff(path, {}, bands).pixels; };
  const OpticalScaling scaling = optical_scaling(paths, options);
  const auto optical = [&](const std::string& path) {
    return path.empty() ? Tensor<float>{} : scale_optical(pixels(path, kBands), scaling, &s.invalid_values);
  };
  s.optical_cloudy = optical(paths.optical_cloudy);
  s.optical_clear = optical(paths.optical_clear);
  if (!paths.sar.empty()) s.sar = scale_sar(pixels(paths.sar, kPolarisations), options.sar, &s.invalid_values);
  if (!paths.labels.empty()) {
    const Tensor<float> x = pixels(paths.labels, 1);
    s.labels = Tensor<uint8_t>({x.size(0), x.size(1)});
    uint8_t* const to = s.labels.mutable_data();
    for (int64_t i = 0; i < x.numel(); ++i) to[i] = options.labels(x.data()[i]);
  }
  if (!paths.mask.empty()) {
    const Tensor<float> x = pixels(paths.mask, 1);
    s.cloud_mask = Tensor<float>({x.size(0), x.size(1)});
    float* const to = s.cloud_mask.mutable_data();
    for (int64_t i = 0; i < x.numel(); ++i) to[i] = x.data()[i] > 0.5f ? 1.0f : 0.0f;
  }
  check_sample(s);
  return s;
}

/// Samples read from GeoTIFF files each time they are asked for; put a Cached around it when memory allows.
class RasterDataset : public Dataset {
 public:
  RasterDataset(std::vector<RasterPaths> samples, RasterOptions options)
      : samples_(std::move(samples)), options_(std::move(options)) {}
  int64_t size() const override { return int64_t(samples_.size()); }
  SampleInfo info(int64_t index) const override { return paths(index).info; }
  Sample load(int64_t index) const override { return read_sample(paths(index), options_); }
  const RasterPaths& paths(int64_t index) const {
    check_index(index);
    return samples_[size_t(index)];
  }
  const RasterOptions& options() const { return options_; }

  /// What to tell the user when a file's cirrus band contradicts dn_offset; empty when none of the first few does.
  std::string warning(int64_t files = 3) const {
    for (const RasterPaths& p : samples_) {
      // The clear image: a sheet of cirrus lifts B10 as an offset would.
      const std::string& path = p.optical_clear.empty() ? p.optical_cloudy : p.optical_clear;
      if (path.empty()) continue;
      if (files-- <= 0) break;
      const std::string text =
          dn_offset_warning(geo::read_geotiff(path, {}, kBands).pixels, optical_scaling(p, options_));
      if (!text.empty()) return path + ": " + text;
    }
    return {};
  }

 private:
  std::vector<RasterPaths> samples_;
  RasterOptions options_;
};

using RasterDatasetPointer = std::shared_ptr<const RasterDataset>;

}  // namespace clearsky::data

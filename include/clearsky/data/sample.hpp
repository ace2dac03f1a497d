#pragma once
// One sample: images of the same ground, scaled for the network.

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>

#include "clearsky/core/tensor.hpp"
#include "clearsky/data/scaling.hpp"

namespace clearsky::data {

/// The built-in classes, in the order of the labels.
inline constexpr int64_t kClasses = 7;
inline constexpr const char* kClassNames[kClasses] = {"water", "forest", "cropland", "grassland",
                                                      "built", "bare",   "wetland"};

/// What is known of a sample without reading its pixels.
struct SampleInfo {
  std::string id;
  std::string bucket;  ///< cloud cover: "0-20%" to "80%-100%"; empty when unknown
  std::string roi;     ///< region of interest: patches of one region overlap or adjoin; empty when unknown
};

/// Images of one place. Any but the SAR may be absent (undefined).
struct Sample {
  SampleInfo info;
  Tensor<float> optical_cloudy;  ///< (H, W, 13)  reflectance in [0, 1]
  Tensor<float> optical_clear;   ///< (H, W, 13)  reflectance in [0, 1]
  Tensor<float> sar;             ///< (H, W, 2)   VV, VH, scaled to [0, 1]
  Tensor<uint8_t> labels;        ///< (H, W)      class, or 255 for ignored
  Tensor<float> cloud_mask;      ///< (H, W)      1 where cloudy, else 0
  Tensor<float> thickness;       ///< (H, W)      opacity of the cloud at 560 nm in [0, 1]; known for simulated clouds
  int64_t invalid_values = 0;    ///< NaN and infinite values that were read and became 0

  int64_t height() const { return any_shape()[0]; }
  int64_t width() const { return any_shape()[1]; }

 private:
  const Shape& any_shape() const {
    CLEARSKY_CHECK(ValueError, sar.defined() || optical_clear.defined() || optical_cloudy.defined(), "Sample ", info.id,
                   ": has no image");
    return sar.defined() ? sar.shape() : optical_clear.defined() ? optical_clear.shape() : optical_cloudy.shape();
  }
};

/// Throws ShapeError unless all images of a sample that are there have the size of the first and their bands.
inline void check_sample(const Sample& s) {
  const int64_t h = s.height(), w = s.width();
  const auto check = [&](const char* name, const auto& x, const Shape& expected) {
    if (!x.defined()) return;
    CLEARSKY_CHECK(ShapeError, x.shape() == expected, "sample ", s.info.id, ": ", name, " is ", x.shape(),
                   ", expected ", expected);
  };
  check("sar", s.sar, {h, w, kPolarisations});
  check("optical_clear", s.optical_clear, {h, w, kBands});
  check("optical_cloudy", s.optical_cloudy, {h, w, kBands});
  check("labels", s.labels, {h, w});
  check("cloud_mask", s.cloud_mask, {h, w});
  check("thickness", s.thickness, {h, w});
}

/// The share of cloudy pixels, in [0, 1]; 0 without a mask.
inline double cloud_cover(const Tensor<float>& mask) {
  if (mask.numel() == 0) return 0;
  const Tensor<float> m = mask.is_contiguous() ? mask : mask.clone();
  int64_t cloudy = 0;
  for (int64_t i = 0; i < m.numel(); ++i) cloudy += m.data()[i] > 0.5f;
  return double(cloudy) / double(m.numel());
}

/// The names of LuojiaSET-OSFCR's five classes of cloud cover, in rising order.
inline constexpr const char* kBuckets[] = {"0-20%", "20%-40%", "40%-60%", "60%-80%", "80%-100%"};

/// @param cover  in [0, 1]
inline std::string cloud_bucket(double cover) {
  return kBuckets[(std::clamp)(int(cover * 5), 0, 4)];
}

/// Which of a file's label values mean which class.
struct LabelMap {
  std::map<int, uint8_t> classes;  ///< file value -> class; empty: values are classes already

  uint8_t operator()(float value) const {
    if (!(value >= 0 && value <= 255)) return kIgnored;  // also NaN
    const int id = int(value + 0.5f);
    if (classes.empty()) return uint8_t(id);
    const auto found = classes.find(id);
    return found == classes.end() ? kIgnored : found->second;
  }
};

/// "1:0,2:1,7:255" -> a LabelMap. Values that are not named become 255.
/// @throws ValueError with the part that does not read as value:class
inline LabelMap parse_label_map(const std::string& text) {
  LabelMap map;
  for (size_t at = 0; at < text.size();) {
    const size_t end = (std::min)(text.find(',', at), text.size());
    const std::string part = text.substr(at, end - at);
    at = end + 1;
    const size_t colon = part.find(':');
    const auto number = [&](const std::string& digits) {
      const bool ok = !digits.empty() && digits.size() <= 3 && digits.find_first_not_of("0123456789") == digits.npos &&
                      std::stoi(digits) <= 255;
      CLEARSKY_CHECK(ValueError, ok, "parse_label_map: ", part,
                     " does not read as value:class; write 1:0,2:1 with "
                     "numbers from 0 to 255");
      return std::stoi(digits);
    };
    CLEARSKY_CHECK(ValueError, colon != part.npos, "parse_label_map: ", part,
                   " does not read as value:class; write 1:0,2:1 with numbers from 0 to 255");
    const int value = number(part.substr(0, colon)), label = number(part.substr(colon + 1));
    CLEARSKY_CHECK(ValueError, map.classes.emplace(value, uint8_t(label)).second, "parse_label_map: value ", value,
                   " is mapped twice");
  }
  return map;
}

}  // namespace clearsky::data

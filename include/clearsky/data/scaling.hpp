#pragma once
// From what the sensors deliver (digital numbers, decibels) to what the network sees ([0, 1]), and back.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "clearsky/core/tensor.hpp"

namespace clearsky::data {

/// Sentinel-2's bands, in the order of every optical image of this library.
inline constexpr int64_t kBands = 13;
inline constexpr const char* kBandNames[kBands] = {"B1", "B2",  "B3", "B4",  "B5",  "B6", "B7",
                                                   "B8", "B8A", "B9", "B10", "B11", "B12"};
inline constexpr double kBandNanometres[kBands] = {443, 490, 560, 665, 705, 740, 783, 842, 865, 945, 1375, 1610, 2190};
inline constexpr int64_t kB2 = 1, kB3 = 2, kB4 = 3, kB8 = 7, kB10 = 10, kB11 = 11;  ///< indices, for picking bands

/// Sentinel-1's polarisations, in the order of every SAR image of this library: VV, VH.
inline constexpr int64_t kPolarisations = 2;

/// The label that counts nowhere.
inline constexpr uint8_t kIgnored = 255;

/// How digital numbers become reflectance.
///
///     reflectance = clip(DN - dn_offset, 0, 10000) / 10000
struct OpticalScaling {
  double dn_offset = 0;  ///< 1000 for processing baseline 04.00 and later, 0 before; digital numbers
};

/// How decibels become [0, 1]: clip to [low, 0], then (dB - low) / -low.
struct SarScaling {
  double vv_low_db = -25;
  double vh_low_db = -32.5;
  /// The variant of the ECRformer code: both polarisations from -25 dB.
  static SarScaling ecrformer() { return {-25, -25}; }
};

namespace detail {

/// to = scaled from, for one image of interleaved channels; NaN and infinity become 0 and are counted.
template <class Scale>
int64_t scale_finite(const Tensor<float>& x, Tensor<float>& out, int64_t channels, Scale&& scale) {
  const float* from = x.data();
  float* to = out.mutable_data();
  int64_t invalid = 0;
  for (int64_t i = 0; i < x.numel(); ++i) {
    const bool finite = std::isfinite(from[i]);
    invalid += !finite;
    to[i] = finite ? scale(from[i], i % channels) : 0.0f;
  }
  return invalid;
}

}  // namespace detail

/// Digital numbers to reflectance in [0, 1].
///
/// @param dn       (..., bands)  digital numbers; NaN and infinity become 0
/// @param invalid  if given, the number of NaN and infinite values is added to it
inline Tensor<float> scale_optical(const Tensor<float>& dn, const OpticalScaling& scaling = {},
                                   int64_t* invalid = nullptr) {
  Tensor<float> x = dn.is_contiguous() ? dn : dn.clone(), out(dn.shape());
  const float offset = float(scaling.dn_offset);
  const int64_t count = detail::scale_finite(
      x, out, 1, [&](float v, int64_t) { return (std::clamp)(v - offset, 0.0f, 10000.0f) / 10000.0f; });
  if (invalid != nullptr) *invalid += count;
  return out;
}

/// Reflectance to digital numbers, rounded: the inverse of scale_optical for values in [0, 1].
inline Tensor<float> unscale_optical(const Tensor<float>& reflectance, const OpticalScaling& scaling = {}) {
  Tensor<float> x = reflectance.is_contiguous() ? reflectance : reflectance.clone(), out(reflectance.shape());
  const float offset = float(scaling.dn_offset);
  detail::scale_finite(x, out, 1, [&](float v, int64_t) { return std::nearbyint(v * 10000.0f) + offset; });
  return out;
}

/// Backscatter in decibels to [0, 1].
///
/// @param db  (..., 2)  VV, VH; decibels; NaN and infinity (a log of 0) become 0
inline Tensor<float> scale_sar(const Tensor<float>& db, const SarScaling& scaling = {}, int64_t* invalid = nullptr) {
  CLEARSKY_CHECK(ShapeError, db.rank() >= 1 && db.shape().back() == kPolarisations,
                 "scale_sar: the last dimension must hold VV and VH, got ", db.shape());
  Tensor<float> x = db.is_contiguous() ? db : db.clone(), out(db.shape());
  const float low[] = {float(scaling.vv_low_db), float(scaling.vh_low_db)};
  const int64_t count = detail::scale_finite(
      x, out, 2, [&](float v, int64_t c) { return ((std::clamp)(v, low[c], 0.0f) - low[c]) / -low[c]; });
  if (invalid != nullptr) *invalid += count;
  return out;
}

/// [0, 1] to decibels: the inverse of scale_sar within its range.
inline Tensor<float> unscale_sar(const Tensor<float>& sar, const SarScaling& scaling = {}) {
  CLEARSKY_CHECK(ShapeError, sar.rank() >= 1 && sar.shape().back() == kPolarisations,
                 "unscale_sar: the last dimension must hold VV and VH, got ", sar.shape());
  Tensor<float> x = sar.is_contiguous() ? sar : sar.clone(), out(sar.shape());
  const float low[] = {float(scaling.vv_low_db), float(scaling.vh_low_db)};
  detail::scale_finite(x, out, 2, [&](float v, int64_t c) { return low[c] - v * low[c]; });
  return out;
}

/// What to tell the user when the cirrus band contradicts dn_offset; empty when it does not.
///
/// B10 sees almost no light from the ground (water vapour absorbs it), so its darkest pixel is near the offset itself:
/// 0 to 100 without, 1000 and a little with. Meaningful for clear images; a sheet of cirrus could look like an offset.
///
/// @param dn  (H, W, 13)  digital numbers; pixels that are 0 in B10 count as no data
inline std::string dn_offset_warning(const Tensor<float>& dn, const OpticalScaling& scaling) {
  CLEARSKY_CHECK(ShapeError, dn.rank() == 3 && dn.size(2) == kBands, "dn_offset_warning: needs (H, W, 13), got ",
                 dn.shape());
  const Tensor<float> x = dn.is_contiguous() ? dn : dn.clone();
  float darkest = std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < x.size(0) * x.size(1); ++i) {
    const float v = x.data()[i * kBands + kB10];
    if (v > 0 && v < darkest) darkest = v;
  }
  if (!std::isfinite(darkest)) return {};
  const std::string seen = "the darkest pixel of the cirrus band B10 is " + std::to_string(int64_t(darkest));
  if (scaling.dn_offset < 500 && darkest >= 900)
    return seen +
           ", so the digital numbers seem to carry the +1000 offset of processing baseline 04.00; set dn_offset "
           "to 1000";
  if (scaling.dn_offset >= 500 && darkest < 900)
    return seen + ", so the digital numbers seem to carry no offset; set dn_offset to 0";
  return {};
}

}  // namespace clearsky::data

#pragma once
// The precisions of products, for tests.

#include <bit>

#include "clearsky/core/device.hpp"
#include "clearsky/core/dtype.hpp"

namespace clearsky::test {

inline constexpr Precision kPrecisions[] = {Precision::float32, Precision::tf32, Precision::bfloat16};

/// What the tensor cores see of a factor.
inline double rounded(Precision p, float v) {
  if (p == Precision::float32) return v;
  if (p == Precision::bfloat16) return float(BFloat16(v));
  return std::bit_cast<float>((std::bit_cast<uint32_t>(v) + 0x1000u) & ~0x1fffu);  // half up, 13 bits cut off
}

}  // namespace clearsky::test

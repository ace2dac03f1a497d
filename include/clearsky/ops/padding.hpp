#pragma once
// What stands around an image where a window or an output reaches outside.

#include <cstdint>

namespace clearsky {

/// The values outside an image: zeros; the image mirrored at its border pixel, which is not repeated; its border pixel.
enum class Padding { zeros, reflect, replicate };

/// Pixels added on each side.
struct PadSizes {
  int64_t top = 0, bottom = 0, left = 0, right = 0;
};

}  // namespace clearsky

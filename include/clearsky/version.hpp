#pragma once
// The version, written here and nowhere else: CMake reads this file.

#define CLEARSKY_VERSION_MAJOR 0
#define CLEARSKY_VERSION_MINOR 1
#define CLEARSKY_VERSION_PATCH 0

namespace clearsky {

/// "major.minor.patch" of the headers that this program was compiled with.
inline constexpr const char* kVersion = "0.1.0";

}  // namespace clearsky

#pragma once
// Real satellite images are not part of the project: tests that want them look for them here.

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "clearsky/io/file.hpp"

namespace clearsky::test {

/// The folder of real samples, or "" (with a message) where they are absent.
inline std::string real_samples() {
  const char* const set = std::getenv("CLEARSKY_DATA");
  const std::string folder = set != nullptr ? set : "../shared/data";
  if (io::file_exists(folder + "/osfcr-mini")) return folder;
  MESSAGE("skipped: no real samples at ", folder, "; set CLEARSKY_DATA to their folder");
  return "";
}

}  // namespace clearsky::test

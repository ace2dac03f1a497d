#pragma once
// Lens and its reports as text. Included by clearsky/simt/lens/implementation.hpp.

#include "clearsky/simt/lens/tracker.hpp"

namespace clearsky::simt {

inline std::string to_text(const SourceLine& line) {
  if (!line.file.empty()) return line.file + ":" + std::to_string(line.line);
  char text[32];
  return std::string(text, size_t(std::snprintf(text, sizeof text, "0x%zx", size_t(line.address))));
}

}  // namespace clearsky::simt

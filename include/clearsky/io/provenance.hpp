#pragma once
// What a result was made by: figures are worth keeping only beside it.

#include <fstream>
#include <string>

#include "clearsky/core/threads.hpp"
#include "clearsky/version.hpp"

namespace clearsky::io {

struct Provenance {
  std::string version = kVersion;
  std::string commit;    ///< of the sources, with "+" behind it where they were changed since; "unknown" outside of git
  std::string compiler;  ///< as in "g++ 12.2.0"
  std::string cpu;       ///< as the system names it, "unknown" where it does not
  int64_t threads = 1;

  template <class Visit>
  void each_field(Visit&& visit) {
    visit("version", version);
    visit("commit", commit);
    visit("compiler", compiler);
    visit("cpu", cpu);
    visit("threads", threads);
  }
};

/// The first "model name" of Linux's list of processors.
inline std::string cpu_name(const std::string& list = "/proc/cpuinfo") {
  std::ifstream in(list);
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(':');
    if (line.starts_with("model name") && colon != line.npos && colon + 2 < line.size()) return line.substr(colon + 2);
  }
  return "unknown";
}

inline std::string compiler_name() {
#if defined(__clang__)
  return "clang++ " + std::to_string(__clang_major__) + "." + std::to_string(__clang_minor__) + "." +
         std::to_string(__clang_patchlevel__);
#elif defined(__GNUC__)
  return "g++ " + std::to_string(__GNUC__) + "." + std::to_string(__GNUC_MINOR__) + "." +
         std::to_string(__GNUC_PATCHLEVEL__);
#else
  return "unknown";
#endif
}

/// @param commit  the build knows it, a header cannot
inline Provenance provenance(const std::string& commit) {
  return {.commit = commit, .compiler = compiler_name(), .cpu = cpu_name(), .threads = threads()};
}

}  // namespace clearsky::io

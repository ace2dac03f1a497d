#pragma once
// What the tests of the lens share: lines of kernels by a mark behind them, and what the lens says of one launch.

#include <doctest/doctest.h>

#include <fstream>
#include <string>
#include <vector>

#include "clearsky/cuda/memory.cuh"
#include "clearsky/simt/lens.hpp"

namespace clearsky::test {

/// The number of the line of `file` that ends with "// @mark".
inline int line_of(const char* file, const std::string& mark) {
  std::ifstream in(file);
  std::string text;
  for (int line = 1; std::getline(in, text); ++line)
    if (text.ends_with("// @" + mark)) return line;
  FAIL("no line is marked @" << mark);
  return 0;
}

/// What the lens found while run() ran.
template <class Run>
std::vector<simt::LensError> errors_of(Run&& run) {
  const simt::Lens lens({.statistics = false});
  run();
  return lens.errors();
}

/// One launch, all of it.
template <class... Parameters, class... Arguments>
simt::LensLaunch launch_seen(void (*kernel)(Parameters...), const cuda::dim3& grid, const cuda::dim3& block,
                             Arguments&&... arguments) {
  const simt::Lens lens;
  cuda::launch(kernel, grid, block, 0, nullptr, std::forward<Arguments>(arguments)...);
  const auto report = lens.report();
  for (const simt::LensError& e : report.errors) MESSAGE(e.text);
  CHECK(report.errors.empty());
  REQUIRE(report.launches.size() == 1);
  return report.launches[0];
}

inline std::string all_texts(const std::vector<simt::LensError>& errors) {
  std::string text;
  for (const simt::LensError& e : errors) text += e.text + "\n";
  return text;
}

}  // namespace clearsky::test

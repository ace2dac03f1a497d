#pragma once
// What a study of a kernel needs: memory of the emulated device, and a run of which everything is reported.

#include <cstdio>
#include <vector>

#include "clearsky/cuda/memory.cuh"
#include "clearsky/simt/lens.hpp"

namespace study {

using clearsky::cuda::DeviceArray;

/// Runs `launches`, prints what they did to memory, and returns the number of errors.
template <class Launches>
int look_at(const char* title, Launches&& launches) {
  const clearsky::simt::Lens lens;
  launches();
  const clearsky::simt::LensReport report = lens.report();
  std::printf("== %s ==\n%s\n", title, report.table().c_str());
  return int(report.errors.size());
}

}  // namespace study

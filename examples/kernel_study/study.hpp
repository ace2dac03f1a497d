#pragma once
// What a study of a kernel needs: memory of the emulated device, a run of which everything is reported, and a table
// that compares the versions of a kernel.

#include <cmath>
#include <cstdio>
#include <string>
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

/// The rounding error of a sum of n float products, added in any order, is at most this times the sum of |products|.
/// @source  Higham, "Accuracy and Stability of Numerical Algorithms", 2002, eq. 3.5
inline double float_sum_bound(int n) {
  const double nu = n * std::ldexp(1.0, -24);
  return nu / (1 - nu);
}

/// Values of [-1, 1) that are the same everywhere.
inline std::vector<float> draw(int count, unsigned seed) {
  std::vector<float> values;
  unsigned state = 2654435761u * (seed + 1);
  for (int i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    values.push_back(float(int(state >> 8) - (1 << 23)) / float(1 << 23));
  }
  return values;
}

enum class Show { lines, sums };

/// Versions of one operation: runs each under the lens, checks its result, and prints them side by side.
class Versions {
 public:
  /// @param least_bytes  that must come from and go to global memory, whatever the version
  /// @param flops        floating-point operations
  Versions(int64_t least_bytes, int64_t flops) : least_(least_bytes), flops_(flops) {}

  /// Runs a version; prints its lines here, or only its sums in compare().
  template <class Launches>
  void look_at(const std::string& title, Show show, Launches&& launches) {
    const clearsky::simt::Lens lens;
    launches();
    const clearsky::simt::LensReport report = lens.report();
    if (show == Show::lines) std::printf("== %s ==\n%s\n", title.c_str(), report.table().c_str());
    Sums sums{title};
    for (const clearsky::simt::LensLaunch& l : report.launches) {
      ++sums.launches;
      sums.least += 32 * (l.compulsory_read_sectors + l.compulsory_written_sectors);
      sums.moved += 32 * (l.block_read_sectors + l.block_written_sectors);
      for (const clearsky::simt::LensLine& line : l.lines) {
        if (!line.shared) sums.requests += line.requests, sums.sectors += line.sectors;
        sums.passes += line.wavefronts, sums.ideal_passes += line.ideal_wavefronts;
      }
    }
    all_.push_back(sums);
    wrong_ += int(report.errors.size());
    if (show == Show::sums)
      for (const auto& error : report.errors) std::printf("%s\n", error.text.c_str());
  }

  /// Every value of the last version within its allowed error of what is expected; a NaN is not.
  void check(const DeviceArray<float>& result, const std::vector<double>& expected,
             const std::vector<double>& allowed) {
    std::vector<float> got(expected.size());
    result.download(got.data());
    int bad = 0;
    for (size_t i = 0; i < got.size(); ++i) bad += !(std::abs(double(got[i]) - expected[i]) <= allowed[i]);
    if (bad != 0) std::printf("%s: %d of %zu values are wrong\n\n", all_.back().title.c_str(), bad, got.size());
    wrong_ += bad;
  }

  /// Prints the versions side by side, and returns how much was wrong.
  int compare() const {
    std::printf("== all versions ==\n");
    std::printf("  %-22s %8s %10s %10s %10s %14s %10s %10s %10s\n", "version", "launches", "requests", "sectors",
                "moved", "of the least", "passes", "of ideal", "flop/byte");
    for (const Sums& s : all_) {
      std::printf("  %-22s %8d %10lld %10lld %10lld %6.2f to %4.2f %10lld ", s.title.c_str(), s.launches,
                  static_cast<long long>(s.requests), static_cast<long long>(s.sectors),
                  static_cast<long long>(s.moved), double(s.least) / double(least_), double(s.moved) / double(least_),
                  static_cast<long long>(s.passes));
      if (s.ideal_passes == 0) std::printf("%10s ", "");
      else std::printf("%10.2f ", double(s.passes) / double(s.ideal_passes));
      std::printf("%10.1f\n", double(flops_) / double(s.moved));
    }
    std::printf("  least: %lld bytes, %lld floating-point operations\n", static_cast<long long>(least_),
                static_cast<long long>(flops_));
    std::printf("%s\n", wrong_ == 0 ? "all results are right, and there were no errors" : "something is wrong");
    return wrong_;
  }

 private:
  struct Sums {
    std::string title;
    int launches = 0;
    int64_t requests = 0, sectors = 0, least = 0, moved = 0, passes = 0, ideal_passes = 0;
  };
  int64_t least_, flops_;
  std::vector<Sums> all_;
  int wrong_ = 0;
};

}  // namespace study

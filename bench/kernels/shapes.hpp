#pragma once
// What the lists of launches in bench/kernels share.

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "clearsky/cuda/kernel_set.cuh"
#include "clearsky/simt/lens.hpp"

namespace clearsky::cuda {

inline bool first_entry = true;

/// Of the L2 cache's 40 MB on an A100, the share that one image of a batch of 16 has.
inline constexpr int64_t kCacheBytes = (int64_t{40} << 20) / 16;

/// Of `launches`, one entry each. @param flops  of the launch whose kernel's name contains `main_kernel`
inline void look_at(const char* operation, const std::string& shape, double flops, const char* main_kernel,
                    const std::function<void()>& launches) {
  const simt::Lens lens({.cache_bytes = kCacheBytes});
  launches();
  const simt::LensReport report = lens.report();
  if (!report.errors.empty()) {
    std::fprintf(stderr, "%s: %s\n", operation, lens.error_text().c_str());
    std::exit(1);
  }
  for (const simt::LensLaunch& l : report.launches) {
    int64_t wavefronts = 0, ideal_wavefronts = 0, lanes = 0, requests = 0, sectors = 0, ideal_sectors = 0;
    for (const simt::LensLine& line : l.lines) {
      wavefronts += line.wavefronts;
      ideal_wavefronts += line.ideal_wavefronts;
      lanes += line.lanes;
      requests += line.requests;
      sectors += line.sectors;
      ideal_sectors += line.ideal_sectors;
    }
    const bool main = l.kernel.find(main_kernel) != std::string::npos;
    std::printf(
        "%s{\"operation\": \"%s\", \"shape\": \"%s\", \"kernel\": \"%s\", \"blocks\": %lld, \"flops\": %.0f, "
        "\"requested_bytes\": %lld, \"block_bytes\": %lld, \"memory_bytes\": %lld, \"compulsory_bytes\": %lld, "
        "\"sectors\": %lld, "
        "\"ideal_sectors\": %lld, \"shared_wavefronts\": %lld, \"ideal_shared_wavefronts\": %lld, "
        "\"active_lanes\": %.4f}",
        first_entry ? "[\n" : ",\n", operation, shape.c_str(), l.kernel.c_str(),
        (long long)(int64_t(l.grid[0]) * l.grid[1] * l.grid[2]), main ? flops : 0.0,
        (long long)(l.read_bytes + l.written_bytes), (long long)(32 * (l.block_read_sectors + l.block_written_sectors)),
        (long long)(32 * (l.cached_read_sectors + l.cached_written_sectors)),
        (long long)(l.compulsory_read_bytes + l.compulsory_written_bytes), (long long)sectors, (long long)ideal_sectors,
        (long long)wavefronts, (long long)ideal_wavefronts,
        requests == 0 ? 1.0 : double(lanes) / (32.0 * double(requests)));
    first_entry = false;
  }
}

/// Device memory full of numbers.
inline DeviceArray<float> numbers(int64_t count, uint64_t seed) {
  std::vector<float> v(static_cast<size_t>(count));
  for (size_t i = 0; i < v.size(); ++i) v[i] = float(Key{seed}.uniform(i, -1, 1));
  return DeviceArray<float>(v.data(), count);
}

// The first level of the default network, and a patch of 64 x 64. A level further down has half the side and twice the
// channels.
inline constexpr int64_t kBatch = 1, kSide = 64, kPixels = kBatch * kSide * kSide, kWidth = 32;

inline cpu::ConvShape conv_shape(int64_t side, int64_t channels, int64_t outputs, int64_t window, int64_t groups = 1,
                                 int64_t stride = 1) {
  const int64_t padding = window / 2, out = (side + 2 * padding - window) / stride + 1;
  return {.batch = kBatch,
          .height = side,
          .width = side,
          .channels = channels,
          .outputs = outputs,
          .window_height = window,
          .window_width = window,
          .groups = groups,
          .out_height = out,
          .out_width = out,
          .stride_height = stride,
          .stride_width = stride,
          .padding_height = padding,
          .padding_width = padding,
          .dilation = 1};
}

inline std::string text(const char* format, long long a, long long b = 0, long long c = 0) {
  char buffer[96];
  std::snprintf(buffer, sizeof buffer, format, a, b, c);
  return buffer;
}

}  // namespace clearsky::cuda

#pragma once
// The structural similarity of two images, forward and backward. With F the filter by a Gaussian window of 11 x 11
// pixels, over zeros outside the image:
//
//     mx = F(x)   my = F(y)   S = F(x^2 + y^2)   P = F(x y)
//     a1 = 2 mx my + C1       a2 = 2 (P - mx my) + C2
//     b1 = mx^2 + my^2 + C1   b2 = S - mx^2 - my^2 + C2
//     v  = a1 a2 / (b1 b2)    mean = the mean of v
//
//     dv/dS = -v / b2         dv/dP = 2 a1 / (b1 b2)
//     dv/dmx = 2 my (a2 - a1) / (b1 b2) + 2 mx v (1/b2 - 1/b1)      and so for my
//     dx = g / numel (F(dv/dmx) + 2 x F(dv/dS) + y F(dv/dP))
//
// Source: Wang et al., IEEE Trans. Image Process. 13 (2004), 600, eq. 13.
// A thread stands on one column of a tile (a pixel's column and a channel) and walks down the rows with the last 11
// values of its images in registers. So each row is read once by a block and filtered along the height in registers;
// the four results go to shared memory, where neighbours filter them along the width.

#include "clearsky/cpu/ssim.hpp"
#include "clearsky/cuda/kernels/block_sums.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using SsimForward = cpu::SsimForward<float>;
using SsimBackward = cpu::SsimBackward<float>;

inline constexpr int kSsimRadius = int(cpu::kSsimRadius), kSsimTaps = 2 * kSsimRadius + 1;
inline constexpr int kSsimThreads = 1024;  // a wide tile reads less border; 64 registers are left to each
inline constexpr int kSsimChannels = 16;   ///< channels of a tile, at most: more would leave too few pixels
inline constexpr float kSsimC1 = float(cpu::kSsimC1), kSsimC2 = float(cpu::kSsimC2);

struct SsimTaps {
  float weight[kSsimTaps];
};

/// How images are cut in tiles of (rows, kSsimThreads columns), of which the outer kSsimRadius pixels on both sides are
/// only read. blockIdx.x: tiles along the width and groups of channels; y: along the height; z: images.
struct SsimTiles {
  SsimTaps taps;
  int64_t width_tiles;
  int channels;  ///< of a tile: neighbouring threads have neighbouring channels
  int pixels;    ///< of a row of the tile
  int rows;
};

/// Where a thread stands. All threads of a block walk the same rows, for the barriers.
struct SsimColumn {
  int64_t first_row, last_row;  ///< of the tile: from first_row, before last_row
  int64_t at;                   ///< element of row 0 of this image
  int channels;                 ///< of this tile, the last group may have fewer
  bool inside;                  ///< there is such a pixel and channel
  bool writes;                  ///< ... and it is not on the tile's border
};
__device__ __forceinline__ SsimColumn ssim_column(const SsimTiles& tiles, int64_t height, int64_t width,
                                                  int64_t channels) {
  const int64_t group = blockIdx.x / tiles.width_tiles, tile = blockIdx.x - group * tiles.width_tiles;
  const int t = int(threadIdx.x), pixel = t / tiles.channels, c = t % tiles.channels;
  const int64_t w = tile * (tiles.pixels - 2 * kSsimRadius) + pixel - kSsimRadius, channel = group * tiles.channels + c;
  SsimColumn s;
  s.first_row = int64_t(blockIdx.y) * tiles.rows;
  s.last_row = s.first_row + tiles.rows < height ? s.first_row + tiles.rows : height;
  s.at = (int64_t(blockIdx.z) * height * width + w) * channels + channel;
  s.channels = tiles.channels;
  s.inside = pixel < tiles.pixels && 0 <= w && w < width && channel < channels;
  s.writes = s.inside && pixel >= kSsimRadius && pixel < tiles.pixels - kSsimRadius;
  return s;
}

/// The last kSsimTaps values of a column.
struct SsimRing {
  float v[kSsimTaps];
  __device__ __forceinline__ void push(float next) {
    for (int k = 0; k + 1 < kSsimTaps; ++k) v[k] = v[k + 1];
    v[kSsimTaps - 1] = next;
  }
};
__device__ __forceinline__ float ssim_along_width(const SsimTaps& taps, const float* row, int channels) {
  float sum = 0;
  for (int k = 0; k < kSsimTaps; ++k) sum += taps.weight[k] * row[int(threadIdx.x) + (k - kSsimRadius) * channels];
  return sum;
}

/// parts (blocks), written: sums of v. grid (width tiles x channel groups, height tiles, batch), block Threads
template <int Threads>
__global__ void __launch_bounds__(Threads)
    ssim_forward_tiles(const SsimForward p, const SsimTiles tiles, double* parts) {
  CLEARSKY_SHARED(float, maps, [4][Threads]);
  const SsimColumn s = ssim_column(tiles, p.height, p.width, p.channels);
  const int64_t step = p.width * p.channels;
  SsimRing x{}, y{};
  float total = 0;
  for (int64_t h = s.first_row - kSsimRadius; h < s.last_row + kSsimRadius; ++h) {
    const bool read = s.inside && 0 <= h && h < p.height;
    x.push(read ? p.x[s.at + h * step] : 0.0f);
    y.push(read ? p.y[s.at + h * step] : 0.0f);
    const int64_t row = h - kSsimRadius;
    if (row < s.first_row) continue;  // the same for all threads

    float mx = 0, my = 0, squares = 0, product = 0;
    for (int k = 0; k < kSsimTaps; ++k) {
      const float weight = tiles.taps.weight[k], a = x.v[k], b = y.v[k];
      mx += weight * a;
      my += weight * b;
      squares += weight * (a * a + b * b);
      product += weight * (a * b);
    }
    maps[0][threadIdx.x] = mx;
    maps[1][threadIdx.x] = my;
    maps[2][threadIdx.x] = squares;
    maps[3][threadIdx.x] = product;
    __syncthreads();
    if (s.writes) {
      mx = ssim_along_width(tiles.taps, maps[0], s.channels);
      my = ssim_along_width(tiles.taps, maps[1], s.channels);
      squares = ssim_along_width(tiles.taps, maps[2], s.channels);
      product = ssim_along_width(tiles.taps, maps[3], s.channels);
      const float m_product = mx * my, m_squares = mx * mx + my * my;
      const float a1 = 2.0f * m_product + kSsimC1, a2 = 2.0f * (product - m_product) + kSsimC2;
      const float b1 = m_squares + kSsimC1, b2 = (squares - m_squares) + kSsimC2;
      const float inverse = 1.0f / (b1 * b2), v = a1 * a2 * inverse;
      total += v;
      const float cross = 2.0f * (a2 - a1) * inverse, own = 2.0f * v * (b1 - b2) * inverse;
      const int64_t at = s.at + row * step;
      if (p.d_mean_x != nullptr) p.d_mean_x[at] = my * cross + mx * own;
      if (p.d_mean_y != nullptr) p.d_mean_y[at] = mx * cross + my * own;
      if (p.d_squares != nullptr) p.d_squares[at] = -v * b1 * inverse;
      if (p.d_product != nullptr) p.d_product[at] = 2.0f * a1 * inverse;
    }
    __syncthreads();  // before the next row overwrites the maps
  }
  const double sum = combine_block<Threads>(double(total), Plus());
  if (threadIdx.x == 0) parts[(int64_t(blockIdx.z) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x] = sum;
}

/// grid 1, block Threads = kSumThreads
template <int Threads>
__global__ void __launch_bounds__(Threads) ssim_mean(const double* parts, int64_t blocks, int64_t numel, float* mean) {
  const double total = sum_of_slots(parts, blocks);
  if (threadIdx.x == 0) *mean = float(total / double(numel));
}

/// grid (width tiles x channel groups, height tiles, batch), block Threads. The filter is symmetric, so it is its
/// own transpose.
template <int Threads>
__global__ void __launch_bounds__(Threads) ssim_backward_tiles(const SsimBackward p, const SsimTiles tiles) {
  CLEARSKY_SHARED(float, maps, [3][Threads]);
  const SsimColumn s = ssim_column(tiles, p.height, p.width, p.channels);
  const int64_t step = p.width * p.channels;
  const float scale = float(double(*p.g) / (double(gridDim.z) * double(p.height) * double(step)));
  SsimRing mean_ring{}, squares_ring{}, product_ring{};
  for (int64_t h = s.first_row - kSsimRadius; h < s.last_row + kSsimRadius; ++h) {
    const bool read = s.inside && 0 <= h && h < p.height;
    mean_ring.push(read ? p.d_mean[s.at + h * step] : 0.0f);
    squares_ring.push(read ? p.d_squares[s.at + h * step] : 0.0f);
    product_ring.push(read ? p.d_product[s.at + h * step] : 0.0f);
    const int64_t row = h - kSsimRadius;
    if (row < s.first_row) continue;  // the same for all threads

    float mean = 0, squares = 0, product = 0;
    for (int k = 0; k < kSsimTaps; ++k) {
      mean += tiles.taps.weight[k] * mean_ring.v[k];
      squares += tiles.taps.weight[k] * squares_ring.v[k];
      product += tiles.taps.weight[k] * product_ring.v[k];
    }
    maps[0][threadIdx.x] = mean;
    maps[1][threadIdx.x] = squares;
    maps[2][threadIdx.x] = product;
    __syncthreads();
    if (s.writes) {
      mean = ssim_along_width(tiles.taps, maps[0], s.channels);
      squares = ssim_along_width(tiles.taps, maps[1], s.channels);
      product = ssim_along_width(tiles.taps, maps[2], s.channels);
      const int64_t at = s.at + row * step;
      p.dx[at] = scale * (mean + 2.0f * p.x[at] * squares + p.other[at] * product);
    }
    __syncthreads();  // before the next row overwrites the maps
  }
}

/// Tiles and their grid for images of this size: rows of a tile are as many as leave a large device enough blocks.
struct SsimPlan {
  SsimTiles tiles;
  dim3 grid;
  int64_t blocks;
};
/// @throws ShapeError when a grid cannot have that many tiles
inline SsimPlan ssim_plan(const char* op, int64_t batch, int64_t height, int64_t width, int64_t channels) {
  SsimPlan plan;
  const cpu::detail::SsimWindow<float> window;
  for (int k = 0; k < kSsimTaps; ++k) plan.tiles.taps.weight[k] = window.weight[k];
  const int64_t groups = (channels + kSsimChannels - 1) / kSsimChannels;
  plan.tiles.channels = int((channels + groups - 1) / groups);
  plan.tiles.pixels = kSsimThreads / plan.tiles.channels;
  const int64_t written = plan.tiles.pixels - 2 * kSsimRadius;
  plan.tiles.width_tiles = (width + written - 1) / written;
  int64_t rows = 64;
  while (rows > 16 && batch * groups * plan.tiles.width_tiles * ((height + rows - 1) / rows) < 256) rows /= 2;
  plan.tiles.rows = int(rows);
  const int64_t height_tiles = (height + rows - 1) / rows;
  CLEARSKY_CHECK(ShapeError, batch <= 65535 && height_tiles <= 65535, op, ": ", batch, " images of ", height_tiles,
                 " tiles along the height, a grid can have 65535 of each; cut the batch or the images in parts");
  plan.blocks = groups * plan.tiles.width_tiles * height_tiles * batch;
  plan.grid = dim3(blocks_of(groups * plan.tiles.width_tiles, 1), unsigned(height_tiles), unsigned(batch));
  return plan;
}

/// Floats of workspace that the forward takes.
inline int64_t ssim_forward_workspace(const SsimForward& p) {
  if (p.batch * p.height * p.width * p.channels == 0) return 0;
  return 2 * ssim_plan("ssim_forward", p.batch, p.height, p.width, p.channels).blocks;
}

/// Each returns without waiting. Images without pixels are not an error: the mean is NaN then, as on the CPU.
/// @param workspace  (ssim_forward_workspace(p))  overwritten; at a multiple of 8 bytes
inline void ssim_forward(const SsimForward& p, float* workspace, Stream stream) {
  const int64_t numel = p.batch * p.height * p.width * p.channels;
  auto* parts = reinterpret_cast<double*>(workspace);
  int64_t blocks = 0;
  if (numel != 0) {
    const SsimPlan plan = ssim_plan("ssim_forward", p.batch, p.height, p.width, p.channels);
    launch(ssim_forward_tiles<kSsimThreads>, plan.grid, kSsimThreads, 0, stream, p, plan.tiles, parts);
    blocks = plan.blocks;
  }
  launch(ssim_mean<kSumThreads>, 1, kSumThreads, 0, stream, parts, blocks, numel, p.mean);
}
inline void ssim_backward(const SsimBackward& p, Stream stream) {
  if (p.batch * p.height * p.width * p.channels == 0) return;
  const SsimPlan plan = ssim_plan("ssim_backward", p.batch, p.height, p.width, p.channels);
  launch(ssim_backward_tiles<kSsimThreads>, plan.grid, kSsimThreads, 0, stream, p, plan.tiles);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

#pragma once
// Channels to pixels and back: between (N, H, W, C r r) and (N, H r, W r, C).
//
//     shuffle      y[n, h r + i, w r + j, c] = x[n, h, w, c r r + i r + j]
//     unshuffle    y[n, h, w, c r r + i r + j] = x[n, h r + i, w r + j, c]
//
// Source: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
// Neural Network", CVPR 2016, eq. 4.
// One thread takes the r x r values of one channel of a low-resolution pixel: they are neighbours on that side, and on
// the other neighbouring threads take neighbouring channels. With r = 2 they are 16 bytes.

#include "clearsky/cpu/pixel_shuffle.hpp"
#include "clearsky/cuda/kernels/lanes.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using PixelShuffle = cpu::PixelShuffle<float>;

/// Where the values of this thread start on both sides, or low < 0 behind the end of the row.
struct ShuffleBlock {
  int64_t low, high, row;  // row: from i to i + 1 on the high-resolution side
};
__device__ __forceinline__ ShuffleBlock shuffle_block(const PixelShuffle& p) {
  const unsigned item = blockIdx.y * kRowThreads + threadIdx.x, channels = unsigned(p.channels);
  if (item >= unsigned(p.width) * channels) return {-1, 0, 0};
  const int64_t r = p.factor, w = item / channels, c = item % channels;
  const int64_t row = p.width * r * p.channels, first = int64_t(blockIdx.x) * r * row;
  return {first + int64_t(item) * r * r, first + w * r * p.channels + c, row};
}

/// grid (batch height, ceil(width channels / kRowThreads)), block kRowThreads; Factor 2, or 0 for any
template <int Factor>
__global__ void __launch_bounds__(kRowThreads) pixel_shuffle_blocks(const PixelShuffle p) {
  const ShuffleBlock at = shuffle_block(p);
  if (at.low < 0) return;
  float* y = p.y + at.high;
  if constexpr (Factor == 2) {
    const float4 v = ld4(p.x + at.low);
    y[0] = v.x;
    y[p.channels] = v.y;
    y[at.row] = v.z;
    y[at.row + p.channels] = v.w;
  } else {
    const int r = int(p.factor);
    for (int i = 0; i < r; ++i)
      for (int j = 0; j < r; ++j) y[i * at.row + j * p.channels] = p.x[at.low + i * r + j];
  }
}

/// grid (batch height, ceil(width channels / kRowThreads)), block kRowThreads; Factor 2, or 0 for any
template <int Factor>
__global__ void __launch_bounds__(kRowThreads) pixel_unshuffle_blocks(const PixelShuffle p) {
  const ShuffleBlock at = shuffle_block(p);
  if (at.low < 0) return;
  const float* x = p.x + at.high;
  if constexpr (Factor == 2) {
    st4(p.y + at.low, make_float4(x[0], x[p.channels], x[at.row], x[at.row + p.channels]));
  } else {
    const int r = int(p.factor);
    for (int i = 0; i < r; ++i)
      for (int j = 0; j < r; ++j) p.y[at.low + i * r + j] = x[i * at.row + j * p.channels];
  }
}

/// Each returns without waiting. An empty tensor is not an error, an empty grid is.
inline void pixel_shuffle(const PixelShuffle& p, Stream stream) {
  if (p.batch * p.height * p.width * p.channels * p.factor == 0) return;
  const dim3 grid = grid_of_rows("pixel_shuffle", p.batch * p.height, p.width * p.channels);
  if (p.factor == 2 && aligned16(p.x)) launch(pixel_shuffle_blocks<2>, grid, kRowThreads, 0, stream, p);
  else launch(pixel_shuffle_blocks<0>, grid, kRowThreads, 0, stream, p);
}
inline void pixel_unshuffle(const PixelShuffle& p, Stream stream) {
  if (p.batch * p.height * p.width * p.channels * p.factor == 0) return;
  const dim3 grid = grid_of_rows("pixel_unshuffle", p.batch * p.height, p.width * p.channels);
  if (p.factor == 2 && aligned16(p.y)) launch(pixel_unshuffle_blocks<2>, grid, kRowThreads, 0, stream, p);
  else launch(pixel_unshuffle_blocks<0>, grid, kRowThreads, 0, stream, p);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

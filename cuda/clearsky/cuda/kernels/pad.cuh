#pragma once
// Padding of channels-last images, and its transpose, in which each pixel gathers what repeated it.

#include "clearsky/cpu/pad.hpp"
#include "clearsky/cuda/portable.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using Pad = cpu::Pad<float>;
using PadSource = cpu::PadSource;

/// The position in an axis of `size` that position i repeats; -1 for none.
__device__ __forceinline__ int64_t padded_source(int64_t i, int64_t size, PadSource source) {
  if (0 <= i && i < size) return i;
  if (source == PadSource::value) return -1;
  if (source == PadSource::border) return i < 0 ? 0 : size - 1;
  return i < 0 ? -i : 2 * (size - 1) - i;
}

/// grid (ceil(elements of y / Width / 256)), block 256; Width divides the channels
template <int Width>
__global__ void __launch_bounds__(256) pad_pixels(const Pad p) {
  const int64_t width = p.width + p.left + p.right, height = p.height + p.top + p.bottom;
  const int64_t at = (int64_t(blockIdx.x) * 256 + threadIdx.x) * Width;
  if (at >= p.batch * height * width * p.channels) return;
  const int64_t pixel = at / p.channels, row = pixel / width;
  const int64_t w = padded_source(pixel % width - p.left, p.width, p.source);
  const int64_t h = padded_source(row % height - p.top, p.height, p.source);
  const bool outside = w < 0 || h < 0;
  const float* x = outside ? p.x : p.x + ((row / height * p.height + h) * p.width + w) * p.channels + at % p.channels;
  if constexpr (Width == 4) st4(p.y + at, outside ? make_float4(p.value, p.value, p.value, p.value) : ld4(x));
  else p.y[at] = outside ? p.value : *x;
}

/// The places along one padded axis that repeat position i, itself included: up to three ranges in rising order.
struct Repeats {
  int64_t first[3], last[3];  // [first, last)
};
__device__ __forceinline__ Repeats repeats_of(int64_t i, int64_t size, int64_t before, int64_t behind,
                                              PadSource source) {
  Repeats r{{0, i + before, 0}, {0, i + before + 1, 0}};
  if (source == PadSource::mirror) {
    if (1 <= i && i <= before) r.first[0] = before - i, r.last[0] = before - i + 1;
    const int64_t mirrored = 2 * (size - 1) - i;
    if (size <= mirrored && mirrored < size + behind) r.first[2] = mirrored + before, r.last[2] = r.first[2] + 1;
  } else if (source == PadSource::border) {
    if (i == 0) r.last[0] = before;
    if (i == size - 1) r.first[2] = before + size, r.last[2] = before + size + behind;
  }
  return r;
}

/// grid (ceil(elements of y / 256)), block 256
template <int Threads>
__global__ void __launch_bounds__(Threads) pad_transpose_pixels(const Pad p) {
  const int64_t at = int64_t(blockIdx.x) * Threads + threadIdx.x;
  if (at >= p.batch * p.height * p.width * p.channels) return;
  const int64_t pixel = at / p.channels, row = pixel / p.width, c = at % p.channels;
  const int64_t height = p.height + p.top + p.bottom, width = p.width + p.left + p.right;
  const float* image = p.x + row / p.height * height * width * p.channels + c;
  const Repeats rows = repeats_of(row % p.height, p.height, p.top, p.bottom, p.source);
  const Repeats columns = repeats_of(pixel % p.width, p.width, p.left, p.right, p.source);
  float total = 0;
  for (int a = 0; a < 3; ++a)
    for (int64_t h = rows.first[a]; h < rows.last[a]; ++h) {
      float line = 0;
      for (int b = 0; b < 3; ++b)
        for (int64_t w = columns.first[b]; w < columns.last[b]; ++w) line += image[(h * width + w) * p.channels];
      total += line;
    }
  p.y[at] = total;
}

/// Returns without waiting. An empty tensor is not an error, an empty grid is.
inline void pad(const Pad& p, Stream stream) {
  const int64_t count = p.batch * (p.height + p.top + p.bottom) * (p.width + p.left + p.right) * p.channels;
  if (count == 0) return;
  const bool fours =
      p.channels % 4 == 0 && reinterpret_cast<uintptr_t>(p.x) % 16 == 0 && reinterpret_cast<uintptr_t>(p.y) % 16 == 0;
  if (fours) launch(pad_pixels<4>, blocks_of(count / 4, 256), 256, 0, stream, p);
  else launch(pad_pixels<1>, blocks_of(count, 256), 256, 0, stream, p);
}
inline void pad_transpose(const Pad& p, Stream stream) {
  const int64_t count = p.batch * p.height * p.width * p.channels;
  if (count != 0) launch(pad_transpose_pixels<256>, blocks_of(count, 256), 256, 0, stream, p);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

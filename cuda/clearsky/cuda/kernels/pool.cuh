#pragma once
// Pooling: the maximum or the mean over windows of an image, and the gradients of both.
//
//     max    y = max over the window, index = the pixel it was taken from; scatter: each pixel gathers from the windows
//            it won; take: along index the other way
//     avg    y = 1/window^2 sum over the window, the padding being zeros; transpose: each pixel gathers from the
//     windows
//            that cover it
//
// One thread computes one or four neighbouring channels of a pixel.

#include "clearsky/cpu/pool.hpp"
#include "clearsky/cuda/kernels/lanes.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using PoolSizes = cpu::PoolSizes;
using MaxPool = cpu::MaxPool<float>;
using MaxPoolRoute = cpu::MaxPoolRoute<float>;
using AvgPool = cpu::AvgPool<float>;

/// Where a thread stands in an image of `width` pixels a row. Behind the end of the row: n < 0.
struct PoolPlace {
  int64_t n, h, w, c;
};
template <int Width>
__device__ __forceinline__ PoolPlace pool_place(int64_t height, int64_t width, int64_t channels) {
  const unsigned item = blockIdx.y * kRowThreads + threadIdx.x, groups = unsigned(channels) / Width;
  if (item >= unsigned(width) * groups) return {-1, 0, 0, 0};
  const int64_t n = blockIdx.x / height;
  return {n, blockIdx.x - n * height, item / groups, int64_t(item % groups) * Width};
}

/// The pixels of a window along one axis that are inside, and the windows that cover a pixel: from first, before last.
struct PoolSpan {
  int64_t first, last;
};
__device__ __forceinline__ PoolSpan pool_pixels(int64_t out, int64_t size, const PoolSizes& s) {
  const int64_t begin = out * s.stride - s.padding, end = begin + s.window;
  return {begin < 0 ? 0 : begin, end < size ? end : size};
}
__device__ __forceinline__ PoolSpan pool_windows(int64_t pixel, int64_t count, const PoolSizes& s) {
  const unsigned stride = unsigned(s.stride);
  const int64_t over = pixel + s.padding - s.window, end = unsigned(pixel + s.padding) / stride + 1;
  return {over < 0 ? 0 : int64_t(unsigned(over) / stride) + 1, end < count ? end : count};
}

template <int Width>
__device__ __forceinline__ void store_indices(int64_t* to, const int64_t (&index)[Width]) {
  if constexpr (Width == 4) {
    for (int k = 0; k < 4; k += 2) {
      const int64_t a = index[k], b = index[k + 1];
      store_vector(to + k, make_int4(int(a), int(a >> 32), int(b), int(b >> 32)));
    }
  } else {
    *to = index[0];
  }
}
template <int Width>
__device__ __forceinline__ void load_indices(const int64_t* from, int64_t (&index)[Width]) {
  if constexpr (Width == 4) {
    for (int k = 0; k < 4; k += 2) {
      const int4 v = load_vector<int4>(from + k);
      index[k] = int64_t(uint64_t(uint32_t(v.y)) << 32 | uint32_t(v.x));
      index[k + 1] = int64_t(uint64_t(uint32_t(v.w)) << 32 | uint32_t(v.z));
    }
  } else {
    index[0] = *from;
  }
}

/// grid (batch out_height, ceil(out_width channels / Width / kRowThreads)), block kRowThreads
template <int Width>
__global__ void __launch_bounds__(kRowThreads) max_pool_windows(const MaxPool p) {
  const PoolSizes& s = p.s;
  const PoolPlace at = pool_place<Width>(s.out_height, s.out_width, s.channels);
  if (at.n < 0) return;
  const PoolSpan rows = pool_pixels(at.h, s.height, s), columns = pool_pixels(at.w, s.width, s);
  const float* image = p.x + at.n * s.height * s.width * s.channels + at.c;
  Lanes<Width> best = all_lanes<Width>(-INFINITY);
  int64_t index[Width];
  for (int k = 0; k < Width; ++k) index[k] = rows.first * s.width + columns.first;
  for (int64_t h = rows.first; h < rows.last; ++h)
    for (int64_t w = columns.first; w < columns.last; ++w) {
      const int64_t pixel = h * s.width + w;
      const Lanes<Width> v = load_lanes<Width>(image + pixel * s.channels);
      for (int k = 0; k < Width; ++k)
        if (v[k] > best[k] || (v[k] != v[k] && best[k] == best[k])) {  // the first of equals, and a NaN over numbers
          best[k] = v[k];
          index[k] = pixel;
        }
    }
  const int64_t out = (int64_t(blockIdx.x) * s.out_width + at.w) * s.channels + at.c;
  store_lanes<Width>(p.y + out, best);
  store_indices<Width>(p.index + out, index);
}

/// grid (batch height, ceil(width channels / Width / kRowThreads)), block kRowThreads
template <int Width>
__global__ void __launch_bounds__(kRowThreads) max_pool_scatter_pixels(const MaxPoolRoute p) {
  const PoolSizes& s = p.s;
  const PoolPlace at = pool_place<Width>(s.height, s.width, s.channels);
  if (at.n < 0) return;
  const PoolSpan rows = pool_windows(at.h, s.out_height, s), columns = pool_windows(at.w, s.out_width, s);
  Lanes<Width> y = all_lanes<Width>(0.0f);
  for (int64_t oh = rows.first; oh < rows.last; ++oh)
    for (int64_t ow = columns.first; ow < columns.last; ++ow) {
      const int64_t out = ((at.n * s.out_height + oh) * s.out_width + ow) * s.channels + at.c;
      const Lanes<Width> v = load_lanes<Width>(p.x + out);
      int64_t index[Width];
      load_indices<Width>(p.index + out, index);
      for (int k = 0; k < Width; ++k) y[k] += index[k] == at.h * s.width + at.w ? v[k] : 0.0f;
    }
  store_lanes<Width>(p.y + (int64_t(blockIdx.x) * s.width + at.w) * s.channels + at.c, y);
}

/// grid (batch out_height, ceil(out_width channels / kRowThreads)), block kRowThreads. Neighbouring channels may come
/// from different pixels: no vectors.
template <int Threads>
__global__ void __launch_bounds__(Threads) max_pool_take_windows(const MaxPoolRoute p) {
  const PoolSizes& s = p.s;
  const PoolPlace at = pool_place<1>(s.out_height, s.out_width, s.channels);
  if (at.n < 0) return;
  const int64_t out = (int64_t(blockIdx.x) * s.out_width + at.w) * s.channels + at.c;
  p.y[out] = p.x[(at.n * s.height * s.width + p.index[out]) * s.channels + at.c];
}

/// The sum over a rectangle of an image's rows of `width` pixels, over the pixels of a window.
template <int Width>
__device__ __forceinline__ Lanes<Width> pool_share(const float* image, const PoolSpan& rows, const PoolSpan& columns,
                                                   int64_t width, const PoolSizes& s) {
  Lanes<Width> sum = all_lanes<Width>(0.0f);
  const int64_t step = width * s.channels;
  const float* row = image + rows.first * step;
  for (int h = int(rows.first); h < int(rows.last); ++h, row += step)
    for (int w = int(columns.first); w < int(columns.last); ++w) {
      const Lanes<Width> v = load_lanes<Width>(row + w * s.channels);
      for (int k = 0; k < Width; ++k) sum[k] += v[k];
    }
  const float share = 1.0f / float(s.window * s.window);
  for (int k = 0; k < Width; ++k) sum[k] *= share;
  return sum;
}

/// grid (batch out_height, ceil(out_width channels / Width / kRowThreads)), block kRowThreads
template <int Width>
__global__ void __launch_bounds__(kRowThreads) avg_pool_windows(const AvgPool p) {
  const PoolSizes& s = p.s;
  const PoolPlace at = pool_place<Width>(s.out_height, s.out_width, s.channels);
  if (at.n < 0) return;
  const float* image = p.x + at.n * s.height * s.width * s.channels + at.c;
  store_lanes<Width>(
      p.y + (int64_t(blockIdx.x) * s.out_width + at.w) * s.channels + at.c,
      pool_share<Width>(image, pool_pixels(at.h, s.height, s), pool_pixels(at.w, s.width, s), s.width, s));
}

/// grid (batch height, ceil(width channels / Width / kRowThreads)), block kRowThreads
template <int Width>
__global__ void __launch_bounds__(kRowThreads) avg_pool_transpose_pixels(const AvgPool p) {
  const PoolSizes& s = p.s;
  const PoolPlace at = pool_place<Width>(s.height, s.width, s.channels);
  if (at.n < 0) return;
  const float* pooled = p.x + at.n * s.out_height * s.out_width * s.channels + at.c;
  store_lanes<Width>(p.y + (int64_t(blockIdx.x) * s.width + at.w) * s.channels + at.c,
                     pool_share<Width>(pooled, pool_windows(at.h, s.out_height, s), pool_windows(at.w, s.out_width, s),
                                       s.out_width, s));
}

/// Launches `four` or `one`, kernels with one thread for four channels or for one, over rows of `width` pixels.
template <class P, class Kernel>
void launch_pool(const char* op, Kernel four, Kernel one, bool vectors, const P& p, int64_t height, int64_t width,
                 Stream stream) {
  if (p.s.batch * height * width * p.s.channels == 0) return;
  vectors = vectors && p.s.channels % 4 == 0;
  launch(vectors ? four : one, grid_of_rows(op, p.s.batch * height, width * p.s.channels / (vectors ? 4 : 1)),
         kRowThreads, 0, stream, p);
}

/// Each returns without waiting. An empty tensor is not an error, an empty grid is.
inline void max_pool(const MaxPool& p, Stream stream) {
  launch_pool("max_pool", max_pool_windows<4>, max_pool_windows<1>, aligned16(p.x, p.y, p.index), p, p.s.out_height,
              p.s.out_width, stream);
}
inline void max_pool_scatter(const MaxPoolRoute& p, Stream stream) {
  launch_pool("max_pool_scatter", max_pool_scatter_pixels<4>, max_pool_scatter_pixels<1>, aligned16(p.x, p.y, p.index),
              p, p.s.height, p.s.width, stream);
}
inline void max_pool_take(const MaxPoolRoute& p, Stream stream) {
  launch_pool("max_pool_take", max_pool_take_windows<kRowThreads>, max_pool_take_windows<kRowThreads>, false, p,
              p.s.out_height, p.s.out_width, stream);
}
inline void avg_pool(const AvgPool& p, Stream stream) {
  launch_pool("avg_pool", avg_pool_windows<4>, avg_pool_windows<1>, aligned16(p.x, p.y), p, p.s.out_height,
              p.s.out_width, stream);
}
inline void avg_pool_transpose(const AvgPool& p, Stream stream) {
  launch_pool("avg_pool_transpose", avg_pool_transpose_pixels<4>, avg_pool_transpose_pixels<1>, aligned16(p.x, p.y), p,
              p.s.height, p.s.width, stream);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

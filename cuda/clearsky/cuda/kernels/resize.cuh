#pragma once
// Resizing of images by interpolation, and the transpose of it, which is its gradient.
//
//     y[i] = sum over k of w(s - k) x[k]        s = (i + 1/2) size / out - 1/2, along each axis
//
// Pixels outside repeat the border. Positions are fractions with the denominator 2 out, held as integers, so that
// forward and transpose agree on which pixels an output reads. The transpose gathers: each pixel visits the outputs
// that may read it and adds what they weigh it with. Sources of the modes: see clearsky/cpu/resize.hpp.
// One thread computes one or four neighbouring channels of a pixel.

#include "clearsky/cpu/resize.hpp"
#include "clearsky/cuda/kernels/lanes.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using Resize = cpu::Resize<float>;

/// The inputs that an output reads along one axis. Weights of 0 count nothing: a NaN there must not spread.
template <int Count>
struct AxisTaps {
  int source[Count];
  float weight[Count];
};

/// clearsky/cpu/resize.hpp, cubic_weights, in float.
__device__ __forceinline__ void cubic_weights(float t, float u, float (&weight)[4]) {
  constexpr float a = -0.75f;
  weight[0] = a * t * u * u;
  weight[1] = u * (1.0f + t * (1.0f - (a + 2.0f) * t));
  weight[2] = t * (1.0f + u * (1.0f - (a + 2.0f) * u));
  weight[3] = a * u * t * t;
}

/// The outputs that may read an input: from `first` to `last`, some too many; tap_weight is 0 for those.
struct Readers {
  int first, last;
};
/// With j <= i size / out < j + 1, or the same with i + 1/2 in place of i.
__device__ __forceinline__ Readers readers_of_nearest(int j, int size, int out) {
  const int first = int(int64_t(j) * out / size) - 1, last = int(int64_t(j + 1) * out / size);
  return {first < 0 ? 0 : first, last >= out ? out - 1 : last};
}
/// With |s - j| < reach, so that i + 1/2 lies between (2 (j - reach) + 1) out / (2 size) and the same with + reach.
__device__ __forceinline__ Readers readers_within(int reach, int j, int size, int out) {
  const int first = int((int64_t(j - reach) * 2 + 1) * out / (2 * int64_t(size)));  // below 0 it rounds up: to 0
  const int last = int((int64_t(j + reach) * 2 + 1) * out / (2 * int64_t(size)));
  return {first < 0 ? 0 : first, last >= out ? out - 1 : last};
}

struct Nearest {
  static constexpr int kTaps = 1;
  static __device__ __forceinline__ Readers readers(int j, int size, int out) {
    return readers_of_nearest(j, size, out);
  }
  static __device__ __forceinline__ AxisTaps<1> taps(int i, int size, int out) {
    return {{int(unsigned(i) * unsigned(size) / unsigned(out))}, {1.0f}};
  }
};
struct NearestExact {
  static constexpr int kTaps = 1;
  static __device__ __forceinline__ Readers readers(int j, int size, int out) {
    return readers_of_nearest(j, size, out);
  }
  static __device__ __forceinline__ AxisTaps<1> taps(int i, int size, int out) {
    return {{int((2u * unsigned(i) + 1) * unsigned(size) / (2u * unsigned(out)))}, {1.0f}};
  }
};
/// Floor and fraction of s: `below`, and the numerators of the fractions t and u = 1 - t.
struct Fraction {
  int below, over, under;
};
__device__ __forceinline__ Fraction fraction_of(int i, int size, int out) {
  const int denominator = 2 * out, numerator = (2 * i + 1) * size - out;
  const int below = numerator >= 0 ? int(unsigned(numerator) / unsigned(denominator)) : -1;  // s is above -1
  const int over = numerator - below * denominator;
  return {below, over, denominator - over};
}
struct Bilinear {
  static constexpr int kTaps = 2;
  static __device__ __forceinline__ Readers readers(int j, int size, int out) {
    return readers_within(1, j, size, out);
  }
  static __device__ __forceinline__ AxisTaps<2> taps(int i, int size, int out) {
    const Fraction f = fraction_of(i, size, out);
    const float denominator = float(2 * out);
    if (f.below < 0) return {{0, 0}, {1.0f, 0.0f}};
    if (f.below >= size - 1) return {{size - 1, size - 1}, {1.0f, 0.0f}};
    return {{f.below, f.below + 1}, {float(f.under) / denominator, float(f.over) / denominator}};
  }
};
struct Bicubic {
  static constexpr int kTaps = 4;
  static __device__ __forceinline__ Readers readers(int j, int size, int out) {
    return readers_within(2, j, size, out);
  }
  static __device__ __forceinline__ AxisTaps<4> taps(int i, int size, int out) {
    const Fraction f = fraction_of(i, size, out);
    const float denominator = float(2 * out);
    AxisTaps<4> t;
    cubic_weights(float(f.over) / denominator, float(f.under) / denominator, t.weight);
    for (int k = 0; k < 4; ++k) {
      const int at = f.below - 1 + k;
      t.source[k] = at < 0 ? 0 : at >= size ? size - 1 : at;
    }
    return t;
  }
};

/// What output i weighs input j with.
template <class Mode>
__device__ __forceinline__ float tap_weight(int i, int j, int size, int out) {
  const AxisTaps<Mode::kTaps> t = Mode::taps(i, size, out);
  float weight = 0;
  for (int k = 0; k < Mode::kTaps; ++k) weight += t.source[k] == j ? t.weight[k] : 0.0f;
  return weight;
}

/// Rows of y that a block makes, one after the other: neighbouring rows read the same rows of x, from the block's
/// cache.
inline constexpr int kResizeRows = 4;

/// grid (batch ceil(out_height / kResizeRows), ceil(out_width channels / Width / kRowThreads)), block kRowThreads
template <class Mode, int Width>
__global__ void __launch_bounds__(kRowThreads) resize_pixels(const Resize p) {
  const unsigned item = blockIdx.y * kRowThreads + threadIdx.x, groups = unsigned(p.channels) / Width;
  if (item >= unsigned(p.out_width) * groups) return;
  const int64_t pieces = (p.out_height + kResizeRows - 1) / kResizeRows, n = blockIdx.x / pieces;
  const int first = int(blockIdx.x - n * pieces) * kResizeRows, ow = int(item / groups), c = int(item % groups) * Width;
  const auto columns = Mode::taps(ow, int(p.width), int(p.out_width));
  const float* x = p.x + n * p.height * p.width * p.channels + c;
  float* to = p.y + (n * p.out_height * p.out_width + ow) * p.channels + c;
  for (int oh = first; oh < first + kResizeRows && oh < int(p.out_height); ++oh) {
    const auto rows = Mode::taps(oh, int(p.height), int(p.out_height));
    Lanes<Width> y = all_lanes<Width>(0.0f);
    for (int a = 0; a < Mode::kTaps; ++a) {
      if (rows.weight[a] == 0) continue;
      const float* row = x + rows.source[a] * p.width * p.channels;
      Lanes<Width> sum = all_lanes<Width>(0.0f);
      for (int b = 0; b < Mode::kTaps; ++b) {
        if (columns.weight[b] == 0) continue;
        const Lanes<Width> v = load_lanes<Width>(row + columns.source[b] * p.channels);
        for (int k = 0; k < Width; ++k) sum[k] += columns.weight[b] * v[k];
      }
      for (int k = 0; k < Width; ++k) y[k] += rows.weight[a] * sum[k];
    }
    store_lanes<Width>(to + oh * p.out_width * p.channels, y);
  }
}

/// grid (batch height, ceil(width channels / Width / kRowThreads)), block kRowThreads
template <class Mode, int Width>
__global__ void __launch_bounds__(kRowThreads) resize_transpose_pixels(const Resize p) {
  const unsigned item = blockIdx.y * kRowThreads + threadIdx.x, groups = unsigned(p.channels) / Width;
  if (item >= unsigned(p.width) * groups) return;
  const int64_t n = blockIdx.x / p.height;
  const int h = int(blockIdx.x - n * p.height), w = int(item / groups), c = int(item % groups) * Width;
  const Readers rows = Mode::readers(h, int(p.height), int(p.out_height));
  const Readers columns = Mode::readers(w, int(p.width), int(p.out_width));
  const float* x = p.x + n * p.out_height * p.out_width * p.channels + c;
  Lanes<Width> y = all_lanes<Width>(0.0f);
  for (int i = rows.first; i <= rows.last; ++i) {
    const float row_weight = tap_weight<Mode>(i, h, int(p.height), int(p.out_height));
    if (row_weight == 0) continue;
    Lanes<Width> sum = all_lanes<Width>(0.0f);
    for (int j = columns.first; j <= columns.last; ++j) {
      const float weight = tap_weight<Mode>(j, w, int(p.width), int(p.out_width));
      if (weight == 0) continue;
      const Lanes<Width> v = load_lanes<Width>(x + (int64_t(i) * p.out_width + j) * p.channels);
      for (int k = 0; k < Width; ++k) sum[k] += weight * v[k];
    }
    for (int k = 0; k < Width; ++k) y[k] += row_weight * sum[k];
  }
  store_lanes<Width>(p.y + int64_t(blockIdx.x) * p.width * p.channels + int64_t(item) * Width, y);
}

template <class Mode>
void launch_resize(const Resize& p, Stream stream) {
  const bool vectors = p.channels % 4 == 0 && aligned16(p.x, p.y);
  const int64_t pieces = (p.out_height + kResizeRows - 1) / kResizeRows;
  const dim3 grid = grid_of_rows("resize", p.batch * pieces, p.out_width * p.channels / (vectors ? 4 : 1));
  if (vectors) launch(resize_pixels<Mode, 4>, grid, kRowThreads, 0, stream, p);
  else launch(resize_pixels<Mode, 1>, grid, kRowThreads, 0, stream, p);
}
template <class Mode>
void launch_resize_transpose(const Resize& p, Stream stream) {
  const bool vectors = p.channels % 4 == 0 && aligned16(p.x, p.y);
  const dim3 grid = grid_of_rows("resize_transpose", p.batch * p.height, p.width * p.channels / (vectors ? 4 : 1));
  if (vectors) launch(resize_transpose_pixels<Mode, 4>, grid, kRowThreads, 0, stream, p);
  else launch(resize_transpose_pixels<Mode, 1>, grid, kRowThreads, 0, stream, p);
}

/// Calls use(mode) with the type that stands for p's interpolation.
/// @throws ShapeError where a position would not fit 32 bits
template <class Use>
void with_interpolation(const char* op, const Resize& p, const Use& use) {
  const int64_t height = (2 * p.out_height + 1) * p.height, width = (2 * p.out_width + 1) * p.width;
  CLEARSKY_CHECK(ShapeError, height < (int64_t(1) << 31) && width < (int64_t(1) << 31), op, ": between ", p.height,
                 " x ", p.width, " and ", p.out_height, " x ", p.out_width,
                 " pixels, a side's old and new size multiply to 2^30 or more; cut the image in tiles");
  switch (p.interpolation) {
    case Interpolation::nearest:
      return use(Nearest());
    case Interpolation::bilinear:
      return use(Bilinear());
    case Interpolation::bicubic:
      return use(Bicubic());
    case Interpolation::nearest_exact:
      return use(NearestExact());
  }
}

/// Each returns without waiting. An empty tensor is not an error, an empty grid is.
inline void resize(const Resize& p, Stream stream) {
  if (p.batch * p.out_height * p.out_width * p.channels == 0) return;
  with_interpolation("resize", p, [&](auto mode) { launch_resize<decltype(mode)>(p, stream); });
}
inline void resize_transpose(const Resize& p, Stream stream) {
  if (p.batch * p.height * p.width * p.channels == 0) return;
  with_interpolation("resize_transpose", p, [&](auto mode) { launch_resize_transpose<decltype(mode)>(p, stream); });
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

#pragma once
// Prompt-guided fusion from the projected features on, in one pass:
//
//     s = A + resize(Q)      b = DW3x3(s) + bias      G = sigmoid(context + b)
//     y = O + G (S - O)  (replace)   or   O + G S  (inject)
//
//     h = dy (S - O) G (1 - G)  (replace)   or   dy S G (1 - G)  (inject)
//     doptical = dy (1 - G)  or  dy,   dsar = dy G,   dcontext = sum over an image's pixels of h,   dbias = sum of h
//     dweight[i, j] = sum of h[p] s[p + (i - 1, j - 1)]
//     dprojected[p] = sum over i, j of weight[i, j] h[p - (i - 1, j - 1)],   dprompt = resize^T(dprojected)
//
// A block takes a tile of pixels and kFusionChannels channels at a time. The tile of s, with a halo, lies in shared
// memory, and O, S and A are read once but for A's halo; Q comes from a cache, being smaller. Backward makes s and G
// again, and h with a halo as well, so that h never leaves the block: its sums go to slots, one per block, that a
// second kernel adds in their order. The prompt's gradient is then gathered from dprojected (resize.cuh).

#include "clearsky/cpu/prompt_fusion.hpp"
#include "clearsky/cuda/kernels/fusion.cuh"
#include "clearsky/cuda/kernels/resize.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using PromptFusionSizes = cpu::PromptFusionSizes;
using PromptFusionForward = cpu::PromptFusionForward<float>;
using PromptFusionBackward = cpu::PromptFusionBackward<float>;

inline constexpr int kFusionThreads = 256;

/// Writes s for Rows x Columns pixels from (top, left) on, kChannels channels from c on; zeros outside the image. The
/// caller waits for all threads.
template <int Width, int Rows, int Columns, int Channels, class P>
__device__ __forceinline__ void make_fusion_tile(const P& p, int64_t n, int64_t top, int64_t left, int64_t c,
                                                 float (&tile)[Rows * Columns][Channels]) {
  constexpr int kGroups = Channels / Width;
  for (int item = int(threadIdx.x); item < Rows * Columns * kGroups; item += kFusionThreads) {
    const int pixel = item / kGroups, k = item % kGroups * Width;
    const int64_t h = top + pixel / Columns, w = left + pixel % Columns;
    Lanes<Width> s = all_lanes<Width>(0.0f);
    if (0 <= h && h < p.s.height && 0 <= w && w < p.s.width && c + k < p.s.channels) {
      s = load_lanes<Width>(p.projected + ((n * p.s.height + h) * p.s.width + w) * p.s.channels + c + k);
      if (p.prompt != nullptr) {
        const auto rows = Bilinear::taps(int(h), int(p.s.prompt_height), int(p.s.height));
        const auto columns = Bilinear::taps(int(w), int(p.s.prompt_width), int(p.s.width));
        const float* image = p.prompt + n * p.s.prompt_height * p.s.prompt_width * p.s.channels + c + k;
        for (int a = 0; a < 2; ++a)
          for (int b = 0; b < 2; ++b) {
            if (rows.weight[a] == 0 || columns.weight[b] == 0) continue;
            const float weight = rows.weight[a] * columns.weight[b];
            const Lanes<Width> q =
                load_lanes<Width>(image + (rows.source[a] * p.s.prompt_width + columns.source[b]) * p.s.channels);
            for (int i = 0; i < Width; ++i) s[i] += weight * q[i];
          }
      }
    }
    store_lanes<Width>(&tile[pixel][k], s);
  }
}

/// The windows and biases of Channels channels from c on: taps[i][k] for tap i, 9 being the bias; zeros behind the
/// last.
template <int Channels>
__device__ __forceinline__ void load_fusion_taps(const float* weight, const float* bias, int64_t c, int64_t channels,
                                                 float (&taps)[10][Channels]) {
  for (int item = int(threadIdx.x); item < 10 * Channels; item += kFusionThreads) {
    const int k = item / 10, i = item % 10;  // neighbouring threads read neighbouring weights
    const bool inside = c + k < channels;
    taps[i][k] = !inside ? 0.0f : i == 9 ? bias[c + k] : weight[(c + k) * 9 + i];
  }
}

/// The gate of one pixel from the window of s around `corner`, its upper left pixel.
template <int Width, int Columns, int Channels>
__device__ __forceinline__ Lanes<Width> fusion_gate(const float (*corner)[Channels], const float (&taps)[10][Channels],
                                                    const Lanes<Width>& context, int k) {
  Lanes<Width> b = load_lanes<Width>(&taps[9][k]);
  for (int i = 0; i < 9; ++i) {
    const Lanes<Width> s = load_lanes<Width>(&corner[i / 3 * Columns + i % 3][k]);
    const Lanes<Width> weight = load_lanes<Width>(&taps[i][k]);
    for (int m = 0; m < Width; ++m) b[m] += weight[m] * s[m];
  }
  for (int m = 0; m < Width; ++m) b[m] = logistic(context[m] + b[m]);
  return b;
}

inline constexpr int kFusionColumns = 16, kFusionChannels = 32;
/// Rows of a tile: fewer where a thread takes single channels, and so more pixels of its own.
template <int Width>
inline constexpr int kFusionRows = Width == 4 ? 8 : 4;

/// With reliance a block takes all channels of its pixels, one piece after the other; else one piece.
/// grid (tiles along the width, tiles along the height, batch x pieces of channels or batch), block kFusionThreads
template <int Width>
__global__ void __launch_bounds__(kFusionThreads)
    prompt_fusion_forward_tiles(const PromptFusionForward p, int64_t pieces) {
  constexpr int kRows = kFusionRows<Width>, kColumns = kFusionColumns + 2, kGroups = kFusionChannels / Width;
  constexpr int kAtOnce = kFusionThreads / kGroups, kRounds = kRows * kFusionColumns / kAtOnce;
  CLEARSKY_SHARED(float, tile, [(kRows + 2) * kColumns][kFusionChannels]);
  CLEARSKY_SHARED(float, taps, [10][kFusionChannels]);
  const int64_t n = blockIdx.z / pieces, piece = blockIdx.z - n * pieces;
  const int64_t top = int64_t(blockIdx.y) * kRows, left = int64_t(blockIdx.x) * kFusionColumns;
  const int k = int(threadIdx.x) % kGroups * Width, first_pixel = int(threadIdx.x) / kGroups;

  float total[kRounds] = {};
  for (int64_t first = piece * kFusionChannels; first < p.s.channels; first += pieces * kFusionChannels) {
    load_fusion_taps(p.weight, p.bias, first, p.s.channels, taps);
    make_fusion_tile<Width, kRows + 2, kColumns>(p, n, top - 1, left - 1, first, tile);
    __syncthreads();
    const int64_t c = first + k;
    if (c < p.s.channels) {
      const Lanes<Width> context = load_lanes<Width>(p.context + n * p.s.channels + c);
      for (int round = 0; round < kRounds; ++round) {
        const int pixel = first_pixel + round * kAtOnce;
        const int row = pixel / kFusionColumns, column = pixel % kFusionColumns;
        const int64_t h = top + row, w = left + column;
        if (h >= p.s.height || w >= p.s.width) continue;
        const Lanes<Width> gate =
            fusion_gate<Width, kColumns, kFusionChannels>(&tile[row * kColumns + column], taps, context, k);
        const int64_t at = ((n * p.s.height + h) * p.s.width + w) * p.s.channels + c;
        const Lanes<Width> o = load_lanes<Width>(p.optical + at), s = load_lanes<Width>(p.sar + at);
        Lanes<Width> y;
        for (int m = 0; m < Width; ++m) {
          y[m] = o[m] + gate[m] * (p.replace ? s[m] - o[m] : s[m]);
          total[round] += gate[m];
        }
        store_lanes<Width>(p.y + at, y);
      }
    }
    __syncthreads();  // before the next piece overwrites the tile
  }
  if (p.reliance == nullptr) return;
  for (int round = 0; round < kRounds; ++round) {
    // The lanes of a pixel are neighbours in a warp.
    for (int lanes = kGroups / 2; lanes > 0; lanes /= 2)
      total[round] += __shfl_xor_sync(kAllLanes, total[round], lanes);
    const int pixel = first_pixel + round * kAtOnce;
    const int64_t h = top + pixel / kFusionColumns, w = left + pixel % kFusionColumns;
    if (k == 0 && h < p.s.height && w < p.s.width)
      p.reliance[(n * p.s.height + h) * p.s.width + w] = total[round] / float(p.s.channels);
  }
}

/// Backward's tile: 16 x 16 pixels, so that the halo of two costs little, of fewer channels, so that it fits.
inline constexpr int kFusionSide = 16, kFusionBackwardChannels = 16;

/// parts (batch tiles, 10, channels), written: the sums for dweight and of h; or null.
/// dprojected is p.dprojected or memory for it; or null.
/// grid (tiles along the width x pieces of channels, tiles along the height, batch), block kFusionThreads
template <int Width>
__global__ void __launch_bounds__(kFusionThreads)
    prompt_fusion_backward_tiles(const PromptFusionBackward p, float* dprojected, float* parts, int64_t width_tiles) {
  constexpr int kChannels = kFusionBackwardChannels, kOuter = kFusionSide + 4, kInner = kFusionSide + 2;
  constexpr int kGroups = kChannels / Width, kAtOnce = kFusionThreads / kGroups;
  CLEARSKY_SHARED(float, tile, [kOuter * kOuter][kChannels]);    // s
  CLEARSKY_SHARED(float, slopes, [kInner * kInner][kChannels]);  // h
  CLEARSKY_SHARED(float, taps, [10][kChannels]);
  const int64_t piece = blockIdx.x / width_tiles, n = blockIdx.z;
  const int64_t top = int64_t(blockIdx.y) * kFusionSide, left = (blockIdx.x - piece * width_tiles) * kFusionSide;
  const int k = int(threadIdx.x) % kGroups * Width, first_pixel = int(threadIdx.x) / kGroups;
  const int64_t first = piece * kChannels, c = first + k;
  const bool has_channel = c < p.s.channels;

  load_fusion_taps(p.weight, p.bias, first, p.s.channels, taps);
  make_fusion_tile<Width, kOuter, kOuter>(p, n, top - 2, left - 2, first, tile);
  __syncthreads();

  // h of the tile and one pixel around it; the gradients of O and S of the tile alone.
  const Lanes<Width> context =
      has_channel ? load_lanes<Width>(p.context + n * p.s.channels + c) : all_lanes<Width>(0.0f);
  for (int pixel = first_pixel; pixel < kInner * kInner; pixel += kAtOnce) {
    const int row = pixel / kInner, column = pixel % kInner;
    const int64_t y = top + row - 1, x = left + column - 1;
    Lanes<Width> slope = all_lanes<Width>(0.0f);
    if (has_channel && 0 <= y && y < p.s.height && 0 <= x && x < p.s.width) {
      const Lanes<Width> gate = fusion_gate<Width, kOuter, kChannels>(&tile[row * kOuter + column], taps, context, k);
      const int64_t at = ((n * p.s.height + y) * p.s.width + x) * p.s.channels + c;
      const Lanes<Width> o = load_lanes<Width>(p.optical + at), s = load_lanes<Width>(p.sar + at),
                         g = load_lanes<Width>(p.dy + at);
      Lanes<Width> to_optical, to_sar;
      for (int m = 0; m < Width; ++m) {
        slope[m] = g[m] * (p.replace ? s[m] - o[m] : s[m]) * (gate[m] * (1.0f - gate[m]));
        to_optical[m] = p.replace ? g[m] * (1.0f - gate[m]) : g[m];
        to_sar[m] = g[m] * gate[m];
      }
      const bool own = 1 <= row && row <= kFusionSide && 1 <= column && column <= kFusionSide;
      if (own && p.doptical != nullptr) store_lanes<Width>(p.doptical + at, to_optical);
      if (own && p.dsar != nullptr) store_lanes<Width>(p.dsar + at, to_sar);
    }
    store_lanes<Width>(&slopes[pixel][k], slope);
  }
  __syncthreads();

  // The convolution's transpose, and this thread's share of the sums.
  Lanes<Width> sums[10];
  for (int i = 0; i < 10; ++i) sums[i] = all_lanes<Width>(0.0f);
  for (int pixel = first_pixel; pixel < kFusionSide * kFusionSide; pixel += kAtOnce) {
    const int row = pixel / kFusionSide, column = pixel % kFusionSide;
    const int64_t y = top + row, x = left + column;
    if (!has_channel || y >= p.s.height || x >= p.s.width) continue;
    const Lanes<Width> slope = load_lanes<Width>(&slopes[(row + 1) * kInner + column + 1][k]);
    Lanes<Width> spread = all_lanes<Width>(0.0f);
    for (int i = 0; i < 9; ++i) {
      const Lanes<Width> weight = load_lanes<Width>(&taps[i][k]);
      const Lanes<Width> h = load_lanes<Width>(&slopes[(row + 2 - i / 3) * kInner + column + 2 - i % 3][k]);
      const Lanes<Width> s = load_lanes<Width>(&tile[(row + 1 + i / 3) * kOuter + column + 1 + i % 3][k]);
      for (int m = 0; m < Width; ++m) {
        spread[m] += weight[m] * h[m];
        sums[i][m] += slope[m] * s[m];
      }
    }
    for (int m = 0; m < Width; ++m) sums[9][m] += slope[m];
    if (dprojected != nullptr)
      store_lanes<Width>(dprojected + ((n * p.s.height + y) * p.s.width + x) * p.s.channels + c, spread);
  }
  if (parts == nullptr) return;

  // Down the threads of each channel, in the tile's memory.
  __syncthreads();
  float* out =
      parts + ((n * gridDim.y + blockIdx.y) * width_tiles + (blockIdx.x - piece * width_tiles)) * 10 * p.s.channels;
  for (int i = 0; i < 10; ++i) {
    store_lanes<Width>(&tile[first_pixel][k], sums[i]);
    __syncthreads();
    if (threadIdx.x < kChannels && first + threadIdx.x < p.s.channels) {
      float total = 0;
      for (int j = 0; j < kAtOnce; ++j) total += tile[j][threadIdx.x];
      out[i * p.s.channels + first + threadIdx.x] = total;
    }
    __syncthreads();
  }
}

/// Adds the slots: dcontext over an image's, dweight and dbias over all.
/// grid (ceil(channels / Threads), 10 + batch), block Threads; blockIdx.y < 9: that tap; 9: dbias; then images'
/// dcontext
template <int Threads>
__global__ void __launch_bounds__(Threads)
    prompt_fusion_sums(const PromptFusionBackward p, const float* parts, int64_t tiles) {
  const int64_t c = int64_t(blockIdx.x) * Threads + threadIdx.x, kind = blockIdx.y;
  if (c >= p.s.channels) return;
  if ((kind < 9 ? p.dweight : kind == 9 ? p.dbias : p.dcontext) == nullptr) return;
  const int64_t first = kind < 10 ? 0 : (kind - 10) * tiles, count = kind < 10 ? p.s.batch * tiles : tiles;
  const int64_t i = kind < 9 ? kind : 9;
  float total = 0;
  for (int64_t t = first; t < first + count; ++t) total += parts[(t * 10 + i) * p.s.channels + c];
  if (kind < 9) p.dweight[c * 9 + kind] = total;
  else if (kind == 9) p.dbias[c] = total;
  else p.dcontext[(kind - 10) * p.s.channels + c] = total;
}

/// @throws ShapeError where a grid cannot have that many tiles, or a position would not fit 32 bits
inline void check_prompt_fusion(const char* op, const PromptFusionSizes& s, int64_t deep) {
  const int64_t rows = (s.height + kFusionRows<1> - 1) / kFusionRows<1>;
  CLEARSKY_CHECK(ShapeError, deep <= 65525 && rows <= 65535, op, ": ", s.batch, " images of ", s.height, " rows and ",
                 s.channels, " channels, more than a grid can have; cut the batch in parts");
  const int64_t height = (2 * s.height + 1) * s.prompt_height, width = (2 * s.width + 1) * s.prompt_width;
  CLEARSKY_CHECK(ShapeError, height < (int64_t(1) << 31) && width < (int64_t(1) << 31), op, ": a prompt of ",
                 s.prompt_height, " x ", s.prompt_width, " pixels for ", s.height, " x ", s.width,
                 ", a side's two sizes multiply to 2^30 or more; cut the image in tiles");
}

/// Returns without waiting. An empty tensor is not an error, an empty grid is.
inline void prompt_fusion_forward(const PromptFusionForward& p, Stream stream) {
  const PromptFusionSizes& s = p.s;
  if (s.batch * s.height * s.width * s.channels == 0) return;
  const int64_t pieces = p.reliance != nullptr ? 1 : (s.channels + kFusionChannels - 1) / kFusionChannels;
  check_prompt_fusion("prompt_fusion_forward", s, s.batch * pieces);
  const bool vectors = s.channels % 4 == 0 && aligned16(p.optical, p.sar, p.projected, p.prompt, p.context, p.y);
  launch(vectors ? prompt_fusion_forward_tiles<4> : prompt_fusion_forward_tiles<1>,
         dim3(blocks_of(s.width, kFusionColumns), blocks_of(s.height, vectors ? kFusionRows<4> : kFusionRows<1>),
              unsigned(s.batch * pieces)),
         kFusionThreads, 0, stream, p, pieces);
}

inline int64_t prompt_fusion_tiles(const PromptFusionSizes& s) {
  return ((s.height + kFusionSide - 1) / kFusionSide) * ((s.width + kFusionSide - 1) / kFusionSide);
}
/// Floats of workspace that the backward takes: the slots, and dprojected where only the prompt's gradient is wanted.
inline int64_t prompt_fusion_backward_workspace(const PromptFusionBackward& p) {
  const PromptFusionSizes& s = p.s;
  const int64_t sums = (s.batch * prompt_fusion_tiles(s) * 10 * s.channels + 3) / 4 * 4;
  return sums + (p.dprompt != nullptr && p.dprojected == nullptr ? s.batch * s.height * s.width * s.channels : 0);
}

/// Returns without waiting. An empty tensor is not an error, an empty grid is.
/// @param workspace  (prompt_fusion_backward_workspace(p))  overwritten
inline void prompt_fusion_backward(const PromptFusionBackward& p, float* workspace, Stream stream) {
  const PromptFusionSizes& s = p.s;
  if (s.channels == 0) return;
  check_prompt_fusion("prompt_fusion_backward", s, s.batch);
  const int64_t tiles = prompt_fusion_tiles(s), width_tiles = (s.width + kFusionSide - 1) / kFusionSide;
  const int64_t pieces = (s.channels + kFusionBackwardChannels - 1) / kFusionBackwardChannels;
  const bool wants_sums = p.dcontext != nullptr || p.dweight != nullptr || p.dbias != nullptr;
  float* after_sums = workspace + (s.batch * tiles * 10 * s.channels + 3) / 4 * 4;
  float* dprojected = p.dprojected != nullptr ? p.dprojected : p.dprompt != nullptr ? after_sums : nullptr;
  const bool vectors = s.channels % 4 == 0 && aligned16(p.optical, p.sar, p.projected, p.prompt, p.context, p.dy) &&
                       aligned16(p.doptical, p.dsar, dprojected);
  if (s.batch * tiles != 0)
    launch(vectors ? prompt_fusion_backward_tiles<4> : prompt_fusion_backward_tiles<1>,
           dim3(blocks_of(width_tiles * pieces, 1), blocks_of(s.height, kFusionSide), unsigned(s.batch)),
           kFusionThreads, 0, stream, p, dprojected, wants_sums ? workspace : nullptr, width_tiles);
  if (wants_sums)
    launch(prompt_fusion_sums<128>, dim3(blocks_of(s.channels, 128), unsigned(10 + s.batch)), 128, 0, stream, p,
           workspace, tiles);
  if (p.dprompt != nullptr)
    resize_transpose({dprojected, p.dprompt, s.batch, s.prompt_height, s.prompt_width, s.height, s.width, s.channels,
                      Interpolation::bilinear},
                     stream);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

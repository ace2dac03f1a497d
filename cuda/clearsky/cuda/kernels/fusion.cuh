#pragma once
// Prompt-guided fusion's gate and mix in one pass.
//
//     G  = logistic(context + bias)                       context per image and channel, bias per pixel and channel
//     y  = O + G (S - O)  (replace)   or   O + G S  (inject)
//
//     h = dy (S - O) G (1 - G)  (replace)   or   dy S G (1 - G)  (inject)
//     doptical = dy (1 - G)  or  dy,   dsar = dy G,   dbias = h,   dcontext = sum over the pixels of h
//
// Forward: one warp per pixel, so that the mean of G over the channels needs shuffles only. Backward: blocks as for
// sums down columns, since dcontext is one; the other gradients come along in the same pass. A lane takes four
// neighbouring channels where pixels allow 16-byte accesses, and one otherwise.

#include "clearsky/cpu/fusion.hpp"
#include "clearsky/cuda/kernels/column_sums.cuh"
#include "clearsky/cuda/kernels/functions.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using MixForward = cpu::MixForward<float>;
using MixBackward = cpu::MixBackward<float>;

/// grid (ceil(batch pixels / (Rows kWarp / Group))), block (kWarp, Rows); Width divides channels
template <int Width, int Group, int Rows>
__global__ void __launch_bounds__(kWarp* Rows) mix_forward_group(const MixForward p) {
  using RowPlace = RowGroup<Group>;
  const int64_t first_row = (int64_t(blockIdx.x) * Rows + threadIdx.y) * RowPlace::kRows, rows = p.batch * p.pixels;
  if (first_row >= rows) return;  // whole warps leave together, so the shuffles below stay safe
  const RowPlace place(first_row);
  const int64_t row = place.row, end = row < rows ? p.channels : 0;
  const float* context = p.context + row / p.pixels * p.channels;
  float total = 0;
  for (int64_t c = int64_t(place.lane) * Width; c < end; c += Group * Width) {
    const int64_t at = row * p.channels + c;
    const Lanes<Width> part = load_lanes<Width>(context + c), bias = load_lanes<Width>(p.bias + at),
                       o = load_lanes<Width>(p.optical + at), s = load_lanes<Width>(p.sar + at);
    Lanes<Width> y;
    for (int k = 0; k < Width; ++k) {
      const float gate = logistic(part[k] + bias[k]);
      y[k] = o[k] + gate * (p.replace ? s[k] - o[k] : s[k]);
      total += gate;
    }
    store_lanes<Width>(p.y + at, y);
  }
  if (p.reliance == nullptr) return;
  total = group_sum<Group>(total);
  if (place.lane == 0 && row < rows) p.reliance[row] = total / float(p.channels);
}

/// Also sums h over the pixels of one slot. parts (batch, slots, channels), written; or null.
/// grid (ceil(channels / Width / kWarp), slots, batch), block (kWarp, Rows); Width divides channels
template <int Width, int Rows>
__global__ void __launch_bounds__(kWarp* Rows) mix_backward_columns(const MixBackward p, float* parts) {
  const int64_t c = (int64_t(blockIdx.x) * kWarp + threadIdx.x) * Width, slot = blockIdx.y, slots = gridDim.y;
  const int64_t n = blockIdx.z;
  Lanes<Width> total = all_lanes<Width>(0.0f);
  if (c < p.channels) {  // the others must stay for the barriers
    const Lanes<Width> context = load_lanes<Width>(p.context + n * p.channels + c);
    const int64_t last = p.pixels * (slot + 1) / slots;
    for (int64_t i = p.pixels * slot / slots + threadIdx.y; i < last; i += Rows) {
      const int64_t at = (n * p.pixels + i) * p.channels + c;
      const Lanes<Width> bias = load_lanes<Width>(p.bias + at), g = load_lanes<Width>(p.dy + at),
                         o = load_lanes<Width>(p.optical + at), s = load_lanes<Width>(p.sar + at);
      Lanes<Width> h, to_optical, to_sar;
      for (int k = 0; k < Width; ++k) {
        const float gate = logistic(context[k] + bias[k]);
        h[k] = g[k] * (p.replace ? s[k] - o[k] : s[k]) * (gate * (1.0f - gate));
        to_optical[k] = p.replace ? g[k] * (1.0f - gate) : g[k];
        to_sar[k] = g[k] * gate;
        total[k] += h[k];
      }
      if (p.doptical != nullptr) store_lanes<Width>(p.doptical + at, to_optical);
      if (p.dsar != nullptr) store_lanes<Width>(p.dsar + at, to_sar);
      if (p.dbias != nullptr) store_lanes<Width>(p.dbias + at, h);
    }
  }
  total = sum_down_block(total);
  if (parts != nullptr && threadIdx.y == 0 && c < p.channels)
    store_lanes<Width>(parts + (n * slots + slot) * p.channels + c, total);
}

/// Returns without waiting. An empty tensor is not an error, an empty grid is.
inline void mix_forward(const MixForward& p, Stream stream) {
  constexpr int kRows = 8;
  if (p.batch * p.pixels * p.channels == 0) return;
  const bool vectors = p.channels % 4 == 0 && aligned16(p.optical, p.sar, p.context, p.bias, p.y);
  const auto run = [&](auto kernel, int rows_of_warp) {
    launch(kernel, blocks_of(p.batch * p.pixels, kRows * rows_of_warp), dim3(kWarp, kRows), 0, stream, p);
  };
  if (vectors)
    with_row_group(p.channels, 4, [&](auto g) { run(mix_forward_group<4, g(), kRows>, RowGroup<g()>::kRows); });
  else run(mix_forward_group<1, kWarp, kRows>, 1);
}

/// Floats of workspace that dcontext takes.
inline int64_t mix_backward_workspace(int64_t batch, int64_t pixels, int64_t channels) {
  return batch * column_slots(pixels) * channels;
}

/// @param workspace  (mix_backward_workspace(batch, pixels, channels))  overwritten; or null without dcontext
/// @throws ShapeError when there are more than 65535 images
inline void mix_backward(const MixBackward& p, float* workspace, Stream stream) {
  if (p.batch * p.channels == 0) return;
  CLEARSKY_CHECK(ShapeError, p.batch <= 65535, "mix_backward: ", p.batch,
                 " images, a grid can have 65535; cut the batch in parts");
  const int64_t slots = column_slots(p.pixels);
  float* parts = p.dcontext == nullptr ? nullptr : workspace;
  // With fewer channels lanes would have nothing to do.
  const bool vectors = p.channels % 4 == 0 && p.channels >= 4 * kWarp &&
                       aligned16(p.optical, p.sar, p.context, p.bias, p.dy) &&
                       aligned16(p.doptical, p.dsar, p.dbias, parts);
  if (slots != 0)
    launch(vectors ? mix_backward_columns<4, kColumnRows> : mix_backward_columns<1, kColumnRows>,
           dim3(blocks_of(p.channels, kWarp * (vectors ? 4 : 1)), unsigned(slots), unsigned(p.batch)),
           dim3(kWarp, kColumnRows), 0, stream, p, parts);
  if (p.dcontext == nullptr) return;
  const SlotSums sums{workspace, p.dcontext, slots, p.channels, p.channels};
  launch(sum_slots<128>, dim3(blocks_of(p.channels, 128), unsigned(p.batch)), 128, 0, stream, sums);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

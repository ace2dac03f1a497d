#pragma once
// Layer normalisation of each row of a (rows, cols) matrix; a row is one pixel's channels.
//
//     xhat = (x - mean) * rstd        rstd = 1 / sqrt(var + eps), var divides by cols
//     y    = gamma * xhat + beta
//
//     h = dy * gamma,   dx = rstd (h - mean(h) - xhat mean(h xhat))
//     dgamma = sum over rows of dy xhat,   dbeta = sum over rows of dy
//
// Source: Ba, Kiros, Hinton, "Layer Normalization", 2016, arXiv:1607.06450, eq. 4.
// One warp per row: the sums need shuffles only and no barrier, and a row of up to 512 stays in registers, so that x is
// read once.

#include "clearsky/cpu/norm.hpp"
#include "clearsky/cuda/kernels/column_sums.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using LayerNormForward = cpu::LayerNormForward<float>;
using LayerNormBackward = cpu::LayerNormBackward<float>;

/// grid (ceil(rows / Rows)), block (kWarp, Rows); PerLane * kWarp >= cols
template <int PerLane, int Rows>
__global__ void __launch_bounds__(kWarp* Rows) layer_norm_forward_warp(const LayerNormForward p) {
  const int64_t row = int64_t(blockIdx.x) * Rows + threadIdx.y;
  if (row >= p.rows) return;  // whole warps leave together, so the shuffles below stay safe
  const float* from = p.x + row * p.cols;

  // Load. Lane l holds columns l, l + 32, l + 64, ...: neighbouring lanes read neighbouring floats.
  float x[PerLane];
  for (int i = 0; i < PerLane; ++i) {
    const int64_t c = int64_t(i) * kWarp + threadIdx.x;
    x[i] = c < p.cols ? from[c] : 0.0f;
  }

  // Mean, then the variance around it: E[x^2] - E[x]^2 cancels in float. The zeros that pad the row must not count.
  float sum = 0;
  for (int i = 0; i < PerLane; ++i) sum += x[i];
  const float mean = warp_sum(sum) / float(p.cols);
  float squares = 0;
  for (int i = 0; i < PerLane; ++i) {
    const bool inside = int64_t(i) * kWarp + threadIdx.x < p.cols;
    squares += inside ? (x[i] - mean) * (x[i] - mean) : 0.0f;
  }
  const float rstd = 1.0f / sqrtf(warp_sum(squares) / float(p.cols) + p.eps);

  // Output.
  for (int i = 0; i < PerLane; ++i) {
    const int64_t c = int64_t(i) * kWarp + threadIdx.x;
    if (c < p.cols) p.y[row * p.cols + c] = p.gamma[c] * ((x[i] - mean) * rstd) + p.beta[c];
  }
  if (threadIdx.x == 0 && p.mean != nullptr) {
    p.mean[row] = mean;
    p.rstd[row] = rstd;
  }
}

/// For any length of rows: x is read three times, of which two come from a cache.
/// grid (ceil(rows / Rows)), block (kWarp, Rows)
template <int Rows>
__global__ void __launch_bounds__(kWarp* Rows) layer_norm_forward_strided(const LayerNormForward p) {
  const int64_t row = int64_t(blockIdx.x) * Rows + threadIdx.y;
  if (row >= p.rows) return;
  const float* from = p.x + row * p.cols;
  float sum = 0;
  for (int64_t c = threadIdx.x; c < p.cols; c += kWarp) sum += from[c];
  const float mean = warp_sum(sum) / float(p.cols);
  float squares = 0;
  for (int64_t c = threadIdx.x; c < p.cols; c += kWarp) squares += (from[c] - mean) * (from[c] - mean);
  const float rstd = 1.0f / sqrtf(warp_sum(squares) / float(p.cols) + p.eps);
  for (int64_t c = threadIdx.x; c < p.cols; c += kWarp)
    p.y[row * p.cols + c] = p.gamma[c] * ((from[c] - mean) * rstd) + p.beta[c];
  if (threadIdx.x == 0 && p.mean != nullptr) {
    p.mean[row] = mean;
    p.rstd[row] = rstd;
  }
}

/// grid (ceil(rows / Rows)), block (kWarp, Rows)
template <int Rows>
__global__ void __launch_bounds__(kWarp* Rows) layer_norm_backward_input(const LayerNormBackward p) {
  const int64_t row = int64_t(blockIdx.x) * Rows + threadIdx.y;
  if (row >= p.rows) return;
  const float *x = p.x + row * p.cols, *dy = p.dy + row * p.cols;
  const float mean = p.mean[row], rstd = p.rstd[row];
  float sum_h = 0, sum_hx = 0;
  for (int64_t c = threadIdx.x; c < p.cols; c += kWarp) {
    const float h = dy[c] * p.gamma[c];
    sum_h += h;
    sum_hx += h * ((x[c] - mean) * rstd);
  }
  const float mean_h = warp_sum(sum_h) / float(p.cols);
  const float mean_hx = warp_sum(sum_hx) / float(p.cols);
  for (int64_t c = threadIdx.x; c < p.cols; c += kWarp) {
    const float h = dy[c] * p.gamma[c], xhat = (x[c] - mean) * rstd;
    p.dx[row * p.cols + c] = rstd * (h - mean_h - xhat * mean_hx);
  }
}

/// Sums over the rows of one slot. parts (slots, 2, cols), written: dgamma, then dbeta.
/// grid (ceil(cols / kWarp), slots), block (kWarp, Rows)
template <int Rows>
__global__ void __launch_bounds__(kWarp* Rows)
    layer_norm_backward_weight(const LayerNormBackward p, float* __restrict__ parts) {
  const int64_t c = int64_t(blockIdx.x) * kWarp + threadIdx.x, slot = blockIdx.y, slots = gridDim.y;
  float dgamma = 0, dbeta = 0;
  if (c < p.cols) {  // the others must stay for the barriers
    const int64_t last = p.rows * (slot + 1) / slots;
    for (int64_t r = p.rows * slot / slots + threadIdx.y; r < last; r += Rows) {
      const float dy = p.dy[r * p.cols + c];
      dgamma += dy * ((p.x[r * p.cols + c] - p.mean[r]) * p.rstd[r]);
      dbeta += dy;
    }
  }
  dgamma = sum_down_block(dgamma);
  dbeta = sum_down_block(dbeta);
  if (threadIdx.y == 0 && c < p.cols) {
    parts[slot * 2 * p.cols + c] = dgamma;
    parts[slot * 2 * p.cols + p.cols + c] = dbeta;
  }
}

/// Picks the registers that a row needs; returns without waiting. An empty tensor is not an error, an empty grid is.
inline void layer_norm_forward(const LayerNormForward& p, Stream stream) {
  constexpr int kRows = 4;
  if (p.rows == 0 || p.cols == 0) return;
  const dim3 grid(blocks_of(p.rows, kRows)), block(kWarp, kRows);
  if (p.cols <= 4 * kWarp) launch(layer_norm_forward_warp<4, kRows>, grid, block, 0, stream, p);
  else if (p.cols <= 16 * kWarp) launch(layer_norm_forward_warp<16, kRows>, grid, block, 0, stream, p);
  else launch(layer_norm_forward_strided<kRows>, grid, block, 0, stream, p);
}

/// Floats of workspace that the gradients of gamma and beta take.
inline int64_t layer_norm_backward_workspace(int64_t rows, int64_t cols) {
  return column_slots(rows) * 2 * cols;
}

/// @param workspace  (layer_norm_backward_workspace(rows, cols))  overwritten; or null without dgamma and dbeta
inline void layer_norm_backward(const LayerNormBackward& p, float* workspace, Stream stream) {
  constexpr int kRows = 4;
  if (p.cols == 0) return;
  if (p.dx != nullptr && p.rows != 0)
    launch(layer_norm_backward_input<kRows>, dim3(blocks_of(p.rows, kRows)), dim3(kWarp, kRows), 0, stream, p);
  if (p.dgamma == nullptr && p.dbeta == nullptr) return;
  const int64_t slots = column_slots(p.rows);
  if (slots != 0)
    launch(layer_norm_backward_weight<kColumnRows>, dim3(blocks_of(p.cols, kWarp), unsigned(slots)),
           dim3(kWarp, kColumnRows), 0, stream, p, workspace);
  const dim3 grid(blocks_of(p.cols, 128));
  const SlotSums dgamma{workspace, p.dgamma, slots, p.cols, 2 * p.cols};
  const SlotSums dbeta{workspace + p.cols, p.dbeta, slots, p.cols, 2 * p.cols};
  if (p.dgamma != nullptr) launch(sum_slots<128>, grid, 128, 0, stream, dgamma);
  if (p.dbeta != nullptr) launch(sum_slots<128>, grid, 128, 0, stream, dbeta);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

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
// A warp, or a half or a quarter of one, per row: the sums need shuffles only and no barrier, and a row of up to 512
// stays in registers, so that x is read once. A lane takes four neighbouring columns where rows allow 16-byte accesses,
// and one otherwise.

#include "clearsky/cpu/norm.hpp"
#include "clearsky/cuda/kernels/column_sums.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using LayerNormForward = cpu::LayerNormForward<float>;
using LayerNormBackward = cpu::LayerNormBackward<float>;

/// grid (ceil(rows / (Rows kWarp / Group))), block (kWarp, Rows); PerLane Width Group >= cols; Width divides cols
template <int PerLane, int Width, int Group, int Rows>
__global__ void __launch_bounds__(kWarp* Rows) layer_norm_forward_group(const LayerNormForward p) {
  using RowPlace = RowGroup<Group>;
  const int64_t first_row = (int64_t(blockIdx.x) * Rows + threadIdx.y) * RowPlace::kRows;
  if (first_row >= p.rows) return;  // whole warps leave together, so the shuffles below stay safe
  const RowPlace at(first_row);
  const bool there = at.row < p.rows;
  const auto column = [&](int i) { return (int64_t(i) * Group + at.lane) * Width; };

  // Load. Lane l holds Width columns from l Width on, then from (l + Group) Width on, ...: neighbouring lanes read
  // neighbouring floats.
  Lanes<Width> x[PerLane];
  const float* from = p.x + at.row * p.cols;
  for (int i = 0; i < PerLane; ++i)
    x[i] = there && column(i) < p.cols ? load_lanes<Width>(from + column(i)) : all_lanes<Width>(0.0f);

  // Mean, then the variance around it: E[x^2] - E[x]^2 cancels in float. The zeros that pad the row must not count.
  float sum = 0;
  for (int i = 0; i < PerLane; ++i)
    for (int k = 0; k < Width; ++k) sum += x[i][k];
  const float mean = group_sum<Group>(sum) / float(p.cols);
  float squares = 0;
  for (int i = 0; i < PerLane; ++i) {
    const bool inside = column(i) < p.cols;
    for (int k = 0; k < Width; ++k) squares += inside ? (x[i][k] - mean) * (x[i][k] - mean) : 0.0f;
  }
  const float rstd = 1.0f / sqrtf(group_sum<Group>(squares) / float(p.cols) + p.eps);

  // Output.
  if (!there) return;
  for (int i = 0; i < PerLane; ++i) {
    const int64_t c = column(i);
    if (c >= p.cols) continue;
    const Lanes<Width> gamma = load_lanes<Width>(p.gamma + c), beta = load_lanes<Width>(p.beta + c);
    for (int k = 0; k < Width; ++k) x[i][k] = gamma[k] * ((x[i][k] - mean) * rstd) + beta[k];
    store_lanes<Width>(p.y + at.row * p.cols + c, x[i]);
  }
  if (at.lane == 0 && p.mean != nullptr) {
    p.mean[at.row] = mean;
    p.rstd[at.row] = rstd;
  }
}

/// For any length of rows: x is read three times, of which two come from a cache.
/// grid (ceil(rows / Rows)), block (kWarp, Rows); Width divides cols
template <int Width, int Rows>
__global__ void __launch_bounds__(kWarp* Rows) layer_norm_forward_strided(const LayerNormForward p) {
  const int64_t row = int64_t(blockIdx.x) * Rows + threadIdx.y;
  if (row >= p.rows) return;
  const float* from = p.x + row * p.cols;
  const int64_t first = int64_t(threadIdx.x) * Width, step = kWarp * Width;
  float sum = 0;
  for (int64_t c = first; c < p.cols; c += step) {
    const Lanes<Width> x = load_lanes<Width>(from + c);
    for (int k = 0; k < Width; ++k) sum += x[k];
  }
  const float mean = warp_sum(sum) / float(p.cols);
  float squares = 0;
  for (int64_t c = first; c < p.cols; c += step) {
    const Lanes<Width> x = load_lanes<Width>(from + c);
    for (int k = 0; k < Width; ++k) squares += (x[k] - mean) * (x[k] - mean);
  }
  const float rstd = 1.0f / sqrtf(warp_sum(squares) / float(p.cols) + p.eps);
  for (int64_t c = first; c < p.cols; c += step) {
    Lanes<Width> x = load_lanes<Width>(from + c);
    const Lanes<Width> gamma = load_lanes<Width>(p.gamma + c), beta = load_lanes<Width>(p.beta + c);
    for (int k = 0; k < Width; ++k) x[k] = gamma[k] * ((x[k] - mean) * rstd) + beta[k];
    store_lanes<Width>(p.y + row * p.cols + c, x);
  }
  if (threadIdx.x == 0 && p.mean != nullptr) {
    p.mean[row] = mean;
    p.rstd[row] = rstd;
  }
}

/// x and dy are read twice, the second time from a cache.
/// grid (ceil(rows / (Rows kWarp / Group))), block (kWarp, Rows); Width divides cols
template <int Width, int Group, int Rows>
__global__ void __launch_bounds__(kWarp* Rows) layer_norm_backward_input(const LayerNormBackward p) {
  using RowPlace = RowGroup<Group>;
  const int64_t first_row = (int64_t(blockIdx.x) * Rows + threadIdx.y) * RowPlace::kRows;
  if (first_row >= p.rows) return;
  const RowPlace at(first_row);
  const bool there = at.row < p.rows;
  const int64_t first = int64_t(at.lane) * Width, end = there ? p.cols : 0, step = Group * Width;
  const float mean = there ? p.mean[at.row] : 0.0f, rstd = there ? p.rstd[at.row] : 0.0f;
  const float *x_row = p.x + at.row * p.cols, *dy_row = p.dy + at.row * p.cols;
  float sum_h = 0, sum_hx = 0;
  for (int64_t c = first; c < end; c += step) {
    const Lanes<Width> x = load_lanes<Width>(x_row + c), dy = load_lanes<Width>(dy_row + c),
                       gamma = load_lanes<Width>(p.gamma + c);
    for (int k = 0; k < Width; ++k) {
      const float h = dy[k] * gamma[k];
      sum_h += h;
      sum_hx += h * ((x[k] - mean) * rstd);
    }
  }
  const float mean_h = group_sum<Group>(sum_h) / float(p.cols);
  const float mean_hx = group_sum<Group>(sum_hx) / float(p.cols);
  for (int64_t c = first; c < end; c += step) {
    const Lanes<Width> x = load_lanes<Width>(x_row + c), dy = load_lanes<Width>(dy_row + c),
                       gamma = load_lanes<Width>(p.gamma + c);
    Lanes<Width> dx;
    for (int k = 0; k < Width; ++k) dx[k] = rstd * (dy[k] * gamma[k] - mean_h - ((x[k] - mean) * rstd) * mean_hx);
    store_lanes<Width>(p.dx + at.row * p.cols + c, dx);
  }
}

/// Sums over the rows of one slot. parts (slots, 2, cols), written: dgamma, then dbeta.
/// grid (ceil(cols / Width / kWarp), slots), block (kWarp, Rows); Width divides cols
template <int Width, int Rows>
__global__ void __launch_bounds__(kWarp* Rows)
    layer_norm_backward_weight(const LayerNormBackward p, float* __restrict__ parts) {
  const int64_t c = (int64_t(blockIdx.x) * kWarp + threadIdx.x) * Width, slot = blockIdx.y, slots = gridDim.y;
  Lanes<Width> dgamma = all_lanes<Width>(0.0f), dbeta = all_lanes<Width>(0.0f);
  if (c < p.cols) {  // the others must stay for the barriers
    const int64_t last = p.rows * (slot + 1) / slots;
    for (int64_t r = p.rows * slot / slots + threadIdx.y; r < last; r += Rows) {
      const Lanes<Width> dy = load_lanes<Width>(p.dy + r * p.cols + c), x = load_lanes<Width>(p.x + r * p.cols + c);
      const float mean = p.mean[r], rstd = p.rstd[r];
      for (int k = 0; k < Width; ++k) {
        dgamma[k] += dy[k] * ((x[k] - mean) * rstd);
        dbeta[k] += dy[k];
      }
    }
  }
  dgamma = sum_down_block(dgamma);
  dbeta = sum_down_block(dbeta);
  if (threadIdx.y == 0 && c < p.cols) {
    store_lanes<Width>(parts + slot * 2 * p.cols + c, dgamma);
    store_lanes<Width>(parts + slot * 2 * p.cols + p.cols + c, dbeta);
  }
}

/// Picks the registers and lanes that a row needs; returns without waiting. An empty tensor is not an error, an empty
/// grid is.
inline void layer_norm_forward(const LayerNormForward& p, Stream stream) {
  constexpr int kRows = 8;
  if (p.rows == 0 || p.cols == 0) return;
  const auto run = [&](auto kernel, int rows_of_warp) {
    launch(kernel, blocks_of(p.rows, kRows * rows_of_warp), dim3(kWarp, kRows), 0, stream, p);
  };
  if (p.cols % 4 == 0 && aligned16(p.x, p.gamma, p.beta, p.y)) {
    if (p.cols <= 4 * kWarp)
      with_row_group(p.cols, 4, [&](auto g) { run(layer_norm_forward_group<1, 4, g(), kRows>, RowGroup<g()>::kRows); });
    else if (p.cols <= 16 * kWarp) run(layer_norm_forward_group<4, 4, kWarp, kRows>, 1);
    else run(layer_norm_forward_strided<4, kRows>, 1);
  } else {
    if (p.cols <= 4 * kWarp) run(layer_norm_forward_group<4, 1, kWarp, kRows>, 1);
    else if (p.cols <= 16 * kWarp) run(layer_norm_forward_group<16, 1, kWarp, kRows>, 1);
    else run(layer_norm_forward_strided<1, kRows>, 1);
  }
}

/// Floats of workspace that the gradients of gamma and beta take.
inline int64_t layer_norm_backward_workspace(int64_t rows, int64_t cols) {
  return column_slots(rows) * 2 * cols;
}

/// @param workspace  (layer_norm_backward_workspace(rows, cols))  overwritten; or null without dgamma and dbeta
inline void layer_norm_backward(const LayerNormBackward& p, float* workspace, Stream stream) {
  constexpr int kRows = 4;
  if (p.cols == 0) return;
  const bool vectors = p.cols % 4 == 0 && aligned16(p.x, p.dy);
  const auto run = [&](auto kernel, int rows_of_warp) {
    launch(kernel, blocks_of(p.rows, kRows * rows_of_warp), dim3(kWarp, kRows), 0, stream, p);
  };
  if (p.dx != nullptr && p.rows != 0) {
    if (vectors && aligned16(p.gamma, p.dx))
      with_row_group(p.cols, 4, [&](auto g) { run(layer_norm_backward_input<4, g(), kRows>, RowGroup<g()>::kRows); });
    else run(layer_norm_backward_input<1, kWarp, kRows>, 1);
  }
  if (p.dgamma == nullptr && p.dbeta == nullptr) return;
  const int64_t slots = column_slots(p.rows);
  if (slots != 0) {
    const bool wide = vectors && aligned16(workspace) && p.cols >= 4 * kWarp;  // else lanes would have nothing to do
    launch(wide ? layer_norm_backward_weight<4, kColumnRows> : layer_norm_backward_weight<1, kColumnRows>,
           dim3(blocks_of(p.cols, kWarp * (wide ? 4 : 1)), unsigned(slots)), dim3(kWarp, kColumnRows), 0, stream, p,
           workspace);
  }
  const dim3 grid(blocks_of(p.cols, 128));
  const SlotSums dgamma{workspace, p.dgamma, slots, p.cols, 2 * p.cols};
  const SlotSums dbeta{workspace + p.cols, p.dbeta, slots, p.cols, 2 * p.cols};
  if (p.dgamma != nullptr) launch(sum_slots<128>, grid, 128, 0, stream, dgamma);
  if (p.dbeta != nullptr) launch(sum_slots<128>, grid, 128, 0, stream, dbeta);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

#pragma once
// Products of matrices with any strides: c = a b + bias for each of `batch` pairs. Two kernels:
//
// gemm_tiles: float. Each block computes a kTile x kTile part of c, each thread 4 x 4 of it. While one pair of tiles of
// a and b, kDepth deep, is multiplied, cp.async brings the next. Elements outside the matrices arrive as zeros, so that
// the inner loop has no borders.
//
// gemm_tensor_cores: the factors are rounded to bfloat16 on their way to shared memory, products are added in float.
// Each of the four warps of a block computes 32 x 32 as 2 x 4 products of 16 x 16 by 16 x 8.
//
// Sources: CUTLASS, "Efficient GEMM in CUDA" (tiles, double buffering); PTX ISA 8.0, sec. 9.7.13.4 (fragments).

#include "clearsky/cpu/gemm.hpp"
#include "clearsky/cuda/portable.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using Gemm = cpu::Gemm<float>;

inline constexpr int kTile = 64;   ///< rows and columns of c that a block computes
inline constexpr int kDepth = 16;  ///< products that are added between two barriers

/// Where a tile of a factor lies: element (line, step) at from[line line_stride + step step_stride], where a line is a
/// row of a or a column of b, and steps go along the sum.
struct Factor {
  const float* from;
  int64_t line_stride, step_stride, lines, steps;
};

/// How a tile travels. The shared tile is (kDepth, kTile) in each case: a step's lines are neighbours.
enum class Travel {
  along_steps,  ///< element by element; neighbouring threads read neighbouring steps
  along_lines,  ///< element by element; neighbouring threads read neighbouring lines
  vectors,      ///< four neighbouring lines in 16 bytes
};

/// Asks for the tile of `factor` that starts at (line, step). 256 threads.
template <Travel How>
__device__ __forceinline__ void fetch_tile(float (&tile)[kDepth][kTile + 4], const Factor& factor, int64_t line,
                                           int64_t step) {
  const int t = int(threadIdx.x);
  if constexpr (How == Travel::vectors) {
    const int i = t % 16 * 4, s = t / 16;
    // The launcher made sure that lines come in fours, so that the four are all inside or all outside.
    const bool inside = line + i < factor.lines && step + s < factor.steps;
    const float* from = inside ? factor.from + (line + i) + (step + s) * factor.step_stride : factor.from;
    cp_async16(&tile[s][i], from, inside ? 16 : 0);
  } else {
    for (int k = 0; k < kTile * kDepth / 256; ++k) {
      const int e = k * 256 + t;
      const int i = How == Travel::along_steps ? e / kDepth : e % kTile;
      const int s = How == Travel::along_steps ? e % kDepth : e / kTile;
      const bool inside = line + i < factor.lines && step + s < factor.steps;
      const int64_t at = (line + i) * factor.line_stride + (step + s) * factor.step_stride;
      cp_async4(&tile[s][i], factor.from + (inside ? at : 0), inside ? 4 : 0);
    }
  }
}

/// grid (ceil(n / kTile), ceil(m / kTile), batch), block 256
template <Travel A, Travel B>
__global__ void __launch_bounds__(256) gemm_tiles(const Gemm p) {
  CLEARSKY_SHARED(float, a_tiles, [2][kDepth][kTile + 4]);  // 4 more: rows stay aligned, and start in other banks
  CLEARSKY_SHARED(float, b_tiles, [2][kDepth][kTile + 4]);
  const int64_t batch = blockIdx.z, first_row = int64_t(blockIdx.y) * kTile, first_column = int64_t(blockIdx.x) * kTile;
  const Factor a{p.a + batch * p.a_batch, p.a_row, p.a_column, p.m, p.k};
  const Factor b{p.b + batch * p.b_batch, p.b_column, p.b_row, p.n, p.k};
  const int row = int(threadIdx.x) / 16 * 4, column = int(threadIdx.x) % 16 * 4;

  float sums[4][4] = {};
  const int64_t tiles = (p.k + kDepth - 1) / kDepth;
  if (tiles > 0) {
    fetch_tile<A>(a_tiles[0], a, first_row, 0);
    fetch_tile<B>(b_tiles[0], b, first_column, 0);
  }
  cp_commit();
  for (int64_t i = 0; i < tiles; ++i) {
    // The next pair is on its way while this one is multiplied. At the end its group is empty, and so the wait below
    // is right in every round.
    if (i + 1 < tiles) {
      fetch_tile<A>(a_tiles[(i + 1) % 2], a, first_row, (i + 1) * kDepth);
      fetch_tile<B>(b_tiles[(i + 1) % 2], b, first_column, (i + 1) * kDepth);
    }
    cp_commit();
    cp_wait<1>();
    __syncthreads();  // everyone's part of this pair has arrived
    for (int s = 0; s < kDepth; ++s) {
      const float4 x = ld4(&a_tiles[i % 2][s][row]), y = ld4(&b_tiles[i % 2][s][column]);
      const float xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
      for (int r = 0; r < 4; ++r)
        for (int c = 0; c < 4; ++c) sums[r][c] += xs[r] * ys[c];
    }
    __syncthreads();  // nobody reads this pair any more: the next round fetches into it
  }

  for (int r = 0; r < 4; ++r)
    for (int c = 0; c < 4; ++c) {
      const int64_t m = first_row + row + r, n = first_column + column + c;
      if (m < p.m && n < p.n) p.c[(batch * p.m + m) * p.n + n] = sums[r][c] + (p.bias == nullptr ? 0.0f : p.bias[n]);
    }
}

/// Copies a tile of a factor, rounded to bfloat16: tile[line][step]. 128 threads.
__device__ __forceinline__ void round_tile(bfloat16 (&tile)[kTile][kDepth + 8], const Factor& factor, int64_t line,
                                           int64_t step) {
  const bool along_steps = factor.step_stride == 1;  // neighbouring threads read neighbours
  for (int e = int(threadIdx.x); e < kTile * kDepth; e += 128) {
    const int i = along_steps ? e / kDepth : e % kTile, s = along_steps ? e % kDepth : e / kTile;
    const bool inside = line + i < factor.lines && step + s < factor.steps;
    const int64_t at = (line + i) * factor.line_stride + (step + s) * factor.step_stride;
    tile[i][s] = to_bfloat16(inside ? factor.from[at] : 0.0f);
  }
}

/// grid (ceil(n / kTile), ceil(m / kTile), batch), block Threads = 128
template <int Threads>
__global__ void __launch_bounds__(Threads) gemm_tensor_cores(const Gemm p) {
  static_assert(Threads == 4 * kWarp, "four warps share a tile");
  // 8 more: rows of 48 bytes are aligned to 16, and 8 neighbours lie in different banks.
  CLEARSKY_SHARED(bfloat16, a_tile, [kTile][kDepth + 8]);
  CLEARSKY_SHARED(bfloat16, b_tile, [kTile][kDepth + 8]);
  const int64_t batch = blockIdx.z, first_row = int64_t(blockIdx.y) * kTile, first_column = int64_t(blockIdx.x) * kTile;
  const Factor a{p.a + batch * p.a_batch, p.a_row, p.a_column, p.m, p.k};
  const Factor b{p.b + batch * p.b_batch, p.b_column, p.b_row, p.n, p.k};
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  const int row = warp / 2 * 32, column = warp % 2 * 32;

  float sums[2][4][4] = {};  // of fragments (16 x 8) at rows 16 i and columns 8 j
  for (int64_t step = 0; step < p.k; step += kDepth) {
    round_tile(a_tile, a, first_row, step);
    round_tile(b_tile, b, first_column, step);
    __syncthreads();
    // ldmatrix takes four 8 x 8 matrices in the order in which the fragment of a wants them: rows 0, 8, 0, 8 and
    // columns 0, 0, 8, 8. b lies with its columns as lines, which is what a fragment of b wants without transposing.
    uint32_t x[2][4], y[4][2];
    for (int i = 0; i < 2; ++i) ldmatrix_x4(x[i], &a_tile[row + 16 * i + lane % 16][lane / 16 * 8]);
    for (int j = 0; j < 4; ++j) ldmatrix_x2(y[j], &b_tile[column + 8 * j + lane % 8][lane / 8 % 2 * 8]);
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 4; ++j) mma_m16n8k16(sums[i][j], x[i], y[j], sums[i][j]);
    __syncthreads();  // nobody reads this pair any more
  }

  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 4; ++j)
      for (int e = 0; e < 4; ++e) {
        const int64_t m = first_row + row + 16 * i + lane / 4 + e / 2 * 8;
        const int64_t n = first_column + column + 8 * j + lane % 4 * 2 + e % 2;
        if (m < p.m && n < p.n)
          p.c[(batch * p.m + m) * p.n + n] = sums[i][j][e] + (p.bias == nullptr ? 0.0f : p.bias[n]);
      }
}

inline dim3 gemm_grid(const Gemm& p) {
  const unsigned rows = blocks_of(p.m, kTile);
  CLEARSKY_CHECK(ShapeError, rows <= 65535 && p.batch <= 65535, "gemm: ", p.batch, " products of ", p.m,
                 " rows, a grid can have 65535 products of 4194240 rows; cut the tensor in parts");
  return {blocks_of(p.n, kTile), rows, unsigned(p.batch)};
}

/// Whether four neighbouring lines can be read at once, anywhere in the factor.
inline bool lines_in_fours(const float* from, int64_t batch_stride, int64_t line_stride, int64_t step_stride,
                           int64_t lines) {
  return line_stride == 1 && lines % 4 == 0 && step_stride % 4 == 0 && batch_stride % 4 == 0 &&
         reinterpret_cast<uintptr_t>(from) % 16 == 0;
}

template <Travel A>
void launch_gemm_tiles(const Gemm& p, Stream stream) {
  if (lines_in_fours(p.b, p.b_batch, p.b_column, p.b_row, p.n))
    launch(gemm_tiles<A, Travel::vectors>, gemm_grid(p), 256, 0, stream, p);
  else if (p.b_row == 1) launch(gemm_tiles<A, Travel::along_steps>, gemm_grid(p), 256, 0, stream, p);
  else launch(gemm_tiles<A, Travel::along_lines>, gemm_grid(p), 256, 0, stream, p);
}

/// Picks how the factors travel; returns without waiting. With k = 0, c is the bias, or 0.
inline void gemm(const Gemm& p, Stream stream) {
  if (p.batch * p.m * p.n == 0) return;
  if (lines_in_fours(p.a, p.a_batch, p.a_row, p.a_column, p.m)) launch_gemm_tiles<Travel::vectors>(p, stream);
  else if (p.a_column == 1) launch_gemm_tiles<Travel::along_steps>(p, stream);
  else launch_gemm_tiles<Travel::along_lines>(p, stream);
}

/// As gemm, with factors rounded to bfloat16.
inline void gemm_bfloat16(const Gemm& p, Stream stream) {
  if (p.batch * p.m * p.n == 0) return;
  launch(gemm_tensor_cores<4 * kWarp>, gemm_grid(p), 4 * kWarp, 0, stream, p);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

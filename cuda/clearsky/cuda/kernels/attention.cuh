#pragma once
// Scaled dot-product attention without the L x L matrix, between the tokens of sequences or of an image's windows.
//
//     S = scale q k^T (masked),   P = softmax(S),   y = P v,   lse = log sum e^S
//     D_i = dy_i y_i,   dS = P (dy v^T - D),   dq = scale dS k,   dk = scale dS^T q,   dv = P^T dy
//
// Forward and dq: a block keeps 32 queries and walks over tiles of 32 keys. dk and dv: it keeps 32 keys and walks over
// tiles of queries. So every sum has one thread that adds it up in a fixed order. In the forward, cp.async brings the
// next pair of tiles while one is worked on. The softmax runs along with the keys: when a larger score comes, what was
// added so far is scaled down. Backward computes P again from lse.
//
// Sources: Vaswani et al., NeurIPS 2017, eq. 1; Milakov, Gimelshein, "Online normalizer calculation for softmax", 2018,
// arXiv:1805.02867; Dao et al., "FlashAttention", NeurIPS 2022, arXiv:2205.14135.

#include <cfloat>

#include "clearsky/cpu/attention.hpp"
#include "clearsky/cuda/portable.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using AttentionForward = cpu::AttentionForward<float>;
using AttentionBackward = cpu::AttentionBackward<float>;

inline constexpr int kTokens = 32;             ///< queries or keys of a tile
inline constexpr int kAttentionThreads = 128;  ///< 16 rows of 8: each takes 2 tokens and every 8th of the other side's

/// Where the tokens of q, k, v and y lie. A batch index counts sequences, or windows: images, then rows of windows,
/// then windows of a row; a token index counts along a sequence, or line by line through a window.
struct TokenLayout {
  int64_t down, across;                              // windows of an image; 1 for sequences
  int64_t image_stride, down_stride, across_stride;  // floats
  int64_t head_stride;
  int64_t line;                       // tokens of a line
  int64_t line_stride, token_stride;  // floats

  static TokenLayout sequences(int64_t heads, int64_t tokens, int64_t width) {
    return {1, 1, heads * tokens * width, 0, 0, tokens * width, tokens == 0 ? 1 : tokens, 0, width};
  }
  static TokenLayout windows(int64_t height, int64_t width, int64_t channels, int64_t head_width, int64_t window) {
    const int64_t row = width * channels;
    return {height / window, width / window, height * row, window * row, window * channels,
            head_width,      window,         row,          channels};
  }
  __device__ __forceinline__ int64_t first(int64_t batch, int64_t head) const {
    return batch / (down * across) * image_stride + batch / across % down * down_stride +
           batch % across * across_stride + head * head_stride;
  }
  __device__ __forceinline__ int64_t token(int64_t i) const { return i / line * line_stride + i % line * token_stride; }
};

/// What all attention kernels are given. lse and D are (batch, heads, queries).
struct AttentionCall {
  const float *q, *k, *v, *y, *lse, *dy, *delta;
  float *out_y, *out_lse, *dq, *dk, *dv;
  TokenLayout queries, keys;  // of q, y, dy; of k and v
  cpu::AttentionMask mask;
  cpu::AttentionShape shape;
};

/// A tile in shared memory: rows of kD floats, zeros behind the width. The pitch is an odd number of 16 bytes, so that
/// eight rows start in different banks.
template <int kD>
inline constexpr int kTokenPitch = kD + 4;
template <int kD>
inline constexpr int kTileFloats = kTokens* kTokenPitch<kD>;

/// Asks for tokens [first, first + kTokens); those behind the end arrive as zeros.
template <int kD, int Width>
__device__ __forceinline__ void fetch_tokens(float* tile, const float* from, const TokenLayout& layout, int64_t first,
                                             int64_t tokens, int64_t width) {
  for (int e = int(threadIdx.x); e < kTokens * kD / Width; e += kAttentionThreads) {
    const int row = e / (kD / Width), c = e % (kD / Width) * Width;
    const bool inside = first + row < tokens && c < width;
    const float* source = inside ? from + layout.token(first + row) + c : from;
    float* to = tile + row * kTokenPitch<kD> + c;
    if constexpr (Width == 4) cp_async16(to, source, inside ? 16 : 0);
    else cp_async4(to, source, inside ? 4 : 0);
  }
}

/// This thread's place: rows 2 i and 2 i + 1 of a tile, columns j, j + 8, ... of the other.
struct Place {
  int i, j;
  __device__ __forceinline__ Place() : i(int(threadIdx.x) / 8), j(int(threadIdx.x) % 8) {}
};

/// s[r][c] = row 2 i + r of a times row j + 8 c of b.
template <int kD>
__device__ __forceinline__ void dot_tiles(const float* a, const float* b, const Place& at, float (&s)[2][4]) {
  for (int r = 0; r < 2; ++r)
    for (int c = 0; c < 4; ++c) s[r][c] = 0;
  for (int d = 0; d < kD; d += 4) {
    float4 x[2], y[4];
    for (int r = 0; r < 2; ++r) x[r] = ld4(a + (2 * at.i + r) * kTokenPitch<kD> + d);
    for (int c = 0; c < 4; ++c) y[c] = ld4(b + (at.j + 8 * c) * kTokenPitch<kD> + d);
    for (int r = 0; r < 2; ++r)
      for (int c = 0; c < 4; ++c) s[r][c] += x[r].x * y[c].x + x[r].y * y[c].y + x[r].z * y[c].z + x[r].w * y[c].w;
  }
}

/// The weights of a warp's 8 rows, where its lanes can read each other's. A warp uses its own rows only.
inline constexpr int kWeightPitch = kTokens + 1;

__device__ __forceinline__ void put_weights(float* weights, const Place& at, const float (&p)[2][4]) {
  for (int r = 0; r < 2; ++r)
    for (int c = 0; c < 4; ++c) weights[(2 * at.i + r) * kWeightPitch + at.j + 8 * c] = p[r][c];
}

/// sums of rows 2 i and 2 i + 1, columns 4 (j + 8 c) and the next three: += weights times the rows of x.
template <int kD>
__device__ __forceinline__ void add_weighted(const float* weights, const float* x, const Place& at,
                                             float4 (&sums)[2][kD / 32]) {
  for (int t = 0; t < kTokens; ++t) {
    const float w[2] = {weights[2 * at.i * kWeightPitch + t], weights[(2 * at.i + 1) * kWeightPitch + t]};
    for (int c = 0; c < kD / 32; ++c) {
      const float4 v = ld4(x + t * kTokenPitch<kD> + 4 * (at.j + 8 * c));
      for (int r = 0; r < 2; ++r) {
        sums[r][c].x += w[r] * v.x;
        sums[r][c].y += w[r] * v.y;
        sums[r][c].z += w[r] * v.z;
        sums[r][c].w += w[r] * v.w;
      }
    }
  }
}

/// Writes row `token` of a result, times `factor`.
template <int kD>
__device__ __forceinline__ void write_row(float* to, const float4 (&sums)[kD / 32], const Place& at, int64_t width,
                                          float factor) {
  for (int c = 0; c < kD / 32; ++c) {
    const int first = 4 * (at.j + 8 * c);
    const float v[4] = {sums[c].x * factor, sums[c].y * factor, sums[c].z * factor, sums[c].w * factor};
    for (int e = 0; e < 4; ++e)
      if (first + e < width) to[first + e] = v[e];
  }
}

__device__ __forceinline__ bool may_look(const AttentionCall& p, int64_t batch, int64_t head, int64_t i, int64_t j) {
  const cpu::AttentionShape& s = p.shape;
  if (i >= s.queries || j >= s.keys || (s.causal && j > i + s.keys - s.queries)) return false;
  if (p.mask.allowed == nullptr) return true;
  const int64_t* step = p.mask.strides;
  return p.mask.allowed[batch * step[0] + head * step[1] + i * step[2] + j * step[3]];
}

/// The sum, or the largest, over the 8 threads that share rows; each gets it.
__device__ __forceinline__ float row_sum(float v) {
  for (int lanes = 4; lanes > 0; lanes /= 2) v += __shfl_xor_sync(kAllLanes, v, lanes);
  return v;
}
__device__ __forceinline__ float row_max(float v) {
  for (int lanes = 4; lanes > 0; lanes /= 2) v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, lanes));
  return v;
}

/// grid (ceil(queries / kTokens), heads, batch), block kAttentionThreads
template <int kD, int Width>
__global__ void __launch_bounds__(kAttentionThreads) attention_forward_tiles(const AttentionCall p) {
  CLEARSKY_DYNAMIC_SHARED(float, memory);
  CLEARSKY_SHARED(float, weights, [kTokens * kWeightPitch]);
  const cpu::AttentionShape& s = p.shape;
  const int64_t batch = blockIdx.z, head = blockIdx.y, first_query = int64_t(blockIdx.x) * kTokens;
  const float *k = p.k + p.keys.first(batch, head), *v = p.v + p.keys.first(batch, head);
  float *queries = memory, *pairs = memory + kTileFloats<kD>;
  const Place at;
  const int tiles = int((s.keys + kTokens - 1) / kTokens);
  const auto fetch = [&](int i) {
    if (i < tiles) {
      float* pair = pairs + i % 2 * 2 * kTileFloats<kD>;
      fetch_tokens<kD, Width>(pair, k, p.keys, int64_t(i) * kTokens, s.keys, s.width);
      fetch_tokens<kD, Width>(pair + kTileFloats<kD>, v, p.keys, int64_t(i) * kTokens, s.keys, s.width);
    }
    cp_commit();  // at the end an empty group, so that the wait below is right in every round
  };
  fetch_tokens<kD, Width>(queries, p.q + p.queries.first(batch, head), p.queries, first_query, s.queries, s.width);
  fetch(0);

  const float scale = float(s.scale);
  float top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
  float4 sums[2][kD / 32];
  for (int r = 0; r < 2; ++r)
    for (int c = 0; c < kD / 32; ++c) sums[r][c] = make_float4(0, 0, 0, 0);
  for (int tile = 0; tile < tiles; ++tile) {
    fetch(tile + 1);
    cp_wait<1>();
    __syncthreads();  // everyone's part of this pair has arrived
    const float* pair = pairs + tile % 2 * 2 * kTileFloats<kD>;
    float score[2][4];
    dot_tiles<kD>(queries, pair, at, score);
    for (int r = 0; r < 2; ++r) {
      const int64_t i = first_query + 2 * at.i + r;
      float largest = -INFINITY;
      for (int c = 0; c < 4; ++c) {
        const bool allowed = may_look(p, batch, head, i, int64_t(tile) * kTokens + at.j + 8 * c);
        score[r][c] = allowed ? scale * score[r][c] : -INFINITY;
        largest = fmaxf(largest, score[r][c]);
      }
      const float new_top = fmaxf(top[r], row_max(largest));
      // While nothing may be looked at, 0 takes the place of the maximum: -inf - -inf is no number.
      const float base = new_top == -INFINITY ? 0.0f : new_top;
      const float shrink = expf(top[r] - base);
      float added = 0;
      for (int c = 0; c < 4; ++c) {
        score[r][c] = expf(score[r][c] - base);
        added += score[r][c];
      }
      total[r] = total[r] * shrink + row_sum(added);
      top[r] = new_top;
      for (int c = 0; c < kD / 32; ++c) {
        sums[r][c].x *= shrink, sums[r][c].y *= shrink;
        sums[r][c].z *= shrink, sums[r][c].w *= shrink;
      }
    }
    __syncwarp();  // nobody reads the weights of the last tile any more
    put_weights(weights, at, score);
    __syncwarp();
    add_weighted<kD>(weights, pair + kTileFloats<kD>, at, sums);
    __syncthreads();  // nobody reads this pair any more: the next round fetches into it
  }
  for (int r = 0; r < 2; ++r) {
    const int64_t i = first_query + 2 * at.i + r;
    if (i >= s.queries) continue;
    write_row<kD>(p.out_y + p.queries.first(batch, head) + p.queries.token(i), sums[r], at, s.width,
                  total[r] == 0.0f ? 0.0f : 1.0f / total[r]);
    if (at.j == 0)
      p.out_lse[(batch * s.heads + head) * s.queries + i] = total[r] == 0.0f ? -INFINITY : top[r] + logf(total[r]);
  }
}

/// D_i = dy_i y_i. A warp per query. grid (ceil(batch heads queries / Rows)), block (kWarp, Rows)
template <int Rows>
__global__ void __launch_bounds__(kWarp* Rows) attention_delta(const AttentionCall p, float* __restrict__ delta) {
  const cpu::AttentionShape& s = p.shape;
  const int64_t row = int64_t(blockIdx.x) * Rows + threadIdx.y;
  if (row >= s.batch * s.heads * s.queries) return;  // whole warps leave together
  const int64_t at =
      p.queries.first(row / s.queries / s.heads, row / s.queries % s.heads) + p.queries.token(row % s.queries);
  float sum = 0;
  for (int64_t c = threadIdx.x; c < s.width; c += kWarp) sum += p.dy[at + c] * p.y[at + c];
  sum = warp_sum(sum);
  if (threadIdx.x == 0) delta[row] = sum;
}

/// P and dS of one pair: `score` is q k, `slope` dy v, both at (query i, key j); on return P and dS / scale.
__device__ __forceinline__ void weight_and_slope(const AttentionCall& p, int64_t batch, int64_t head, int64_t i,
                                                 int64_t j, float& score, float& slope) {
  const int64_t row = (batch * p.shape.heads + head) * p.shape.queries + i;
  const bool allowed = may_look(p, batch, head, i, j);
  // A query with only scores of minus infinity has lse = minus infinity, and no weights: -inf less -inf is no number.
  score = allowed ? expf(float(p.shape.scale) * score - fmaxf(p.lse[row], -FLT_MAX)) : 0.0f;
  slope = allowed ? score * (slope - p.delta[row]) : 0.0f;
}

/// grid (ceil(queries / kTokens), heads, batch), block kAttentionThreads
template <int kD, int Width>
__global__ void __launch_bounds__(kAttentionThreads) attention_backward_queries(const AttentionCall p) {
  CLEARSKY_DYNAMIC_SHARED(float, memory);
  CLEARSKY_SHARED(float, weights, [kTokens * kWeightPitch]);
  const cpu::AttentionShape& s = p.shape;
  const int64_t batch = blockIdx.z, head = blockIdx.y, first_query = int64_t(blockIdx.x) * kTokens;
  const int64_t of_queries = p.queries.first(batch, head), of_keys = p.keys.first(batch, head);
  float *queries = memory, *slopes = queries + kTileFloats<kD>, *keys = slopes + kTileFloats<kD>,
        *values = keys + kTileFloats<kD>;
  const Place at;
  fetch_tokens<kD, Width>(queries, p.q + of_queries, p.queries, first_query, s.queries, s.width);
  fetch_tokens<kD, Width>(slopes, p.dy + of_queries, p.queries, first_query, s.queries, s.width);
  float4 sums[2][kD / 32];
  for (int r = 0; r < 2; ++r)
    for (int c = 0; c < kD / 32; ++c) sums[r][c] = make_float4(0, 0, 0, 0);
  for (int64_t first = 0; first < s.keys; first += kTokens) {
    fetch_tokens<kD, Width>(keys, p.k + of_keys, p.keys, first, s.keys, s.width);
    fetch_tokens<kD, Width>(values, p.v + of_keys, p.keys, first, s.keys, s.width);
    cp_commit();
    cp_wait<0>();
    __syncthreads();
    float score[2][4], slope[2][4];
    dot_tiles<kD>(queries, keys, at, score);
    dot_tiles<kD>(slopes, values, at, slope);
    for (int r = 0; r < 2; ++r)
      for (int c = 0; c < 4; ++c)
        weight_and_slope(p, batch, head, first_query + 2 * at.i + r, first + at.j + 8 * c, score[r][c], slope[r][c]);
    __syncwarp();
    put_weights(weights, at, slope);
    __syncwarp();
    add_weighted<kD>(weights, keys, at, sums);
    __syncthreads();  // nobody reads this pair any more
  }
  for (int r = 0; r < 2; ++r) {
    const int64_t i = first_query + 2 * at.i + r;
    if (i < s.queries) write_row<kD>(p.dq + of_queries + p.queries.token(i), sums[r], at, s.width, float(s.scale));
  }
}

/// grid (ceil(keys / kTokens), heads, batch), block kAttentionThreads
template <int kD, int Width>
__global__ void __launch_bounds__(kAttentionThreads) attention_backward_keys(const AttentionCall p) {
  CLEARSKY_DYNAMIC_SHARED(float, memory);
  CLEARSKY_SHARED(float, weights, [kTokens * kWeightPitch]);
  const cpu::AttentionShape& s = p.shape;
  const int64_t batch = blockIdx.z, head = blockIdx.y, first_key = int64_t(blockIdx.x) * kTokens;
  const int64_t of_queries = p.queries.first(batch, head), of_keys = p.keys.first(batch, head);
  float *keys = memory, *values = keys + kTileFloats<kD>, *queries = values + kTileFloats<kD>,
        *slopes = queries + kTileFloats<kD>;
  const Place at;
  fetch_tokens<kD, Width>(keys, p.k + of_keys, p.keys, first_key, s.keys, s.width);
  fetch_tokens<kD, Width>(values, p.v + of_keys, p.keys, first_key, s.keys, s.width);
  float4 dk[2][kD / 32], dv[2][kD / 32];
  for (int r = 0; r < 2; ++r)
    for (int c = 0; c < kD / 32; ++c) dk[r][c] = dv[r][c] = make_float4(0, 0, 0, 0);
  for (int64_t first = 0; first < s.queries; first += kTokens) {
    fetch_tokens<kD, Width>(queries, p.q + of_queries, p.queries, first, s.queries, s.width);
    fetch_tokens<kD, Width>(slopes, p.dy + of_queries, p.queries, first, s.queries, s.width);
    cp_commit();
    cp_wait<0>();
    __syncthreads();
    float score[2][4], slope[2][4];  // rows are keys here
    dot_tiles<kD>(keys, queries, at, score);
    dot_tiles<kD>(values, slopes, at, slope);
    for (int r = 0; r < 2; ++r)
      for (int c = 0; c < 4; ++c)
        weight_and_slope(p, batch, head, first + at.j + 8 * c, first_key + 2 * at.i + r, score[r][c], slope[r][c]);
    __syncwarp();
    put_weights(weights, at, score);
    __syncwarp();
    add_weighted<kD>(weights, slopes, at, dv);
    __syncwarp();  // nobody reads P any more
    put_weights(weights, at, slope);
    __syncwarp();
    add_weighted<kD>(weights, queries, at, dk);
    __syncthreads();  // nobody reads this pair any more
  }
  for (int r = 0; r < 2; ++r) {
    const int64_t j = first_key + 2 * at.i + r;
    if (j >= s.keys) continue;
    write_row<kD>(p.dk + of_keys + p.keys.token(j), dk[r], at, s.width, float(s.scale));
    write_row<kD>(p.dv + of_keys + p.keys.token(j), dv[r], at, s.width, 1.0f);
  }
}

namespace detail {

/// Whether every token starts at a multiple of 16 bytes and has whole fours.
inline bool tokens_in_fours(const AttentionCall& p) {
  const auto of = [](const TokenLayout& l) {
    return l.image_stride % 4 == 0 && l.down_stride % 4 == 0 && l.across_stride % 4 == 0 && l.head_stride % 4 == 0 &&
           l.line_stride % 4 == 0 && l.token_stride % 4 == 0;
  };
  const auto aligned = [](const float* x) { return reinterpret_cast<uintptr_t>(x) % 16 == 0; };
  return p.shape.width % 4 == 0 && of(p.queries) && of(p.keys) && aligned(p.q) && aligned(p.k) && aligned(p.v) &&
         aligned(p.dy);
}

/// Calls body<kD, Width>() for the smallest tile that holds a head.
/// @throws ShapeError for heads of more than 128, and for sizes that no grid has
template <class Body>
void with_attention_tile(const AttentionCall& p, Body&& body) {
  const cpu::AttentionShape& s = p.shape;
  CLEARSKY_CHECK(ShapeError, s.width <= 128 && s.heads <= 65535 && s.batch <= 65535, "attention: ", s.batch,
                 " sequences, ", s.heads, " heads of ", s.width,
                 "; a device takes 65535 of each, and heads of 128; use more heads, or cut the batch");
  const bool fours = tokens_in_fours(p);
  const auto with = [&]<int kD>() {
    if (fours) body.template operator()<kD, 4>();
    else body.template operator()<kD, 1>();
  };
  if (s.width <= 32) with.template operator()<32>();
  else if (s.width <= 64) with.template operator()<64>();
  else with.template operator()<128>();
}

template <class Kernel>
void launch_attention(Kernel kernel, int64_t tokens, int tiles, int tile_floats, const AttentionCall& p,
                      Stream stream) {
  const size_t bytes = size_t(tiles) * size_t(tile_floats) * sizeof(float);
  if (bytes > 48 * 1024) allow_shared(kernel, bytes);
  launch(kernel, dim3(blocks_of(tokens, kTokens), unsigned(p.shape.heads), unsigned(p.shape.batch)), kAttentionThreads,
         bytes, stream, p);
}

inline void run_attention_forward(const AttentionCall& p, Stream stream) {
  const cpu::AttentionShape& s = p.shape;
  if (s.batch * s.heads * s.queries == 0) return;
  with_attention_tile(p, [&]<int kD, int Width>() {
    launch_attention(attention_forward_tiles<kD, Width>, s.queries, 5, kTileFloats<kD>, p, stream);
  });
}

/// @param delta  (batch, heads, queries)  overwritten
inline void run_attention_backward(AttentionCall p, float* delta, Stream stream) {
  const cpu::AttentionShape& s = p.shape;
  constexpr int kRows = 4;
  p.delta = delta;
  if (s.batch * s.heads == 0) return;
  with_attention_tile(p, [&]<int kD, int Width>() {
    const int64_t rows = s.batch * s.heads * s.queries;
    if (rows != 0) launch(attention_delta<kRows>, blocks_of(rows, kRows), dim3(kWarp, kRows), 0, stream, p, delta);
    if (s.queries != 0)
      launch_attention(attention_backward_queries<kD, Width>, s.queries, 4, kTileFloats<kD>, p, stream);
    if (s.keys != 0) launch_attention(attention_backward_keys<kD, Width>, s.keys, 4, kTileFloats<kD>, p, stream);
  });
}

}  // namespace detail

/// Returns without waiting. A query that may look nowhere gives 0, and -infinity as lse.
/// @throws ShapeError for heads of more than 128 channels
inline void attention_forward(const AttentionForward& p, Stream stream) {
  const cpu::AttentionShape& s = p.shape;
  AttentionCall c{};
  c.q = p.q, c.k = p.k, c.v = p.v, c.out_y = p.y, c.out_lse = p.lse, c.mask = p.mask, c.shape = s;
  c.queries = TokenLayout::sequences(s.heads, s.queries, s.width);
  c.keys = TokenLayout::sequences(s.heads, s.keys, s.width);
  detail::run_attention_forward(c, stream);
}

/// Floats of workspace.
inline int64_t attention_backward_workspace(const AttentionBackward& p) {
  return p.shape.batch * p.shape.heads * p.shape.queries;
}
/// Returns without waiting.
/// @param workspace  (attention_backward_workspace(p))  overwritten
inline void attention_backward(const AttentionBackward& p, float* workspace, Stream stream) {
  const cpu::AttentionShape& s = p.shape;
  AttentionCall c{};
  c.q = p.q, c.k = p.k, c.v = p.v, c.y = p.y, c.lse = p.lse, c.dy = p.dy, c.dq = p.dq, c.dk = p.dk, c.dv = p.dv;
  c.mask = p.mask, c.shape = s;
  c.queries = TokenLayout::sequences(s.heads, s.queries, s.width);
  c.keys = TokenLayout::sequences(s.heads, s.keys, s.width);
  detail::run_attention_backward(c, workspace, stream);
}

/// Attention within the windows of channels-last images, which are read where they lie.
struct WindowAttention {
  const float *q, *k, *v;  // (batch, height, width, channels)
  float *y, *lse;          // as q; (batch windows, heads, window^2)  written by forward, read by backward
  const float* dy;         // as q; backward alone, as the rest
  float *dq, *dk, *dv;     // as q, written
  int64_t batch, height, width, channels, heads, window;
  double scale;

  AttentionCall call() const {
    AttentionCall c{};
    c.q = q, c.k = k, c.v = v, c.y = y, c.lse = lse, c.dy = dy, c.out_y = y, c.out_lse = lse, c.dq = dq, c.dk = dk,
    c.dv = dv;
    c.queries = c.keys = TokenLayout::windows(height, width, channels, channels / heads, window);
    const int64_t tokens = window * window;
    c.shape = {batch * (height / window) * (width / window), heads, tokens, tokens, channels / heads, scale, false};
    return c;
  }
};
inline void window_attention_forward(const WindowAttention& p, Stream stream) {
  detail::run_attention_forward(p.call(), stream);
}
inline int64_t window_attention_backward_workspace(const WindowAttention& p) {
  return p.batch * p.height * p.width * p.heads;
}
inline void window_attention_backward(const WindowAttention& p, float* workspace, Stream stream) {
  detail::run_attention_backward(p.call(), workspace, stream);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

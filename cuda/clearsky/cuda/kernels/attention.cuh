#pragma once
// Scaled dot-product attention without the L x L matrix, between the tokens of sequences or of an image's windows.
//
//     S = scale q k^T (masked),   P = softmax(S),   y = P v,   lse = log sum e^S
//     D_i = dy_i y_i,   dS = P (dy v^T - D),   dq = scale dS k,   dk = scale dS^T q,   dv = P^T dy
//
// Forward and dq: a block keeps some queries and walks over tiles of keys. dk and dv: it keeps keys and walks over
// tiles of queries. So every sum has one thread that adds it up in a fixed order. cp.async brings the next pair of
// tiles while one is worked on; tiles that a causal mask hides from a whole block are left out. The softmax runs along
// with the keys: when a larger score comes, what was added so far is scaled down. Backward computes P again from lse.
// In tf32 and bfloat16, tensor cores do the products: see attention_mma.cuh.
//
// Sources: Vaswani et al., NeurIPS 2017, eq. 1; Milakov, Gimelshein, "Online normalizer calculation for softmax", 2018,
// arXiv:1805.02867; Dao et al., "FlashAttention", NeurIPS 2022, arXiv:2205.14135.

#include "clearsky/cpu/window_attention.hpp"
#include "clearsky/cuda/kernels/attention_call.cuh"
#include "clearsky/cuda/kernels/attention_mma.cuh"
#include "clearsky/cuda/kernels/lanes.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

// A block is 16 rows of 8 threads: each takes 2 tokens and every 8th of the other side's.

/// Rows of kD floats in shared memory, zeros behind the width. The pitch is an odd number of 16 bytes, so that eight
/// rows start in different banks.
template <int kD>
inline constexpr int kTokenPitch = kD + 4;

/// Tokens of the tiles over which backward walks: as many as leave room for two blocks on a multiprocessor of sm_80.
template <int kD>
inline constexpr int kWalkTokens = kD <= 64 ? kTokens : kTokens / 2;

/// This thread's place: rows 2 i and 2 i + 1 of the block's tokens, every 8th, from j on, of the other side's.
struct Place {
  int i, j;
  __device__ __forceinline__ Place() : i(int(threadIdx.x) / 8), j(int(threadIdx.x) % 8) {}
};

/// s[r][c] = row 2 i + r of a times row j + 8 c of b.
template <int kD, int Columns>
__device__ __forceinline__ void dot_tiles(const float* a, const float* b, const Place& at, float (&s)[2][Columns]) {
  for (int r = 0; r < 2; ++r)
    for (int c = 0; c < Columns; ++c) s[r][c] = 0;
  for (int d = 0; d < kD; d += 4) {
    float4 x[2], y[Columns];
    for (int r = 0; r < 2; ++r) x[r] = ld4(a + (2 * at.i + r) * kTokenPitch<kD> + d);
    for (int c = 0; c < Columns; ++c) y[c] = ld4(b + (at.j + 8 * c) * kTokenPitch<kD> + d);
    for (int r = 0; r < 2; ++r)
      for (int c = 0; c < Columns; ++c)
        s[r][c] += x[r].x * y[c].x + x[r].y * y[c].y + x[r].z * y[c].z + x[r].w * y[c].w;
  }
}

/// The weights of a warp's 8 rows, where its lanes can read each other's. A warp uses its own rows only. The pitch
/// keeps rows 2 i of four i eight banks apart: eight columns of each fill all banks.
inline constexpr int kWeightPitch = kTokens + 4;

template <int Columns>
__device__ __forceinline__ void put_weights(float* weights, const Place& at, const float (&p)[2][Columns]) {
  for (int r = 0; r < 2; ++r)
    for (int c = 0; c < Columns; ++c) weights[(2 * at.i + r) * kWeightPitch + at.j + 8 * c] = p[r][c];
}

/// sums of rows 2 i and 2 i + 1, columns 4 (j + 8 c) and the next three: += weights times the rows of x.
template <int kD, int Rows>
__device__ __forceinline__ void add_weighted(const float* weights, const float* x, const Place& at,
                                             float4 (&sums)[2][kD / 32]) {
  for (int t = 0; t < Rows; ++t) {
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

/// grid (ceil(queries / kTokens) heads batch), block kAttentionThreads
template <int kD, int Width>
__global__ void __launch_bounds__(kAttentionThreads) attention_forward_tiles(const AttentionCall p) {
  CLEARSKY_DYNAMIC_SHARED(float, memory);
  CLEARSKY_SHARED(float, weights, [kTokens * kWeightPitch]);
  constexpr int kPitch = kTokenPitch<kD>, kTile = kTokens * kPitch;
  const cpu::AttentionShape& s = p.shape;
  const AttentionBlock block(p, kTokens);
  const int64_t of_queries = p.queries.first(block.batch, block.head), of_keys = p.keys.first(block.batch, block.head);
  float *queries = memory, *pairs = memory + kTile;
  const Place at;
  const int tiles = (p.keys_seen(block.last(kTokens, s.queries)) + kTokens - 1) / kTokens;
  const auto fetch = [&](int tile, int place) {
    fetch_tokens<kD, kPitch, kTokens, Width, 2>(pairs + place * 2 * kTile, {p.k + of_keys, p.v + of_keys}, p.keys,
                                                tile * kTokens, s.keys, s.width);
  };
  fetch_tokens<kD, kPitch, kTokens, Width, 1>(queries, {p.q + of_queries}, p.queries, block.first, s.queries, s.width);
  if (tiles > 0) fetch(0, 0);

  const float scale = float(s.scale);
  float top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
  float4 sums[2][kD / 32];
  for (int r = 0; r < 2; ++r)
    for (int c = 0; c < kD / 32; ++c) sums[r][c] = make_float4(0, 0, 0, 0);
  each_tile(0, tiles, fetch, [&](int tile, int place) {
    const float* pair = pairs + place * 2 * kTile;
    float score[2][4];
    dot_tiles<kD>(queries, pair, at, score);
    for (int r = 0; r < 2; ++r) {
      const int i = block.first + 2 * at.i + r;
      float largest = -INFINITY;
      for (int c = 0; c < 4; ++c) {
        const bool allowed = may_look(p, block.batch, block.head, i, tile * kTokens + at.j + 8 * c);
        score[r][c] = allowed ? scale * score[r][c] : -INFINITY;
        largest = fmaxf(largest, score[r][c]);
      }
      const float new_top = fmaxf(top[r], lanes_max<8>(largest));
      // While nothing may be looked at, 0 takes the place of the maximum: -inf - -inf is no number.
      const float base = new_top == -INFINITY ? 0.0f : new_top;
      const float shrink = expf(top[r] - base);
      float added = 0;
      for (int c = 0; c < 4; ++c) {
        score[r][c] = expf(score[r][c] - base);
        added += score[r][c];
      }
      total[r] = total[r] * shrink + lanes_sum<8>(added);
      top[r] = new_top;
      for (int c = 0; c < kD / 32; ++c) {
        sums[r][c].x *= shrink, sums[r][c].y *= shrink;
        sums[r][c].z *= shrink, sums[r][c].w *= shrink;
      }
    }
    __syncwarp();  // nobody reads the weights of the last tile any more
    put_weights(weights, at, score);
    __syncwarp();
    add_weighted<kD, kTokens>(weights, pair + kTile, at, sums);
  });
  for (int r = 0; r < 2; ++r) {
    const int i = block.first + 2 * at.i + r;
    if (i >= s.queries) continue;
    write_row<kD>(p.out_y + of_queries + p.queries.token(i), sums[r], at, s.width,
                  total[r] == 0.0f ? 0.0f : 1.0f / total[r]);
    if (at.j == 0)
      p.out_lse[(block.batch * s.heads + block.head) * s.queries + i] =
          total[r] == 0.0f ? -INFINITY : top[r] + logf(total[r]);
  }
}

/// D_i = dy_i y_i, with dy as the products round it: so the slopes of a query still add up to 0. A warp per query.
/// grid (ceil(batch heads queries / Rows)), block (kWarp, Rows)
template <Precision P, int Rows>
__global__ void __launch_bounds__(kWarp* Rows) attention_delta(const AttentionCall p, float* __restrict__ delta) {
  const cpu::AttentionShape& s = p.shape;
  const int64_t row = int64_t(blockIdx.x) * Rows + threadIdx.y;
  if (row >= s.batch * s.heads * s.queries) return;  // whole warps leave together
  const int64_t at =
      p.queries.first(row / s.queries / s.heads, row / s.queries % s.heads) + p.queries.token(row % s.queries);
  float sum = 0;
  for (int64_t c = threadIdx.x; c < s.width; c += kWarp) sum += as_factor<P>(p.dy[at + c]) * p.y[at + c];
  sum = warp_sum(sum);
  if (threadIdx.x == 0) delta[row] = sum;
}

/// P and dS of one pair: `score` is q k, `slope` dy v, both at (query i, key j); on return P and dS / scale.
__device__ __forceinline__ void weight_and_slope(const AttentionCall& p, const AttentionBlock& block, int64_t i,
                                                 int64_t j, float& score, float& slope) {
  const int64_t row = (block.batch * p.shape.heads + block.head) * p.shape.queries + i;
  const bool allowed = may_look(p, block.batch, block.head, i, j);
  // A query with only scores of minus infinity has lse = minus infinity, and no weights: -inf less -inf is no number.
  score = allowed ? expf(float(p.shape.scale) * score - fmaxf(p.lse[row], -FLT_MAX)) : 0.0f;
  slope = allowed ? score * (slope - p.delta[row]) : 0.0f;
}

/// grid (ceil(queries / kTokens) heads batch), block kAttentionThreads
template <int kD, int Width>
__global__ void __launch_bounds__(kAttentionThreads) attention_backward_queries(const AttentionCall p) {
  CLEARSKY_DYNAMIC_SHARED(float, memory);
  CLEARSKY_SHARED(float, weights, [kTokens * kWeightPitch]);
  constexpr int kPitch = kTokenPitch<kD>, kWalk = kWalkTokens<kD>, kTile = kWalk * kPitch;
  const cpu::AttentionShape& s = p.shape;
  const AttentionBlock block(p, kTokens);
  const int64_t of_queries = p.queries.first(block.batch, block.head), of_keys = p.keys.first(block.batch, block.head);
  float *queries = memory, *slopes = queries + kTokens * kPitch, *pairs = slopes + kTokens * kPitch;
  const Place at;
  const int tiles = (p.keys_seen(block.last(kTokens, s.queries)) + kWalk - 1) / kWalk;
  const auto fetch = [&](int tile, int place) {
    fetch_tokens<kD, kPitch, kWalk, Width, 2>(pairs + place * 2 * kTile, {p.k + of_keys, p.v + of_keys}, p.keys,
                                              tile * kWalk, s.keys, s.width);
  };
  fetch_tokens<kD, kPitch, kTokens, Width, 2>(queries, {p.q + of_queries, p.dy + of_queries}, p.queries, block.first,
                                              s.queries, s.width);
  if (tiles > 0) fetch(0, 0);
  float4 sums[2][kD / 32];
  for (int r = 0; r < 2; ++r)
    for (int c = 0; c < kD / 32; ++c) sums[r][c] = make_float4(0, 0, 0, 0);
  each_tile(0, tiles, fetch, [&](int tile, int place) {
    const float *keys = pairs + place * 2 * kTile, *values = keys + kTile;
    float score[2][kWalk / 8], slope[2][kWalk / 8];
    dot_tiles<kD>(queries, keys, at, score);
    dot_tiles<kD>(slopes, values, at, slope);
    for (int r = 0; r < 2; ++r)
      for (int c = 0; c < kWalk / 8; ++c)
        weight_and_slope(p, block, block.first + 2 * at.i + r, tile * kWalk + at.j + 8 * c, score[r][c], slope[r][c]);
    __syncwarp();
    put_weights(weights, at, slope);
    __syncwarp();
    add_weighted<kD, kWalk>(weights, keys, at, sums);
  });
  for (int r = 0; r < 2; ++r) {
    const int i = block.first + 2 * at.i + r;
    if (i < s.queries) write_row<kD>(p.dq + of_queries + p.queries.token(i), sums[r], at, s.width, float(s.scale));
  }
}

/// grid (ceil(keys / kTokens) heads batch), block kAttentionThreads
template <int kD, int Width>
__global__ void __launch_bounds__(kAttentionThreads) attention_backward_keys(const AttentionCall p) {
  CLEARSKY_DYNAMIC_SHARED(float, memory);
  CLEARSKY_SHARED(float, weights, [kTokens * kWeightPitch]);
  constexpr int kPitch = kTokenPitch<kD>, kWalk = kWalkTokens<kD>, kTile = kWalk * kPitch;
  const cpu::AttentionShape& s = p.shape;
  const AttentionBlock block(p, kTokens);
  const int64_t of_queries = p.queries.first(block.batch, block.head), of_keys = p.keys.first(block.batch, block.head);
  float *keys = memory, *values = keys + kTokens * kPitch, *pairs = values + kTokens * kPitch;
  const Place at;
  const int begin = p.first_looking(block.first) / kWalk, end = int((s.queries + kWalk - 1) / kWalk);
  const auto fetch = [&](int tile, int place) {
    fetch_tokens<kD, kPitch, kWalk, Width, 2>(pairs + place * 2 * kTile, {p.q + of_queries, p.dy + of_queries},
                                              p.queries, tile * kWalk, s.queries, s.width);
  };
  fetch_tokens<kD, kPitch, kTokens, Width, 2>(keys, {p.k + of_keys, p.v + of_keys}, p.keys, block.first, s.keys,
                                              s.width);
  if (begin < end) fetch(begin, 0);
  float4 dk[2][kD / 32], dv[2][kD / 32];
  for (int r = 0; r < 2; ++r)
    for (int c = 0; c < kD / 32; ++c) dk[r][c] = dv[r][c] = make_float4(0, 0, 0, 0);
  each_tile(begin, end, fetch, [&](int tile, int place) {
    const float *queries = pairs + place * 2 * kTile, *slopes = queries + kTile;
    float score[2][kWalk / 8], slope[2][kWalk / 8];  // rows are keys here
    dot_tiles<kD>(keys, queries, at, score);
    dot_tiles<kD>(values, slopes, at, slope);
    for (int r = 0; r < 2; ++r)
      for (int c = 0; c < kWalk / 8; ++c)
        weight_and_slope(p, block, tile * kWalk + at.j + 8 * c, block.first + 2 * at.i + r, score[r][c], slope[r][c]);
    __syncwarp();
    put_weights(weights, at, score);
    __syncwarp();
    add_weighted<kD, kWalk>(weights, slopes, at, dv);
    __syncwarp();  // nobody reads P any more
    put_weights(weights, at, slope);
    __syncwarp();
    add_weighted<kD, kWalk>(weights, queries, at, dk);
  });
  for (int r = 0; r < 2; ++r) {
    const int j = block.first + 2 * at.i + r;
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
  return p.shape.width % 4 == 0 && of(p.queries) && of(p.keys) &&
         aligned16(p.q, p.k, p.v, p.dy, p.out_y, p.dq, p.dk, p.dv);
}

/// Calls body<kD>() for the smallest tile that holds a head.
/// @throws ShapeError for heads of more than 128, and for tokens that 32 bits do not count
template <class Body>
void with_attention_width(const AttentionCall& p, Body&& body) {
  const cpu::AttentionShape& s = p.shape;
  CLEARSKY_CHECK(ShapeError, s.width <= 128 && s.queries <= 0x7fffff00 && s.keys <= 0x7fffff00,
                 "attention: ", s.queries, " queries and ", s.keys, " keys, heads of ", s.width,
                 "; a device takes 2147483392 of each, and heads of 128; use more heads, or cut the sequence");
  if (s.width <= 32) body.template operator()<32>();
  else if (s.width <= 64) body.template operator()<64>();
  else body.template operator()<128>();
}

/// A block for every `each` of so many tokens of each head.
template <class Kernel>
void launch_attention(Kernel kernel, int64_t tokens, int each, int shared_floats, AttentionCall p, Stream stream) {
  const int64_t tiles = (tokens + each - 1) / each;
  const size_t bytes = size_t(shared_floats) * sizeof(float);
  p.tiles = unsigned(tiles);
  if (bytes > 48 * 1024) allow_shared(kernel, bytes);
  launch(kernel, blocks_of(tiles * p.shape.heads * p.shape.batch, 1), kAttentionThreads, bytes, stream, p);
}

inline void run_attention_forward(AttentionCall p, Precision precision, Stream stream) {
  const cpu::AttentionShape& s = p.shape;
  if (s.batch * s.heads * s.queries == 0) return;
  p.fours = tokens_in_fours(p);
  with_attention_width(p, [&]<int kD>() {
    const auto on_tensor_cores = [&]<Precision P>() {
      launch_attention(attention_forward_mma<P, kD>, s.queries, kMmaTokens, kMmaForwardFloats<kD>, p, stream);
    };
    if (precision == Precision::tf32) return on_tensor_cores.template operator()<Precision::tf32>();
    if (precision == Precision::bfloat16) return on_tensor_cores.template operator()<Precision::bfloat16>();
    constexpr int kFloats = 5 * kTokens * kTokenPitch<kD>;
    if (p.fours) launch_attention(attention_forward_tiles<kD, 4>, s.queries, kTokens, kFloats, p, stream);
    else launch_attention(attention_forward_tiles<kD, 1>, s.queries, kTokens, kFloats, p, stream);
  });
}

/// @param delta  (batch, heads, queries)  overwritten
inline void run_attention_backward(AttentionCall p, Precision precision, float* delta, Stream stream) {
  const cpu::AttentionShape& s = p.shape;
  constexpr int kRows = 4;
  p.delta = delta;
  if (s.batch * s.heads == 0) return;
  p.fours = tokens_in_fours(p);
  const int64_t rows = s.batch * s.heads * s.queries;
  const auto run_delta = [&]<Precision P>() {
    if (rows != 0) launch(attention_delta<P, kRows>, blocks_of(rows, kRows), dim3(kWarp, kRows), 0, stream, p, delta);
  };
  with_attention_width(p, [&]<int kD>() {
    const auto on_tensor_cores = [&]<Precision P>() {
      run_delta.template operator()<P>();
      if (s.queries != 0)
        launch_attention(attention_backward_queries_mma<P, kD>, s.queries, kMmaTokens, MmaBackward<P, kD, 1>::kFloats,
                         p, stream);
      if (s.keys != 0)
        launch_attention(attention_backward_keys_mma<P, kD>, s.keys, kMmaTokens, MmaBackward<P, kD, 2>::kFloats, p,
                         stream);
    };
    if (precision == Precision::tf32) return on_tensor_cores.template operator()<Precision::tf32>();
    if (precision == Precision::bfloat16) return on_tensor_cores.template operator()<Precision::bfloat16>();
    run_delta.template operator()<Precision::float32>();
    constexpr int kFloats = (2 * kTokens + 4 * kWalkTokens<kD>)*kTokenPitch<kD>;
    const auto run = [&]<int Width>() {
      if (s.queries != 0)
        launch_attention(attention_backward_queries<kD, Width>, s.queries, kTokens, kFloats, p, stream);
      if (s.keys != 0) launch_attention(attention_backward_keys<kD, Width>, s.keys, kTokens, kFloats, p, stream);
    };
    if (p.fours) run.template operator()<4>();
    else run.template operator()<1>();
  });
}

}  // namespace detail

/// Returns without waiting. A query that may look nowhere gives 0, and -infinity as lse. Any width of heads is possible
/// in each precision.
/// @throws ShapeError for heads of more than 128 channels
inline void attention_forward(const AttentionForward& p, Precision precision, Stream stream) {
  const cpu::AttentionShape& s = p.shape;
  AttentionCall c{};
  c.q = p.q, c.k = p.k, c.v = p.v, c.out_y = p.y, c.out_lse = p.lse, c.mask = p.mask, c.shape = s;
  c.queries = TokenLayout::sequences(s.heads, s.queries, s.width);
  c.keys = TokenLayout::sequences(s.heads, s.keys, s.width);
  detail::run_attention_forward(c, precision, stream);
}
/// With factors as they are.
inline void attention_forward(const AttentionForward& p, Stream stream) {
  attention_forward(p, Precision::float32, stream);
}

/// Floats of workspace.
inline int64_t attention_backward_workspace(const AttentionBackward& p) {
  return p.shape.batch * p.shape.heads * p.shape.queries;
}
/// Returns without waiting.
/// @param workspace  (attention_backward_workspace(p))  overwritten
inline void attention_backward(const AttentionBackward& p, Precision precision, float* workspace, Stream stream) {
  const cpu::AttentionShape& s = p.shape;
  AttentionCall c{};
  c.q = p.q, c.k = p.k, c.v = p.v, c.y = p.y, c.lse = p.lse, c.dy = p.dy, c.dq = p.dq, c.dk = p.dk, c.dv = p.dv;
  c.mask = p.mask, c.shape = s;
  c.queries = TokenLayout::sequences(s.heads, s.queries, s.width);
  c.keys = TokenLayout::sequences(s.heads, s.keys, s.width);
  detail::run_attention_backward(c, precision, workspace, stream);
}
inline void attention_backward(const AttentionBackward& p, float* workspace, Stream stream) {
  attention_backward(p, Precision::float32, workspace, stream);
}

using WindowAttentionForward = cpu::WindowAttentionForward<float>;
using WindowAttentionBackward = cpu::WindowAttentionBackward<float>;

/// As attention_forward and attention_backward; the windows are read where they lie.
inline void window_attention_forward(const WindowAttentionForward& p, Precision precision, Stream stream) {
  const cpu::WindowShape& s = p.shape;
  if (s.numel() == 0) return;
  AttentionCall c{};
  c.q = p.q, c.k = p.k, c.v = p.v, c.out_y = p.y, c.out_lse = p.lse, c.shape = s.sequences();
  c.queries = c.keys = TokenLayout::windows(s.height, s.width, s.channels, s.channels / s.heads, s.window);
  detail::run_attention_forward(c, precision, stream);
}
inline void window_attention_forward(const WindowAttentionForward& p, Stream stream) {
  window_attention_forward(p, Precision::float32, stream);
}
inline int64_t window_attention_backward_workspace(const WindowAttentionBackward& p) {
  return p.shape.batch * p.shape.height * p.shape.width * p.shape.heads;
}
inline void window_attention_backward(const WindowAttentionBackward& p, Precision precision, float* workspace,
                                      Stream stream) {
  const cpu::WindowShape& s = p.shape;
  if (s.numel() == 0) return;
  AttentionCall c{};
  c.q = p.q, c.k = p.k, c.v = p.v, c.y = p.y, c.lse = p.lse, c.dy = p.dy, c.dq = p.dq, c.dk = p.dk, c.dv = p.dv;
  c.shape = s.sequences();
  c.queries = c.keys = TokenLayout::windows(s.height, s.width, s.channels, s.channels / s.heads, s.window);
  detail::run_attention_backward(c, precision, workspace, stream);
}
inline void window_attention_backward(const WindowAttentionBackward& p, float* workspace, Stream stream) {
  window_attention_backward(p, Precision::float32, workspace, stream);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

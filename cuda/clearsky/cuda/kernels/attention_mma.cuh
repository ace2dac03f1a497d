#pragma once
// The kernels of attention.cuh by tensor cores: factors, P and dS are rounded to tf32 or bfloat16, and everything is
// added up in float.
//
// A block keeps 64 tokens, 16 per warp, and walks over tiles of the other side's. Tiles arrive as float and are rounded
// when a warp takes its fragments. The tokens that a block keeps are rounded once, and the memory in which they arrived
// becomes that of the tiles. P stays in registers: where the sum of one product lies in a warp is where the left factor
// of the next one is wanted. Heads of a width that is no multiple of 16 end in zeros, so that no width needs kernels of
// its own.
//
// The order of the steps of a sum is free, if both factors have the same. So the 8 steps that an instruction of tf32
// takes are pairs of neighbours, as in bfloat16: lane t has steps 2 t and 2 t + 1.
//
// Sources: Dao, "FlashAttention-2", 2023, arXiv:2307.08691 (warps share queries, not keys); PTX ISA 8.0, sec. 9.7.13.4
// (fragments).

#include "clearsky/core/device.hpp"
#include "clearsky/cuda/kernels/attention_call.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

inline constexpr int kMmaTokens = 64;  ///< that a block keeps
inline constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;

/// Rows of kD floats in shared memory. With a pitch of 8 modulo 32, the pairs of four tokens lie in different banks.
template <int kD>
inline constexpr int kMmaPitch = kD + 8;

/// Which of 8 tokens the column (of S) or step (of P v) n stands for: 0 1 2 3 5 4 7 6. So tokens 0 2 5 7, of which a
/// column of P v needs one per lane, lie in different banks too.
__device__ __forceinline__ int token_of(int n) {
  return n ^ n >> 2;
}

/// A lane's place in fragments: see clearsky/simt/matrix.hpp.
struct MmaLane {
  int g, t;
  __device__ __forceinline__ MmaLane() : g(int(threadIdx.x) % kWarp / 4), t(int(threadIdx.x) % 4) {}
};

/// A value as a factor of products.
template <Precision P>
__device__ __forceinline__ float as_factor(float v) {
  if constexpr (P == Precision::tf32) return __int_as_float(int(to_tf32(v)));
  else if constexpr (P == Precision::bfloat16) return to_float(to_bfloat16(v));
  else return v;
}

/// Instructions for 16 steps.
template <Precision P>
inline constexpr int kMmaParts = P == Precision::tf32 ? 2 : 1;

/// 16 rows and 16 steps: of rows g and g + 8 the pairs of steps 2 t and 2 t + 8.
template <Precision P>
struct LeftFragment {
  uint32_t parts[kMmaParts<P>][4];
  __device__ __forceinline__ void set(int lower, int eight, float x, float y) {
    if constexpr (P == Precision::tf32) parts[eight][lower] = to_tf32(x), parts[eight][2 + lower] = to_tf32(y);
    else parts[0][2 * eight + lower] = pack(to_bfloat16(x), to_bfloat16(y));
  }
};
/// 16 steps and 8 columns: of column g the pairs of steps 2 t and 2 t + 8.
template <Precision P>
struct RightFragment {
  uint32_t parts[kMmaParts<P>][2];
  __device__ __forceinline__ void set(int eight, float x, float y) {
    if constexpr (P == Precision::tf32) parts[eight][0] = to_tf32(x), parts[eight][1] = to_tf32(y);
    else parts[0][eight] = pack(to_bfloat16(x), to_bfloat16(y));
  }
};
template <Precision P>
__device__ __forceinline__ void multiply_add(float (&sums)[4], const LeftFragment<P>& a, const RightFragment<P>& b) {
  for (int i = 0; i < kMmaParts<P>; ++i) {
    if constexpr (P == Precision::tf32) mma_m16n8k8(sums, a.parts[i], b.parts[i], sums);
    else mma_m16n8k16(sums, a.parts[i], b.parts[i], sums);
  }
}

/// Floats for all threads' fragments of a tensor's rows.
template <Precision P, int kD>
inline constexpr int kParkedFloats = kD / 16 * kMmaParts<P>* kAttentionThreads * 4;

/// A warp's 16 rows of what the block keeps, as a left factor: in registers, or parked in shared memory, where each
/// lane reads what it wrote.
template <Precision P, int kD, bool InRegisters>
struct KeptRows {
  LeftFragment<P> fragments[kD / 16];
  float* parked;

  __device__ __forceinline__ KeptRows(const float* tile, const MmaLane& at) {
    const float* rows = tile + int(threadIdx.x) / kWarp * 16 * kMmaPitch<kD>;
    for (int i = 0; i < kD / 16; ++i)
      for (int lower = 0; lower < 2; ++lower)
        for (int eight = 0; eight < 2; ++eight) {
          const float2 pair =
              load_vector<float2>(rows + (at.g + 8 * lower) * kMmaPitch<kD> + 16 * i + 8 * eight + 2 * at.t);
          fragments[i].set(lower, eight, pair.x, pair.y);
        }
  }
  /// Once no row is read any more.
  __device__ __forceinline__ void park(float* memory) {
    if constexpr (!InRegisters) {
      parked = memory + threadIdx.x * 4;
      for (int i = 0; i < kD / 16; ++i)
        for (int part = 0; part < kMmaParts<P>; ++part) {
          const uint32_t(&a)[4] = fragments[i].parts[part];
          store_vector(parked + (i * kMmaParts<P> + part) * kAttentionThreads * 4,
                       make_int4(int(a[0]), int(a[1]), int(a[2]), int(a[3])));
        }
    }
  }
  __device__ __forceinline__ LeftFragment<P> fragment(int i) const {
    if constexpr (InRegisters) {
      return fragments[i];
    } else {
      LeftFragment<P> a;
      for (int part = 0; part < kMmaParts<P>; ++part) {
        const int4 v = load_vector<int4>(parked + (i * kMmaParts<P> + part) * kAttentionThreads * 4);
        a.parts[part][0] = uint32_t(v.x), a.parts[part][1] = uint32_t(v.y);
        a.parts[part][2] = uint32_t(v.z), a.parts[part][3] = uint32_t(v.w);
      }
      return a;
    }
  }
  /// s[n] = rows times tokens 8 n, ..., 8 n + 7 of a tile, in the order of token_of.
  template <int N>
  __device__ __forceinline__ void dot(const float* tile, const MmaLane& at, float (&s)[N][4]) const {
    for (int n = 0; n < N; ++n)
      for (int e = 0; e < 4; ++e) s[n][e] = 0;
    for (int i = 0; i < kD / 16; ++i) {
      const LeftFragment<P> a = fragment(i);
      for (int n = 0; n < N; ++n) {
        RightFragment<P> b;
        for (int eight = 0; eight < 2; ++eight) {
          const float2 pair =
              load_vector<float2>(tile + (8 * n + token_of(at.g)) * kMmaPitch<kD> + 16 * i + 8 * eight + 2 * at.t);
          b.set(eight, pair.x, pair.y);
        }
        multiply_add(s[n], a, b);
      }
    }
  }
};

/// sums[c], of 16 rows and channels 8 c, ..., 8 c + 7: += weights, which lie as dot() leaves them, times a tile's rows.
template <Precision P, int kD, int N>
__device__ __forceinline__ void add_weighted(const float (&weights)[N][4], const float* tile, const MmaLane& at,
                                             float (&sums)[kD / 8][4]) {
  for (int i = 0; i < N / 2; ++i) {
    LeftFragment<P> a;
    for (int lower = 0; lower < 2; ++lower)
      for (int eight = 0; eight < 2; ++eight)
        a.set(lower, eight, weights[2 * i + eight][2 * lower], weights[2 * i + eight][2 * lower + 1]);
    const float* x = tile + (16 * i + token_of(2 * at.t)) * kMmaPitch<kD> + at.g;
    const float* y = tile + (16 * i + token_of(2 * at.t + 1)) * kMmaPitch<kD> + at.g;
    for (int c = 0; c < kD / 8; ++c) {
      RightFragment<P> b;
      for (int eight = 0; eight < 2; ++eight)
        b.set(eight, x[8 * eight * kMmaPitch<kD> + 8 * c], y[8 * eight * kMmaPitch<kD> + 8 * c]);
      multiply_add(sums[c], a, b);
    }
  }
}

/// Writes a warp's rows, from token `first` on, of the head that begins at `to`; row g + 8 r times factor[r].
template <int kD>
__device__ __forceinline__ void write_rows(const AttentionCall& p, float* to, const TokenLayout& layout, int first,
                                           int64_t tokens, const MmaLane& at, const float (&sums)[kD / 8][4],
                                           const float (&factor)[2]) {
  for (int r = 0; r < 2; ++r) {
    const int i = first + at.g + 8 * r;
    if (i >= tokens) continue;
    float* row = to + layout.token(i);
    for (int c = 0; c < kD / 8; ++c) {
      const int channel = 8 * c + 2 * at.t;
      const float2 v = make_float2(sums[c][2 * r] * factor[r], sums[c][2 * r + 1] * factor[r]);
      if (p.fours) {
        if (channel < p.shape.width) store_vector(row + channel, v);
      } else {
        if (channel < p.shape.width) row[channel] = v.x;
        if (channel + 1 < p.shape.width) row[channel + 1] = v.y;
      }
    }
  }
}

/// fetch_tokens in 16 bytes where they allow it.
template <int kD, int Rows, size_t N>
__device__ __forceinline__ void fetch_rows(const AttentionCall& p, float* tiles, const float* const (&from)[N],
                                           const TokenLayout& layout, int first, int64_t tokens) {
  if (p.fours) fetch_tokens<kD, kMmaPitch<kD>, Rows, 4, N>(tiles, from, layout, first, tokens, p.shape.width);
  else fetch_tokens<kD, kMmaPitch<kD>, Rows, 1, N>(tiles, from, layout, first, tokens, p.shape.width);
}

/// The token, of those a block keeps, with which this warp begins.
__device__ __forceinline__ int first_of_warp(const AttentionBlock& block) {
  return block.first + int(threadIdx.x) / kWarp * 16;
}

/// How many keys the rows of a warp, queries i, ..., i + 15, may look at, or some of the rows.
__device__ __forceinline__ int seen_by_warp(const AttentionCall& p, int i) {
  return i < p.shape.queries ? p.keys_seen(i + 15) : 0;
}

/// Whether queries from i on, so many of them, may all look at keys from j on.
__device__ __forceinline__ bool all_look(const AttentionCall& p, int i, int queries, int j, int keys) {
  return p.mask.allowed == nullptr && i + queries <= p.shape.queries && j + keys <= p.keys_seen(i);
}

/// Puts `never` into row g + 8 r, which is query i, where it may not look.
template <int N>
__device__ __forceinline__ void hide(const AttentionCall& p, const AttentionBlock& block, int i, int first_key,
                                     const MmaLane& at, int r, float (&row)[N][4], float never) {
  const int seen = i < p.shape.queries ? p.keys_seen(i) - first_key : 0;
  const int64_t* step = p.mask.strides;
  const bool* allowed = p.mask.allowed;
  if (allowed != nullptr) allowed += block.batch * step[0] + block.head * step[1] + i * step[2] + first_key * step[3];
  for (int n = 0; n < N; ++n)
    for (int e = 0; e < 2; ++e) {
      const int j = 8 * n + token_of(2 * at.t + e);
      if (j >= seen || (allowed != nullptr && !allowed[j * step[3]])) row[n][2 * r + e] = never;
    }
}

/// Floats of shared memory: two places of pairs of tiles, in the second of which the block's queries arrive.
template <int kD>
inline constexpr int kMmaForwardFloats = 4 * kTokens* kMmaPitch<kD>;

/// Blocks on a multiprocessor for which registers shall suffice.
template <Precision P, int kD>
inline constexpr int kMmaForwardBlocks = kD == 128              ? 2
                                         : P == Precision::tf32 ? 3
                                                                : 4;

/// grid (ceil(queries / kMmaTokens) heads batch), block kAttentionThreads
template <Precision P, int kD>
__global__ void __launch_bounds__(kAttentionThreads, kMmaForwardBlocks<P, kD>)
    attention_forward_mma(const AttentionCall p) {
  CLEARSKY_DYNAMIC_SHARED(float, memory);
  constexpr int kTile = kTokens * kMmaPitch<kD>, kColumns = kTokens / 8;
  const cpu::AttentionShape& s = p.shape;
  const AttentionBlock block(p, kMmaTokens);
  const int64_t of_queries = p.queries.first(block.batch, block.head), of_keys = p.keys.first(block.batch, block.head);
  const MmaLane at;
  const int tiles = (p.keys_seen(block.last(kMmaTokens, s.queries)) + kTokens - 1) / kTokens;
  const auto fetch = [&](int tile, int place) {
    fetch_rows<kD, kTokens, 2>(p, memory + place * 2 * kTile, {p.k + of_keys, p.v + of_keys}, p.keys, tile * kTokens,
                               s.keys);
  };
  fetch_rows<kD, kMmaTokens, 1>(p, memory + 2 * kTile, {p.q + of_queries}, p.queries, block.first, s.queries);
  if (tiles > 0) fetch(0, 0);
  cp_commit();
  cp_wait<0>();
  __syncthreads();  // everyone's part of the queries has arrived; each_tile waits before it overwrites them
  const KeptRows<P, kD, true> queries(memory + 2 * kTile, at);

  // Of rows g and g + 8. Powers of 2 stand for those of e, and each lane adds up its own columns.
  const float scale = float(s.scale) * kLog2E;
  float top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0}, sums[kD / 8][4];
  for (int c = 0; c < kD / 8; ++c)
    for (int e = 0; e < 4; ++e) sums[c][e] = 0;
  const int first_query = first_of_warp(block);
  const int seen = seen_by_warp(p, first_query);
  each_tile(0, tiles, fetch, [&](int tile, int place) {
    const int first_key = tile * kTokens;
    if (first_key >= seen) return;
    const float *keys = memory + place * 2 * kTile, *values = keys + kTile;
    float score[kColumns][4];
    queries.dot(keys, at, score);
    const bool all = all_look(p, first_query, 16, first_key, kTokens);
    for (int r = 0; r < 2; ++r) {
      for (int n = 0; n < kColumns; ++n)
        for (int e = 0; e < 2; ++e) score[n][2 * r + e] *= scale;
      if (!all) hide(p, block, first_query + at.g + 8 * r, first_key, at, r, score, -INFINITY);
      float largest = -INFINITY;
      for (int n = 0; n < kColumns; ++n)
        for (int e = 0; e < 2; ++e) largest = fmaxf(largest, score[n][2 * r + e]);
      const float new_top = fmaxf(top[r], lanes_max<4>(largest));
      // While nothing may be looked at, 0 takes the place of the maximum: -inf - -inf is no number.
      const float base = new_top == -INFINITY ? 0.0f : new_top;
      const float shrink = exp2f(top[r] - base);
      float added = 0;
      for (int n = 0; n < kColumns; ++n)
        for (int e = 0; e < 2; ++e) {
          float& x = score[n][2 * r + e];
          x = exp2f(x - base);
          added += x;
        }
      total[r] = total[r] * shrink + added;
      top[r] = new_top;
      for (int c = 0; c < kD / 8; ++c)
        for (int e = 0; e < 2; ++e) sums[c][2 * r + e] *= shrink;
    }
    add_weighted<P, kD>(score, values, at, sums);
  });
  float inverse[2];
  for (int r = 0; r < 2; ++r) {
    const float sum = lanes_sum<4>(total[r]);
    const int i = first_query + at.g + 8 * r;
    inverse[r] = sum == 0.0f ? 0.0f : 1.0f / sum;
    if (at.t == 0 && i < s.queries)
      p.out_lse[(block.batch * s.heads + block.head) * s.queries + i] =
          sum == 0.0f ? -INFINITY : (top[r] + log2f(sum)) * kLn2;
  }
  write_rows<kD>(p, p.out_y + of_queries, p.queries, first_query, s.queries, at, sums, inverse);
}

/// What a block of backward has in shared memory: first rows of the two tensors that it keeps, then in their place
/// fragments of these, if they have no room in registers, and two places for pairs of tiles, each with lse and D of its
/// queries.
template <Precision P, int kD, int Gradients>
struct MmaBackward {
  static constexpr int kRegisters = 2 * kD / 16 * 4 * kMmaParts<P> + Gradients * kD / 2;  // of fragments and sums
  static constexpr bool kInRegisters = kRegisters <= 96;
  static constexpr int kBlocks = kRegisters <= 128 ? 3 : 2;  // of a multiprocessor, for which registers shall suffice
  static constexpr int kWalk = kInRegisters ? kTokens : kTokens / 2;  // tokens of a tile
  static constexpr int kRows = kMmaTokens * kMmaPitch<kD>, kTile = kWalk * kMmaPitch<kD>;
  static constexpr int kPlace = 2 * kTile + 2 * kWalk, kPlaces = kInRegisters ? 0 : 2 * kParkedFloats<P, kD>;
  static constexpr int kAfterwards = kPlaces + 2 * kPlace, kFloats = kAfterwards > 2 * kRows ? kAfterwards : 2 * kRows;
};

/// lse in powers of 2. A query with only scores of minus infinity has no weights: -inf less -inf is no number.
__device__ __forceinline__ float binary_lse(float lse) {
  return lse == -INFINITY ? -FLT_MAX : lse * kLog2E;
}

/// grid (ceil(queries / kMmaTokens) heads batch), block kAttentionThreads
template <Precision P, int kD>
__global__ void __launch_bounds__(kAttentionThreads, MmaBackward<P, kD, 1>::kBlocks)
    attention_backward_queries_mma(const AttentionCall p) {
  CLEARSKY_DYNAMIC_SHARED(float, memory);
  using Memory = MmaBackward<P, kD, 1>;
  constexpr int kWalk = Memory::kWalk, kPitch = kMmaPitch<kD>;
  const cpu::AttentionShape& s = p.shape;
  const AttentionBlock block(p, kMmaTokens);
  const int64_t of_queries = p.queries.first(block.batch, block.head), of_keys = p.keys.first(block.batch, block.head);
  const MmaLane at;
  const int tiles = (p.keys_seen(block.last(kMmaTokens, s.queries)) + kWalk - 1) / kWalk;
  float* places = memory + Memory::kPlaces;
  const auto fetch = [&](int tile, int place) {
    fetch_rows<kD, kWalk, 2>(p, places + place * Memory::kPlace, {p.k + of_keys, p.v + of_keys}, p.keys, tile * kWalk,
                             s.keys);
  };
  fetch_rows<kD, kMmaTokens, 2>(p, memory, {p.q + of_queries, p.dy + of_queries}, p.queries, block.first, s.queries);
  cp_commit();
  cp_wait<0>();
  __syncthreads();  // everyone's part of the queries has arrived
  KeptRows<P, kD, Memory::kInRegisters> queries(memory, at), slopes(memory + Memory::kRows, at);
  __syncthreads();  // everyone has taken its queries: keys come in their place
  queries.park(memory);
  slopes.park(memory + kParkedFloats<P, kD>);
  if (tiles > 0) fetch(0, 0);

  const float scale = float(s.scale) * kLog2E;
  const int first_query = first_of_warp(block);
  const int seen = seen_by_warp(p, first_query);
  float lse[2] = {0, 0}, delta[2] = {0, 0}, sums[kD / 8][4];
  for (int r = 0; r < 2; ++r) {
    const int i = first_query + at.g + 8 * r;
    const int64_t row = int64_t(block.batch * s.heads + block.head) * s.queries + i;
    if (i < s.queries) lse[r] = binary_lse(p.lse[row]), delta[r] = p.delta[row];
  }
  for (int c = 0; c < kD / 8; ++c)
    for (int e = 0; e < 4; ++e) sums[c][e] = 0;
  each_tile(0, tiles, fetch, [&](int tile, int place) {
    for (int part = 0; part < kWalk; part += 16) {
      const int first_key = tile * kWalk + part;
      if (first_key >= seen) return;
      const float *keys = places + place * Memory::kPlace + part * kPitch, *values = keys + Memory::kTile;
      float score[2][4], slope[2][4];
      queries.dot(keys, at, score);
      slopes.dot(values, at, slope);
      const bool all = all_look(p, first_query, 16, first_key, 16);
      for (int r = 0; r < 2; ++r) {
        for (int n = 0; n < 2; ++n)
          for (int e = 2 * r; e < 2 * r + 2; ++e)
            slope[n][e] = exp2f(scale * score[n][e] - lse[r]) * (slope[n][e] - delta[r]);
        if (!all) hide(p, block, first_query + at.g + 8 * r, first_key, at, r, slope, 0);
      }
      add_weighted<P, kD>(slope, keys, at, sums);
    }
  });
  write_rows<kD>(p, p.dq + of_queries, p.queries, first_query, s.queries, at, sums, {float(s.scale), float(s.scale)});
}

/// grid (ceil(keys / kMmaTokens) heads batch), block kAttentionThreads
template <Precision P, int kD>
__global__ void __launch_bounds__(kAttentionThreads, MmaBackward<P, kD, 2>::kBlocks)
    attention_backward_keys_mma(const AttentionCall p) {
  CLEARSKY_DYNAMIC_SHARED(float, memory);
  using Memory = MmaBackward<P, kD, 2>;
  constexpr int kWalk = Memory::kWalk, kPitch = kMmaPitch<kD>;
  const cpu::AttentionShape& s = p.shape;
  const AttentionBlock block(p, kMmaTokens);
  const int64_t of_queries = p.queries.first(block.batch, block.head), of_keys = p.keys.first(block.batch, block.head);
  const int64_t first_row = int64_t(block.batch * s.heads + block.head) * s.queries;
  const MmaLane at;
  const int begin = p.first_looking(block.first) / kWalk, end = int((s.queries + kWalk - 1) / kWalk);
  float* places = memory + Memory::kPlaces;
  const auto fetch = [&](int tile, int place) {
    float* to = places + place * Memory::kPlace;
    const int first = tile * kWalk, row = first + int(threadIdx.x) % kWalk;
    fetch_rows<kD, kWalk, 2>(p, to, {p.q + of_queries, p.dy + of_queries}, p.queries, first, s.queries);
    if (threadIdx.x < 2 * kWalk)
      cp_async4(to + 2 * Memory::kTile + threadIdx.x,
                (threadIdx.x < kWalk ? p.lse : p.delta) + (row < s.queries ? first_row + row : 0),
                row < s.queries ? 4 : 0);
  };
  fetch_rows<kD, kMmaTokens, 2>(p, memory, {p.k + of_keys, p.v + of_keys}, p.keys, block.first, s.keys);
  cp_commit();
  cp_wait<0>();
  __syncthreads();  // everyone's part of the keys has arrived
  KeptRows<P, kD, Memory::kInRegisters> keys(memory, at), values(memory + Memory::kRows, at);
  __syncthreads();  // everyone has taken its keys: queries come in their place
  keys.park(memory);
  values.park(memory + kParkedFloats<P, kD>);
  if (begin < end) fetch(begin, 0);

  const float scale = float(s.scale) * kLog2E;
  const int first_key = first_of_warp(block);
  const int looking = first_key < s.keys ? p.first_looking(first_key) : int(s.queries);  // the first to see a row here
  float dk[kD / 8][4], dv[kD / 8][4];
  for (int c = 0; c < kD / 8; ++c)
    for (int e = 0; e < 4; ++e) dk[c][e] = dv[c][e] = 0;
  each_tile(begin, end, fetch, [&](int tile, int place) {
    for (int part = 0; part < kWalk; part += 16) {
      const int first_query = tile * kWalk + part;
      if (first_query + 15 < looking || first_query >= s.queries) continue;
      const float* pair = places + place * Memory::kPlace;
      const float *queries = pair + part * kPitch, *slopes = queries + Memory::kTile;
      const float *lse = pair + 2 * Memory::kTile + part, *delta = lse + kWalk;
      float score[2][4], slope[2][4];  // rows are keys here
      keys.dot(queries, at, score);
      values.dot(slopes, at, slope);
      const bool all = all_look(p, first_query, 16, first_key, 16);
      for (int n = 0; n < 2; ++n)
        for (int e = 0; e < 4; ++e) {
          const int i = 8 * n + token_of(2 * at.t + e % 2);
          const bool allowed =
              all || may_look(p, block.batch, block.head, first_query + i, first_key + at.g + e / 2 * 8);
          score[n][e] = allowed ? exp2f(scale * score[n][e] - binary_lse(lse[i])) : 0.0f;
          slope[n][e] = allowed ? score[n][e] * (slope[n][e] - delta[i]) : 0.0f;
        }
      add_weighted<P, kD>(score, slopes, at, dv);
      add_weighted<P, kD>(slope, queries, at, dk);
    }
  });
  write_rows<kD>(p, p.dk + of_keys, p.keys, first_key, s.keys, at, dk, {float(s.scale), float(s.scale)});
  write_rows<kD>(p, p.dv + of_keys, p.keys, first_key, s.keys, at, dv, {1.0f, 1.0f});
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

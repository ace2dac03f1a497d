#pragma once
// What the kernels of attention share, in float32 (attention.cuh) and on tensor cores (attention_mma.cuh): where tokens
// lie, who may look at whom, and the walk over tiles of tokens, of which one arrives while another is worked on.

#include <cfloat>

#include "clearsky/cpu/attention.hpp"
#include "clearsky/cuda/portable.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using AttentionForward = cpu::AttentionForward<float>;
using AttentionBackward = cpu::AttentionBackward<float>;

inline constexpr int kTokens = 32;  ///< queries or keys of a tile
inline constexpr int kAttentionThreads = 128;

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
  /// Tokens are counted with 32 bits (see with_attention_width); those of a sequence are all in the first line.
  __device__ __forceinline__ int64_t token(int i) const {
    if (i < line) return i * token_stride;
    return unsigned(i) / unsigned(line) * line_stride + unsigned(i) % unsigned(line) * token_stride;
  }
};

/// What all attention kernels are given. lse and D are (batch, heads, queries).
struct AttentionCall {
  const float *q, *k, *v, *y, *lse, *dy, *delta;
  float *out_y, *out_lse, *dq, *dk, *dv;
  TokenLayout queries, keys;  // of q, y, dy; of k and v
  cpu::AttentionMask mask;
  cpu::AttentionShape shape;
  bool fours;      // every token starts at a multiple of 16 bytes and has whole fours
  unsigned tiles;  // blocks of a head

  /// How many keys query i may look at, but for the mask.
  __device__ __forceinline__ int keys_seen(int i) const {
    const int all = int(shape.keys), seen = i + 1 - int(shape.queries) + all;
    return !shape.causal || seen > all ? all : seen;
  }
  /// The first query that may look at key j, but for the mask.
  __device__ __forceinline__ int first_looking(int j) const {
    const int first = j - int(shape.keys) + int(shape.queries);
    return !shape.causal || first < 0 ? 0 : first;
  }
};

/// Which tokens of which head a block has. All in one dimension of the grid: the others end at 65535.
struct AttentionBlock {
  unsigned batch, head;
  int first;
  __device__ __forceinline__ AttentionBlock(const AttentionCall& p, int tokens) {
    const unsigned row = blockIdx.x / p.tiles, heads = unsigned(p.shape.heads);
    batch = row / heads, head = row % heads, first = int(blockIdx.x % p.tiles) * tokens;
  }
  /// The last of so many tokens that the block has.
  __device__ __forceinline__ int last(int each, int64_t tokens) const {
    return first + each < int(tokens) ? first + each - 1 : int(tokens) - 1;
  }
};

/// Asks for tokens [first, first + Rows) of each tensor, as tiles one behind the other; those behind the end arrive as
/// zeros.
template <int kD, int Pitch, int Rows, int Width, size_t N>
__device__ __forceinline__ void fetch_tokens(float* tiles, const float* const (&from)[N], const TokenLayout& layout,
                                             int first, int64_t tokens, int64_t width) {
  for (int e = int(threadIdx.x); e < Rows * kD / Width; e += kAttentionThreads) {
    const int row = e / (kD / Width), c = e % (kD / Width) * Width;
    const bool inside = first + row < tokens && c < width;
    const int64_t at = inside ? layout.token(first + row) + c : 0;
    for (size_t n = 0; n < N; ++n) {
      float* to = tiles + (int(n) * Rows + row) * Pitch + c;
      if constexpr (Width == 4) cp_async16(to, from[n] + at, inside ? 16 : 0);
      else cp_async4(to, from[n] + at, inside ? 4 : 0);
    }
  }
}

/// work(i, place) for tiles begin, ..., end - 1, which lie in two places by turns: while one is worked on, the next one
/// arrives. The caller has asked for the first with fetch(begin, 0).
template <class Fetch, class Work>
__device__ __forceinline__ void each_tile(int begin, int end, Fetch&& fetch, Work&& work) {
  int place = 0;
  for (int i = begin; i < end; ++i) {
    cp_commit();
    cp_wait<0>();
    __syncthreads();  // everyone's part of this tile has arrived, and nobody reads the one before any more
    if (i + 1 < end) fetch(i + 1, 1 - place);
    work(i, place);
    place = 1 - place;
  }
}

__device__ __forceinline__ bool may_look(const AttentionCall& p, int64_t batch, int64_t head, int64_t i, int64_t j) {
  const cpu::AttentionShape& s = p.shape;
  if (i >= s.queries || j >= s.keys || (s.causal && j > i + s.keys - s.queries)) return false;
  if (p.mask.allowed == nullptr) return true;
  const int64_t* step = p.mask.strides;
  return p.mask.allowed[batch * step[0] + head * step[1] + i * step[2] + j * step[3]];
}

/// The sum, or the largest, over a group of 4 or 8 neighbouring lanes; each gets it.
template <int Lanes>
__device__ __forceinline__ float lanes_sum(float v) {
  for (int apart = Lanes / 2; apart > 0; apart /= 2) v += __shfl_xor_sync(kAllLanes, v, apart);
  return v;
}
template <int Lanes>
__device__ __forceinline__ float lanes_max(float v) {
  for (int apart = Lanes / 2; apart > 0; apart /= 2) v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, apart));
  return v;
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

#pragma once
// Channel attention, the core of Restormer's MDTA: per image and head, with q, k, v (pixels, d),
//
//     S = q^T k,   N_ij = S_ij / (max(|q_i|, e) max(|k_j|, e)),   A = softmax_j(t N),   y = v A^T
//     D = dy^T v,  dL = A (D - rowsum(A D)),   dS = t dL / (|q_i||k_j|),   dt = sum(dL N)
//     dq = k dS^T - q sum_j(t dL N) / |q|^2,   dk = q dS - k sum_i(t dL N) / |k|^2,   dv = dy A
//
// q_i and k_j are columns over all pixels, e = 1e-12; the terms with 1 / |q|^2 are the derivative of the norm, absent
// where it was below e. Source: Zamir et al., "Restormer", CVPR 2022, arXiv:2111.09881, eq. 1.
//
// The products are tile_product's, one per image and head: those over all pixels are cut into slots that are added in
// their order, those per pixel write straight into the rows of y and dqkv. Neither the normalised q and k nor anything
// of pixels times pixels is ever stored.

#include "clearsky/cpu/channel_attention.hpp"
#include "clearsky/cuda/kernels/gemm.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using ChannelAttentionForward = cpu::ChannelAttentionForward<float>;
using ChannelAttentionBackward = cpu::ChannelAttentionBackward<float>;

inline constexpr int kMostHeadChannels = 1024;  ///< of one head

/// One matrix per image and head.
template <TileLayout L>
struct HeadFactor {
  MatrixSource first;
  int64_t image_stride, head_stride, heads;

  bool in_fours() const {
    constexpr bool kSteps = L == TileLayout::steps;
    return (kSteps ? first.step_stride : first.line_stride) == 1 && (kSteps ? first.steps : first.lines) % 4 == 0 &&
           (kSteps ? first.line_stride : first.step_stride) % 4 == 0 && image_stride % 4 == 0 && head_stride % 4 == 0 &&
           reinterpret_cast<uintptr_t>(first.from) % 16 == 0;
  }
  __device__ __forceinline__ MatrixSource at(int64_t product) const {
    MatrixSource s = first;
    s.from += product / heads * image_stride + product % heads * head_stride;
    return s;
  }
};

/// y = sum + factor x: the product, and what the norm's derivative adds to it.
struct HeadResult {
  float* y;             // written
  const float* factor;  // (batch, heads, d), or null
  const float* x;       // laid out as y
  bool fours;

  __device__ __forceinline__ void write(const float* sum, int64_t at, int64_t column) const {
    y[at] = *sum + (factor == nullptr ? 0.0f : factor[column] * x[at]);
  }
  __device__ __forceinline__ void write4(const float* sum, int64_t at, int64_t column) const {
    float4 v = ld4(sum);
    if (factor != nullptr) {
      const float4 f = ld4(factor + column), u = ld4(x + at);
      v = make_float4(v.x + f.x * u.x, v.y + f.y * u.y, v.z + f.z * u.z, v.w + f.w * u.w);
    }
    st4(y + at, v);
  }
};

/// A problem of tile_product. c's rows stand row_stride apart.
template <TileLayout LayoutA, TileLayout LayoutB, int Width>
struct HeadProblem {
  static constexpr TileLayout kA = LayoutA, kB = LayoutB;
  static constexpr int kWidth = Width;
  static constexpr bool kTurned = false;
  HeadFactor<LayoutA> factor_a;
  HeadFactor<LayoutB> factor_b;
  int64_t rows, columns, steps, heads;
  int64_t slot_stride, image_stride, head_stride, row_stride;  // of c
  int64_t bias_step;
  HeadResult result;
  float* squares;  // see tile_product.cuh; null but for sums over pixels

  __device__ __forceinline__ MatrixSource a(int64_t product) const { return factor_a.at(product); }
  __device__ __forceinline__ MatrixSource b(int64_t product) const { return factor_b.at(product); }
  __device__ __forceinline__ int64_t to(int64_t product, int64_t slot, int64_t row) const {
    return slot * slot_stride + product / heads * image_stride + product % heads * head_stride + row * row_stride;
  }
};

/// The norms of q and k take their columns' squares from the product that reads them anyway.
template <int Width>
inline constexpr bool kWithSquares<HeadProblem<TileLayout::lines, TileLayout::lines, Width>> = true;

/// Sizes that all parts share.
struct HeadSizes {
  int64_t batch, pixels, channels, heads, d, row;  // row: floats of a pixel in qkv
  HeadSizes(int64_t n, int64_t p, int64_t c, int64_t h)
      : batch(n), pixels(p), channels(c), heads(h), d(h == 0 ? 0 : c / h), row(3 * c) {}
  int64_t products() const { return batch * heads; }
  int64_t square() const { return d * d; }
  __host__ __device__ int64_t state() const { return 2 * d * d + 2 * d; }
  bool empty() const { return batch * pixels * channels == 0; }
  /// Slots of the sums over pixels.
  int64_t slots() const { return step_slots(d, d, pixels, products()); }
};

/// N, A and the inverse norms from S and the squares (batch heads, 2, d); a warp per row. grid (batch heads), block
/// (kWarp, Rows)
template <int Rows>
__global__ void __launch_bounds__(kWarp* Rows)
    channel_attention_softmax(const float* __restrict__ products, const float* __restrict__ squares,
                              const float* __restrict__ temperature, const HeadSizes s, float* __restrict__ state) {
  const int64_t product = blockIdx.x, h = product % s.heads, d = s.d;
  const float *of_q = squares + product * 2 * d, *of_k = of_q + d;
  float *normal = state + product * s.state(), *a = normal + d * d, *q_inverse = a + d * d, *k_inverse = q_inverse + d;
  const float t = temperature[h];
  for (int64_t i = threadIdx.y; i < d; i += Rows) {
    const float qi = 1.0f / fmaxf(sqrtf(of_q[i]), 1e-12f);
    float top = -INFINITY;
    for (int64_t j = threadIdx.x; j < d; j += kWarp) {
      const float kj = 1.0f / fmaxf(sqrtf(of_k[j]), 1e-12f);
      const float v = products[(product * d + i) * d + j] * qi * kj;
      normal[i * d + j] = v;
      if (i == 0) k_inverse[j] = kj;
      top = fmaxf(top, t * v);
    }
    top = warp_max(top);
    float sum = 0;
    for (int64_t j = threadIdx.x; j < d; j += kWarp) sum += expf(t * normal[i * d + j] - top);
    sum = warp_sum(sum);
    for (int64_t j = threadIdx.x; j < d; j += kWarp) a[i * d + j] = expf(t * normal[i * d + j] - top) / sum;
    if (threadIdx.x == 0) q_inverse[i] = qi;
  }
}

/// From D: dS, the factors of q and k, and dt of each image. grid (batch heads), block (kWarp, Rows)
template <int Rows>
__global__ void __launch_bounds__(kWarp* Rows)
    channel_attention_slopes(const float* __restrict__ scores, const float* __restrict__ state,
                             const float* __restrict__ temperature, const HeadSizes s, float* __restrict__ ds,
                             float* __restrict__ q_factor, float* __restrict__ k_factor, float* __restrict__ dt) {
  CLEARSKY_SHARED(float, dots, [kMostHeadChannels]);  // sum_j A_ij D_ij
  CLEARSKY_SHARED(float, row_dt, [kMostHeadChannels]);
  const int64_t product = blockIdx.x, h = product % s.heads, d = s.d;
  const float* normal = state + product * s.state();
  const float *a = normal + d * d, *q_inverse = a + d * d, *k_inverse = q_inverse + d;
  const float* scores_of = scores + product * d * d;
  const float t = temperature[h];
  constexpr float kClamped = 1e12f;  // 1 / e
  for (int64_t i = threadIdx.y; i < d; i += Rows) {
    float dot = 0;
    for (int64_t j = threadIdx.x; j < d; j += kWarp) dot += a[i * d + j] * scores_of[i * d + j];
    dot = warp_sum(dot);
    float along = 0;  // sum_j dL_ij N_ij
    for (int64_t j = threadIdx.x; j < d; j += kWarp) {
      const float dl = a[i * d + j] * (scores_of[i * d + j] - dot);
      ds[product * d * d + i * d + j] = t * dl * q_inverse[i] * k_inverse[j];
      along += dl * normal[i * d + j];
    }
    along = warp_sum(along);
    if (threadIdx.x != 0) continue;
    dots[i] = dot;
    row_dt[i] = along;
    q_factor[product * d + i] = q_inverse[i] < kClamped ? -t * along * q_inverse[i] * q_inverse[i] : 0.0f;
  }
  __syncthreads();
  const int thread = int(threadIdx.y) * kWarp + int(threadIdx.x);
  for (int64_t j = thread; j < d; j += kWarp * Rows) {
    float down = 0;  // sum_i dL_ij N_ij
    for (int64_t i = 0; i < d; ++i) down += a[i * d + j] * (scores_of[i * d + j] - dots[i]) * normal[i * d + j];
    k_factor[product * d + j] = k_inverse[j] < kClamped ? -t * down * k_inverse[j] * k_inverse[j] : 0.0f;
  }
  if (thread != 0) return;
  float total = 0;
  for (int64_t i = 0; i < d; ++i) total += row_dt[i];
  dt[product] = total;
}

namespace detail {

template <TileLayout A, TileLayout B>
void launch_heads(const HeadFactor<A>& a, const HeadFactor<B>& b, int64_t rows, int64_t columns, int64_t steps,
                  const HeadSizes& s, int64_t slots, int64_t slot_stride, int64_t image_stride, int64_t head_stride,
                  int64_t row_stride, const HeadResult& result, float* squares, Precision precision, Stream stream) {
  const auto in_fours = [](const float* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  HeadResult to = result;
  to.fours = columns % 4 == 0 && slot_stride % 4 == 0 && image_stride % 4 == 0 && head_stride % 4 == 0 &&
             row_stride % 4 == 0 && in_fours(to.y) && in_fours(to.factor) && in_fours(to.x);
  const auto with = [&]<int Width>() {
    launch_tile_product(HeadProblem<A, B, Width>{a, b, rows, columns, steps, s.heads, slot_stride, image_stride,
                                                 head_stride, row_stride, columns, to, squares},
                        precision, s.products(), slots, stream);
  };
  if (a.in_fours() && b.in_fours()) with.template operator()<4>();
  else with.template operator()<1>();
}

/// c (batch, heads, d, d) = the sum over pixels of left^T right. Both point to the first image's first channel.
/// @param workspace  (slots batch heads d d)  for more than one slot
/// @param squares    (slots batch heads 2 d)  written with the slots' sums of squares of left's and right's columns; or
///                   null
inline void launch_pixel_sums(const float* left, int64_t left_row, const float* right, int64_t right_row,
                              const HeadSizes& s, float* workspace, float* c, float* squares, Precision precision,
                              Stream stream) {
  constexpr TileLayout kLines = TileLayout::lines;
  const HeadFactor<kLines> a{{left, 1, left_row, s.d, s.pixels}, s.pixels * left_row, s.d, s.heads};
  const HeadFactor<kLines> b{{right, 1, right_row, s.d, s.pixels}, s.pixels * right_row, s.d, s.heads};
  const int64_t slots = s.slots(), count = s.products() * s.square();
  launch_heads(a, b, s.d, s.d, s.pixels, s, slots, count, s.heads * s.square(), s.square(), s.d,
               {slots == 1 ? c : workspace, nullptr, nullptr, false}, squares, precision, stream);
  if (slots > 1) launch_add_slots({workspace, c, slots, count, s.d, {}}, stream);
}

/// Rows of pixels times a d x d matrix per image and head: y = x m^T, or y = x m when `turned`; plus factor u.
/// @param matrix_stride  floats from one matrix to the next
inline void launch_per_pixel(const float* x, int64_t x_row, const float* matrix, int64_t matrix_stride, bool turned,
                             const HeadSizes& s, float* y, int64_t y_row, const float* factor, const float* u,
                             Precision precision, Stream stream) {
  constexpr TileLayout kSteps = TileLayout::steps, kLines = TileLayout::lines;
  const HeadFactor<kSteps> a{{x, x_row, 1, s.pixels, s.d}, s.pixels * x_row, s.d, s.heads};
  const HeadResult result{y, factor, u, false};
  const auto with = [&](const auto& b) {
    launch_heads(a, b, s.pixels, s.d, s.d, s, 1, 0, s.pixels * y_row, s.d, y_row, result, nullptr, precision, stream);
  };
  if (turned) with(HeadFactor<kLines>{{matrix, 1, s.d, s.d, s.d}, s.heads * matrix_stride, matrix_stride, s.heads});
  else with(HeadFactor<kSteps>{{matrix, s.d, 1, s.d, s.d}, s.heads * matrix_stride, matrix_stride, s.heads});
}

inline void check_heads(const HeadSizes& s) {
  CLEARSKY_CHECK(ShapeError, s.d <= kMostHeadChannels && s.batch <= 65535, "channel_attention: ", s.batch,
                 " images with heads of ", s.d, " channels, a device takes 65535 images and heads of ",
                 kMostHeadChannels, "; cut the batch, or use more heads");
}

}  // namespace detail

/// Floats of workspace.
inline int64_t channel_attention_forward_workspace(const ChannelAttentionForward& p) {
  const HeadSizes s(p.batch, p.pixels, p.channels, p.heads);
  if (s.empty()) return 0;
  return (s.slots() + 1) * s.products() * (s.square() + 2 * s.d);
}

/// Returns without waiting.
/// @param workspace  (channel_attention_forward_workspace(p))  overwritten
/// @throws ShapeError for more than 65535 images, or heads of more than 1024 channels
inline void channel_attention_forward(const ChannelAttentionForward& p, Precision precision, float* workspace,
                                      Stream stream) {
  const HeadSizes s(p.batch, p.pixels, p.channels, p.heads);
  if (s.empty()) return;
  detail::check_heads(s);
  const int64_t slots = s.slots(), squares_size = s.products() * 2 * s.d;
  float* products = workspace;
  float* squares = products + s.products() * s.square();
  float* slots_of_products = squares + squares_size;
  float* slots_of_squares = slots_of_products + slots * s.products() * s.square();
  detail::launch_pixel_sums(p.qkv, s.row, p.qkv + s.channels, s.row, s, slots_of_products, products,
                            slots == 1 ? squares : slots_of_squares, precision, stream);
  if (slots > 1) launch_add_slots({slots_of_squares, squares, slots, squares_size, 2 * s.d, {}}, stream);
  constexpr int kRows = 8;
  launch(channel_attention_softmax<kRows>, blocks_of(s.products(), 1), dim3(kWarp, kRows), 0, stream, products, squares,
         p.temperature, s, p.state);
  detail::launch_per_pixel(p.qkv + 2 * s.channels, s.row, p.state + s.square(), s.state(), false, s, p.y, s.channels,
                           nullptr, nullptr, precision, stream);
}

/// Floats of workspace.
inline int64_t channel_attention_backward_workspace(const ChannelAttentionBackward& p) {
  const HeadSizes s(p.batch, p.pixels, p.channels, p.heads);
  if (s.empty()) return 0;
  return (s.slots() + 2) * s.products() * s.square() + 2 * s.products() * s.d + s.products();
}

/// Returns without waiting.
/// @param workspace  (channel_attention_backward_workspace(p))  overwritten
inline void channel_attention_backward(const ChannelAttentionBackward& p, Precision precision, float* workspace,
                                       Stream stream) {
  const HeadSizes s(p.batch, p.pixels, p.channels, p.heads);
  if (s.empty()) {
    if (p.dtemperature != nullptr && p.heads != 0)
      launch(sum_slots<128>, blocks_of(p.heads, 128), 128, 0, stream, SlotSums{nullptr, p.dtemperature, 0, p.heads, 0});
    return;
  }
  detail::check_heads(s);
  float* scores = workspace;
  float* ds = scores + s.products() * s.square();
  float* q_factor = ds + s.products() * s.square();
  float* k_factor = q_factor + s.products() * s.d;
  float* dt = k_factor + s.products() * s.d;
  float* slots = dt + s.products();
  const float *q = p.qkv, *k = q + s.channels, *v = k + s.channels;
  detail::launch_pixel_sums(p.dy, s.channels, v, s.row, s, slots, scores, nullptr, precision, stream);
  constexpr int kRows = 8;
  launch(channel_attention_slopes<kRows>, blocks_of(s.products(), 1), dim3(kWarp, kRows), 0, stream, scores, p.state,
         p.temperature, s, ds, q_factor, k_factor, dt);
  if (p.dtemperature != nullptr)
    launch(sum_slots<128>, blocks_of(s.heads, 128), 128, 0, stream,
           SlotSums{dt, p.dtemperature, s.batch, s.heads, s.heads});
  float *dq = p.dqkv, *dk = dq + s.channels, *dv = dk + s.channels;
  detail::launch_per_pixel(k, s.row, ds, s.square(), false, s, dq, s.row, q_factor, q, precision, stream);
  detail::launch_per_pixel(q, s.row, ds, s.square(), true, s, dk, s.row, k_factor, k, precision, stream);
  detail::launch_per_pixel(p.dy, s.channels, p.state + s.square(), s.state(), true, s, dv, s.row, nullptr, nullptr,
                           precision, stream);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

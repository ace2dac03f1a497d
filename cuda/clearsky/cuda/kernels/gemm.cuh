#pragma once
// Products of matrices with any strides: c = a b + bias for each of `batch` pairs. See tile_product.cuh for the kernel.

#include "clearsky/cpu/gemm.hpp"
#include "clearsky/cuda/kernels/epilogue.cuh"
#include "clearsky/cuda/kernels/tile_product.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using Gemm = cpu::Gemm<float>;

/// A source (see tile_product.cuh): element (line, step) at from[line line_stride + step step_stride]. Read in
/// fours, along what is contiguous, only where in_fours() of its batch says so.
struct MatrixSource {
  const float* from;
  int64_t line_stride, step_stride, lines, steps;

  using Line = int64_t;  // offset, or kOutside
  static constexpr int64_t kOutside = INT64_MIN;
  struct Step {
    int64_t offset, left;  // steps up to the end, including this one
  };
  __device__ __forceinline__ Line line(int64_t i) const { return i < lines ? i * line_stride : kOutside; }
  __device__ __forceinline__ Step step(int64_t i) const { return {i * step_stride, steps - i}; }
  __device__ __forceinline__ void next(Step& s, int n) const { s.offset += n * step_stride, s.left -= n; }
  __device__ __forceinline__ const float* at(Line l, const Step& s, bool& inside) const {
    inside = l != kOutside && s.left > 0;
    return inside ? from + l + s.offset : from;
  }
};

/// A factor's batch of matrices, and whether four neighbours can be read at once anywhere in it.
struct MatrixBatch {
  MatrixSource first;
  int64_t stride;

  TileLayout layout() const { return first.step_stride == 1 ? TileLayout::steps : TileLayout::lines; }
  bool in_fours() const {
    const bool along_steps = layout() == TileLayout::steps;
    return (along_steps || first.line_stride == 1) && (along_steps ? first.steps : first.lines) % 4 == 0 &&
           (along_steps ? first.line_stride : first.step_stride) % 4 == 0 && stride % 4 == 0 &&
           reinterpret_cast<uintptr_t>(first.from) % 16 == 0;
  }
  __device__ __forceinline__ MatrixSource at(int64_t i) const {
    MatrixSource s = first;
    s.from += i * stride;
    return s;
  }
};

/// A problem of tile_product: one product per pair of matrices.
template <TileLayout LayoutA, TileLayout LayoutB, int Width>
struct GemmProblem {
  static constexpr TileLayout kA = LayoutA, kB = LayoutB;
  static constexpr int kWidth = Width;
  static constexpr bool kTurned = false;
  static constexpr int64_t bias_step = 0;
  MatrixBatch factor_a, factor_b;
  int64_t rows, columns, steps, batch;
  TileResult result;  // (slots, batch, rows, columns)

  __device__ __forceinline__ MatrixSource a(int64_t product) const { return factor_a.at(product); }
  __device__ __forceinline__ MatrixSource b(int64_t product) const { return factor_b.at(product); }
  __device__ __forceinline__ int64_t to(int64_t product, int64_t slot, int64_t row) const {
    return ((slot * batch + product) * rows + row) * columns;
  }
};

namespace detail {

/// One b for all: a single product of more rows, where a's matrices follow one another.
inline Gemm joined(Gemm p) {
  if (p.b_batch != 0 || p.a_batch != p.m * p.a_row) return p;
  p.m *= p.batch;
  p.batch = 1;
  return p;
}

inline int64_t gemm_slots(const Gemm& p) {
  return p.k < 4096 ? 1 : step_slots(p.m, p.n, p.k, p.batch);
}

template <TileLayout A, TileLayout B, int Width>
void launch_gemm(const Gemm& p, const MatrixBatch& a, const MatrixBatch& b, const Epilogue& epilogue,
                 Precision precision, float* workspace, Stream stream) {
  const int64_t slots = workspace == nullptr ? 1 : gemm_slots(p);
  const TileResult result = slots == 1 ? TileResult(p.c, epilogue, p.n) : TileResult(workspace, {}, p.n);
  launch_tile_product(GemmProblem<A, B, Width>{a, b, p.m, p.n, p.k, p.batch, result}, precision, p.batch, slots,
                      stream);
  if (slots > 1) launch_add_slots({workspace, p.c, slots, p.batch * p.m * p.n, p.n, epilogue}, stream);
}

template <TileLayout A, TileLayout B>
void launch_gemm(const Gemm& p, const MatrixBatch& a, const MatrixBatch& b, const Epilogue& epilogue,
                 Precision precision, float* workspace, Stream stream) {
  if (a.in_fours() && b.in_fours()) launch_gemm<A, B, 4>(p, a, b, epilogue, precision, workspace, stream);
  else launch_gemm<A, B, 1>(p, a, b, epilogue, precision, workspace, stream);
}

}  // namespace detail

/// Floats of workspace with which long sums for a small c are spread over the device.
inline int64_t gemm_workspace(const Gemm& call) {
  const Gemm p = detail::joined(call);
  const int64_t slots = detail::gemm_slots(p);
  return slots == 1 ? 0 : slots * p.batch * p.m * p.n;
}

/// Picks how the factors travel; returns without waiting. With k = 0 the sums are 0.
/// @param workspace  (gemm_workspace(p))  overwritten; or null, and long sums are added up by a few blocks
inline void gemm(const Gemm& call, const Epilogue& epilogue, Precision precision, float* workspace, Stream stream) {
  const Gemm p = detail::joined(call);
  if (p.batch * p.m * p.n == 0) return;
  const MatrixBatch a{{p.a, p.a_row, p.a_column, p.m, p.k}, p.a_batch};
  const MatrixBatch b{{p.b, p.b_column, p.b_row, p.n, p.k}, p.b_batch};
  constexpr TileLayout kSteps = TileLayout::steps, kLines = TileLayout::lines;
  const bool a_steps = a.layout() == kSteps, b_steps = b.layout() == kSteps;
  const auto run = a_steps ? (b_steps ? detail::launch_gemm<kSteps, kSteps> : detail::launch_gemm<kSteps, kLines>)
                           : (b_steps ? detail::launch_gemm<kLines, kSteps> : detail::launch_gemm<kLines, kLines>);
  run(p, a, b, epilogue, precision, workspace, stream);
}
inline void gemm(const Gemm& p, Precision precision, float* workspace, Stream stream) {
  gemm(p, Epilogue{p.bias}, precision, workspace, stream);
}
/// With factors as they are.
inline void gemm(const Gemm& p, Stream stream) {
  gemm(p, Precision::float32, nullptr, stream);
}
/// With factors rounded to bfloat16.
inline void gemm_bfloat16(const Gemm& p, Stream stream) {
  gemm(p, Precision::bfloat16, nullptr, stream);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

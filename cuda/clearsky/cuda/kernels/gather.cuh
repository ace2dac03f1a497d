#pragma once
// Elements at given positions of the middle dimension of (outer, n, inner), and the transpose, which adds to them.

#include "clearsky/cpu/gather.hpp"
#include "clearsky/cuda/portable.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using Gather = cpu::Gather<float>;

/// grid (ceil(outer m inner / Threads)), block Threads
template <int Threads>
__global__ void __launch_bounds__(Threads) gather_elements(const Gather p) {
  const int64_t i = int64_t(blockIdx.x) * Threads + threadIdx.x;
  if (i >= p.outer * p.m * p.inner) return;
  const int64_t c = i % p.inner, j = i / p.inner % p.m, o = i / p.inner / p.m;
  const int64_t from = p.index[o * p.index_outer + j * p.index_middle + c * p.index_inner];
  p.y[i] = p.x[(o * p.n + from) * p.inner + c];
}

/// One thread per column walks the index from its start: a position that comes more than once is added to in a fixed
/// order, without atomics. As parallel as there are columns.
/// grid (ceil(outer inner / Threads)), block Threads
template <int Threads>
__global__ void __launch_bounds__(Threads) scatter_add_columns(const Gather p) {
  const int64_t k = int64_t(blockIdx.x) * Threads + threadIdx.x;
  if (k >= p.outer * p.inner) return;
  const int64_t c = k % p.inner, o = k / p.inner;
  float* y = p.y + o * p.n * p.inner + c;
  for (int64_t i = 0; i < p.n; ++i) y[i * p.inner] = 0;
  for (int64_t j = 0; j < p.m; ++j) {
    const int64_t to = p.index[o * p.index_outer + j * p.index_middle + c * p.index_inner];
    y[to * p.inner] += p.x[(o * p.m + j) * p.inner + c];
  }
}

/// Returns without waiting. The index is not checked: see detail::check_indices.
inline void gather(const Gather& p, Stream stream) {
  const int64_t count = p.outer * p.m * p.inner;
  if (count != 0) launch(gather_elements<256>, blocks_of(count, 256), 256, 0, stream, p);
}
inline void scatter_add(const Gather& p, Stream stream) {
  const int64_t count = p.outer * p.inner;
  if (count != 0 && p.n != 0) launch(scatter_add_columns<128>, blocks_of(count, 128), 128, 0, stream, p);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

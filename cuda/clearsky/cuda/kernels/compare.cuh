#pragma once
// Comparisons of dense tensors, element by element.
//
// Neighbouring threads read neighbouring elements and write neighbouring bytes; each byte moves once.

#include "clearsky/cpu/compare.hpp"
#include "clearsky/cuda/portable.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using cpu::Comparison;
template <class T>
using Compare = cpu::Compare<T>;

/// grid (ceil(count / 256)), block 256
template <Comparison C, class T>
__global__ void __launch_bounds__(256) compare_elements(const Compare<T> p) {
  const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (i >= p.count) return;
  const T a = p.a[i], b = p.b == nullptr ? p.number : p.b[i];
  bool y = false;
  if constexpr (C == Comparison::equal) y = a == b;
  if constexpr (C == Comparison::not_equal) y = a != b;
  if constexpr (C == Comparison::less) y = a < b;
  if constexpr (C == Comparison::less_equal) y = a <= b;
  if constexpr (C == Comparison::greater) y = a > b;
  if constexpr (C == Comparison::greater_equal) y = a >= b;
  p.y[i] = y;
}

/// Returns without waiting. An empty tensor is not an error, an empty grid is.
template <class T>
void compare(const Compare<T>& p, Stream stream) {
  if (p.count == 0) return;
  using Kernel = void (*)(Compare<T>);
  static constexpr Kernel kernels[] = {
      &compare_elements<Comparison::equal, T>,   &compare_elements<Comparison::not_equal, T>,
      &compare_elements<Comparison::less, T>,    &compare_elements<Comparison::less_equal, T>,
      &compare_elements<Comparison::greater, T>, &compare_elements<Comparison::greater_equal, T>};
  launch(kernels[int(p.comparison)], blocks_of(p.count, 256), 256, 0, stream, p);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

#pragma once
// Copies between strided tensors, with conversion of the element type.
//
// Dimensions that both sides walk as one are joined on the host. What is then one dimension is copied in a line, 16
// bytes at a time where the addresses allow. Where both sides have a fast dimension and it is not the same one, tiles
// go through shared memory, so that reads and writes are both of neighbours. Anything else is copied element by
// element, neighbouring threads writing neighbours.

#include "clearsky/core/dtype.hpp"
#include "clearsky/cpu/copy.hpp"
#include "clearsky/cuda/portable.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

/// As convert_element() of clearsky/core/dtype.hpp.
template <class To, class From>
__device__ __forceinline__ To convert_on_device(From v) {
  constexpr bool from16 = std::is_same_v<From, Half> || std::is_same_v<From, BFloat16>;
  if constexpr (std::is_same_v<To, From>) {
    return v;
  } else if constexpr (from16) {
#ifdef __CUDACC__
    float wide = 0;
    if constexpr (std::is_same_v<From, Half>) wide = __half2float(__ushort_as_half(v.bits));
    else wide = __bfloat162float(__ushort_as_bfloat16(v.bits));
    return convert_on_device<To>(wide);
#else
    return convert_on_device<To>(float(v));
#endif
  } else if constexpr (std::is_same_v<To, Half> || std::is_same_v<To, BFloat16>) {
#ifdef __CUDACC__
    To narrow;
    if constexpr (std::is_same_v<To, Half>) narrow.bits = __half_as_ushort(__float2half_rn(float(v)));
    else narrow.bits = __bfloat16_as_ushort(__float2bfloat16_rn(float(v)));
    return narrow;
#else
    return To(float(v));
#endif
  } else if constexpr (std::is_same_v<To, bool>) {
    return v != From(0);
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    return To(static_cast<int64_t>(v));
  } else {
    return static_cast<To>(v);
  }
}

/// Both sides of a copy, dimensions joined and from the last to the first.
template <class From, class To>
struct StridedCopy {
  const From* x;
  To* y;
  int rank;
  int64_t sizes[kMaxRank], x_strides[kMaxRank], y_strides[kMaxRank];
  int64_t count;
};

/// 16 bytes per thread. grid (ceil(bytes / 4096)), block 256
template <int Threads>
__global__ void __launch_bounds__(Threads) copy_vectors(const int4* x, int4* y, int64_t count) {
  const int64_t i = int64_t(blockIdx.x) * Threads + threadIdx.x;
  if (i < count) store_vector(y + i, load_vector<int4>(x + i));
}

/// grid (ceil(count / 256)), block 256
template <class From, class To>
__global__ void __launch_bounds__(256) copy_elements(const StridedCopy<From, To> p) {
  const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (i >= p.count) return;
  int64_t x = 0, y = 0, rest = i;
  for (int d = 0; d < p.rank; ++d) {
    int64_t index = 0;
    if (p.count <= 0x7fffffff) {  // a division of 32 bits costs a quarter of one of 64
      index = unsigned(rest) % unsigned(p.sizes[d]);
      rest = unsigned(rest) / unsigned(p.sizes[d]);
    } else {
      index = rest % p.sizes[d];
      rest /= p.sizes[d];
    }
    x += index * p.x_strides[d];
    y += index * p.y_strides[d];
  }
  p.y[y] = convert_on_device<To>(p.x[x]);
}

inline constexpr int kCopyTile = 32;

/// A tile whose rows are neighbours in y and whose columns are neighbours in x. Dimension 0 is y's fast one, `fast`
/// x's. grid (tiles along 0, tiles along fast, product of the other sizes), block (32, 8)
template <class From, class To, int Rows>
__global__ void __launch_bounds__(kCopyTile* Rows) copy_tiles(const StridedCopy<From, To> p, const int fast) {
  CLEARSKY_SHARED(From, tile, [kCopyTile][kCopyTile + 1]);  // one more: a column's elements lie in different banks
  int64_t x = 0, y = 0, rest = blockIdx.z;
  for (int d = 1; d < p.rank; ++d) {
    if (d == fast) continue;
    const int64_t index = rest % p.sizes[d];
    rest /= p.sizes[d];
    x += index * p.x_strides[d];
    y += index * p.y_strides[d];
  }
  const int64_t first = int64_t(blockIdx.x) * kCopyTile, first_fast = int64_t(blockIdx.y) * kCopyTile;
  for (int r = int(threadIdx.y); r < kCopyTile; r += Rows) {
    const int64_t i = first + r, j = first_fast + threadIdx.x;
    if (i < p.sizes[0] && j < p.sizes[fast]) tile[r][threadIdx.x] = p.x[x + i * p.x_strides[0] + j];
  }
  __syncthreads();
  for (int r = int(threadIdx.y); r < kCopyTile; r += Rows) {
    const int64_t i = first + threadIdx.x, j = first_fast + r;
    if (i < p.sizes[0] && j < p.sizes[fast])
      p.y[y + i + j * p.y_strides[fast]] = convert_on_device<To>(tile[threadIdx.x][r]);
  }
}

namespace detail {

template <class From, class To>
StridedCopy<From, To> joined(const cpu::Copy<From, To>& c) {
  StridedCopy<From, To> p{};
  p.x = c.x, p.y = c.y, p.count = c.shape.numel();
  for (size_t d = c.shape.size(); d-- > 0;) {
    if (c.shape[d] == 1) continue;
    const int last = p.rank - 1;
    if (last >= 0 && c.x_strides[d] == p.x_strides[last] * p.sizes[last] &&
        c.y_strides[d] == p.y_strides[last] * p.sizes[last]) {
      p.sizes[last] *= c.shape[d];
      continue;
    }
    p.sizes[p.rank] = c.shape[d];
    p.x_strides[p.rank] = c.x_strides[d];
    p.y_strides[p.rank] = c.y_strides[d];
    ++p.rank;
  }
  return p;
}

}  // namespace detail

/// Returns without waiting. An empty tensor is not an error, an empty grid is.
template <class From, class To>
void copy(const cpu::Copy<From, To>& c, Stream stream) {
  const StridedCopy<From, To> p = detail::joined(c);
  if (p.count == 0) return;
  constexpr int kRows = 8;
  if constexpr (std::is_same_v<From, To>) {
    const int64_t bytes = p.count * int64_t(sizeof(To));
    const bool dense = p.rank == 0 || (p.rank == 1 && p.x_strides[0] == 1 && p.y_strides[0] == 1);
    if (dense && bytes % 16 == 0 && reinterpret_cast<uintptr_t>(p.x) % 16 == 0 &&
        reinterpret_cast<uintptr_t>(p.y) % 16 == 0) {
      launch(copy_vectors<256>, blocks_of(bytes / 16, 256), 256, 0, stream, reinterpret_cast<const int4*>(p.x),
             reinterpret_cast<int4*>(p.y), bytes / 16);
      return;
    }
  }
  int fast = 0;
  for (int d = 1; d < p.rank; ++d)
    if (p.x_strides[d] == 1 && p.sizes[d] >= 8) fast = d;
  if (fast != 0 && p.y_strides[0] == 1 && p.x_strides[0] != 1 && p.sizes[0] >= 8) {
    const int64_t others = p.count / (p.sizes[0] * p.sizes[fast]);
    const int64_t tiles = (p.sizes[fast] + kCopyTile - 1) / kCopyTile;
    if (others <= 65535 && tiles <= 65535) {
      const dim3 grid(blocks_of(p.sizes[0], kCopyTile), unsigned(tiles), unsigned(others));
      launch(copy_tiles<From, To, kRows>, grid, dim3(kCopyTile, kRows), 0, stream, p, fast);
      return;
    }
  }
  launch(copy_elements<From, To>, blocks_of(p.count, 256), 256, 0, stream, p);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

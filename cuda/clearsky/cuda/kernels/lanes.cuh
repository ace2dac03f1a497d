#pragma once
// One or four neighbouring floats at a time: a kernel written for Lanes<Width> reads and writes 16 bytes where
// addresses allow it, and one float elsewhere, by one text.

#include <type_traits>

#include "clearsky/cuda/portable.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

template <int Width>
struct Lanes {
  static_assert(Width == 1 || Width == 4);
  float v[Width];
  __device__ __forceinline__ float& operator[](int i) { return v[i]; }
  __device__ __forceinline__ float operator[](int i) const { return v[i]; }
};

template <int Width>
__device__ __forceinline__ Lanes<Width> load_lanes(const float* p) {
  if constexpr (Width == 4) {
    const float4 f = ld4(p);
    return {{f.x, f.y, f.z, f.w}};
  } else {
    return {{*p}};
  }
}
template <int Width>
__device__ __forceinline__ void store_lanes(float* p, const Lanes<Width>& l) {
  if constexpr (Width == 4) st4(p, make_float4(l.v[0], l.v[1], l.v[2], l.v[3]));
  else *p = l.v[0];
}
template <int Width>
__device__ __forceinline__ Lanes<Width> all_lanes(float v) {
  Lanes<Width> l;
  for (int k = 0; k < Width; ++k) l.v[k] = v;
  return l;
}

/// Whether every pointer allows 16-byte accesses; one that is null does.
template <class... Pointers>
bool aligned16(const Pointers*... p) {
  return ((reinterpret_cast<uintptr_t>(p) % 16 == 0) && ...);
}

/// A warp on short rows: several rows at once, Group lanes on each, or most lanes would have nothing to do.
template <int Group>
struct RowGroup {
  static constexpr int kRows = kWarp / Group;  ///< of a warp
  int64_t row;
  int lane;  ///< within the group
  /// @param first  row of this warp
  __device__ __forceinline__ explicit RowGroup(int64_t first)
      : row(first + int(threadIdx.x) / Group), lane(int(threadIdx.x) % Group) {}
};

/// Calls run with the least group, as an std::integral_constant, whose lanes cover a row with `each` floats per lane.
template <class Run>
void with_row_group(int64_t columns, int each, const Run& run) {
  if (columns <= 8 * each) run(std::integral_constant<int, 8>());
  else if (columns <= 16 * each) run(std::integral_constant<int, 16>());
  else run(std::integral_constant<int, kWarp>());
}

/// How one thread finds its place in an image: blockIdx.x is the row (of all images), blockIdx.y a piece of the row.
/// So positions within a row take 32-bit divisions only.
inline constexpr int kRowThreads = 128;

/// The grid for `rows` rows of `items` items, one thread each.
/// @throws ShapeError when a grid cannot have that many
inline dim3 grid_of_rows(const char* op, int64_t rows, int64_t items) {
  const int64_t pieces = (items + kRowThreads - 1) / kRowThreads;
  CLEARSKY_CHECK(ShapeError, pieces <= 65535, op, ": a row of ", items, " items takes ", pieces,
                 " blocks, a grid can have 65535 of them; cut the image in tiles");
  return dim3(blocks_of(rows, 1), unsigned(pieces));
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

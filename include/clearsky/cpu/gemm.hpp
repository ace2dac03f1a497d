#pragma once
// Matrix products, and the register-blocked kernel that they share with the convolutions.
//
// The kernel computes a tile of Rows x (Vectors * lanes) results in registers: for each k it loads Vectors vectors of B
// and multiplies them by one broadcast element of each of the Rows rows of A. B is packed into panels as wide as a
// tile, so that it is read with stride 1; A is read where it lies. Every result is one chain of fused multiply-adds
// over k in rising order, whatever tile it falls into: its bits do not depend on where in the matrix it stands.

#include <algorithm>
#include <cstdint>

#include "clearsky/core/memory.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/cpu/simd.hpp"

namespace clearsky::cpu {

namespace detail {

/// Rows of the largest tile: as many accumulators as leave registers for B and the broadcast (32 or 16 registers).
inline constexpr int kTileRows = kVectorBytes == 64 ? 12 : 6;

/// Where a kernel finds A: element (row, segment s, k) at a[row * row_step + offsets[s] + k * k_step].
/// A convolution has one segment per row of its window (or per pixel of it); a matrix has one.
template <class T>
struct TileInput {
  const T* a;
  int64_t row_step, k_step;
  const int64_t* offsets;  // (segments)
  int64_t segments, length;
};

/// c (Rows, columns) = start + A B, or added to what is there.
/// @param b        (segments * length, b_step), Vectors * lanes columns are read from each row
/// @param columns  written columns, at most Vectors * lanes
/// @param start    one value per column, or null for 0
template <class T, int Rows, int Vectors>
inline void gemm_tile(const TileInput<T>& in, int64_t first_row, const T* b, int64_t b_step, T* c, int64_t c_step,
                      int64_t columns, const T* start, bool add) {
  constexpr int64_t kLane = kLanes<T>;
  Vec<T> acc[Rows][Vectors];
  CLEARSKY_UNROLL
  for (int r = 0; r < Rows; ++r) {
    CLEARSKY_UNROLL
    for (int v = 0; v < Vectors; ++v) acc[r][v] = Vec<T>{};
  }
  const int64_t step = in.row_step;
  for (int64_t s = 0; s < in.segments; ++s) {
    // Three rows per pointer: x86 addresses base, base + step and base + 2 step without arithmetic.
    constexpr int kBases = (Rows + 2) / 3;
    const T* a[kBases];
    CLEARSKY_UNROLL
    for (int g = 0; g < kBases; ++g) a[g] = in.a + (first_row + 3 * g) * step + in.offsets[s];
    for (int64_t k = 0; k < in.length; ++k) {
      Vec<T> bv[Vectors];
      CLEARSKY_UNROLL
      for (int v = 0; v < Vectors; ++v) bv[v] = load(b + v * kLane);
      b += b_step;
      CLEARSKY_UNROLL
      for (int r = 0; r < Rows; ++r) {
        const Vec<T> x = splat(a[r / 3][(r % 3) * step]);
        CLEARSKY_UNROLL
        for (int v = 0; v < Vectors; ++v) acc[r][v] += x * bv[v];
      }
      CLEARSKY_UNROLL
      for (int g = 0; g < kBases; ++g) a[g] += in.k_step;
    }
  }
  CLEARSKY_UNROLL
  for (int r = 0; r < Rows; ++r) {
    CLEARSKY_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      const int64_t left = columns - v * kLane;
      if (left <= 0) continue;
      T* to = c + (first_row + r) * c_step + v * kLane;
      Vec<T> y = acc[r][v];
      if (start != nullptr) y += load_partial(start + v * kLane, left);
      if (add) y += load_partial(to, left);
      store_partial(to, y, left);
    }
  }
}

/// All rows of one panel: the largest tiles first, then smaller ones for what is left.
template <class T, int Vectors>
void gemm_panel(const TileInput<T>& in, int64_t rows, const T* b, int64_t b_step, T* c, int64_t c_step, int64_t columns,
                const T* start, bool add) {
  constexpr int kBig = kTileRows, kMiddle = kTileRows == 12 ? 8 : 4, kSmall = kTileRows == 12 ? 4 : 2;
  int64_t r = 0;
  for (; r + kBig <= rows; r += kBig) gemm_tile<T, kBig, Vectors>(in, r, b, b_step, c, c_step, columns, start, add);
  if (r + kMiddle <= rows) {
    gemm_tile<T, kMiddle, Vectors>(in, r, b, b_step, c, c_step, columns, start, add);
    r += kMiddle;
  }
  for (; r + kSmall <= rows; r += kSmall)
    gemm_tile<T, kSmall, Vectors>(in, r, b, b_step, c, c_step, columns, start, add);
  for (; r < rows; ++r) gemm_tile<T, 1, Vectors>(in, r, b, b_step, c, c_step, columns, start, add);
}

/// B, packed: panels of two vectors (the last of one where that is enough), each (depth, panel width), zeros at the
/// edge. Panel p starts at column p * 2 lanes, and at element p * 2 lanes * depth.
template <class T>
struct PackedPanels {
  int64_t depth, columns;
  static constexpr int64_t kWidth = 2 * kLanes<T>;

  int64_t panels() const { return (columns + kWidth - 1) / kWidth; }
  /// 1 or 2 vectors.
  int64_t vectors(int64_t panel) const { return columns - panel * kWidth <= kLanes<T> ? 1 : 2; }
  int64_t width(int64_t panel) const { return vectors(panel) * kLanes<T>; }
  int64_t elements() const { return panels() * kWidth * depth; }

  /// element(k, column) gives B.
  template <class Element>
  void pack(T* to, Element&& element) const {
    parallel_for(panels(), (std::max)(int64_t(1), 32768 / (depth * kWidth + 1)), [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const int64_t w = width(p), valid = (std::min)(w, columns - p * kWidth);
        T* out = to + p * kWidth * depth;
        for (int64_t k = 0; k < depth; ++k, out += w) {
          for (int64_t j = 0; j < valid; ++j) out[j] = element(k, p * kWidth + j);
          for (int64_t j = valid; j < w; ++j) out[j] = T(0);
        }
      }
    });
  }

  /// c (rows, columns) from rows of `in`, panel by panel.
  void multiply(const TileInput<T>& in, int64_t rows, const T* packed, T* c, int64_t c_step, const T* start,
                bool add) const {
    for (int64_t p = 0; p < panels(); ++p) {
      const int64_t first = p * kWidth, left = (std::min)(kWidth, columns - first);
      const T* b = packed + first * depth;
      const T* s = start == nullptr ? nullptr : start + first;
      if (vectors(p) == 2) gemm_panel<T, 2>(in, rows, b, 2 * kLanes<T>, c + first, c_step, left, s, add);
      else gemm_panel<T, 1>(in, rows, b, kLanes<T>, c + first, c_step, left, s, add);
    }
  }
};

/// c (m, n), added to, += A B where k is long and m, n are small, as for a weight gradient. B is read where it lies and
/// needs readable memory for a whole vector behind its last element.
/// @param in  rows of A^T: element (i, k) at a[i * row_step + k * k_step]
template <class T>
void gemm_add_unpacked(const TileInput<T>& in, int64_t m, int64_t n, const T* b, int64_t b_step, T* c, int64_t c_step) {
  constexpr int64_t kWidth = 2 * kLanes<T>;
  for (int64_t j = 0; j < n; j += kWidth) {
    const int64_t left = (std::min)(kWidth, n - j);
    if (left > kLanes<T>) gemm_panel<T, 2>(in, m, b + j, b_step, c + j, c_step, left, nullptr, true);
    else gemm_panel<T, 1>(in, m, b + j, b_step, c + j, c_step, left, nullptr, true);
  }
}

}  // namespace detail

/// Products of matrices with any strides: c = a b for each of `batch` pairs.
template <class T>
struct Gemm {
  const T* a;     // (batch, m, k)
  const T* b;     // (batch, k, n)
  const T* bias;  // (n), or null
  T* c;           // (batch, m, n), dense, written
  int64_t batch, m, n, k;
  int64_t a_batch, a_row, a_column;  // strides, in elements
  int64_t b_batch, b_row, b_column;
};

template <class T>
void gemm(const Gemm<T>& p) {
  if (p.batch * p.m * p.n == 0) return;
  const detail::PackedPanels<T> panels{p.k, p.n};
  const int64_t shared = p.b_batch == 0 ? 1 : p.batch;  // one B for all, packed once
  Scratch<T> packed(panels.elements() * shared + 1);
  for (int64_t i = 0; i < shared; ++i) {
    const T* b = p.b + i * p.b_batch;
    panels.pack(packed.data() + i * panels.elements(),
                [&](int64_t k, int64_t j) { return b[k * p.b_row + j * p.b_column]; });
  }
  // Blocks of whole tiles, so that the cut does not make small tiles; about 2 million operations each.
  const int64_t tile = detail::kTileRows;
  const int64_t rows = (std::max)(int64_t(1), (1 << 20) / (p.n * p.k + 1) / tile) * tile;
  const int64_t blocks = (p.m + rows - 1) / rows;
  const int64_t zero = 0;
  parallel_for(p.batch * blocks, (std::max)(int64_t(1), (1 << 20) / ((std::min)(rows, p.m) * p.n * p.k + 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t t = begin; t < end; ++t) {
                   const int64_t i = t / blocks, first = t % blocks * rows, count = (std::min)(rows, p.m - first);
                   const detail::TileInput<T> in{
                       p.a + i * p.a_batch + first * p.a_row, p.a_row, p.a_column, &zero, 1, p.k};
                   panels.multiply(in, count, packed.data() + (p.b_batch == 0 ? 0 : i) * panels.elements(),
                                   p.c + (i * p.m + first) * p.n, p.n, p.bias, false);
                 }
               });
}

}  // namespace clearsky::cpu

#pragma once
// The register-blocked tile that matrix products and convolutions share.
//
// A tile holds kTileRows x (2 vectors) sums in registers while the whole sum runs: per step it loads B's two vectors
// and multiplies them by one broadcast element of each row of A. B is packed into panels as wide as a tile, so that it
// is read with stride 1; A is read where it lies when its rows are contiguous, and packed for long sums down its
// columns.
//
// A step's factors are a T each, or a pair of bfloat16 (pairs.hpp).

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "clearsky/cpu/pairs.hpp"
#include "clearsky/cpu/simd.hpp"
#include "clearsky/cpu/transpose.hpp"

namespace clearsky::cpu::detail {

// With 32 vector registers 8 x 2 sums leave room for B and hide the latency of a multiply-add; with 16 it is 4 x 2.
inline constexpr int kTileRows = kVectorBytes == 64 ? 8 : 4;
template <class T>
inline constexpr int64_t kTileColumns = 2 * kLanes<T>;

inline constexpr int64_t kNoOffset = 0;

/// Rows of C in registers:
///     c[r][j] = bias[j] + sum_s sum_p a[a_offsets[s] + r a_row + p a_step] b[s b_segment + p b_step + j]
/// A matrix has one segment; a convolution has one per row of its window, or per tap. Where a and b are pairs, so are
/// all steps along the sum.
template <class T, class Factor = T>
struct Tile {
  const Factor* a;
  int64_t a_row, a_step;
  const Factor* b;  // whole vectors are read, also behind the last column
  int64_t b_step, b_segment;
  int64_t length;  // of a segment
  T* c;
  int64_t c_row;
  int64_t columns;  // 1 to kTileColumns
  int64_t segments = 1;
  const int64_t* a_offsets = &kNoOffset;  // (segments)
  const T* bias = nullptr;                // (columns)
  bool add = false;                       // whether c is added to
  const T* plus = nullptr;                // (rows, columns), added to the sum; or null
  int64_t plus_row = 0;
  bool fetch_c = false;  // c is not in a cache: fetched while the sum runs
};

/// What is behind this is read from memory again, and kept in no register until then: a tile's sums want most of them,
/// and a compiler that runs out of the others puts addresses into vector registers, where each waits for its turn
/// behind the products.
inline void forget_memory() {
  asm volatile("" : : : "memory");
}

template <class T, int Rows, int Vectors, class Factor>
[[gnu::noinline]] void run_tile(const Tile<T, Factor>& t, const Factor* a_first, T* c, const T* plus) {
  constexpr int64_t kLane = kLanes<T>;
  Vec<T> sums[Rows][Vectors];
  CLEARSKY_UNROLL
  for (int r = 0; r < Rows; ++r) {
    CLEARSKY_UNROLL
    for (int v = 0; v < Vectors; ++v) sums[r][v] = Vec<T>{};
  }

  if (t.fetch_c) {
    CLEARSKY_UNROLL
    for (int r = 0; r < Rows; ++r) {
      CLEARSKY_UNROLL
      for (int v = 0; v < Vectors; ++v) __builtin_prefetch(c + r * t.c_row + v * kLane, 1);
    }
  }

  for (int64_t s = 0; s < t.segments; ++s) {
    forget_memory();
    // Two pointers for eight rows: the distance of each row from one of them would take a register.
    const int64_t a_row = t.a_row, a_step = t.a_step, b_step = t.b_step;
    const Factor* a = a_first + t.a_offsets[s];
    const Factor* a_fourth = a + 4 * a_row;
    asm("" : "+r"(a_fourth));
    const Factor* b = t.b + s * t.b_segment;
    const auto step = [&]() __attribute__((always_inline)) {
      Vec<Factor> w[Vectors];
      CLEARSKY_UNROLL
      for (int v = 0; v < Vectors; ++v) w[v] = load(b + v * kLane);
      CLEARSKY_UNROLL
      for (int r = 0; r < Rows; ++r) {
        const Vec<Factor> x = splat(r < 4 ? a[r * a_row] : a_fourth[(r - 4) * a_row]);
        CLEARSKY_UNROLL
        for (int v = 0; v < Vectors; ++v) sums[r][v] = multiply_add(sums[r][v], w[v], x);
      }
      a += a_step;
      a_fourth += a_step;
      b += b_step;
    };
    for (int64_t p = t.length; p > 0; --p) step();
  }
  forget_memory();

  CLEARSKY_UNROLL
  for (int v = 0; v < Vectors; ++v) {
    const int64_t left = t.columns - v * kLane;
    if (t.bias != nullptr) {
      const Vec<T> bias = load_partial(t.bias + v * kLane, left);
      CLEARSKY_UNROLL
      for (int r = 0; r < Rows; ++r) sums[r][v] += bias;
    }
    T* const to = c + v * kLane;
    if (t.add) {
      CLEARSKY_UNROLL
      for (int r = 0; r < Rows; ++r) sums[r][v] += load_partial(to + r * t.c_row, left);
    }
    if (plus != nullptr) {
      CLEARSKY_UNROLL
      for (int r = 0; r < Rows; ++r) sums[r][v] += load_partial(plus + r * t.plus_row + v * kLane, left);
    }
    const int64_t c_row = t.c_row;
    CLEARSKY_UNROLL
    for (int r = 0; r < Rows; ++r) store_partial(to + r * c_row, sums[r][v], left);
  }
}

template <class T, int Vectors, class Factor>
void run_tile_rows(const Tile<T, Factor>& t, int64_t rows) {
  const Factor* a = t.a;
  T* c = t.c;
  const T* plus = t.plus;
  const auto take = [&](int64_t count) {
    a += count * t.a_row;
    c += count * t.c_row;
    if (plus != nullptr) plus += count * t.plus_row;
    rows -= count;
  };
  for (; rows >= kTileRows; take(kTileRows)) run_tile<T, kTileRows, Vectors>(t, a, c, plus);
  if constexpr (kTileRows > 4) {
    if (rows >= 4) {
      run_tile<T, 4, Vectors>(t, a, c, plus);
      take(4);
    }
  }
  if (rows >= 2) {
    run_tile<T, 2, Vectors>(t, a, c, plus);
    take(2);
  }
  if (rows >= 1) run_tile<T, 1, Vectors>(t, a, c, plus);
}

/// Any number of rows of one panel.
template <class T, class Factor = T>
void run_tiles(const Tile<T, Factor>& t, int64_t rows) {
  if (t.columns > kLanes<T>) run_tile_rows<T, 2>(t, rows);
  else run_tile_rows<T, 1>(t, rows);
}

template <class T>
int64_t panel_count(int64_t n) {
  return (n + kTileColumns<T> - 1) / kTileColumns<T>;
}
/// Elements between two rows of a packed panel: one vector where that is enough.
template <class T>
int64_t panel_width(int64_t columns) {
  return columns > kLanes<T> ? kTileColumns<T> : kLanes<T>;
}

/// Columns [panel * kTileColumns, ...) of B (k, n), rows side by side, missing columns as 0.
/// @param to  (k, panel_width)  written
template <class T>
void pack_panel(const T* b, int64_t b_row, int64_t b_column, int64_t k, int64_t n, int64_t panel, T* to) {
  const int64_t first = panel * kTileColumns<T>, columns = (std::min)(n - first, kTileColumns<T>);
  const int64_t width = panel_width<T>(columns);
  b += first * b_column;
  if (b_column == 1) {
    for (int64_t p = 0; p < k; ++p) {
      store(to + p * width, load_partial(b + p * b_row, columns));
      if (width > kLanes<T>)
        store(to + p * width + kLanes<T>, load_partial(b + p * b_row + kLanes<T>, columns - kLanes<T>));
    }
    return;
  }
  constexpr int64_t kLane = kLanes<T>;
  for (int64_t j = 0; j < width; j += kLane)
    for (int64_t p = 0; p < k; p += kLane) {
      const int64_t present = (std::min)(kLane, columns - j), steps = (std::min)(kLane, k - p);
      const T* from = b + p * b_row + j * b_column;
      T* out = to + p * width + j;
      if (b_row == 1) {
        Vec<T> square[kLane];
        CLEARSKY_UNROLL
        for (int64_t i = 0; i < kLane; ++i)
          square[i] = i < present ? load_partial(from + i * b_column, steps) : Vec<T>{};
        transpose_square<T>(square);
        CLEARSKY_UNROLL
        for (int64_t i = 0; i < kLane; ++i)
          if (i < steps) store(out + i * width, square[i]);
      } else {
        for (int64_t q = 0; q < steps; ++q)
          for (int64_t i = 0; i < kLane; ++i) out[q * width + i] = i < present ? from[q * b_row + i * b_column] : T(0);
      }
    }
}

/// pack_panel, or of its rows `pairs`: (pair_count(k), panel_width) words at the beginning of `to`.
/// @param to  (k, panel_width)  written
template <class T>
void pack_factors(bool pairs, const T* b, int64_t b_row, int64_t b_column, int64_t k, int64_t n, int64_t panel, T* to) {
  pack_panel(b, b_row, b_column, k, n, panel, to);
  if constexpr (std::is_same_v<T, float>) {
    const int64_t width = panel_width<T>((std::min)(n - panel * kTileColumns<T>, kTileColumns<T>));
    if (pairs) pair_across_rows(to, width, k, width, reinterpret_cast<Pair*>(to), width);
  }
}

/// Panels per block of a parallel loop that packs them: waking a thread must not cost more than it saves.
template <class T>
int64_t panels_per_block(int64_t k) {
  constexpr int64_t kLeastWork = 16384;  // elements
  return kLeastWork / (k * kTileColumns<T> + 1) + 1;
}

/// Where A lies: element (row, segment s, k) at a[row * row_step + offsets[s] + k * k_step].
template <class Factor>
struct TileInput {
  const Factor* a;
  int64_t row_step, k_step;
  const int64_t* offsets;  // (segments)
  int64_t segments, length;
};

/// A packed B for kernels that make their own: panels as of pack_panel, panel p at element p * kWidth * depth.
template <class T>
struct PackedPanels {
  int64_t depth, columns;
  static constexpr int64_t kWidth = kTileColumns<T>;

  int64_t panels() const { return panel_count<T>(columns); }
  int64_t width(int64_t panel) const { return panel_width<T>(columns - panel * kWidth); }
  int64_t elements() const { return panels() * kWidth * depth; }

  /// c (rows, columns) = in B + start, or added to; depth = segments * length.
  /// @param start  (columns), or null
  /// @param plus   (rows, columns), plus_step apart, added; or null
  template <class Factor>
  void multiply(const TileInput<Factor>& in, int64_t rows, const Factor* packed, T* c, int64_t c_step, const T* start,
                bool add, const T* plus = nullptr, int64_t plus_step = 0) const {
    for (int64_t p = 0; p < panels(); ++p) {
      const int64_t first = p * kWidth, step = width(p);
      run_tiles<T, Factor>(
          {in.a, in.row_step, in.k_step, packed + first * depth, step, in.length * step, in.length, c + first, c_step,
           (std::min)(kWidth, columns - first), in.segments, in.offsets, start == nullptr ? nullptr : start + first,
           add, plus == nullptr ? nullptr : plus + first, plus_step},
          rows);
    }
  }
};

/// c (m, n) = A B, or added to, for a B that is read where it lies, whole vectors also behind its last column.
/// @param in  element (i, segment s, k) of A at a[i * row_step + offsets[s] + k * k_step]
template <class T, class Factor>
void gemm_unpacked(const TileInput<Factor>& in, int64_t m, int64_t n, const Factor* b, int64_t b_step,
                   int64_t b_segment, T* c, int64_t c_step, bool add = true) {
  for (int64_t j = 0; j < n; j += kTileColumns<T>)
    run_tiles<T, Factor>({in.a, in.row_step, in.k_step, b + j, b_step, b_segment, in.length, c + j, c_step,
                          (std::min)(kTileColumns<T>, n - j), in.segments, in.offsets, nullptr, add},
                         m);
}

}  // namespace clearsky::cpu::detail

#pragma once
// Matrix products, and the register-blocked tile that they share with the convolutions.
//
// A tile holds kTileRows x (2 vectors) sums in registers while the whole sum runs: per step it loads B's two vectors
// and multiplies them by one broadcast element of each row of A. B is packed into panels as wide as a tile, so that it
// is read with stride 1; A is read where it lies when its rows are contiguous, and packed for long sums down its
// columns.
//
// What is cut where depends on sizes alone, and each element of C is added up in one fixed order, so the bits do not
// depend on the number of threads.

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/core/memory.hpp"
#include "clearsky/core/threads.hpp"
#include "clearsky/cpu/simd.hpp"
#include "clearsky/cpu/transpose.hpp"

namespace clearsky::cpu {

/// Products of matrices with any strides: c = a b + bias for each of `batch` pairs.
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

namespace detail {

// With 32 vector registers 8 x 2 sums leave room for B and hide the latency of a multiply-add; with 16 it is 4 x 2.
inline constexpr int kTileRows = kVectorBytes == 64 ? 8 : 4;
template <class T>
inline constexpr int64_t kTileColumns = 2 * kLanes<T>;

inline constexpr int64_t kNoOffset = 0;

/// Rows of C in registers:
///     c[r][j] = bias[j] + sum_s sum_p a[a_offsets[s] + r a_row + p a_step] b[s b_segment + p b_step + j]
/// A matrix has one segment; a convolution has one per row of its window, or per tap.
template <class T>
struct Tile {
  const T* a;
  int64_t a_row, a_step;
  const T* b;  // whole vectors are read, also behind the last column
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
};

template <class T, int Rows, int Vectors>
[[gnu::noinline]] void run_tile(const Tile<T>& t, const T* a, T* c, const T* plus) {
  constexpr int64_t kLane = kLanes<T>;
  Vec<T> sums[Rows][Vectors];
  CLEARSKY_UNROLL
  for (int r = 0; r < Rows; ++r) {
    CLEARSKY_UNROLL
    for (int v = 0; v < Vectors; ++v) sums[r][v] = Vec<T>{};
  }

  // What is written is in the cache by the time the sums are done.
  CLEARSKY_UNROLL
  for (int r = 0; r < Rows; ++r) {
    CLEARSKY_UNROLL
    for (int v = 0; v < Vectors; ++v) __builtin_prefetch(c + r * t.c_row + v * kLane, 1);
  }

  const int64_t a_row = t.a_row, a_step = t.a_step, b_step = t.b_step;
  for (int64_t s = 0; s < t.segments; ++s) {
    const T* from = a + t.a_offsets[s];
    const T* b = t.b + s * t.b_segment;
    for (int64_t p = t.length; p > 0; --p) {
      Vec<T> w[Vectors];
      CLEARSKY_UNROLL
      for (int v = 0; v < Vectors; ++v) w[v] = load(b + v * kLane);
      CLEARSKY_UNROLL
      for (int r = 0; r < Rows; ++r) {
        const Vec<T> x = splat(from[r * a_row]);
        CLEARSKY_UNROLL
        for (int v = 0; v < Vectors; ++v) sums[r][v] += w[v] * x;
      }
      from += a_step;
      b += b_step;
    }
  }

  CLEARSKY_UNROLL
  for (int v = 0; v < Vectors; ++v) {
    const int64_t left = t.columns - v * kLane;
    if (t.bias != nullptr) {
      const Vec<T> bias = load_partial(t.bias + v * kLane, left);
      CLEARSKY_UNROLL
      for (int r = 0; r < Rows; ++r) sums[r][v] += bias;
    }
    T* to = c + v * kLane;
    if (t.add) {
      CLEARSKY_UNROLL
      for (int r = 0; r < Rows; ++r) sums[r][v] += load_partial(to + r * t.c_row, left);
    }
    if (plus != nullptr) {
      CLEARSKY_UNROLL
      for (int r = 0; r < Rows; ++r) sums[r][v] += load_partial(plus + r * t.plus_row + v * kLane, left);
    }
    CLEARSKY_UNROLL
    for (int r = 0; r < Rows; ++r) store_partial(to + r * t.c_row, sums[r][v], left);
  }
}

template <class T, int Vectors>
void run_tile_rows(const Tile<T>& t, int64_t rows) {
  const T* a = t.a;
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
template <class T>
void run_tiles(const Tile<T>& t, int64_t rows) {
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

/// Panels per block of a parallel loop that packs them: waking a thread must not cost more than it saves.
template <class T>
int64_t panels_per_block(int64_t k) {
  constexpr int64_t kLeastWork = 16384;  // elements
  return kLeastWork / (k * kTileColumns<T> + 1) + 1;
}

/// Elements between two groups of pack_rows: a line more than they hold, or all groups would fall on the same lines of
/// the cache.
template <class T>
int64_t group_step(int64_t k) {
  return k * kTileRows + 64 / int64_t(sizeof(T));
}

/// (m, k) as groups of kTileRows rows, each (k, kTileRows), missing rows as 0; for rows that are not contiguous.
template <class T>
void pack_rows(const T* a, int64_t a_row, int64_t a_column, int64_t m, int64_t k, T* to) {
  const int64_t step = group_step<T>(k);
  const int64_t whole = a_row == 1 ? m / kTileRows : 0;
  for (int64_t p = 0; p < k; ++p)
    for (int64_t g = 0; g < whole; ++g)
      std::memcpy(to + g * step + p * kTileRows, a + p * a_column + g * kTileRows, size_t(kTileRows) * sizeof(T));
  for (int64_t first = whole * kTileRows; first < m; first += kTileRows)
    for (int64_t p = 0; p < k; ++p)
      for (int64_t r = first; r < first + kTileRows; ++r)
        to[first / kTileRows * step + p * kTileRows + r - first] = r < m ? a[r * a_row + p * a_column] : T(0);
}

/// Where A lies: element (row, segment s, k) at a[row * row_step + offsets[s] + k * k_step].
template <class T>
struct TileInput {
  const T* a;
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
  void multiply(const TileInput<T>& in, int64_t rows, const T* packed, T* c, int64_t c_step, const T* start, bool add,
                const T* plus = nullptr, int64_t plus_step = 0) const {
    for (int64_t p = 0; p < panels(); ++p) {
      const int64_t first = p * kWidth, step = width(p);
      run_tiles<T>(
          {in.a, in.row_step, in.k_step, packed + first * depth, step, in.length * step, in.length, c + first, c_step,
           (std::min)(kWidth, columns - first), in.segments, in.offsets, start == nullptr ? nullptr : start + first,
           add, plus == nullptr ? nullptr : plus + first, plus_step},
          rows);
    }
  }
};

/// c (m, n), added to: += A B for a B that is read where it lies, whole vectors also behind its last column.
/// @param in  one segment; element (i, k) of A at a[i * row_step + k * k_step]
template <class T>
void gemm_add_unpacked(const TileInput<T>& in, int64_t m, int64_t n, const T* b, int64_t b_step, T* c, int64_t c_step) {
  for (int64_t j = 0; j < n; j += kTileColumns<T>)
    run_tiles<T>({in.a, in.row_step, in.k_step, b + j, b_step, in.length * b_step, in.length, c + j, c_step,
                  (std::min)(kTileColumns<T>, n - j), in.segments, in.offsets, nullptr, true},
                 m);
}

/// Steps of the sum in one pass over C: what is packed of A must stay in the second-level cache.
template <class T>
int64_t sum_step(const Gemm<T>& p) {
  return p.a_column == 1 ? 2048 : 256;
}

/// Memory that is read soon: fetched into the second-level cache piece by piece, between tiles.
struct Ahead {
  const char* at = nullptr;
  const char* end = nullptr;
  int64_t piece = 0;  // bytes

  Ahead() = default;
  Ahead(const void* begin, int64_t bytes, int64_t pieces)
      : at(static_cast<const char*>(begin)), end(at + bytes), piece(bytes / pieces + 64) {}
  void fetch() {
    const char* const stop = (std::min)(end, at + piece);
    for (; at < stop; at += 64) __builtin_prefetch(at, 0, 2);
  }
};

/// Part of C on one thread: `rows` rows from the first of p.a and of c, the panels [first, last), the steps of the sum
/// that p.a and `packed` hold.
/// @param packed  B's panels, panel_step apart
template <class T>
void gemm_block(const Gemm<T>& p, int64_t rows, int64_t first, int64_t last, const T* packed, int64_t panel_step,
                int64_t k, bool add, Ahead ahead_a = {}, Ahead ahead_b = {}) {
  Tile<T> t{};
  t.length = k;
  t.c_row = p.n;
  t.add = add;
  const bool in_place = p.a_column == 1;
  const Scratch<T> groups(in_place ? 1 : (rows + kTileRows - 1) / kTileRows * group_step<T>(k));
  if (!in_place) pack_rows(p.a, p.a_row, p.a_column, rows, k, groups.data());
  t.a_row = in_place ? p.a_row : 1;
  t.a_step = in_place ? 1 : kTileRows;
  for (int64_t i = first; i < last; ++i) {
    const int64_t column = i * kTileColumns<T>;
    t.columns = (std::min)(p.n - column, kTileColumns<T>);
    t.b = packed + i * panel_step;
    t.b_step = panel_width<T>(t.columns);
    t.bias = p.bias == nullptr || add ? nullptr : p.bias + column;
    if (in_place) {
      for (int64_t r = 0; r < rows; r += kTileRows) {
        t.a = p.a + r * p.a_row;
        t.c = p.c + r * p.n + column;
        if (i == first)
          for (int64_t q = 0; q < kTileRows; ++q)
            for (int64_t at = 0; at < k; at += 64 / int64_t(sizeof(T)))
              __builtin_prefetch(t.a + (kTileRows + q) * p.a_row + at, 0, 2);
        run_tiles(t, (std::min)(int64_t(kTileRows), rows - r));
      }
      continue;
    }
    for (int64_t r = 0; r < rows; r += kTileRows) {
      t.a = groups.data() + r / kTileRows * group_step<T>(k);
      t.c = p.c + r * p.n + column;
      run_tiles(t, (std::min)(int64_t(kTileRows), rows - r));
      ahead_a.fetch();
      ahead_b.fetch();
    }
  }
}

/// Adds `slots` arrays of `count` elements, the first first.
/// @param sum  (count)  written
template <class T>
void add_slots(const T* parts, int64_t slots, int64_t count, T* sum) {
  parallel_for(count, (std::max)(int64_t(1024), 32768 / slots / 1024 * 1024), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += kLanes<T>) {
      Vec<T> total = load_partial(parts + i, end - i);
      for (int64_t s = 1; s < slots; ++s) total += load_partial(parts + s * count + i, end - i);
      store_partial(sum + i, total, end - i);
    }
  });
}

/// A long sum for a small C, as in the gradients of weights: the sum is cut into chunks, each has a C of its own, and
/// these are added in the order of the chunks.
template <class T>
void gemm_long_sum(const Gemm<T>& p, int64_t chunk) {
  const int64_t chunks = (p.k + chunk - 1) / chunk, size = p.m * p.n, panels = panel_count<T>(p.n);
  // What a pass packs stays in the second-level cache, while the next pass's part comes there.
  const int64_t step = std::clamp(49152 / (p.m + p.n) / 16 * 16, int64_t(64), int64_t(256));
  const int64_t tiles = panels * ((p.m + kTileRows - 1) / kTileRows);
  const bool dense_a = p.a_row == 1 && p.a_column == p.m, dense_b = p.b_column == 1 && p.b_row == p.n;
  const Scratch<T> parts(chunks * size);
  parallel_for(p.k, chunk, [&](int64_t begin, int64_t end) {
    Gemm<T> q = p;
    q.c = parts.data() + begin / chunk * size;
    q.bias = nullptr;
    const Scratch<T> packed(panels * kTileColumns<T> * step);
    for (int64_t at = begin; at < end; at += step) {
      const int64_t k = (std::min)(step, end - at), panel_step = kTileColumns<T> * k;
      for (int64_t i = 0; i < panels; ++i)
        pack_panel(p.b + at * p.b_row, p.b_row, p.b_column, k, p.n, i, packed.data() + i * panel_step);
      q.a = p.a + at * p.a_column;
      const int64_t bytes = std::clamp(end - at - k, int64_t(0), step) * int64_t(sizeof(T));
      const Ahead ahead_a = dense_a ? Ahead(q.a + k * p.m, bytes * p.m, tiles) : Ahead();
      const Ahead ahead_b = dense_b ? Ahead(p.b + (at + k) * p.n, bytes * p.n, tiles) : Ahead();
      gemm_block(q, p.m, 0, panels, packed.data(), panel_step, k, at != begin, ahead_a, ahead_b);
    }
  });
  add_slots(parts.data(), chunks, size, p.c);
  if (p.bias != nullptr)
    for (int64_t i = 0; i < p.m; ++i)
      for (int64_t j = 0; j < p.n; ++j) p.c[i * p.n + j] += p.bias[j];
}

/// One pair of matrices.
template <class T>
void gemm_one(const Gemm<T>& p) {
  constexpr int64_t kLeastChunk = 1024, kMostChunks = 16, kMostPartial = 65536;
  if (p.k >= 2 * kLeastChunk && p.m * p.n <= kMostPartial && p.k >= 4 * (std::max)(p.m, p.n))
    return gemm_long_sum(p, (std::max)(kLeastChunk, (p.k + kMostChunks - 1) / kMostChunks));

  const int64_t panels = panel_count<T>(p.n), panel_step = p.k * kTileColumns<T>;
  const Scratch<T> packed(panels * panel_step + 1);
  parallel_for(panels, panels_per_block<T>(p.k), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      pack_panel(p.b, p.b_row, p.b_column, p.k, p.n, i, packed.data() + i * panel_step);
  });

  // Blocks of rows whose part of A fits the second-level cache; when they are few, blocks of columns too.
  constexpr int64_t kBlockElements = 32768, kEnoughBlocks = 16, kLeastWork = 65536;
  const int64_t step = sum_step(p), work = p.m * p.n * (p.k + 1);
  const int64_t fits = kBlockElements / (std::min)(p.k + 1, step) / kTileRows * kTileRows;
  const int64_t wanted = std::clamp(fits, int64_t(4 * kTileRows), int64_t(1024));
  const int64_t row_blocks = work <= kLeastWork ? 1 : (p.m + wanted - 1) / wanted;
  const int64_t rows = ((p.m + row_blocks - 1) / row_blocks + kTileRows - 1) / kTileRows * kTileRows;
  const int64_t column_blocks = work <= kLeastWork || row_blocks >= kEnoughBlocks
                                    ? 1
                                    : (std::min)(panels, (kEnoughBlocks + row_blocks - 1) / row_blocks);
  parallel_for(row_blocks * column_blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t i = block / column_blocks * rows, j = block % column_blocks;
      if (i >= p.m) continue;
      Gemm<T> q = p;
      q.a += i * p.a_row;
      q.c += i * p.n;
      int64_t at = 0;
      do {  // once even for an empty sum, which writes the bias
        for (int64_t first = panels * j / column_blocks; first < panels * (j + 1) / column_blocks;) {
          // Panels of one width lie at one distance from row to row, so that the sum can start at row `at`.
          const bool narrow = p.n - first * kTileColumns<T> <= kLanes<T>;
          const int64_t end_panel = narrow ? first + 1
                                           : (std::min)(panels * (j + 1) / column_blocks,
                                                        panels - (panels * kTileColumns<T> - p.n >= kLanes<T> ? 1 : 0));
          gemm_block(q, (std::min)(rows, p.m - i), first, end_panel,
                     packed.data() + at * (narrow ? kLanes<T> : kTileColumns<T>), panel_step,
                     (std::min)(step, p.k - at), at != 0);
          first = end_panel;
        }
        q.a += step * p.a_column;
        at += step;
      } while (at < p.k);
    }
  });
}

}  // namespace detail

/// See Gemm.
template <class T>
void gemm(const Gemm<T>& p) {
  if (p.batch * p.m * p.n == 0) return;
  if (p.batch == 1) return detail::gemm_one(p);
  if (p.b_batch == 0 && p.a_batch == p.m * p.a_row) {  // one B for all: a single product of more rows
    Gemm<T> q = p;
    q.m *= p.batch;
    q.batch = 1;
    return detail::gemm_one(q);
  }
  const auto item = [&](int64_t i) {
    Gemm<T> q = p;
    q.a += i * p.a_batch;
    q.b += i * p.b_batch;
    q.c += i * p.m * p.n;
    detail::gemm_one(q);
  };
  // Few large products use the threads inside, many small ones side by side. Either way gives the same bits.
  constexpr int64_t kEnoughItems = 8, kLeastWork = 65536;
  if (p.batch < kEnoughItems) {
    for (int64_t i = 0; i < p.batch; ++i) item(i);
    return;
  }
  parallel_for(p.batch, kLeastWork / (p.m * p.n * (p.k + 1)) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) item(i);
  });
}
CLEARSKY_COMPILE_ONCE(gemm)

}  // namespace clearsky::cpu

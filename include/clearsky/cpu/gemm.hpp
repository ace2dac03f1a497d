#pragma once
// Matrix products, in the tiles of tile.hpp. B is packed into panels; A is read where it lies when its rows are
// contiguous, and packed for long sums down its columns. Factors that are rounded (Autocast) are packed both.
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
#include "clearsky/cpu/tile.hpp"

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

/// pack_rows in pairs of steps: groups of (pair_count(k), kTileRows) words.
template <class T>
void pack_row_pairs(const T* a, int64_t a_row, int64_t a_column, int64_t m, int64_t k, Pair* to) {
  if constexpr (std::is_same_v<T, float>) {
    constexpr int64_t kLane = kLanes<float>;
    const int64_t step = group_step<T>(pair_count(k)), whole = a_row == 1 ? m / kLane * kLane : 0;
    for (int64_t p = 0; p < k; p += 2) {
      Pair* const words = to + p / 2 * kTileRows;
      const T* const from = a + p * a_column;
      for (int64_t r = 0; r < whole; r += kLane) {
        const VecPair pairs = pair_up(load(from + r), p + 1 < k ? load(from + a_column + r) : Vec<float>{});
        for (int64_t i = 0; i < kLane; i += kTileRows)
          std::memcpy(words + (r + i) / kTileRows * step,
                      reinterpret_cast<const char*>(&pairs) + size_t(i) * sizeof(Pair),
                      size_t(kTileRows) * sizeof(Pair));
      }
      for (int64_t first = whole; first < m; first += kTileRows) {
        float lines[2][kLane] = {};
        for (int64_t r = first; r < (std::min)(first + kTileRows, m); ++r)
          for (int64_t q = 0; q < (std::min)(int64_t(2), k - p); ++q)
            lines[q][r - first] = from[r * a_row + q * a_column];
        const VecPair pairs = pair_up(load(lines[0]), load(lines[1]));
        std::memcpy(words + first / kTileRows * step, &pairs, size_t(kTileRows) * sizeof(Pair));
      }
    }
  }
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
/// @param packed  B's panels, panel_step apart; of pairs, so that A is packed in pairs too
template <class T, class Factor>
void gemm_block(const Gemm<T>& p, int64_t rows, int64_t first, int64_t last, const Factor* packed, int64_t panel_step,
                int64_t k, bool add, Ahead ahead_a = {}, Ahead ahead_b = {}) {
  constexpr bool kPairs = !std::is_same_v<T, Factor>;
  Tile<T, Factor> t{};
  t.length = kPairs ? pair_count(k) : k;
  t.c_row = p.n;
  t.add = add;
  const bool row_by_row = p.a_column == 1, in_place = row_by_row && !kPairs;
  const int64_t groups = (rows + kTileRows - 1) / kTileRows;
  const Scratch<Factor> packed_a(in_place ? 1 : row_by_row ? rows * pair_lanes(k) : groups * group_step<T>(t.length));
  t.a_row = row_by_row ? p.a_row : 1;
  t.a_step = row_by_row ? 1 : kTileRows;
  if constexpr (kPairs) {
    if (row_by_row) t.a_row = pair_along_rows(p.a, p.a_row, rows, k, packed_a.data());
    else pack_row_pairs(p.a, p.a_row, p.a_column, rows, k, packed_a.data());
  } else if (!in_place) {
    pack_rows(p.a, p.a_row, p.a_column, rows, k, packed_a.data());
  }
  t.fetch_c = true;
  for (int64_t i = first; i < last; ++i) {
    const int64_t column = i * kTileColumns<T>;
    t.columns = (std::min)(p.n - column, kTileColumns<T>);
    t.b = packed + i * panel_step;
    t.b_step = panel_width<T>(t.columns);
    t.bias = p.bias == nullptr || add ? nullptr : p.bias + column;
    for (int64_t r = 0; r < rows; r += kTileRows) {
      t.c = p.c + r * p.n + column;
      if constexpr (!kPairs) {
        if (in_place) {
          t.a = p.a + r * p.a_row;
          if (i == first)
            for (int64_t q = 0; q < kTileRows; ++q)
              for (int64_t at = 0; at < k; at += 64 / int64_t(sizeof(T)))
                __builtin_prefetch(t.a + (kTileRows + q) * p.a_row + at, 0, 2);
        }
      }
      if (!in_place) t.a = packed_a.data() + (row_by_row ? r * t.a_row : r / kTileRows * group_step<T>(t.length));
      run_tiles(t, (std::min)(int64_t(kTileRows), rows - r));
      ahead_a.fetch();
      ahead_b.fetch();
    }
  }
}
/// The same for panels of T, or of pairs in memory of T.
template <class T>
void gemm_block(bool pairs, const Gemm<T>& p, int64_t rows, int64_t first, int64_t last, const T* packed,
                int64_t panel_step, int64_t k, bool add, Ahead ahead_a = {}, Ahead ahead_b = {}) {
  if constexpr (std::is_same_v<T, float>)
    if (pairs)
      return gemm_block(p, rows, first, last, reinterpret_cast<const Pair*>(packed), panel_step, k, add, ahead_a,
                        ahead_b);
  gemm_block(p, rows, first, last, packed, panel_step, k, add, ahead_a, ahead_b);
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
void gemm_long_sum(const Gemm<T>& p, int64_t chunk, bool pairs) {
  const int64_t chunks = (p.k + chunk - 1) / chunk, size = p.m * p.n, panels = panel_count<T>(p.n);
  // What a pass packs stays in the second-level cache, while the next pass's part comes there.
  const int64_t step = std::clamp(49152 / (p.m + p.n) / 16 * 16, int64_t(64), int64_t(256));
  const int64_t tiles = panels * ((p.m + kTileRows - 1) / kTileRows);
  const bool dense_a = p.a_row == 1 && p.a_column == p.m, dense_b = p.b_column == 1 && p.b_row == p.n;
  const Scratch<T> parts(chunks * size);
  // Narrow rows are read where they lie: a few of both factors stay in the first-level cache for all of C.
  constexpr int64_t kNearBytes = 24 << 10, kLeastSteps = 32;
  const int64_t near_steps = kNearBytes / int64_t(sizeof(T)) / (p.m + p.n);
  const bool in_place = !pairs && dense_a && dense_b && p.n % kLanes<T> == 0 && near_steps >= kLeastSteps;
  parallel_for(p.k, chunk, [&](int64_t begin, int64_t end) {
    Gemm<T> q = p;
    q.c = parts.data() + begin / chunk * size;
    q.bias = nullptr;
    if (in_place) {
      for (int64_t at = begin; at < end; at += near_steps) {
        gemm_unpacked<T, T>({p.a + at * p.a_column, 1, p.m, &kNoOffset, 1, (std::min)(near_steps, end - at)}, p.m, p.n,
                            p.b + at * p.b_row, p.n, 0, q.c, p.n, at != begin);
      }
      return;
    }
    const Scratch<T> packed(panels * kTileColumns<T> * step);
    for (int64_t at = begin; at < end; at += step) {
      const int64_t k = (std::min)(step, end - at), panel_step = kTileColumns<T> * k;
      for (int64_t i = 0; i < panels; ++i)
        pack_factors(pairs, p.b + at * p.b_row, p.b_row, p.b_column, k, p.n, i, packed.data() + i * panel_step);
      q.a = p.a + at * p.a_column;
      const int64_t bytes = std::clamp(end - at - k, int64_t(0), step) * int64_t(sizeof(T));
      const Ahead ahead_a = dense_a ? Ahead(q.a + k * p.m, bytes * p.m, tiles) : Ahead();
      const Ahead ahead_b = dense_b ? Ahead(p.b + (at + k) * p.n, bytes * p.n, tiles) : Ahead();
      gemm_block(pairs, q, p.m, 0, panels, packed.data(), panel_step, k, at != begin, ahead_a, ahead_b);
    }
  });
  add_slots(parts.data(), chunks, size, p.c);
  if (p.bias != nullptr)
    for (int64_t i = 0; i < p.m; ++i)
      for (int64_t j = 0; j < p.n; ++j) p.c[i * p.n + j] += p.bias[j];
}

/// One a and one b.
template <class T>
void gemm_one(const Gemm<T>& p, bool pairs) {
  constexpr int64_t kLeastChunk = 1024, kMostChunks = 16, kMostPartial = 65536;
  if (p.k >= 2 * kLeastChunk && p.m * p.n <= kMostPartial && p.k >= 4 * (std::max)(p.m, p.n))
    return gemm_long_sum(p, (std::max)(kLeastChunk, (p.k + kMostChunks - 1) / kMostChunks), pairs);

  const int64_t panels = panel_count<T>(p.n), panel_step = p.k * kTileColumns<T>;
  const Scratch<T> packed(panels * panel_step + 1);
  parallel_for(panels, panels_per_block<T>(p.k), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      pack_factors(pairs, p.b, p.b_row, p.b_column, p.k, p.n, i, packed.data() + i * panel_step);
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
          gemm_block(pairs, q, (std::min)(rows, p.m - i), first, end_panel,
                     packed.data() + (pairs ? at / 2 : at) * (narrow ? kLanes<T> : kTileColumns<T>), panel_step,
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
  const bool pairs = detail::takes_pairs<T>();
  if (p.batch == 1) return detail::gemm_one(p, pairs);
  if (p.b_batch == 0 && p.a_batch == p.m * p.a_row) {  // one B for all: a single product of more rows
    Gemm<T> q = p;
    q.m *= p.batch;
    q.batch = 1;
    return detail::gemm_one(q, pairs);
  }
  const auto item = [&](int64_t i) {
    Gemm<T> q = p;
    q.a += i * p.a_batch;
    q.b += i * p.b_batch;
    q.c += i * p.m * p.n;
    detail::gemm_one(q, pairs);
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

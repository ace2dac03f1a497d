#pragma once
// 3x3 convolution with stride 1 by Winograd's F(4x4, 3x3): 36 products per 16 outputs and pair of channels where the
// direct sum has 144.
//
//     Y = A^T [ (G g G^T) . (B^T d B) ] A      per 6x6 piece d of the image, which gives 4x4 outputs Y
//
// The sums over channels are 36 matrix products (tiles x inputs)(inputs x outputs), one per element of the transformed
// pieces. Tiles are taken in blocks whose transformed pieces and products stay in the second-level cache.
//
// Accuracy. A direct sum errs by a share of the products in its own 3x3 window; here each output errs by a share of its
// tile's largest pixel times its largest tap. Where those are far above the window's own products, the direct sum is
// taken: for the whole call where the taps of an output differ too much, and for a tile whose pixels do, or that has a
// value that is not finite, huge or tiny. So NaN and infinity reach exactly the windows that see them. Taps and pixels
// are compared by their sums of absolute values over the channels, and how far they may differ grows with the channels
// as the roundings of a sum do. tests/cpu/winograd_test.cpp holds the errors on both sides of these limits to
// allowed_error (tests/tolerance.hpp). On even values they are 0.05 (512 channels) to 0.3 (32) of it.
//
// Source: Lavin, Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, arXiv:1509.09308, sec. 4.3.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "clearsky/cpu/gemm.hpp"

namespace clearsky::cpu::detail {

/// y (batch, out_height, out_width, outputs) = 3x3 windows of x (batch, height, width, inputs) times the weight.
template <class T>
struct WinogradProduct {
  const T* x;
  int64_t batch, height, width, inputs, outputs;
  const T* weight;  // element (output, tap i, tap j, input) at the sum of index * step
  int64_t output_step, row_step, column_step, input_step;
  bool mirrored;  // taps from the last to the first
  const T* bias;  // (outputs), or null
  T* y;
  int64_t out_height, out_width;
  int64_t padding_top, padding_left;
};

inline constexpr int64_t kWinogradIn = 6, kWinogradOut = 4, kWinogradProducts = 36;

/// The largest ratio of two taps of an output that the transforms are trusted with.
inline constexpr double kWinogradTapSpread = 4;
/// The largest product of that ratio and the ratio of two pixels of a tile.
inline double winograd_spread(int64_t channels) {
  return std::sqrt(double(channels));
}
/// Sums of absolute values over the channels that neither overflow nor fall below the normal range on the way: 0, or
/// between these.
inline constexpr double kWinogradLeast = 0x1p-50, kWinogradMost = 0x1p50;

// The points 0, a, -a, b, -b and infinity. The usual a = 1 and b = 2 have three times the largest error of these, whose
// squares and products are exact in binary too.
inline constexpr double kWinogradA = 0.75, kWinogradB = 1.5;
inline constexpr double kWinogradA2 = kWinogradA * kWinogradA, kWinogradB2 = kWinogradB * kWinogradB;

/// B^T of six values: the products of (x - point) over all other points, as coefficients.
template <class T, class V>
[[gnu::always_inline]] inline void winograd_input(const V (&d)[6], V (&t)[6]) {
  constexpr T a = T(kWinogradA), b = T(kWinogradB), a2 = T(kWinogradA2), b2 = T(kWinogradB2);
  const V even_a = d[4] - b2 * d[2], odd_a = a * (d[3] - b2 * d[1]);
  const V even_b = d[4] - a2 * d[2], odd_b = b * (d[3] - a2 * d[1]);
  t[0] = (a2 * b2) * d[0] - (a2 + b2) * d[2] + d[4];
  t[1] = even_a + odd_a;
  t[2] = even_a - odd_a;
  t[3] = even_b + odd_b;
  t[4] = even_b - odd_b;
  t[5] = (a2 * b2) * d[1] - (a2 + b2) * d[3] + d[5];
}

/// A^T of six values: powers of the points.
template <class T, class V>
[[gnu::always_inline]] inline void winograd_output(const V (&m)[6], V (&y)[4]) {
  constexpr T a = T(kWinogradA), b = T(kWinogradB), a2 = T(kWinogradA2), b2 = T(kWinogradB2);
  const V sum_a = m[1] + m[2], difference_a = a * (m[1] - m[2]);
  const V sum_b = m[3] + m[4], difference_b = b * (m[3] - m[4]);
  y[0] = m[0] + sum_a + sum_b;
  y[1] = difference_a + difference_b;
  y[2] = a2 * sum_a + b2 * sum_b;
  y[3] = a2 * difference_a + b2 * difference_b + m[5];
}

/// G of three values.
template <class T, class V>
[[gnu::always_inline]] inline void winograd_weight(const V (&g)[3], V (&u)[6]) {
  constexpr double a = kWinogradA, b = kWinogradB, a2 = kWinogradA2, b2 = kWinogradB2;
  constexpr double at_a = 1 / (2 * a2 * (a2 - b2)), at_b = 1 / (2 * b2 * (b2 - a2));
  const V even_a = T(at_a) * g[0] + T(at_a * a2) * g[2], odd_a = T(at_a * a) * g[1];
  const V even_b = T(at_b) * g[0] + T(at_b * b2) * g[2], odd_b = T(at_b * b) * g[1];
  u[0] = T(1 / (a2 * b2)) * g[0];
  u[1] = even_a + odd_a;
  u[2] = even_a - odd_a;
  u[3] = even_b + odd_b;
  u[4] = even_b - odd_b;
  u[5] = g[2];
}

/// 36 packed weights, one after the other: the nine taps are packed first, and transformed vector by vector.
template <class T>
void pack_winograd(const WinogradProduct<T>& p, const PackedPanels<T>& panels, T* packed) {
  const int64_t size = panels.elements();
  const Scratch<T> taps(9 * size);
  parallel_for(9 * panels.panels(), panels_per_block<T>(p.inputs), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t panel = i / 9, tap = i % 9, source = p.mirrored ? 8 - tap : tap;
      pack_panel(p.weight + source / 3 * p.row_step + source % 3 * p.column_step, p.input_step, p.output_step, p.inputs,
                 p.outputs, panel, taps.data() + tap * size + panel * panels.kWidth * p.inputs);
    }
  });
  // A last panel of one vector leaves the end of its place unused.
  const int64_t last = panels.panels() - 1, used = (last * panels.kWidth + panels.width(last)) * p.inputs;
  parallel_for(used / kLanes<T>, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* from = taps.data() + i * kLanes<T>;
      T* const to = packed + i * kLanes<T>;
      Vec<T> rows[3][6];
      CLEARSKY_UNROLL
      for (int64_t r = 0; r < 3; ++r) {
        const Vec<T> g[3] = {load(from + (3 * r) * size), load(from + (3 * r + 1) * size),
                             load(from + (3 * r + 2) * size)};
        winograd_weight<T>(g, rows[r]);
      }
      CLEARSKY_UNROLL
      for (int64_t j = 0; j < 6; ++j) {
        const Vec<T> column[3] = {rows[0][j], rows[1][j], rows[2][j]};
        Vec<T> u[6];
        winograd_weight<T>(column, u);
        CLEARSKY_UNROLL
        for (int64_t r = 0; r < 6; ++r) store(to + (r * 6 + j) * size, u[r]);
      }
    }
  });
}

/// The pieces of an image of tiles: tile i of all is tile (i / columns % rows, i % columns) of image i / columns /
/// rows.
struct WinogradTiles {
  int64_t rows, columns, count;
};
template <class T>
WinogradTiles winograd_tiles(const WinogradProduct<T>& p) {
  const int64_t rows = (p.out_height + kWinogradOut - 1) / kWinogradOut;
  const int64_t columns = (p.out_width + kWinogradOut - 1) / kWinogradOut;
  return {rows, columns, p.batch * rows * columns};
}
/// Where a tile lies: its image, its first output, and the pixel that is the first of its piece.
struct WinogradPlace {
  int64_t n, i, j, top, left;

  template <class T>
  WinogradPlace(const WinogradProduct<T>& p, const WinogradTiles& tiles, int64_t tile)
      : n(tile / tiles.columns / tiles.rows),
        i(tile / tiles.columns % tiles.rows * kWinogradOut),
        j(tile % tiles.columns * kWinogradOut),
        top(i - p.padding_top),
        left(j - p.padding_left) {}
};

/// The least and the most of sums of absolute values.
struct WinogradRange {
  double least = HUGE_VAL, most = 0;
  bool valid = true;

  void add(double sum) {
    valid &= sum <= kWinogradMost;  // not so for NaN
    least = (std::min)(least, sum);
    most = (std::max)(most, sum);
  }
  /// most / least; infinity where a sum is not finite or out of the trusted range, or only some are 0.
  double spread() const {
    if (!valid || (most > 0 && least < kWinogradLeast)) return HUGE_VAL;
    return most == 0 ? 1 : most / least;
  }
};

/// The largest spread of the taps of an output: one that looks at a corner only would see the roundings of a whole
/// tile.
template <class T>
double winograd_tap_spread(const WinogradProduct<T>& p) {
  const Scratch<double> spreads(p.outputs);
  parallel_for(p.outputs, 8, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      double sums[9] = {};
      for (int64_t c = 0; c < p.inputs; ++c)
        for (int64_t tap = 0; tap < 9; ++tap)
          sums[tap] += std::fabs(
              double(p.weight[o * p.output_step + tap / 3 * p.row_step + tap % 3 * p.column_step + c * p.input_step]));
      WinogradRange range;
      for (const double sum : sums) range.add(sum);
      spreads[o] = range.spread();
    }
  });
  return *std::max_element(spreads.data(), spreads.data() + p.outputs);
}

/// The sums over the channels of each pixel's absolute values.
/// @param sums  (batch, height, width)  written
template <class T>
void winograd_pixel_sums(const WinogradProduct<T>& p, T* sums) {
  parallel_for(p.batch * p.height * p.width, 256, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const T* pixel = p.x + i * p.inputs;
      Vec<T> total{};
      for (int64_t c = 0; c < p.inputs; c += kLanes<T>) {
        const Vec<T> x = load_partial(pixel + c, p.inputs - c);
        total += vec_max<T>(x, -x);
      }
      sums[i] = sum_lanes<T>(total);
    }
  });
}

/// The spread of the pixels of a tile that lie in the image.
template <class T>
double winograd_pixel_spread(const WinogradProduct<T>& p, const WinogradPlace& at, const T* sums) {
  WinogradRange range;
  for (int64_t i = (std::max)(at.top, int64_t(0)); i < (std::min)(at.top + kWinogradIn, p.height); ++i)
    for (int64_t j = (std::max)(at.left, int64_t(0)); j < (std::min)(at.left + kWinogradIn, p.width); ++j)
      range.add(double(sums[(at.n * p.height + i) * p.width + j]));
  return range.spread();
}

/// The transformed pieces of tiles [first, first + count): (36, count, inputs).
template <class T>
[[gnu::noinline]] void winograd_gather(const WinogradProduct<T>& p, const WinogradTiles& tiles, int64_t first,
                                       int64_t count, T* v) {
  const int64_t step = count * p.inputs;
  for (int64_t t = 0; t < count; ++t) {
    const WinogradPlace at(p, tiles, first + t);
    const T* image = p.x + at.n * p.height * p.width * p.inputs;
    for (int64_t c = 0; c < p.inputs; c += kLanes<T>) {
      const int64_t lanes = p.inputs - c;
      const bool whole = at.top >= 0 && at.top + 6 <= p.height && at.left >= 0 && at.left + 6 <= p.width;
      Vec<T> rows[6][6];  // more than there are registers: one loop over them is as fast as six times its body
      for (int64_t i = 0; i < 6; ++i) {
        Vec<T> d[6];
        const bool inside = at.top + i >= 0 && at.top + i < p.height;
        const int64_t pixel = (at.top + i) * p.width + at.left;
        CLEARSKY_UNROLL
        for (int64_t j = 0; j < 6; ++j)
          if (whole && lanes >= kLanes<T>) d[j] = load(image + (pixel + j) * p.inputs + c);
          else
            d[j] = inside && at.left + j >= 0 && at.left + j < p.width
                       ? load_partial(image + (pixel + j) * p.inputs + c, lanes)
                       : Vec<T>{};
        winograd_input<T>(d, rows[i]);
      }
      for (int64_t j = 0; j < 6; ++j) {
        const Vec<T> column[6] = {rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j], rows[5][j]};
        Vec<T> out[6];
        winograd_input<T>(column, out);
        CLEARSKY_UNROLL
        for (int64_t i = 0; i < 6; ++i) store_partial(v + (i * 6 + j) * step + t * p.inputs + c, out[i], lanes);
      }
    }
  }
}

/// Outputs of the tiles from their products (36, count, outputs).
template <class T>
[[gnu::noinline]] void winograd_scatter(const WinogradProduct<T>& p, const WinogradTiles& tiles, int64_t first,
                                        int64_t count, const T* m) {
  const int64_t step = count * p.outputs;
  for (int64_t t = 0; t < count; ++t) {
    const WinogradPlace at(p, tiles, first + t);
    T* image = p.y + at.n * p.out_height * p.out_width * p.outputs;
    const int64_t rows_left = p.out_height - at.i, columns_left = p.out_width - at.j;
    for (int64_t o = 0; o < p.outputs; o += kLanes<T>) {
      const int64_t lanes = p.outputs - o;
      Vec<T> rows[6][4];
      CLEARSKY_UNROLL
      for (int64_t i = 0; i < 6; ++i) {
        Vec<T> row[6];
        CLEARSKY_UNROLL
        for (int64_t j = 0; j < 6; ++j) row[j] = load_partial(m + (i * 6 + j) * step + t * p.outputs + o, lanes);
        winograd_output<T>(row, rows[i]);
      }
      const Vec<T> start = p.bias == nullptr ? Vec<T>{} : load_partial(p.bias + o, lanes);
      CLEARSKY_UNROLL
      for (int64_t j = 0; j < 4; ++j) {
        const Vec<T> column[6] = {rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j], rows[5][j]};
        Vec<T> y[4];
        winograd_output<T>(column, y);
        CLEARSKY_UNROLL
        for (int64_t i = 0; i < 4; ++i)
          if (i < rows_left && j < columns_left)
            store_partial(image + ((at.i + i) * p.out_width + at.j + j) * p.outputs + o, y[i] + start, lanes);
      }
    }
  }
}

/// The outputs of single tiles by the direct sum.
/// @param uneven  (tiles)  1 for each tile that is wanted
template <class T>
void winograd_direct(const WinogradProduct<T>& p, const WinogradTiles& tiles, const unsigned char* uneven) {
  Workspace<int64_t> wanted;
  for (int64_t tile = 0; tile < tiles.count; ++tile)
    if (uneven[tile] != 0) wanted.push_back(tile);
  if (wanted.empty()) return;
  const int64_t depth = 9 * p.inputs, zero = 0;
  const PackedPanels<T> panels{depth, p.outputs};
  const Scratch<T> packed(panels.elements() + 1);
  for (int64_t panel = 0; panel < panels.panels(); ++panel)
    for (int64_t tap = 0; tap < 9; ++tap) {
      const int64_t source = p.mirrored ? 8 - tap : tap;
      pack_panel(p.weight + source / 3 * p.row_step + source % 3 * p.column_step, p.input_step, p.output_step, p.inputs,
                 p.outputs, panel,
                 packed.data() + panel * panels.kWidth * depth + tap * p.inputs * panels.width(panel));
    }
  parallel_for(int64_t(wanted.size()), 4, [&](int64_t begin, int64_t end) {
    const Scratch<T> windows(kWinogradOut * depth);
    for (int64_t w = begin; w < end; ++w) {
      const WinogradPlace at(p, tiles, wanted[size_t(w)]);
      const T* image = p.x + at.n * p.height * p.width * p.inputs;
      const int64_t columns = (std::min)(kWinogradOut, p.out_width - at.j);
      for (int64_t i = 0; i < (std::min)(kWinogradOut, p.out_height - at.i); ++i) {
        for (int64_t j = 0; j < columns; ++j)
          for (int64_t tap = 0; tap < 9; ++tap) {
            const int64_t row = at.top + i + tap / 3, column = at.left + j + tap % 3;
            T* const to = windows.data() + j * depth + tap * p.inputs;
            if (row >= 0 && row < p.height && column >= 0 && column < p.width)
              std::copy_n(image + (row * p.width + column) * p.inputs, p.inputs, to);
            else std::fill_n(to, p.inputs, T(0));
          }
        T* const y = p.y + ((at.n * p.out_height + at.i + i) * p.out_width + at.j) * p.outputs;
        panels.multiply({windows.data(), depth, 1, &zero, 1, depth}, columns, packed.data(), y, p.outputs, p.bias,
                        false);
      }
    }
  });
}

/// @return false, and nothing is written, where the weight needs the direct sum
template <class T>
bool winograd_product(const WinogradProduct<T>& p) {
  const double tap_spread = winograd_tap_spread(p);
  if (!(tap_spread <= kWinogradTapSpread)) return false;
  const double pixel_spread = winograd_spread(p.inputs) / tap_spread;
  const PackedPanels<T> panels{p.inputs, p.outputs};
  const Scratch<T> packed(kWinogradProducts * panels.elements() + 1), sums(p.batch * p.height * p.width);
  pack_winograd(p, panels, packed.data());
  winograd_pixel_sums(p, sums.data());
  const WinogradTiles tiles = winograd_tiles(p);
  const Scratch<unsigned char> uneven(tiles.count);
  // Pieces and products of a block of tiles stay in the second-level cache.
  constexpr int64_t kBlockBytes = 512 << 10, kMost = 64;
  const int64_t fit = kBlockBytes / (kWinogradProducts * (p.inputs + p.outputs) * int64_t(sizeof(T)));
  const int64_t size = std::clamp(fit / kTileRows * kTileRows, int64_t(kTileRows), kMost);
  parallel_for(tiles.count, size, [&](int64_t first, int64_t last) {
    const int64_t count = last - first, zero = 0;
    const Scratch<T> v(kWinogradProducts * size * p.inputs), m(kWinogradProducts * size * p.outputs);
    for (int64_t tile = first; tile < last; ++tile)
      uneven.data()[tile] = winograd_pixel_spread(p, WinogradPlace(p, tiles, tile), sums.data()) > pixel_spread;
    winograd_gather(p, tiles, first, count, v.data());
    for (int64_t k = 0; k < kWinogradProducts; ++k)
      panels.multiply({v.data() + k * count * p.inputs, p.inputs, 1, &zero, 1, p.inputs}, count,
                      packed.data() + k * panels.elements(), m.data() + k * count * p.outputs, p.outputs, nullptr,
                      false);
    winograd_scatter(p, tiles, first, count, m.data());
  });
  winograd_direct(p, tiles, uneven.data());
  return true;
}

}  // namespace clearsky::cpu::detail

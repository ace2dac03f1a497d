#pragma once
// NAFNet's block in two passes over its input, and two of backward,
//
//     [a b] = DW3x3(Conv1x1(LN(x))),   t = a b,   s = mean of t over the image,   q = A s
//     y = x + M t                                          M[o, h] = scale1[o] P1[o, h] q[h]
//     v = W2 LN(y) = [c d],   z = y + Q (c d)              Q[o, h] = scale2[o] P2[o, h]
//
// The first pass streams through the rows, writes t and adds up s. q scales the columns of the projection and not a
// feature map, so that the second pass makes z from x and t pixel by pixel, in tiles that stay in the cache.
//
// Backward reads x, t and y. v and u, what the 3x3 window sees, are kept or computed again: for each element that is as
// many multiply-adds as there are channels, which is dear for many channels and as fast as reading it for few.
// Its first pass goes over the same tiles from dz to dy and adds up D = sum of dy t^T over the pixels of an image, the
// gradient of M. From D follow those of P1, scale1 and q, of A, and what the mean's gradient adds to each pixel; its
// second pass streams from dt = M^T dy + A^T dq / pixels to dx.

#include <algorithm>
#include <cstdint>
#include <limits>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/expansion.hpp"
#include "clearsky/cpu/gate.hpp"

namespace clearsky::cpu {

/// What both directions read of a block.
template <class T>
struct NafParameters {
  Expansion<T> expansion;  // expanded = 2 channels
  const T* attention;      // (channels, channels)  A
  const T* project1;       // (channels, channels)  P1
  const T* scale1;         // (channels)
  const T* gamma2;         // (channels)            of the second norm
  const T* beta2;          // (channels)
  const T* expand2;        // (2 channels, channels)
  const T* project2;       // (channels, channels)
  const T* scale2;         // (channels)
  T eps2;
};

/// What backward reads beside x and t. Forward writes what is not null; backward computes u and v again where they are.
template <class T>
struct NafKept {
  T* u;  // (batch, height, width, 2 channels)
  T* y;  // (batch, height, width, channels)
  T* v;  // (batch, height, width, 2 channels)
};

template <class T>
struct NafBlockForward {
  NafParameters<T> block;
  NafKept<T> kept;  // written
  T* t;             // (batch, height, width, channels)  written: the gate of the first half
  T* state;         // (2, batch, channels)              written: s and q; NaN for images without pixels
  T* z;             // (batch, height, width, channels)  written
};

template <class T>
struct NafBlockBackward {
  NafParameters<T> block;
  NafKept<const T> kept;
  const T* t;
  const T* state;
  const T* dz;  // (batch, height, width, channels)
  T* dx;        // (batch, height, width, channels)  written
  ExpansionGradient<T> gradient;
  T *dattention, *dproject1, *dscale1;                   // written; or null, like the others
  T *dgamma2, *dbeta2, *dexpand2, *dproject2, *dscale2;  // written
};

namespace detail {

/// The pixels of all images in tiles, each of one image; a unit is some tiles one after the other.
struct PixelCut {
  int64_t batch, pixels;  // of an image
  int64_t tile, unit;     // pixels
  int64_t units_of_image;

  int64_t units() const { return batch * units_of_image; }
  /// body(image, first pixel of all, pixels) for the tiles of a unit.
  template <class Body>
  void each_tile(int64_t i, const Body& body) const {
    const int64_t image = i / units_of_image, begin = i % units_of_image * unit, end = (std::min)(begin + unit, pixels);
    for (int64_t at = begin; at < end; at += tile) body(image, image * pixels + at, (std::min)(tile, end - at));
  }
};
inline PixelCut make_pixel_cut(int64_t batch, int64_t pixels, int64_t tile) {
  constexpr int64_t kUnits = 16;
  const auto share = [](int64_t whole, int64_t parts) { return (whole + parts - 1) / parts; };
  PixelCut cut{batch, pixels, tile, 0, 0};
  const int64_t tiles = share(pixels, tile);
  cut.unit = share(tiles, std::clamp(share(kUnits, batch), int64_t(1), tiles)) * tile;
  cut.units_of_image = share(pixels, cut.unit);
  return cut;
}
/// Enough pixels to be worth the reading of the weights, few enough for the cache.
inline int64_t naf_tile(int64_t channels) {
  return std::clamp(8192 / channels / 16 * 16, int64_t(96), int64_t(256));
}

/// to[o, h] = rows[o] p[o, h] columns[h]
template <class T>
void scale_weight(const T* p, const T* rows, const T* columns, int64_t channels, T* to) {
  for (int64_t o = 0; o < channels; ++o)
    for (int64_t h = 0; h < channels; h += kLanes<T>) {
      const int64_t left = channels - h;
      Vec<T> v = load_partial(p + o * channels + h, left) * rows[o];
      if (columns != nullptr) v *= load_partial(columns + h, left);
      store_partial(to + o * channels + h, v, left);
    }
}

/// From g, the gradient of scale_weight's product, to those of its factors, each added to.
template <class T>
void scale_weight_backward(const T* p, const T* rows, const T* columns, const T* g, int64_t channels, T* dp, T* drows,
                           T* dcolumns) {
  for (int64_t o = 0; o < channels; ++o) {
    Vec<T> sum{};
    for (int64_t h = 0; h < channels; h += kLanes<T>) {
      const int64_t at = o * channels + h, left = channels - h;
      const Vec<T> slope = load_partial(g + at, left), weight = load_partial(p + at, left);
      Vec<T> scaled = slope;
      if (columns != nullptr) {
        scaled *= load_partial(columns + h, left);
        store_partial(dcolumns + h, load_partial(dcolumns + h, left) + slope * weight * rows[o], left);
      }
      sum += scaled * weight;  // both 0 behind the last column
      store_partial(dp + at, load_partial(dp + at, left) + scaled * rows[o], left);
    }
    drows[o] += sum_lanes<T>(sum);
  }
}

/// sum (channels), added to: += the rows of x (count, channels).
template <class T>
void add_rows(const T* x, int64_t count, int64_t channels, T* sum) {
  for (int64_t c = 0; c < channels; c += kLanes<T>) {
    const int64_t left = channels - c;
    Vec<T> even{}, odd{};
    int64_t i = 0;
    for (; i + 2 <= count; i += 2) {
      even += load_partial(x + i * channels + c, left);
      odd += load_partial(x + (i + 1) * channels + c, left);
    }
    if (i < count) even += load_partial(x + i * channels + c, left);
    store_partial(sum + c, load_partial(sum + c, left) + (even + odd), left);
  }
}

/// t and the means s of each image, s (batch, channels) written, and u where it is not null.
template <class T>
void naf_gates(const Expansion<T>& e, T* u, T* t, T* s) {
  const int64_t channels = e.channels, pixels = e.height * e.width;
  const Cut cut = make_cut(e.batch, e.height, e.width, e.expanded * int64_t(sizeof(T)));
  const Scratch<T> taps(9 * e.expanded), parts(cut.units() * channels);
  transpose_window(e.taps, e.expanded, 9, false, taps.data());
  std::fill_n(parts.data(), cut.units() * channels, T(0));
  each_expanded_step<T>(e, cut, u, [&] {
    return [&](int64_t unit, const RowRing<T>& ring, int64_t first, int64_t last) {
      const auto row = [&](int64_t h) {
        return t + ((ring.unit.image * e.height + h) * e.width + ring.unit.left) * channels;
      };
      each_pair(first, last, [&](int64_t h, bool two) {
        T* const to = row(h);
        each_stencil<T, 2>(ring.around(h, 2), two, taps.data(), e.expanded,
                           [&](int64_t r, int64_t w, int64_t c, int64_t count, Vec<T> a, Vec<T> b) {
                             store_partial(to + (r * e.width + w) * channels + c, a * b, count);
                           });
      });
      for (int64_t h = first; h < last; ++h)
        add_rows(row(h), ring.unit.right - ring.unit.left, channels, parts.data() + unit * channels);
    };
  });
  const int64_t of_image = cut.units_of_image();
  for (int64_t n = 0; n < e.batch; ++n) {
    add_slots(parts.data() + n * of_image * channels, of_image, channels, s + n * channels);
    for (int64_t c = 0; c < channels; ++c) s[n * channels + c] /= T(pixels);
  }
}

/// u (rows, 2 channels) = [c d] to gates (rows, channels) = c d, and u's gradient.
/// @param g   (rows, channels)    the gates'
/// @param du  (rows, 2 channels)  written; may be u
template <class T>
void multiply_halves_backward(const T* u, const T* g, int64_t rows, int64_t channels, T* gates, T* du) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t c = 0; c < channels; c += kLanes<T>) {
      const int64_t at = i * 2 * channels + c, left = channels - c;
      const Vec<T> first = load_partial(u + at, left), second = load_partial(u + at + channels, left);
      const Vec<T> slope = load_partial(g + i * channels + c, left);
      store_partial(gates + i * channels + c, first * second, left);
      store_partial(du + at, slope * second, left);
      store_partial(du + at + channels, slope * first, left);
    }
}

/// M of each image, (batch, channels, channels).
template <class T>
Scratch<T> naf_mixes(const NafParameters<T>& p, const T* q) {
  const int64_t channels = p.expansion.channels;
  Scratch<T> mixes(p.expansion.batch * channels * channels);
  for (int64_t n = 0; n < p.expansion.batch; ++n)
    scale_weight(p.project1, p.scale1, q + n * channels, channels, mixes.data() + n * channels * channels);
  return mixes;
}
/// (n, k) weights of each image, for products with rows of k, or with rows of n where `turned`.
template <class T>
Workspace<PackedWeight<T>> packed_mixes(const T* mixes, int64_t batch, int64_t channels, bool turned, bool pairs) {
  Workspace<PackedWeight<T>> packed;
  packed.reserve(size_t(batch));
  for (int64_t n = 0; n < batch; ++n)
    packed.emplace_back(mixes + n * channels * channels, turned ? channels : 1, turned ? 1 : channels, channels,
                        channels, pairs);
  return packed;
}

/// Memory for a tile of rows that add_outer_products reads.
template <class T>
Scratch<T> rows_with_margin(int64_t elements) {
  Scratch<T> rows(elements + kBehind<T>);
  std::fill_n(rows.data() + elements, kBehind<T>, T(0));
  return rows;
}

/// Partial sums of one unit of the second half.
template <class T>
struct NafSums {
  int64_t channels;

  int64_t elements() const { return 3 * channels * channels + 2 * channels + kBehind<T>; }
  T* expand(T* part) const { return part; }  // (2 channels, channels)
  T* project(T* part) const { return part + 2 * channels * channels; }
  T* gamma(T* part) const { return part + 3 * channels * channels; }
  T* beta(T* part) const { return gamma(part) + channels; }
};

/// Backward through the second half.
/// @param dy     (batch, pixels, channels)    written
/// @param total  (NafSums::elements())        written: sums over all pixels; of project those of Q
/// @param dmix   (batch, channels, channels)  written: D of each image
template <class T>
void naf_second_half_backward(const NafBlockBackward<T>& p, T* dy, T* total, T* dmix) {
  const Expansion<T>& e = p.block.expansion;
  const int64_t channels = e.channels, square = channels * channels;
  const PixelCut cut = make_pixel_cut(e.batch, e.height * e.width, naf_tile(channels));
  const NafSums<T> sums{channels};
  const int64_t units = cut.units(), elements = sums.elements(), mix_elements = square + kBehind<T>;
  const Scratch<T> parts(units * elements), mix_parts(units * mix_elements), scaled(square), mix_sum(mix_elements);
  scale_weight<T>(p.block.project2, p.block.scale2, nullptr, channels, scaled.data());
  const bool pairs = takes_pairs<T>();
  const PackedWeight<T> to_gates(scaled.data(), channels, 1, channels, channels, pairs);
  const PackedWeight<T> expand(p.block.expand2, 1, channels, channels, 2 * channels, pairs);
  const PackedWeight<T> to_normed(p.block.expand2, channels, 1, 2 * channels, channels, pairs);
  parallel_runs(units, [&](int64_t begin, int64_t end) {
    const int64_t most = cut.tile * channels;
    const Scratch<T> dv(2 * most), dgates(most), dn(most), stats(2 * cut.tile);
    const Scratch<T> t = rows_with_margin<T>(most), n = rows_with_margin<T>(most), gates = rows_with_margin<T>(most);
    for (int64_t i = begin; i < end; ++i) {
      T *const part = parts.data() + i * elements, *const mix_part = mix_parts.data() + i * mix_elements;
      std::fill_n(part, elements, T(0));
      std::fill_n(mix_part, mix_elements, T(0));
      cut.each_tile(i, [&](int64_t, int64_t first, int64_t count) {
        const int64_t at = first * channels;
        const T* const dz = p.dz + at;
        std::copy_n(p.t + at, count * channels, t.data());
        const T* const y = p.kept.y + at;
        normalise_rows<T>(y, count, channels, p.block.gamma2, p.block.beta2, p.block.eps2, n.data(), stats.data());
        const T* const v = p.kept.v == nullptr ? dv.data() : p.kept.v + 2 * at;
        if (p.kept.v == nullptr) expand.multiply(n.data(), channels, count, dv.data(), 2 * channels);
        to_gates.multiply(dz, channels, count, dgates.data(), channels);
        multiply_halves_backward(v, dgates.data(), count, channels, gates.data(), dv.data());
        add_outer_products<T>({dz, channels, channels, gates.data(), channels, channels, count, sums.project(part)},
                              pairs);
        add_outer_products<T>(
            {dv.data(), 2 * channels, 2 * channels, n.data(), channels, channels, count, sums.expand(part)}, pairs);
        to_normed.multiply(dv.data(), 2 * channels, count, dn.data(), channels);
        normalise_rows_backward<T>(y, stats.data(), dn.data(), count, channels, p.block.gamma2, dz, dy + at,
                                   sums.gamma(part), sums.beta(part));
        add_outer_products<T>({dy + at, channels, channels, t.data(), channels, channels, count, mix_part}, pairs);
      });
    }
  });
  add_slots(parts.data(), units, elements, total);
  for (int64_t n = 0; n < e.batch; ++n) {
    add_slots(mix_parts.data() + n * cut.units_of_image * mix_elements, cut.units_of_image, mix_elements,
              mix_sum.data());
    std::copy_n(mix_sum.data(), square, dmix + n * square);
  }
}

/// Writes where a gradient is asked for.
template <class T>
void write_if(T* to, const T* from, int64_t count) {
  if (to != nullptr) std::copy_n(from, count, to);
}

}  // namespace detail

template <class T>
void naf_block_forward(const NafBlockForward<T>& p) {
  const Expansion<T>& e = p.block.expansion;
  const int64_t channels = e.channels, pixels = e.height * e.width;
  T *const s = p.state, *const q = p.state + e.batch * channels;
  if (e.batch * pixels * channels == 0) {
    std::fill_n(p.state, 2 * e.batch * channels, std::numeric_limits<T>::quiet_NaN());
    return;
  }
  detail::naf_gates(e, p.kept.u, p.t, s);
  gemm<T>({s, p.block.attention, nullptr, q, 1, e.batch, channels, channels, 0, channels, 1, 0, 1, channels});

  const Scratch<T> scaled(channels * channels), mixes = detail::naf_mixes(p.block, q);
  detail::scale_weight<T>(p.block.project2, p.block.scale2, nullptr, channels, scaled.data());
  const bool pairs = detail::takes_pairs<T>();
  const Workspace<detail::PackedWeight<T>> mix = detail::packed_mixes(mixes.data(), e.batch, channels, false, pairs);
  const detail::PackedWeight<T> expand(p.block.expand2, 1, channels, channels, 2 * channels, pairs);
  const detail::PackedWeight<T> project(scaled.data(), 1, channels, channels, channels, pairs);
  const detail::PixelCut cut = detail::make_pixel_cut(e.batch, pixels, detail::naf_tile(channels));
  parallel_runs(cut.units(), [&](int64_t begin, int64_t end) {
    const int64_t most = cut.tile * channels;
    const Scratch<T> y_tile(most), n(most), v_tile(2 * most);
    for (int64_t i = begin; i < end; ++i)
      cut.each_tile(i, [&](int64_t image, int64_t first, int64_t count) {
        const int64_t at = first * channels;
        T* const y = p.kept.y == nullptr ? y_tile.data() : p.kept.y + at;
        T* const v = p.kept.v == nullptr ? v_tile.data() : p.kept.v + 2 * at;
        mix[size_t(image)].multiply(p.t + at, channels, count, y, channels, e.x + at, channels);
        detail::normalise_rows<T>(y, count, channels, p.block.gamma2, p.block.beta2, p.block.eps2, n.data(), nullptr);
        expand.multiply(n.data(), channels, count, v, 2 * channels);
        simple_gate_forward<T>({v, n.data(), count, channels});
        project.multiply(n.data(), channels, count, p.z + at, channels, y, channels);
      });
  });
}

template <class T>
void naf_block_backward(const NafBlockBackward<T>& p) {
  const Expansion<T>& e = p.block.expansion;
  const int64_t batch = e.batch, channels = e.channels, pixels = e.height * e.width, square = channels * channels;
  const detail::ExpansionSums<T> sums{channels, e.expanded, 0};
  const detail::NafSums<T> second{channels};
  const Scratch<T> total(sums.elements()), second_total(second.elements()), dq(batch * channels), ds(batch * channels),
      dattention(square), dproject1(square), dproject2(square), dscale1(channels), dscale2(channels);
  for (const Scratch<T>* matrix : {&dattention, &dproject1, &dproject2}) std::fill_n(matrix->data(), square, T(0));
  for (const Scratch<T>* vector : {&dscale1, &dscale2}) std::fill_n(vector->data(), channels, T(0));
  std::fill_n(dq.data(), batch * channels, T(0));
  if (batch * pixels * channels == 0) {
    std::fill_n(total.data(), sums.elements(), T(0));
    std::fill_n(second_total.data(), second.elements(), T(0));
  } else {
    const T *const s = p.state, *const q = p.state + batch * channels;
    const Scratch<T> dy(batch * pixels * channels), dmix(batch * square), mixes = detail::naf_mixes(p.block, q);
    detail::naf_second_half_backward(p, dy.data(), second_total.data(), dmix.data());
    detail::scale_weight_backward<T>(p.block.project2, p.block.scale2, nullptr, second.project(second_total.data()),
                                     channels, dproject2.data(), dscale2.data(), nullptr);
    for (int64_t n = 0; n < batch; ++n)
      detail::scale_weight_backward(p.block.project1, p.block.scale1, q + n * channels, dmix.data() + n * square,
                                    channels, dproject1.data(), dscale1.data(), dq.data() + n * channels);
    gemm<T>({dq.data(), s, nullptr, dattention.data(), 1, channels, channels, batch, 0, 1, channels, 0, channels, 1});
    gemm<T>({dq.data(), p.block.attention, nullptr, ds.data(), 1, batch, channels, channels, 0, channels, 1, 0,
             channels, 1});
    for (int64_t i = 0; i < batch * channels; ++i) ds[i] /= T(pixels);

    // Where u is computed again there are two rings, of u and of its window's gradient.
    const int64_t rings = p.kept.u == nullptr ? 2 : 1;
    const detail::Cut cut = detail::make_cut(batch, e.height, e.width, rings * e.expanded * int64_t(sizeof(T)));
    const Workspace<detail::PackedWeight<T>> to_gates =
        detail::packed_mixes(mixes.data(), batch, channels, true, detail::takes_pairs<T>());
    const Scratch<T> taps(9 * e.expanded);
    detail::transpose_window(e.taps, e.expanded, 9, false, taps.data());
    detail::expansion_backward<T>(e, cut, sums, p.kept.u, dy.data(), p.dx, total.data(), [&] {
      const int64_t row = (cut.strip_width + 2) * channels;
      return [&, row, dt = Scratch<T>(2 * row)](const detail::GradientRows<T>& g) {
        if (g.part != nullptr) return;
        const detail::RowRing<T>& ring = g.ring;
        const int64_t image = ring.unit.image, h = g.first;
        const bool two = g.last - h == 2;
        T* const rows[2] = {ring.row(h), two ? ring.row(h + 1) : nullptr};
        for (int64_t r = 0; r < g.last - h; ++r)
          to_gates[size_t(image)].multiply(dy.data() + ((image * e.height + h + r) * e.width + ring.from) * channels,
                                           channels, ring.to - ring.from, dt.data() + r * row, channels, nullptr, 0,
                                           ds.data() + image * channels);
        detail::StencilRows<T> windows = g.windows;
        windows.channels = channels;
        detail::each_stencil<T, 2>(windows, two, taps.data(), e.expanded,
                                   [&](int64_t r, int64_t w, int64_t c, int64_t count, Vec<T> a, Vec<T> b) {
                                     const Vec<T> d = load_partial(dt.data() + r * row + w * channels + c, count);
                                     T* const to = rows[r] + w * e.expanded + c;
                                     store_partial(to, d * b, count);
                                     store_partial(to + channels, d * a, count);
                                   });
      };
    });
  }
  detail::write_gradients(sums, total.data(), p.gradient);
  detail::write_if(p.dattention, dattention.data(), square);
  detail::write_if(p.dproject1, dproject1.data(), square);
  detail::write_if(p.dscale1, dscale1.data(), channels);
  detail::write_if(p.dgamma2, second.gamma(second_total.data()), channels);
  detail::write_if(p.dbeta2, second.beta(second_total.data()), channels);
  detail::write_if(p.dexpand2, second.expand(second_total.data()), 2 * square);
  detail::write_if(p.dproject2, dproject2.data(), square);
  detail::write_if(p.dscale2, dscale2.data(), channels);
}

CLEARSKY_COMPILE_ONCE(naf_block_forward)
CLEARSKY_COMPILE_ONCE(naf_block_backward)

}  // namespace clearsky::cpu

#pragma once
// The first half of Restormer's block in two passes over its input,
//
//     [q k v] = DW3x3(Conv1x1(LN(x))),   y = x + P A v,   A = softmax_j(t q^ k^T) per head, q^ and k^ as in
//                                                             channel_attention.hpp
//
// The first pass adds up q k^T and the norms and writes v; q and k live in the cache only. P A is one matrix M
// (channels x channels) per image, so that the second pass is a single product y = x + M v. Backward needs the expanded
// rows before the window, from which it computes q, k and v again, and x: with D = dy v^T summed over the pixels (dM),
//
//     dP = dM A^T,   dA = P^T dM,   dv = M^T dy,   dq and dk from dA as in channel_attention.hpp

#include <cmath>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/channel_attention.hpp"
#include "clearsky/cpu/expansion.hpp"

namespace clearsky::cpu {

template <class T>
struct AttentionBlockForward {
  Expansion<T> expansion;  // expanded = 3 channels
  const T* temperature;    // (heads)
  const T* project;        // (channels, channels)
  T* u;                    // (batch, height, width, 3 channels)  written: before the 3x3 window, for backward; or null
  T* v;                    // (batch, height, width, channels)    written
  T* state;                // (batch, heads, 2 d d + 2 d)         written, as channel_attention's
  T* y;                    // (batch, height, width, channels)    written
  int64_t heads;
};

template <class T>
struct AttentionBlockBackward {
  Expansion<T> expansion;
  const T* temperature;
  const T* project;
  const T* u;
  const T* state;
  const T* dy;  // (batch, height, width, channels)
  T* dx;        // (batch, height, width, channels)  written
  ExpansionGradient<T> gradient;
  T* dtemperature;  // (heads)               written; or null
  T* dproject;      // (channels, channels)  written; or null
  int64_t heads;
};

namespace detail {

/// M = P A of one image: m[o, h d + j] = sum_i P[o, h d + i] A_h[i, j]. In T: it is small, and rounded itself by
/// Autocast.
template <class T>
void mix_matrix(const T* project, const T* state, int64_t heads, int64_t channels, T* m) {
  const int64_t d = channels / heads, size = 2 * d * d + 2 * d;
  for (int64_t h = 0; h < heads; ++h) {
    const PackedWeight<T> a(state + h * size + d * d, d, 1, d, d);
    a.multiply(project + h * d, channels, channels, m + h * d, channels);
  }
}

/// Pixels of a block of the second pass.
inline constexpr int64_t kMixBlock = 512;

}  // namespace detail

template <class T>
void attention_block_forward(const AttentionBlockForward<T>& p) {
  const Expansion<T>& e = p.expansion;
  const int64_t channels = e.channels, pixels = e.height * e.width;
  if (e.batch * pixels * channels == 0) return;
  const int64_t heads = p.heads, d = channels / heads, size = 2 * d * d + 2 * d;
  const detail::Cut cut = detail::make_cut(e.batch, e.height, e.width, e.expanded * int64_t(sizeof(T)));
  const int64_t part = heads * d * d + 2 * channels, units = cut.units();
  const bool pairs = detail::takes_pairs<T>();
  const Scratch<T> taps(9 * e.expanded), parts(units * part), sums(part), mix(channels * channels);
  detail::transpose_window(e.taps, e.expanded, 9, false, taps.data());
  std::fill_n(parts.data(), units * part, T(0));

  detail::each_expanded_step<T>(e, cut, p.u, [&] {
    return [&, rows = Scratch<T>(cut.step_pixels() * 2 * channels + detail::kBehind<T>)](
               int64_t unit, const detail::RowRing<T>& ring, int64_t first, int64_t last) {
      const int64_t width = ring.unit.right - ring.unit.left, step = 2 * channels;
      detail::each_pair(first, last, [&](int64_t h, bool two) {
        detail::StencilRows<T> s = ring.around(h, 1);
        s.channels = step;
        T* const to = rows.data() + (h - first) * width * step;
        detail::each_stencil<T, 1>(s, two, taps.data(), e.expanded, detail::StoreSums<T>{to, width * step, step});
        for (const T*& x : s.x)
          if (x != nullptr) x += step;
        s.channels = channels;
        T* const v = p.v + ((ring.unit.image * e.height + h) * e.width + ring.unit.left) * channels;
        detail::each_stencil<T, 1>(s, two, taps.data() + step, e.expanded,
                                   detail::StoreSums<T>{v, e.width * channels, channels});
      });
      T* const to = parts.data() + unit * part;
      const int64_t count = (last - first) * width;
      for (int64_t h = 0; h < heads; ++h)
        detail::add_outer_products<T>(
            {rows.data() + h * d, step, d, rows.data() + channels + h * d, step, d, count, to + h * d * d}, pairs);
      detail::add_squares(rows.data(), step, count, step, to + heads * d * d);
    };
  });

  const int64_t of_image = cut.units_of_image();
  for (int64_t n = 0; n < e.batch; ++n) {
    T* const state = p.state + n * heads * size;
    detail::add_slots(parts.data() + n * of_image * part, of_image, part, sums.data());
    detail::attention_state(sums.data(), p.temperature, heads, channels, state);
    detail::mix_matrix(p.project, state, heads, channels, mix.data());
    const detail::PackedWeight<T> weight(mix.data(), 1, channels, channels, channels, pairs);
    parallel_for(pixels, detail::kMixBlock, [&](int64_t begin, int64_t end) {
      const int64_t at = (n * pixels + begin) * channels;
      weight.multiply(p.v + at, channels, end - begin, p.y + at, channels, e.x + at, channels);
    });
  }
}
CLEARSKY_COMPILE_ONCE(attention_block_forward)

namespace detail {

/// What backward needs of one image: M, and per head dS = M' / (|q||k|) both ways, and the factors of the norms' own
/// derivatives for all channels of q, then of k. See ChannelAttentionBackward.
template <class T>
struct AttentionPlan {
  PackedWeight<T> mix;  // dy to dv
  Workspace<PackedWeight<T>> to_q, to_k;
  Workspace<T> factors;

  AttentionPlan(const AttentionBlockBackward<T>& p, int64_t image, T* m, const T* dm, T* dtemperature, T* dproject)
      : mix(m, p.expansion.channels, 1, p.expansion.channels, p.expansion.channels, takes_pairs<T>()),
        factors(size_t(2 * p.expansion.channels)) {
    const int64_t channels = p.expansion.channels, heads = p.heads, d = channels / heads, square = d * d;
    const int64_t size = 2 * square + 2 * d;
    const Scratch<T> da(square), ds(square);
    for (int64_t h = 0; h < heads; ++h) {
      const T* state = p.state + (image * heads + h) * size;
      const PackedWeight<T> turned(state + square, 1, d, d, d);
      turned.multiply(dm + h * d, channels, channels, dproject + h * d, channels,
                      image == 0 ? nullptr : dproject + h * d, channels);
      std::fill_n(da.data(), square, T(0));
      add_outer_products<T>({p.project + h * d, channels, d, dm + h * d, channels, d, channels, da.data()}, false);
      attention_slopes(state, da.data(), p.temperature[h], d, ds.data(), factors.data() + h * d,
                       factors.data() + channels + h * d, dtemperature + h);
      to_q.emplace_back(ds.data(), 1, d, d, d, mix.pairs);
      to_k.emplace_back(ds.data(), d, 1, d, d, mix.pairs);
    }
  }
};

/// v of one image once more: keeping it of every block would take a tenth of a training step's memory.
/// @param taps  (9, expanded)
/// @param v     (height, width, channels)  written
template <class T>
void attention_values(const AttentionBlockBackward<T>& p, int64_t image, const T* taps, T* v) {
  const Expansion<T>& e = p.expansion;
  const int64_t before = 2 * e.channels;  // q and k
  parallel_for((e.height + 1) / 2, 4, [&](int64_t begin, int64_t end) {
    each_pair(2 * begin, (std::min)(2 * end, e.height), [&](int64_t h, bool two) {
      StencilRows<T> s = kept_rows(p.u, e, image, h, 0, e.width);
      s.channels = e.channels;
      for (const T*& x : s.x)
        if (x != nullptr) x += before;
      T* const to = v + h * e.width * e.channels;
      each_stencil<T, 1>(s, two, taps + before, e.expanded, StoreSums<T>{to, e.width * e.channels, e.channels});
    });
  });
}

}  // namespace detail

template <class T>
void attention_block_backward(const AttentionBlockBackward<T>& p) {
  const Expansion<T>& e = p.expansion;
  const int64_t channels = e.channels, pixels = e.height * e.width, heads = p.heads, d = channels / heads;
  const detail::ExpansionSums<T> sums{channels, e.expanded, 0};
  const Scratch<T> total(sums.elements()), dtemperature(heads), dproject(channels * channels);
  std::fill_n(dtemperature.data(), heads, T(0));
  std::fill_n(dproject.data(), channels * channels, T(0));
  if (e.batch * pixels * channels == 0) {
    std::fill_n(total.data(), sums.elements(), T(0));
  } else {
    Workspace<detail::AttentionPlan<T>> plans;
    plans.reserve(size_t(e.batch));
    const Scratch<T> taps(9 * e.expanded);
    detail::transpose_window(e.taps, e.expanded, 9, false, taps.data());
    const Scratch<T> m(channels * channels), dm(channels * channels + detail::kBehind<T>);
    std::fill_n(dm.data(), channels * channels + detail::kBehind<T>, T(0));
    for (int64_t n = 0; n < e.batch; ++n) {
      const Scratch<T> v(pixels * channels);
      detail::attention_values(p, n, taps.data(), v.data());
      gemm<T>({p.dy + n * pixels * channels, v.data(), nullptr, dm.data(), 1, channels, channels, pixels, 0, 1,
               channels, 0, channels, 1});
      detail::mix_matrix(p.project, p.state + n * heads * (2 * d * d + 2 * d), heads, channels, m.data());
      plans.emplace_back(p, n, m.data(), dm.data(), dtemperature.data(), dproject.data());
    }
    const detail::Cut cut = detail::make_cut(e.batch, e.height, e.width, e.expanded * int64_t(sizeof(T)));
    const int64_t step = 2 * channels;
    detail::expansion_backward<T>(e, cut, sums, p.u, p.dy, p.dx, total.data(), [&] {
      const int64_t row = (cut.strip_width + 2) * step;
      return [&, row, rows = Scratch<T>(2 * row)](const detail::GradientRows<T>& g) {
        if (g.part != nullptr) return;
        const detail::RowRing<T>& ring = g.ring;
        const int64_t width = ring.to - ring.from, h = g.first;
        const detail::AttentionPlan<T>& plan = plans[size_t(ring.unit.image)];
        detail::StencilRows<T> windows = g.windows;
        windows.channels = step;
        detail::each_stencil<T, 1>(windows, g.last - h == 2, taps.data(), e.expanded,
                                   detail::StoreSums<T>{rows.data(), row, step});
        for (int64_t r = 0; r < g.last - h; ++r) {
          const T* const q = rows.data() + r * row;
          T* const to = ring.row(h + r);
          plan.mix.multiply(p.dy + ((ring.unit.image * e.height + h + r) * e.width + ring.from) * channels, channels,
                            width, to + step, e.expanded);
          for (int64_t i = 0; i < heads; ++i) {
            plan.to_q[size_t(i)].multiply(q + channels + i * d, step, width, to + i * d, e.expanded);
            plan.to_k[size_t(i)].multiply(q + i * d, step, width, to + channels + i * d, e.expanded);
          }
          const T* const factors = plan.factors.data();
          for (int64_t w = 0; w < width; ++w)
            for (int64_t c = 0; c < step; c += kLanes<T>) {
              T* const at = to + w * e.expanded + c;
              const int64_t left = step - c;
              store_partial(
                  at, load_partial(at, left) + load_partial(factors + c, left) * load_partial(q + w * step + c, left),
                  left);
            }
        }
      };
    });
  }
  detail::write_gradients(sums, total.data(), p.gradient);
  if (p.dtemperature != nullptr) std::copy_n(dtemperature.data(), heads, p.dtemperature);
  if (p.dproject != nullptr) std::copy_n(dproject.data(), channels * channels, p.dproject);
}
CLEARSKY_COMPILE_ONCE(attention_block_backward)

}  // namespace clearsky::cpu

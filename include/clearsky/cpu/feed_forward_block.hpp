#pragma once
// The second half of Restormer's block in one pass over its input,
//
//     [a b] = DW3x3(Conv1x1(LN(x))),   y = x + Conv1x1(gelu(a) b)
//
// Forward reads x and writes y (and the expanded rows that backward wants); backward reads x, those rows and dy, and
// writes dx. The normalised pixels, [a b], the gate and all their gradients live in the cache only, and are computed
// again in backward.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/expansion.hpp"
#include "clearsky/cpu/simd_math.hpp"

namespace clearsky::cpu {

template <class T>
struct FeedForwardBlockForward {
  Expansion<T> expansion;  // expanded = 2 hidden
  const T* project;        // (channels, hidden)
  T* u;                    // (batch, height, width, 2 hidden) written: before the 3x3 window, for backward; or null
  T* y;                    // (batch, height, width, channels) written
};

template <class T>
struct FeedForwardBlockBackward {
  Expansion<T> expansion;
  const T* project;
  const T* u;
  const T* dy;  // (batch, height, width, channels)
  T* dx;        // (batch, height, width, channels)  written
  ExpansionGradient<T> gradient;
  T* dproject;  // (channels, hidden)                written; or null
};

template <class T>
void feed_forward_block_forward(const FeedForwardBlockForward<T>& p) {
  const Expansion<T>& e = p.expansion;
  if (e.batch * e.height * e.width * e.channels == 0) return;
  const int64_t hidden = e.expanded / 2, channels = e.channels;
  const detail::Cut cut = detail::make_cut(e.batch, e.height, e.width, e.expanded * int64_t(sizeof(T)));
  const detail::PackedWeight<T> project(p.project, 1, hidden, hidden, channels, detail::takes_pairs<T>());
  const Scratch<T> taps(9 * e.expanded);
  detail::transpose_window(e.taps, e.expanded, 9, false, taps.data());
  detail::each_expanded_step<T>(e, cut, p.u, [&] {
    return [&, gates = Scratch<T>(cut.step_pixels() * hidden)](int64_t, const detail::RowRing<T>& ring, int64_t first,
                                                               int64_t last) {
      const int64_t width = ring.unit.right - ring.unit.left;
      detail::each_pair(first, last, [&](int64_t h, bool two) {
        T* const to = gates.data() + (h - first) * width * hidden;
        detail::each_stencil<T, 2, detail::Emission::looped>(
            ring.around(h, 2), two, taps.data(), e.expanded,
            [&](int64_t r, int64_t w, int64_t c, int64_t count, Vec<T> a, Vec<T> b) {
              Vec<T> distribution, density;
              vec_normal<T>(a, distribution, density);
              store_partial(to + (r * width + w) * hidden + c, a * distribution * b, count);
            });
      });
      for (int64_t h = first; h < last; ++h) {
        const int64_t at = ((ring.unit.image * e.height + h) * e.width + ring.unit.left) * channels;
        project.multiply(gates.data() + (h - first) * width * hidden, hidden, width, p.y + at, channels, e.x + at,
                         channels);
      }
    };
  });
}
CLEARSKY_COMPILE_ONCE(feed_forward_block_forward)

template <class T>
void feed_forward_block_backward(const FeedForwardBlockBackward<T>& p) {
  const Expansion<T>& e = p.expansion;
  const int64_t hidden = e.expanded / 2, channels = e.channels;
  const detail::ExpansionSums<T> sums{channels, e.expanded, channels * hidden};
  const Scratch<T> total(sums.elements());
  if (e.batch * e.height * e.width * e.channels == 0) {
    std::fill_n(total.data(), sums.elements(), T(0));
  } else {
    const detail::Cut cut = detail::make_cut(e.batch, e.height, e.width, e.expanded * int64_t(sizeof(T)));
    const bool pairs = detail::takes_pairs<T>();
    const detail::PackedWeight<T> project(p.project, hidden, 1, channels, hidden, pairs);
    const Scratch<T> taps(9 * e.expanded);
    detail::transpose_window(e.taps, e.expanded, 9, false, taps.data());
    detail::expansion_backward<T>(e, cut, sums, p.u, p.dy, p.dx, total.data(), [&] {
      const int64_t row = (cut.strip_width + 2) * hidden, group = detail::group_rows(cut);
      // The gates of a group's rows, one row more on either side.
      return [&, row, dgates = Scratch<T>(2 * row),
              gates = Scratch<T>((group + 2) * row + detail::kBehind<T>)](const detail::GradientRows<T>& g) {
        const detail::RowRing<T>& ring = g.ring;
        const auto dy_row = [&](int64_t r, int64_t column) {
          return p.dy + ((ring.unit.image * e.height + r) * e.width + column) * channels;
        };
        const auto gates_row = [&](int64_t r) { return gates.data() + (r - g.group + 1) * row; };
        if (g.part != nullptr) {
          const int64_t left = (ring.unit.left - ring.from) * hidden;
          detail::add_outer_products<T>(
              {dy_row(g.first, ring.unit.left), channels, channels, gates_row(g.first) + left, hidden, hidden,
               ring.unit.right - ring.unit.left, sums.others(g.part), g.add, g.last - g.first, e.width * channels, row},
              pairs);
          // The row behind the group is the first of the next one.
          std::copy_n(gates_row(g.last), row, gates_row(g.first));
          return;
        }
        const int64_t width = ring.to - ring.from, h = g.first;
        const bool two = g.last - h == 2;
        T *const rows[2] = {ring.row(h), two ? ring.row(h + 1) : nullptr}, *const to_gates = gates_row(h);
        for (int64_t r = 0; r < g.last - h; ++r)
          project.multiply(dy_row(h + r, ring.from), channels, width, dgates.data() + r * row, hidden);
        detail::StencilRows<T> windows = g.windows;
        windows.channels = hidden;
        detail::each_stencil<T, 2, detail::Emission::looped>(
            windows, two, taps.data(), e.expanded,
            [&](int64_t r, int64_t w, int64_t c, int64_t count, Vec<T> a, Vec<T> b) {
              Vec<T> distribution, density;
              vec_normal<T>(a, distribution, density);
              const Vec<T> d = load_partial(dgates.data() + r * row + w * hidden + c, count), gelu = a * distribution;
              T* const to = rows[r] + w * e.expanded + c;
              store_partial(to, d * b * (distribution + a * density), count);
              store_partial(to + hidden, d * gelu, count);
              store_partial(to_gates + r * row + w * hidden + c, gelu * b, count);
            });
      };
    });
  }
  detail::write_gradients(sums, total.data(), p.gradient);
  if (p.dproject != nullptr) std::copy_n(sums.others(total.data()), channels * hidden, p.dproject);
}
CLEARSKY_COMPILE_ONCE(feed_forward_block_backward)

}  // namespace clearsky::cpu

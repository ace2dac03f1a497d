#pragma once
// What the halves of Restormer's and NAFNet's blocks begin with:
//
//     n = LN(x),   u = Conv1x1(n),   z = DW3x3(u)
//
// streamed through the rows of an image, forward and backward. n never leaves the cache; u is written to memory only
// where backward will want it; z is handed over row by row.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>

#include "clearsky/cpu/conv_depthwise.hpp"
#include "clearsky/cpu/cut.hpp"
#include "clearsky/cpu/gemm.hpp"
#include "clearsky/cpu/norm_rows.hpp"
#include "clearsky/cpu/stencil.hpp"

namespace clearsky::cpu {

template <class T>
struct Expansion {
  const T* x;       // (batch, height, width, channels)
  const T* gamma;   // (channels)
  const T* beta;    // (channels)
  const T* weight;  // (expanded, channels)
  const T* taps;    // (expanded, 3, 3)
  int64_t batch, height, width, channels, expanded;
  T eps;
};

/// Gradients of an expansion's parameters, over all pixels.
template <class T>
struct ExpansionGradient {
  T* dgamma;   // (channels)            written; or null, like the others
  T* dbeta;    // (channels)            written
  T* dweight;  // (expanded, channels)  written
  T* dtaps;    // (expanded, 3, 3)      written
};

namespace detail {

inline constexpr int64_t kOneSegment = 0;

/// (k, n) weights as panels for products x (rows, k) times them.
template <class T>
struct PackedWeight {
  bool pairs;              // of bfloat16
  int64_t depth;           // k
  PackedPanels<T> panels;  // its depth in steps: words where pairs
  Scratch<T> packed;

  /// element (k, j) of B at b[k * row + j * column]
  PackedWeight(const T* b, int64_t row, int64_t column, int64_t k, int64_t columns, bool takes_pairs = false)
      : pairs(takes_pairs),
        depth(k),
        panels{pairs ? pair_count(k) : k, columns},
        packed(panels.elements() + PackedPanels<T>::kWidth * (k - panels.depth) + 1) {
    // A panel is packed as T first, which the next one's place is used for: one after the other.
    for (int64_t i = 0; i < panels.panels(); ++i)
      pack_factors(pairs, b, row, column, k, columns, i, packed.data() + i * PackedPanels<T>::kWidth * panels.depth);
  }
  /// y = x B (+ plus) (+ start)
  /// @param start  (columns), the same for each row; or null
  void multiply(const T* x, int64_t x_step, int64_t rows, T* y, int64_t y_step, const T* plus = nullptr,
                int64_t plus_step = 0, const T* start = nullptr) const {
    if constexpr (std::is_same_v<T, float>)
      if (pairs) return multiply_pairs(x, x_step, rows, y, y_step, plus, plus_step, start);
    panels.multiply({x, x_step, 1, &kOneSegment, 1, depth}, rows, packed.data(), y, y_step, start, false, plus,
                    plus_step);
  }

 private:
  /// As many rows at once as stay in the first-level cache beside a panel.
  void multiply_pairs(const T* x, int64_t x_step, int64_t rows, T* y, int64_t y_step, const T* plus, int64_t plus_step,
                      const T* start) const {
    constexpr int64_t kWords = 2048;
    const int64_t most = (std::max)(kWords / (pair_lanes(depth) + 1) / kTileRows * kTileRows, int64_t(kTileRows));
    const Scratch<Pair> words((std::min)(most, rows) * pair_lanes(depth));
    for (int64_t r = 0; r < rows; r += most) {
      const int64_t count = (std::min)(most, rows - r);
      const int64_t step = pair_along_rows(x + r * x_step, x_step, count, depth, words.data());
      panels.multiply({words.data(), step, 1, &kOneSegment, 1, panels.depth}, count,
                      reinterpret_cast<const Pair*>(packed.data()), y + r * y_step, y_step, start, false,
                      plus == nullptr ? nullptr : plus + r * plus_step, plus_step);
    }
  }
};

/// c (m, n), added to: += sum over pixels of a(p, i) b(p, j). In pieces whose part of b stays in the first-level cache.
/// b must be readable up to a whole vector behind its last column of each pixel but the last `n` of all: it lies in
/// scratch memory that is longer.
template <class T>
void add_outer_products(const T* a, int64_t a_step, int64_t m, const T* b, int64_t b_step, int64_t n, int64_t pixels,
                        T* c, bool pairs = false) {
  constexpr int64_t kPiece = 128;
  if constexpr (std::is_same_v<T, float>)
    if (pairs) {
      const int64_t a_words = pair_lanes(2 * m), b_words = pair_lanes(2 * n);
      const Scratch<Pair> words(kPiece / 2 * (a_words + b_words));
      Pair* const b_pairs = words.data() + kPiece / 2 * a_words;
      for (int64_t p = 0; p < pixels; p += kPiece) {
        const int64_t count = (std::min)(kPiece, pixels - p);
        pair_across_rows(a + p * a_step, a_step, count, m, words.data(), a_words);
        pair_across_rows(b + p * b_step, b_step, count, n, b_pairs, b_words);
        gemm_add_unpacked<T, Pair>({words.data(), 1, a_words, &kOneSegment, 1, pair_count(count)}, m, n, b_pairs,
                                   b_words, c, n);
      }
      return;
    }
  for (int64_t p = 0; p < pixels; p += kPiece)
    gemm_add_unpacked<T, T>({a + p * a_step, 1, a_step, &kOneSegment, 1, (std::min)(kPiece, pixels - p)}, m, n,
                            b + p * b_step, b_step, c, n);
}

/// Readable elements that add_outer_products wants behind b.
template <class T>
inline constexpr int64_t kBehind = kTileColumns<T>;

/// The rows of u around a unit, made as they are needed.
template <class T>
class ExpandedRows {
 public:
  /// @param kept  (batch, height, width, expanded) written: u; or null
  /// @param halo  rows and columns around the unit
  ExpandedRows(const Expansion<T>& p, const Cut& cut, const PackedWeight<T>& weight, T* kept, int64_t halo = 1)
      : ring(cut, p.expanded, halo),
        p_(p),
        weight_(weight),
        kept_(kept),
        normed_((cut.strip_width + 2 * halo) * p.channels) {}

  /// Makes the rows below `last`, as far as the image has them.
  void reach(int64_t last) {
    last = (std::min)(last, p_.height);
    const int64_t pixels = ring.to - ring.from;
    for (; ring.ready < last; ++ring.ready) {
      const int64_t h = ring.ready, row = (ring.unit.image * p_.height + h) * p_.width;
      normalise_rows<T>(p_.x + (row + ring.from) * p_.channels, pixels, p_.channels, p_.gamma, p_.beta, p_.eps,
                        normed_.data(), nullptr);
      weight_.multiply(normed_.data(), p_.channels, pixels, ring.row(h), p_.expanded);
      if (kept_ != nullptr && ring.unit.top <= h && h < ring.unit.bottom) keep(row, h);
    }
  }
  /// A row that was made while the unit before was taken is kept when its own comes.
  void enter(int64_t unit) {
    ring.enter(unit);
    if (kept_ != nullptr)
      for (int64_t h = ring.unit.top; h < (std::min)(ring.ready, ring.unit.bottom); ++h)
        keep((ring.unit.image * p_.height + h) * p_.width, h);
  }

  RowRing<T> ring;

 private:
  void keep(int64_t row, int64_t h) {
    std::copy_n(ring.strip_row(h), (ring.unit.right - ring.unit.left) * p_.expanded,
                kept_ + (row + ring.unit.left) * p_.expanded);
  }

  const Expansion<T>& p_;
  const PackedWeight<T>& weight_;
  T* kept_;
  Scratch<T> normed_;
};

/// A function that each thread makes for itself, with the memory it works in, without its type: what calls it is
/// compiled once for all of them. It lives as long as the `make` that it is called with.
template <class... Args>
class MakeUser {
 public:
  struct User {
    std::unique_ptr<void, void (*)(void*)> state;
    void (*run)(void* state, Args... args);
    void operator()(Args... args) const { run(state.get(), args...); }
  };

  template <class Make>
  MakeUser(const Make& make)
      : make_(&make), user_([](const void* raw) -> User {
          using State = decltype(make());
          return {
              {new State((*static_cast<const Make*>(raw))()), [](void* state) { delete static_cast<State*>(state); }},
              [](void* state, Args... args) { (*static_cast<State*>(state))(args...); }};
        }) {}
  User operator()() const { return user_(make_); }

 private:
  const void* make_;
  User (*user_)(const void*);
};

/// step(unit number, rows of u, first row, last row) for every step of every unit, in which the rows of u around it are
/// there. `make_user` gives each thread what it works with.
template <class T>
[[gnu::noinline]] void each_expanded_step(const Expansion<T>& p, const Cut& cut, T* kept,
                                          MakeUser<int64_t, const RowRing<T>&, int64_t, int64_t> make_user) {
  const PackedWeight<T> weight(p.weight, 1, p.channels, p.channels, p.expanded, takes_pairs<T>());
  parallel_runs(cut.units(), [&](int64_t begin, int64_t end) {
    ExpandedRows<T> rows(p, cut, weight, kept);
    auto user = make_user();
    for (int64_t u = begin; u < end; ++u) {
      rows.enter(u);
      const Cut::Unit unit = rows.ring.unit;
      for (int64_t h = unit.top; h < unit.bottom; h += cut.step) {
        const int64_t last = (std::min)(unit.bottom, h + cut.step);
        rows.reach(last + 1);
        user(u, rows.ring, h, last);
      }
    }
  });
}

/// The windows of u around rows h, h + 1 of columns [from, to), read from memory.
template <class T>
StencilRows<T> kept_rows(const T* u, const Expansion<T>& p, int64_t image, int64_t h, int64_t from, int64_t to) {
  StencilRows<T> s{};
  for (int64_t i = 0; i < 4; ++i) {
    const int64_t source = h - 1 + i;
    s.x[i] =
        source < 0 || source >= p.height ? nullptr : u + ((image * p.height + source) * p.width + from) * p.expanded;
  }
  s.step = p.expanded;
  s.left = from > 0;
  s.right = to < p.width;
  s.width = to - from;
  s.channels = p.expanded;
  return s;
}

/// The partial sums of one unit; all units' are added in their order.
template <class T>
struct ExpansionSums {
  int64_t channels, expanded, extra;  // extra: elements that the caller adds up itself

  int64_t elements() const { return expanded * channels + 9 * expanded + 2 * channels + extra + kBehind<T>; }
  T* weight(T* part) const { return part; }
  T* taps(T* part) const { return part + expanded * channels; }  // (9, expanded)
  T* gamma(T* part) const { return taps(part) + 9 * expanded; }
  T* beta(T* part) const { return gamma(part) + channels; }
  T* others(T* part) const { return beta(part) + channels; }
};

/// Backward from dz to x, streamed. Rows of dz are made by `user`:
///
///     user(ring, windows, h, two, part, part_below)
///
/// writes rows h (and h + 1 of `two`) of dz, columns [ring.from, ring.to), to the ring, from the windows of u around
/// them. What it sums over those pixels that belong to the strip goes to `part`, of row h + 1 to `part_below`, or
/// nowhere where null. A row's sums belong to the unit that the row lies in, whichever unit it is made for.
/// @param u     (batch, height, width, expanded) of forward; or null: computed again, from x
/// @param past  (batch, height, width, channels): the gradient of x along the residual
/// @param dx    (batch, height, width, channels) written
/// @param total (sums.elements()) written: all units' sums
template <class T>
[[gnu::noinline]] void expansion_backward(
    const Expansion<T>& p, const Cut& cut, const ExpansionSums<T>& sums, const T* u, const T* past, T* dx, T* total,
    MakeUser<const RowRing<T>&, StencilRows<T>, int64_t, bool, T*, T*> make_user) {
  const bool pairs = takes_pairs<T>();
  const PackedWeight<T> weight(p.weight, p.channels, 1, p.expanded, p.channels, pairs);
  std::optional<PackedWeight<T>> expand;
  if (u == nullptr) expand.emplace(p.weight, 1, p.channels, p.channels, p.expanded, pairs);
  const Scratch<T> taps(9 * p.expanded);
  transpose_window(p.taps, p.expanded, 9, false, taps.data());
  const int64_t elements = sums.elements(), units = cut.units();
  const Scratch<T> parts(units * elements);

  parallel_runs(units, [&](int64_t begin, int64_t end) {
    RowRing<T> ring(cut, p.expanded);
    std::optional<ExpandedRows<T>> again;  // dz of the rows and columns around a unit comes from one more of u
    if (expand) again.emplace(p, cut, *expand, nullptr, 2);
    auto user = make_user();
    const int64_t most = cut.step_pixels();
    const Scratch<T> normed(most * p.channels + kBehind<T>), stats(2 * most), du(most * p.expanded + kBehind<T>),
        dn(most * p.channels);
    std::fill_n(normed.data(), most * p.channels + kBehind<T>, T(0));
    std::fill_n(parts.data() + begin * elements, (end - begin) * elements, T(0));
    const auto part_of_row = [&](int64_t unit, int64_t h) -> T* {
      const int64_t owner = unit + (h >= ring.unit.bottom ? 1 : h < ring.unit.top ? -1 : 0);
      return owner < begin || owner >= end ? nullptr : parts.data() + owner * elements;
    };
    for (int64_t i = begin; i < end; ++i) {
      ring.enter(i);
      if (again) again->enter(i);
      const Cut::Unit unit = ring.unit;
      const int64_t width = unit.right - unit.left;
      T* const part = parts.data() + i * elements;
      for (int64_t h = unit.top; h < unit.bottom; h += cut.step) {
        const int64_t last = (std::min)(unit.bottom, h + cut.step), wanted = (std::min)(last + 1, p.height);
        if (again) again->reach(wanted + 1);
        while (ring.ready < wanted) {
          const int64_t row = ring.ready;
          const bool two = row + 1 < wanted;
          user(ring,
               again ? again->ring.around(row, 1, ring.from, ring.to)
                     : kept_rows(u, p, unit.image, row, ring.from, ring.to),
               row, two, part_of_row(i, row), two ? part_of_row(i, row + 1) : nullptr);
          ring.ready += two ? 2 : 1;
        }
        const auto at = [&](int64_t row) { return (unit.image * p.height + row) * p.width + unit.left; };
        const auto u_row = [&](int64_t row) { return again ? again->ring.strip_row(row) : u + at(row) * p.expanded; };
        each_pair(h, last, [&](int64_t r, bool two) {
          T* const to = du.data() + (r - h) * width * p.expanded;
          stencil_gradient<T>({ring.around(r, 1),
                               {u_row(r), u_row(r + 1)},
                               p.expanded,
                               {to, to + width * p.expanded},
                               p.expanded,
                               taps.data(),
                               sums.taps(part)},
                              two);
        });
        for (int64_t r = h; r < last; ++r)
          normalise_rows<T>(p.x + at(r) * p.channels, width, p.channels, p.gamma, p.beta, p.eps,
                            normed.data() + (r - h) * width * p.channels, stats.data() + 2 * (r - h) * width);
        const int64_t pixels = (last - h) * width;
        add_outer_products(du.data(), p.expanded, p.expanded, normed.data(), p.channels, p.channels, pixels,
                           sums.weight(part), pairs);
        weight.multiply(du.data(), p.expanded, pixels, dn.data(), p.channels);
        for (int64_t r = h; r < last; ++r)
          normalise_rows_backward<T>(p.x + at(r) * p.channels, stats.data() + 2 * (r - h) * width,
                                     dn.data() + (r - h) * width * p.channels, width, p.channels, p.gamma,
                                     past + at(r) * p.channels, dx + at(r) * p.channels, sums.gamma(part),
                                     sums.beta(part));
      }
    }
  });
  add_slots(parts.data(), units, elements, total);
}

/// The expansion's own gradients from the sums of all units.
template <class T>
void write_gradients(const ExpansionSums<T>& sums, T* total, const ExpansionGradient<T>& to) {
  if (to.dweight != nullptr) std::copy_n(sums.weight(total), sums.expanded * sums.channels, to.dweight);
  if (to.dgamma != nullptr) std::copy_n(sums.gamma(total), sums.channels, to.dgamma);
  if (to.dbeta != nullptr) std::copy_n(sums.beta(total), sums.channels, to.dbeta);
  if (to.dtaps != nullptr)
    for (int64_t c = 0; c < sums.expanded; ++c)
      for (int64_t t = 0; t < 9; ++t) to.dtaps[c * 9 + t] = sums.taps(total)[t * sums.expanded + c];
}

}  // namespace detail
}  // namespace clearsky::cpu

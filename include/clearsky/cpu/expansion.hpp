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
#include "clearsky/cpu/stream.hpp"

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

/// c (m, n) = sum over pixels of a(p, i) b(p, j), or added to. Pixel p of segment s is at a[s a_segment + p a_step].
template <class T>
struct OuterProducts {
  const T* a;
  int64_t a_step, m;
  const T* b;  // readable up to a whole vector behind its last column: it lies in scratch memory that is longer
  int64_t b_step, n;
  int64_t pixels;  // of a segment
  T* c;
  bool add = true;  // to what c holds
  int64_t segments = 1, a_segment = 0, b_segment = 0;
};

/// In pieces whose part of b stays in the first-level cache: several short segments, or a part of a long one.
template <class T>
void add_outer_products(const OuterProducts<T>& o, bool pairs) {
  constexpr int64_t kPiece = 128;
  const int64_t length = (std::min)(kPiece, o.pixels);
  const int64_t together = std::clamp(kPiece / (length + 1), int64_t(1), o.segments);
  int64_t offsets[kPiece];
  const int64_t a_words = pair_lanes(2 * o.m), b_words = pair_lanes(2 * o.n), most = pair_count(length) * together;
  std::optional<Scratch<Pair>> words;
  if (pairs) words.emplace(most * (a_words + b_words));
  bool add = o.add;
  for (int64_t s = 0; s < o.segments; s += together)
    for (int64_t p = 0; p < o.pixels; p += kPiece) {
      const int64_t count = (std::min)(kPiece, o.pixels - p), segments = (std::min)(together, o.segments - s);
      const T* const a = o.a + s * o.a_segment + p * o.a_step;
      const T* const b = o.b + s * o.b_segment + p * o.b_step;
      if constexpr (std::is_same_v<T, float>)
        if (pairs) {
          Pair *const a_pairs = words->data(), *const b_pairs = a_pairs + most * a_words;
          const int64_t steps = pair_count(count);
          for (int64_t i = 0; i < segments; ++i) {
            pair_across_rows(a + i * o.a_segment, o.a_step, count, o.m, a_pairs + i * steps * a_words, a_words);
            pair_across_rows(b + i * o.b_segment, o.b_step, count, o.n, b_pairs + i * steps * b_words, b_words);
          }
          gemm_unpacked<T, Pair>({a_pairs, 1, a_words, &kOneSegment, 1, steps * segments}, o.m, o.n, b_pairs, b_words,
                                 0, o.c, o.n, add);
          add = true;
          continue;
        }
      for (int64_t i = 0; i < segments; ++i) offsets[i] = i * o.a_segment;
      gemm_unpacked<T, T>({a, 1, o.a_step, offsets, segments, count}, o.m, o.n, b, o.b_step, o.b_segment, o.c, o.n,
                          add);
      add = true;
    }
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
    // What the caches hold until backward comes is better left to them.
    constexpr int64_t kCachedBytes = 4 << 20;
    const int64_t count = (ring.unit.right - ring.unit.left) * p_.expanded;
    T* const to = kept_ + (row + ring.unit.left) * p_.expanded;
    if (p_.batch * p_.height * p_.width * p_.expanded * int64_t(sizeof(T)) > kCachedBytes)
      copy_past_caches(ring.strip_row(h), count, to);
    else std::copy_n(ring.strip_row(h), count, to);
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

/// What the function that a thread makes for expansion_backward is asked for: rows [first, last) of dz, one or two of
/// them, columns [ring.from, ring.to), to the ring, from the windows of u around them; or where `part` is not null,
/// what it sums itself over the strip's pixels of the rows [first, last), all of which it was asked for before. The
/// rows of a group are summed together: the function is told the group's first row.
template <class T>
struct GradientRows {
  const RowRing<T>& ring;
  StencilRows<T> windows;
  int64_t first, last, group;
  T* part;   // ExpansionSums of a slot
  bool add;  // to what part holds
};

/// Rows whose pixels are multiplied together in the gradients of weights: these are larger than the caches, and passed
/// over once for each group of rows.
inline int64_t group_rows(const Cut& cut) {
  constexpr int64_t kPixels = 64;
  const int64_t steps = (kPixels + cut.step_pixels() - 1) / cut.step_pixels();
  return (std::min)(cut.band, steps * cut.step);
}

/// Partial sums of `elements` elements: each is written, and read again at the end.
inline int64_t slots_of_sums(const Cut& cut, int64_t element_bytes, int64_t elements) {
  constexpr int64_t kBytes = 8 << 20, kLeast = 8, kMost = 16;
  return (std::min)(cut.units(), std::clamp(kBytes / (element_bytes * elements + 1), kLeast, kMost));
}

/// Backward from dz to x, streamed; rows of dz are made by `user`, see GradientRows.
/// @param u     (batch, height, width, expanded) of forward; or null: computed again, from x
/// @param past  (batch, height, width, channels): the gradient of x along the residual
/// @param dx    (batch, height, width, channels) written
/// @param total (sums.elements()) written: all units' sums
template <class T>
[[gnu::noinline]] void expansion_backward(const Expansion<T>& p, const Cut& cut, const ExpansionSums<T>& sums,
                                          const T* u, const T* past, T* dx, T* total,
                                          MakeUser<const GradientRows<T>&> make_user) {
  const bool pairs = takes_pairs<T>();
  const PackedWeight<T> weight(p.weight, p.channels, 1, p.expanded, p.channels, pairs);
  std::optional<PackedWeight<T>> expand;
  if (u == nullptr) expand.emplace(p.weight, 1, p.channels, p.channels, p.expanded, pairs);
  const Scratch<T> taps(9 * p.expanded);
  transpose_window(p.taps, p.expanded, 9, false, taps.data());
  const int64_t elements = sums.elements(), units = cut.units(), slots = slots_of_sums(cut, sizeof(T), elements);
  const Scratch<T> parts(slots * elements);

  parallel_runs(slots, [&](int64_t begin, int64_t end) {
    RowRing<T> ring(cut, p.expanded);
    std::optional<ExpandedRows<T>> again;  // dz of the rows and columns around a unit comes from one more of u
    if (expand) again.emplace(p, cut, *expand, nullptr, 2);
    auto user = make_user();
    const int64_t group = group_rows(cut), most = group * cut.strip_width;
    const Scratch<T> normed(most * p.channels + kBehind<T>), stats(2 * most), du(most * p.expanded + kBehind<T>),
        dn(most * p.channels);
    std::fill_n(normed.data(), most * p.channels + kBehind<T>, T(0));

    const auto take_group = [&](int64_t first, int64_t last, T* part, bool add) {
      const Cut::Unit unit = ring.unit;
      const int64_t width = unit.right - unit.left;
      const auto at = [&](int64_t row) { return (unit.image * p.height + row) * p.width + unit.left; };
      const auto u_row = [&](int64_t row) { return again ? again->ring.strip_row(row) : u + at(row) * p.expanded; };
      for (int64_t h = first; h < last; h += cut.step) {
        const int64_t end_row = (std::min)(last, h + cut.step), wanted = (std::min)(end_row + 1, p.height);
        if (again) again->reach(wanted + 1);
        while (ring.ready < wanted) {
          const int64_t row = ring.ready, rows = row + 1 < wanted ? 2 : 1;
          user({ring,
                again ? again->ring.around(row, 1, ring.from, ring.to)
                      : kept_rows(u, p, unit.image, row, ring.from, ring.to),
                row, row + rows, first, nullptr, false});
          ring.ready += rows;
        }
        each_pair(h, end_row, [&](int64_t r, bool two) {
          T* const to = du.data() + (r - first) * width * p.expanded;
          stencil_gradient<T>({ring.around(r, 1),
                               {u_row(r), u_row(r + 1)},
                               p.expanded,
                               {to, to + width * p.expanded},
                               p.expanded,
                               taps.data(),
                               sums.taps(part)},
                              two);
        });
      }
      user({ring, {}, first, last, first, part, add});
      for (int64_t r = first; r < last; ++r)
        normalise_rows<T>(p.x + at(r) * p.channels, width, p.channels, p.gamma, p.beta, p.eps,
                          normed.data() + (r - first) * width * p.channels, stats.data() + 2 * (r - first) * width);
      const int64_t pixels = (last - first) * width;
      add_outer_products<T>(
          {du.data(), p.expanded, p.expanded, normed.data(), p.channels, p.channels, pixels, sums.weight(part), add},
          pairs);
      weight.multiply(du.data(), p.expanded, pixels, dn.data(), p.channels);
      for (int64_t r = first; r < last; ++r)
        normalise_rows_backward<T>(p.x + at(r) * p.channels, stats.data() + 2 * (r - first) * width,
                                   dn.data() + (r - first) * width * p.channels, width, p.channels, p.gamma,
                                   past + at(r) * p.channels, dx + at(r) * p.channels, sums.gamma(part),
                                   sums.beta(part));
    };

    for (int64_t slot = begin; slot < end; ++slot) {
      T* const part = parts.data() + slot * elements;
      // The large sums begin with their first group; what is added to pixel by pixel begins with 0.
      std::fill_n(sums.taps(part), 9 * p.expanded + 2 * p.channels, T(0));
      std::fill_n(part + elements - kBehind<T>, kBehind<T>, T(0));
      const int64_t first_unit = units * slot / slots;
      for (int64_t i = first_unit; i < units * (slot + 1) / slots; ++i) {
        ring.enter(i);
        if (again) again->enter(i);
        const Cut::Unit unit = ring.unit;
        for (int64_t h = unit.top; h < unit.bottom; h += group)
          take_group(h, (std::min)(unit.bottom, h + group), part, i != first_unit || h != unit.top);
      }
    }
  });
  add_slots(parts.data(), slots, elements, total);
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

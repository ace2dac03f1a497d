#pragma once
// How images are cut for kernels that stream through their rows and keep a ring of them in the second-level cache.
//
// An image has strips of columns, a strip has bands of rows, and a band is taken in steps of a few rows. What is cut
// where depends on sizes alone. Bands of a strip are neighbours in the order of units, so that a thread that takes
// several goes on with the rows that it has.

#include <algorithm>
#include <cstdint>

#include "clearsky/core/memory.hpp"
#include "clearsky/cpu/stencil.hpp"

namespace clearsky::cpu::detail {

struct Cut {
  int64_t batch, height, width;
  int64_t strips, strip_width;  // columns of pixels; the last may be narrower
  int64_t bands, band;          // of a strip; rows of a band
  int64_t step;                 // rows

  /// One band of one strip: rows [top, bottom), columns [left, right).
  struct Unit {
    int64_t image, top, bottom, left, right;
  };
  int64_t units_of_image() const { return strips * bands; }
  int64_t units() const { return batch * strips * bands; }
  Unit unit(int64_t i) const {
    const int64_t top = i % bands * band, left = i / bands % strips * strip_width;
    return {i / bands / strips, top, (std::min)(height, top + band), left, (std::min)(width, left + strip_width)};
  }
  /// Pixels of a step, the columns next to it included.
  int64_t step_pixels() const { return step * strip_width; }
};

/// @param pixel_bytes  of the rows in the ring
inline Cut make_cut(int64_t batch, int64_t height, int64_t width, int64_t pixel_bytes) {
  constexpr int64_t kRowBytes = 128 << 10, kRingBytes = 512 << 10, kUnits = 16, kLeastWidth = 16;
  const auto share = [](int64_t whole, int64_t parts) { return (whole + parts - 1) / parts; };
  Cut cut{batch, height, width, 1, width, 1, height, 2};
  const int64_t most = (std::max)(kLeastWidth, kRowBytes / pixel_bytes);
  cut.strips = share(width, most);
  cut.strip_width = share(share(width, cut.strips), 4) * 4;
  cut.strips = share(width, cut.strip_width);
  cut.bands = std::clamp(share(kUnits, batch * cut.strips), int64_t(1), share(height, 2));
  cut.band = share(share(height, cut.bands), 2) * 2;
  cut.bands = share(height, cut.band);
  const int64_t fit = kRingBytes / ((cut.strip_width + 2) * pixel_bytes) - 2;
  cut.step = std::clamp(fit / 2 * 2, int64_t(2), cut.band);
  return cut;
}

/// A ring of image rows of one strip, with the columns next to it: row h lies in slot h modulo the slots.
/// It holds what a step needs: its own rows and `halo` rows and columns on each side.
template <class T>
struct RowRing {
  const Cut* cut;
  int64_t channels, halo, slots, pitch;
  Scratch<T> rows;
  Cut::Unit unit{};
  int64_t from = 0, to = 0;  // columns of the image that a row holds
  int64_t ready = -1;        // rows below are made; -1: none
  int64_t last_unit = -2;

  RowRing(const Cut& c, int64_t row_channels, int64_t rows_around = 1)
      : cut(&c),
        channels(row_channels),
        halo(rows_around),
        slots(c.step + 2 * halo),
        pitch((c.strip_width + 2 * halo) * row_channels),
        rows(slots * pitch + 1) {}

  /// Begins with a unit. Its first rows above are made anew unless this ring comes from there.
  void enter(int64_t i) {
    const bool goes_on = i == last_unit + 1 && i % cut->bands != 0;
    last_unit = i;
    unit = cut->unit(i);
    from = (std::max)(int64_t(0), unit.left - halo);
    to = (std::min)(cut->width, unit.right + halo);
    if (!goes_on) ready = (std::max)(int64_t(0), unit.top - halo);
  }
  T* row(int64_t h) const { return rows.data() + h % slots * pitch; }
  /// The first pixel of the strip itself.
  T* strip_row(int64_t h) const { return row(h) + (unit.left - from) * channels; }

  /// The windows of rows h and h + 1 of the strip, for `parts` parts of the channels.
  StencilRows<T> around(int64_t h, int64_t parts) const { return around(h, parts, unit.left, unit.right); }
  /// Those of columns [first, last) that this ring holds.
  StencilRows<T> around(int64_t h, int64_t parts, int64_t first, int64_t last) const {
    StencilRows<T> s{};
    for (int64_t i = 0; i < 4; ++i) {
      const int64_t source = h - 1 + i;
      s.x[i] = source < 0 || source >= cut->height ? nullptr : row(source) + (first - from) * channels;
    }
    s.step = channels;
    s.left = from < first;
    s.right = to > last;
    s.width = last - first;
    s.channels = channels / parts;
    return s;
  }
};

/// body(row, rows) for the rows [first, last) in pairs, the last one alone where their number is odd.
template <class Body>
void each_pair(int64_t first, int64_t last, Body&& body) {
  for (int64_t h = first; h < last; h += 2) body(h, h + 1 < last);
}

}  // namespace clearsky::cpu::detail

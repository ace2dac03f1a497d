#pragma once
// Depthwise 3x3 sums on rows of pixels that are handed over to what comes next while they are in registers: the inner
// loops of the fused blocks. Source rows may lie anywhere (in an image, or in a ring of rows in the cache), and the
// channels may be a part of a pixel's.

#include <cstdint>

#include "clearsky/cpu/simd.hpp"

namespace clearsky::cpu::detail {

/// Rows h - 1 to h + 2 around one or two rows h, h + 1 of `width` pixels.
template <class T>
struct StencilRows {
  const T* x[4];     // the first pixel of each source row; null outside the image. The last is unused for one row
  int64_t step;      // elements between two pixels
  bool left, right;  // whether there is a pixel before the first and behind the last
  int64_t width;     // pixels
  int64_t channels;  // of one part
};

/// Pixels whose channels are taken one vector after the other, before the next pixels: their taps are loaded once for
/// all of them, and their source pixels stay in the first-level cache.
inline constexpr int64_t kStencilPixels = 16;

/// visit(i, p, v) for each vector v of the source rows i of pixels w - 1 to w + Pixels, as far as there are such.
template <int Rows, int Pixels, class T, class Visit>
[[gnu::always_inline]] inline void each_source(const StencilRows<T>& s, int64_t w, int64_t c, int64_t count,
                                               const Visit& visit) {
  const bool left = w > 0 || s.left, right = w + Pixels < s.width || s.right;
  CLEARSKY_UNROLL
  for (int i = 0; i < Rows + 2; ++i) {
    const T* x = s.x[i];
    if (x == nullptr) continue;
    x += w * s.step + c;
    CLEARSKY_UNROLL
    for (int p = -1; p <= Pixels; ++p)
      if ((p != -1 || left) && (p != Pixels || right)) visit(i, p, load_partial(x + p * s.step, count));
  }
}

/// sums[r][p] = sum over the window of taps times source, for the pixels w + p of row r. @param taps  (9) vectors
template <class T, int Rows, int Pixels>
[[gnu::always_inline]] inline void stencil_sums(const StencilRows<T>& s, int64_t w, int64_t c, int64_t count,
                                                const Vec<T> (&taps)[9], Vec<T> (&sums)[Rows][Pixels]) {
  CLEARSKY_UNROLL
  for (int r = 0; r < Rows; ++r) {
    CLEARSKY_UNROLL
    for (int p = 0; p < Pixels; ++p) sums[r][p] = Vec<T>{};
  }
  each_source<Rows, Pixels>(
      s, w, c, count, [&](int i, int p, Vec<T> v) __attribute__((always_inline)) {
        CLEARSKY_UNROLL
        for (int r = 0; r < Rows; ++r) {
          if (i - r < 0 || i - r > 2) continue;
          const int t = 3 * (i - r);
          if (p + 1 < Pixels) sums[r][p + 1] += taps[t] * v;
          if (0 <= p && p < Pixels) sums[r][p] += taps[t + 1] * v;
          if (p >= 1) sums[r][p - 1] += taps[t + 2] * v;
        }
      });
}

/// How the body that takes the sums is laid out: once for each of them, from registers, or as one loop over them, by
/// way of memory. A long body would fill the instruction cache if it were unrolled.
enum class Emission { unrolled, looped };

/// `Pixels` pixels at a time from w on, of two rows, one full vector of channels.
template <class T, int Pixels, int Parts, Emission How, class Emit>
[[gnu::always_inline]] inline void stencil_pairs(const StencilRows<T>& s, const T* taps, int64_t tap_step, int64_t w,
                                                 int64_t end, int64_t c, const Emit& emit) {
  Vec<T> weights[Parts][9];
  CLEARSKY_UNROLL
  for (int part = 0; part < Parts; ++part) {
    CLEARSKY_UNROLL
    for (int t = 0; t < 9; ++t) weights[part][t] = load(taps + t * tap_step + part * s.channels + c);
  }
  for (; w + Pixels <= end; w += Pixels) {
    Vec<T> sums[Parts][2][Pixels];
    CLEARSKY_UNROLL
    for (int part = 0; part < Parts; ++part)
      stencil_sums<T, 2, Pixels>(s, w, part * s.channels + c, kLanes<T>, weights[part], sums[part]);
    const auto take = [&](int r, int p) __attribute__((always_inline)) {
      if constexpr (Parts == 1) emit(r, w + p, c, kLanes<T>, sums[0][r][p]);
      else emit(r, w + p, c, kLanes<T>, sums[0][r][p], sums[1][r][p]);
    };
    if constexpr (How == Emission::unrolled) {
      CLEARSKY_UNROLL
      for (int r = 0; r < 2; ++r) {
        CLEARSKY_UNROLL
        for (int p = 0; p < Pixels; ++p) take(r, p);
      }
    } else {
      for (int r = 0; r < 2; ++r)
        for (int p = 0; p < Pixels; ++p) take(r, p);
    }
  }
}

/// What pairs leave over: the pixels [w, end) of row r, one at a time, and any number of channels. By way of memory, so
/// that it is compiled once and not for each body that takes the sums.
/// @param sums  (end - w) vectors, written
template <class T>
[[gnu::noinline]] void stencil_rest(const StencilRows<T>& s, int64_t r, const T* taps, int64_t tap_step, int64_t w,
                                    int64_t end, int64_t c, int64_t count, Vec<T>* sums) {
  StencilRows<T> row = s;
  for (int64_t i = 0; i < 3; ++i) row.x[i] = s.x[i + r];
  Vec<T> weights[9];
  CLEARSKY_UNROLL
  for (int t = 0; t < 9; ++t) weights[t] = load_partial(taps + t * tap_step + c, count);
  for (; w < end; ++w) {
    Vec<T> sum[1][1];
    stencil_sums<T, 1, 1>(row, w, c, count, weights, sum);
    *sums++ = sum[0][0];
  }
}

/// emit(r, w, c, count, sum) for each vector of channels [c, c + count) of each pixel w of row r: row 0, and row 1 of
/// `two`. With two parts, channels c of the first and c of the second half of a pixel come together:
/// emit(r, w, c, count, first, second).
/// @param taps  (9, tap_step) elements, a vector of channels per tap
template <class T, int Parts, Emission How = Emission::unrolled, class Emit>
[[gnu::noinline]] void each_stencil(const StencilRows<T>& s, bool two, const T* taps, int64_t tap_step,
                                    const Emit& emit) {
  constexpr int kPixels = kVectorBytes == 64 ? 4 : 2;
  for (int64_t w = 0; w < s.width; w += kStencilPixels) {
    const int64_t end = w + kStencilPixels < s.width ? w + kStencilPixels : s.width;
    const int64_t even = w + (end - w) / kPixels * kPixels;
    for (int64_t c = 0; c < s.channels; c += kLanes<T>) {
      const int64_t count = s.channels - c < kLanes<T> ? s.channels - c : kLanes<T>;
      int64_t rest = w;
      if (two && count == kLanes<T>) {
        stencil_pairs<T, kPixels, Parts, How>(s, taps, tap_step, w, even, c, emit);
        rest = even;
      }
      if (rest == end) continue;
      for (int64_t r = 0; r < (two ? 2 : 1); ++r) {
        Vec<T> sums[Parts][kStencilPixels];
        for (int64_t part = 0; part < Parts; ++part)
          stencil_rest(s, r, taps, tap_step, rest, end, part * s.channels + c, count, sums[part]);
        for (int64_t i = 0; i < end - rest; ++i) {
          if constexpr (Parts == 1) emit(r, rest + i, c, count, sums[0][i]);
          else emit(r, rest + i, c, count, sums[0][i], sums[1][i]);
        }
      }
    }
  }
}

/// Takes the sums of one part to memory.
template <class T>
struct StoreSums {
  T* to;               // of the first pixel of row 0
  int64_t row, pixel;  // elements between two rows, and between two pixels

  void operator()(int64_t r, int64_t w, int64_t c, int64_t count, Vec<T> sum) const {
    store_partial(to + r * row + w * pixel + c, sum, count);
  }
};

/// One or two rows of both gradients of z = DW(u) at once, from the same reads of dz:
///     du(p) = sum_t taps(t) dz(p - offset_t)        dtaps(t) += sum_p u(p) dz(p - offset_t)
template <class T>
struct StencilGradient {
  StencilRows<T> dz;
  const T* u[2];
  int64_t u_step;
  T* du[2];
  int64_t du_step;
  const T* taps;  // (9, channels)
  T* dtaps;       // (9, channels)  added to
};

template <class T, int Rows, int Pixels>
[[gnu::always_inline]] inline void stencil_gradient_vector(const StencilGradient<T>& g, int64_t w, int64_t end,
                                                           int64_t c, int64_t count) {
  const StencilRows<T>& s = g.dz;
  Vec<T> taps[9], sums[9];
  CLEARSKY_UNROLL
  for (int t = 0; t < 9; ++t) {
    taps[t] = load_partial(g.taps + t * s.channels + c, count);
    sums[t] = load_partial(g.dtaps + t * s.channels + c, count);
  }
  for (; w + Pixels <= end; w += Pixels) {
    Vec<T> u[Rows][Pixels], du[Rows][Pixels];
    CLEARSKY_UNROLL
    for (int r = 0; r < Rows; ++r) {
      CLEARSKY_UNROLL
      for (int p = 0; p < Pixels; ++p) {
        u[r][p] = load_partial(g.u[r] + (w + p) * g.u_step + c, count);
        du[r][p] = Vec<T>{};
      }
    }
    each_source<Rows, Pixels>(
        s, w, c, count, [&](int i, int p, Vec<T> v) __attribute__((always_inline)) {
          CLEARSKY_UNROLL
          for (int r = 0; r < Rows; ++r) {
            // dz one row below (i - r = 2) met u through the window's upper row of taps.
            if (i - r < 0 || i - r > 2) continue;
            const int t = 3 * (2 - (i - r));
            CLEARSKY_UNROLL
            for (int q = 0; q < Pixels; ++q) {
              const int column = 1 - (p - q);
              if (column < 0 || column > 2) continue;
              du[r][q] += taps[t + column] * v;
              sums[t + column] += u[r][q] * v;
            }
          }
        });
    CLEARSKY_UNROLL
    for (int r = 0; r < Rows; ++r) {
      CLEARSKY_UNROLL
      for (int p = 0; p < Pixels; ++p) store_partial(g.du[r] + (w + p) * g.du_step + c, du[r][p], count);
    }
  }
  CLEARSKY_UNROLL
  for (int t = 0; t < 9; ++t) store_partial(g.dtaps + t * s.channels + c, sums[t], count);
}

/// What pairs leave over, of row r.
template <class T>
[[gnu::noinline]] void stencil_gradient_rest(const StencilGradient<T>& g, int64_t r, int64_t w, int64_t end, int64_t c,
                                             int64_t count) {
  StencilGradient<T> row = g;
  for (int64_t i = 0; i < 3; ++i) row.dz.x[i] = g.dz.x[i + r];
  row.u[0] = g.u[r];
  row.du[0] = g.du[r];
  stencil_gradient_vector<T, 1, 1>(row, w, end, c, count);
}

template <class T>
[[gnu::noinline]] void stencil_gradient(const StencilGradient<T>& g, bool two) {
  constexpr int kPixels = kVectorBytes == 64 ? 2 : 1;
  const StencilRows<T>& s = g.dz;
  for (int64_t w = 0; w < s.width; w += kStencilPixels) {
    const int64_t end = w + kStencilPixels < s.width ? w + kStencilPixels : s.width;
    const int64_t even = w + (end - w) / kPixels * kPixels;
    for (int64_t c = 0; c < s.channels; c += kLanes<T>) {
      const int64_t count = s.channels - c < kLanes<T> ? s.channels - c : kLanes<T>;
      int64_t rest = w;
      if (two && count == kLanes<T>) {
        stencil_gradient_vector<T, 2, kPixels>(g, w, even, c, kLanes<T>);
        rest = even;
      }
      if (rest < end)
        for (int64_t r = 0; r < (two ? 2 : 1); ++r) stencil_gradient_rest(g, r, rest, end, c, count);
    }
  }
}

}  // namespace clearsky::cpu::detail

#pragma once
// Channel attention, the core of Restormer's MDTA: per image and head, with q, k, v (d, pixels),
//
//     S = q k^T,   N_ij = S_ij / (max(|q_i|, e) max(|k_j|, e)),   A = softmax_j(t N),   y = A v
//
// q_i and k_j are rows over all pixels and e = 1e-12. The normalised q and k are never stored: their norms scale S.
// Three passes: products and squared norms, chunk by chunk of pixels; the d x d softmax; y, pixel by pixel. All heads
// of a pixel lie side by side in the rows of `qkv`, so each pass reads them once.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/conv.hpp"
#include "clearsky/cpu/softmax.hpp"

namespace clearsky::cpu {

template <class T>
struct ChannelAttentionForward {
  const T* qkv;          // (batch, pixels, 3 channels): all of q, then k, then v
  const T* temperature;  // (heads)
  T* y;                  // (batch, pixels, channels)            written
  T* state;              // (batch, heads, 2 d d + 2 d)          written: N, A, 1 / |q_i|, 1 / |k_j|; for backward
  int64_t batch, pixels, channels, heads;
};

/// With D = dA = dy v^T and L = t N the softmax's argument:
///     dL_ij = A_ij (D_ij - sum_j A_ij D_ij),   dt = sum_ij dL_ij N_ij,   M = t dL
///     dq_i = sum_j M_ij / (|q_i||k_j|) k_j - q_i sum_j M_ij N_ij / |q_i|^2      dk_j likewise      dv = A^T dy
/// The second term is the derivative of the norm; it is absent where the norm was below e.
template <class T>
struct ChannelAttentionBackward {
  const T* qkv;
  const T* temperature;
  const T* state;
  const T* dy;      // (batch, pixels, channels)
  T* dqkv;          // (batch, pixels, 3 channels)  written
  T* dtemperature;  // (heads)                      written; or null
  int64_t batch, pixels, channels, heads;
};

namespace detail {

inline constexpr double kAttentionNormEps = 1e-12;
inline constexpr int64_t kAttentionChunk = 64;  // pixels, all of whose channels stay in the second-level cache
inline constexpr int64_t kAttentionRun = 4;     // chunks, for which the small matrices are packed once

/// The pixels behind those that are worked on, fetched piece by piece: heads take their channels in short pieces, far
/// apart, which no hardware fetches ahead.
template <class T>
class PixelsAhead {
 public:
  /// @param x     the first of `count` pixels that are worked on, out of `left`
  /// @param used  of the `row` elements of a pixel
  PixelsAhead(const T* x, int64_t count, int64_t left, int64_t row, int64_t used, int64_t pieces)
      : at_(x + count * row),
        row_(row),
        used_(used),
        left_((std::min)(count, left - count)),
        piece_((left_ + pieces - 1) / pieces) {}
  void fetch() {
    for (int64_t i = (std::min)(piece_, left_); i > 0; --i, --left_, at_ += row_)
      for (int64_t c = 0; c < used_; c += 64 / int64_t(sizeof(T))) __builtin_prefetch(at_ + c, 0, 2);
  }

 private:
  const T* at_;
  int64_t row_, used_, left_, piece_;
};

/// c (d, d), added to: sum over pixels of a(p, i) b(p, j). `b_readable` elements may be read from b on: the last pixels
/// are taken one by one where a whole vector would reach behind them.
template <class T>
void outer_products(const T* a, int64_t a_step, const T* b, int64_t b_step, int64_t b_readable, int64_t pixels,
                    int64_t d, T* c) {
  constexpr int64_t kLane = kLanes<T>;
  const int64_t vector_width = (d + kLane - 1) / kLane * kLane, zero = 0;
  int64_t safe = pixels;
  while (safe > 0 && (safe - 1) * b_step + vector_width > b_readable) --safe;
  if (safe > 0) gemm_unpacked<T, T>({a, 1, a_step, &zero, 1, safe}, d, d, b, b_step, 0, c, d);
  for (int64_t p = safe; p < pixels; ++p)
    for (int64_t i = 0; i < d; ++i)
      for (int64_t j = 0; j < d; ++j) c[i * d + j] += a[p * a_step + i] * b[p * b_step + j];
}

/// s[c], added to: the sum over pixels of x(p, c)^2.
template <class T>
void add_squares(const T* x, int64_t step, int64_t pixels, int64_t count, T* s) {
  constexpr int64_t kLane = kLanes<T>;
  for (int64_t c = 0; c < count; c += kLane) {
    const int64_t left = count - c;
    Vec<T> total = load_partial(s + c, left);
    for (int64_t p = 0; p < pixels; ++p) {
      const Vec<T> v = load_partial(x + p * step + c, left);
      total += v * v;
    }
    store_partial(s + c, total, left);
  }
}

/// Pixels of an image in slots of whole chunks; body(image, slot, first pixel, pixels) for every chunk.
template <class T, class Body>
void each_attention_chunk(int64_t batch, int64_t pixels, int64_t slots, Body&& body) {
  parallel_for(batch * slots, 1, [&](int64_t begin, int64_t end) {
    const int64_t chunks = (pixels + kAttentionChunk - 1) / kAttentionChunk;
    for (int64_t t = begin; t < end; ++t) {
      const int64_t n = t / slots, slot = t % slots;
      for (int64_t c = chunks * slot / slots; c < chunks * (slot + 1) / slots; ++c)
        body(n, slot, c * kAttentionChunk, (std::min)(kAttentionChunk, pixels - c * kAttentionChunk));
    }
  });
}

inline int64_t attention_slots(int64_t pixels) {
  return (std::max)(int64_t(1), (std::min)(int64_t(16), pixels / (8 * kAttentionChunk)));
}

/// y (pixels, d) written, = x (pixels, d) m^T where `transposed`, else x m; m (d, d), one per head. Pixels are y_step
/// and x_step apart.
template <class T>
struct SmallProduct {
  Scratch<T> packed;
  PackedPanels<T> panels;

  SmallProduct(int64_t d, int64_t heads) : packed(heads * PackedPanels<T>{d, d}.elements()), panels{d, d} {}

  T* of(int64_t head) const { return packed.data() + head * panels.elements(); }
  void set(int64_t head, const T* m, bool transposed) {
    const int64_t d = panels.depth;
    for (int64_t p = 0; p < panels.panels(); ++p) {
      const int64_t w = panels.width(p), first = p * PackedPanels<T>::kWidth;
      T* out = of(head) + first * d;
      for (int64_t k = 0; k < d; ++k)
        for (int64_t j = 0; j < w; ++j) {
          const int64_t column = first + j;
          out[k * w + j] = column >= d ? T(0) : transposed ? m[column * d + k] : m[k * d + column];
        }
    }
  }
  void multiply(int64_t head, const T* x, int64_t x_step, int64_t pixels, T* y, int64_t y_step) const {
    const int64_t zero = 0;
    panels.multiply({x, x_step, 1, &zero, 1, panels.depth}, pixels, of(head), y, y_step, nullptr, false);
  }
};

/// The state of one image from its sums: S of all heads (heads, d, d), then |q|^2 and |k|^2 of all channels.
template <class T>
void attention_state(const T* sums, const T* temperature, int64_t heads, int64_t channels, T* state) {
  const int64_t d = channels / heads, square = d * d, size = 2 * square + 2 * d;
  const T eps = T(kAttentionNormEps);
  for (int64_t h = 0; h < heads; ++h) {
    T *normal = state + h * size, *a = normal + square, *q_inverse = a + square, *k_inverse = q_inverse + d;
    const T* squares = sums + heads * square + h * d;
    for (int64_t i = 0; i < d; ++i) {
      q_inverse[i] = T(1) / (std::max)(std::sqrt(squares[i]), eps);
      k_inverse[i] = T(1) / (std::max)(std::sqrt(squares[channels + i]), eps);
    }
    for (int64_t i = 0; i < d; ++i) {
      for (int64_t j = 0; j < d; ++j) {
        normal[i * d + j] = sums[h * square + i * d + j] * q_inverse[i] * k_inverse[j];
        a[i * d + j] = temperature[h] * normal[i * d + j];
      }
      softmax_row(a + i * d, a + i * d, d, false);
    }
  }
}

/// dS = M / (|q||k|) of one head, and the factors of the norms' own derivatives; see ChannelAttentionBackward.
/// @param state     of the head
/// @param da        (d, d)
/// @param ds        (d, d)  written
/// @param q_factor  (d)     added to; k_factor (d) likewise
/// @param dt        (1)     added to; or null
template <class T>
void attention_slopes(const T* state, const T* da, T temperature, int64_t d, T* ds, T* q_factor, T* k_factor, T* dt) {
  const T *a = state + d * d, *q_inverse = a + d * d, *k_inverse = q_inverse + d;
  const T clamped = T(1 / kAttentionNormEps);
  for (int64_t i = 0; i < d; ++i) {
    const T *a_row = a + i * d, *d_row = da + i * d;
    T dot = 0;
    for (int64_t j = 0; j < d; ++j) dot += a_row[j] * d_row[j];
    for (int64_t j = 0; j < d; ++j) {
      const T normal = state[i * d + j], dl = a_row[j] * (d_row[j] - dot), m = temperature * dl, mn = m * normal;
      if (dt != nullptr) *dt += dl * normal;
      ds[i * d + j] = m * q_inverse[i] * k_inverse[j];
      if (q_inverse[i] < clamped) q_factor[i] -= mn * q_inverse[i] * q_inverse[i];
      if (k_inverse[j] < clamped) k_factor[j] -= mn * k_inverse[j] * k_inverse[j];
    }
  }
}

}  // namespace detail

template <class T>
void channel_attention_forward(const ChannelAttentionForward<T>& p) {
  const int64_t channels = p.channels, heads = p.heads, row = 3 * channels;
  if (p.batch * p.pixels * channels == 0) return;
  const int64_t d = channels / heads, square = d * d, size = 2 * square + 2 * d;
  const int64_t slots = detail::attention_slots(p.pixels), part = heads * square + 2 * channels;

  // Products and squared norms; a slot holds S of all heads, then |q|^2 and |k|^2 of all channels.
  const Scratch<T> parts(p.batch * slots * part), sums(part);
  std::fill_n(parts.data(), p.batch * slots * part, T(0));
  const T* const end_of_qkv = p.qkv + p.batch * p.pixels * row;
  detail::each_attention_chunk<T>(p.batch, p.pixels, slots, [&](int64_t n, int64_t slot, int64_t first, int64_t count) {
    T* s = parts.data() + (n * slots + slot) * part;
    const T* q = p.qkv + (n * p.pixels + first) * row;
    detail::PixelsAhead<T> ahead(q, count, p.pixels - first, row, 2 * channels, heads);
    for (int64_t h = 0; h < heads; ++h) {
      ahead.fetch();
      const T* k = q + channels + h * d;
      detail::outer_products(q + h * d, row, k, row, end_of_qkv - k, count, d, s + h * square);
    }
    detail::add_squares(q, row, count, 2 * channels, s + heads * square);
  });

  for (int64_t n = 0; n < p.batch; ++n) {
    detail::add_slots(parts.data() + n * slots * part, slots, part, sums.data());
    detail::attention_state(sums.data(), p.temperature, heads, channels, p.state + n * heads * size);
  }

  const int64_t chunks = (p.pixels + detail::kAttentionChunk - 1) / detail::kAttentionChunk;
  parallel_for(p.batch * chunks, detail::kAttentionRun, [&](int64_t begin, int64_t end) {
    detail::SmallProduct<T> product(d, heads);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t n = t / chunks, first = t % chunks * detail::kAttentionChunk;
      const int64_t count = (std::min)(detail::kAttentionChunk, p.pixels - first), at = n * p.pixels + first;
      if (t == begin || first == 0)
        for (int64_t h = 0; h < heads; ++h) product.set(h, p.state + (n * heads + h) * size + square, true);
      const T* v = p.qkv + at * row + 2 * channels;
      detail::PixelsAhead<T> ahead_v(v, count, p.pixels - first, row, channels, heads);
      detail::PixelsAhead<T> ahead_y(p.y + at * channels, count, p.pixels - first, channels, channels, heads);
      for (int64_t h = 0; h < heads; ++h) {
        ahead_v.fetch();
        ahead_y.fetch();
        product.multiply(h, v + h * d, row, count, p.y + at * channels + h * d, channels);
      }
    }
  });
}
CLEARSKY_COMPILE_ONCE(channel_attention_forward)

template <class T>
void channel_attention_backward(const ChannelAttentionBackward<T>& p) {
  const int64_t channels = p.channels, heads = p.heads, row = 3 * channels;
  if (p.dtemperature != nullptr) std::fill_n(p.dtemperature, heads, T(0));
  if (p.batch * p.pixels * channels == 0) return;
  const int64_t d = channels / heads, square = d * d, size = 2 * square + 2 * d;
  const int64_t slots = detail::attention_slots(p.pixels), part = heads * square;

  // D = dy v^T
  const Scratch<T> parts(p.batch * slots * part), da(part);
  std::fill_n(parts.data(), p.batch * slots * part, T(0));
  const T* const end_of_qkv = p.qkv + p.batch * p.pixels * row;
  detail::each_attention_chunk<T>(p.batch, p.pixels, slots, [&](int64_t n, int64_t slot, int64_t first, int64_t count) {
    const int64_t at = n * p.pixels + first;
    detail::PixelsAhead<T> ahead_v(p.qkv + at * row + 2 * channels, count, p.pixels - first, row, channels, heads);
    detail::PixelsAhead<T> ahead_dy(p.dy + at * channels, count, p.pixels - first, channels, channels, heads);
    for (int64_t h = 0; h < heads; ++h) {
      ahead_v.fetch();
      ahead_dy.fetch();
      const T* v = p.qkv + at * row + 2 * channels + h * d;
      detail::outer_products(p.dy + at * channels + h * d, channels, v, row, end_of_qkv - v, count, d,
                             parts.data() + (n * slots + slot) * part + h * square);
    }
  });

  // Per head: dS = M / (|q||k|), and the factors of the norms' own derivatives for all channels of q, then of k.
  const int64_t plan = square * heads + 2 * channels;
  const Scratch<T> plans(p.batch * plan);
  for (int64_t n = 0; n < p.batch; ++n) {
    detail::add_slots(parts.data() + n * slots * part, slots, part, da.data());
    T *ds = plans.data() + n * plan, *factors = ds + heads * square;
    std::fill_n(factors, 2 * channels, T(0));
    for (int64_t h = 0; h < heads; ++h)
      detail::attention_slopes(p.state + (n * heads + h) * size, da.data() + h * square, p.temperature[h], d,
                               ds + h * square, factors + h * d, factors + channels + h * d,
                               p.dtemperature == nullptr ? nullptr : p.dtemperature + h);
  }

  const int64_t chunks = (p.pixels + detail::kAttentionChunk - 1) / detail::kAttentionChunk;
  parallel_for(p.batch * chunks, detail::kAttentionRun, [&](int64_t begin, int64_t end) {
    detail::SmallProduct<T> of_k(d, heads), of_q(d, heads), of_dy(d, heads);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t n = t / chunks, first = t % chunks * detail::kAttentionChunk, left = p.pixels - first;
      const int64_t count = (std::min)(detail::kAttentionChunk, left), at = n * p.pixels + first;
      const T *q = p.qkv + at * row, *k = q + channels, *ds = plans.data() + n * plan;
      T *dq = p.dqkv + at * row, *dk = dq + channels, *dv = dk + channels;
      for (int64_t h = 0; (t == begin || first == 0) && h < heads; ++h) {
        of_k.set(h, ds + h * square, true);
        of_q.set(h, ds + h * square, false);
        of_dy.set(h, p.state + (n * heads + h) * size + square, false);
      }
      detail::PixelsAhead<T> ahead(q, count, left, row, 2 * channels, heads), ahead_d(dq, count, left, row, row, heads);
      detail::PixelsAhead<T> ahead_dy(p.dy + at * channels, count, left, channels, channels, heads);
      for (int64_t h = 0; h < heads; ++h) {
        ahead.fetch();
        ahead_d.fetch();
        ahead_dy.fetch();
        of_k.multiply(h, k + h * d, row, count, dq + h * d, row);
        of_q.multiply(h, q + h * d, row, count, dk + h * d, row);
        of_dy.multiply(h, p.dy + at * channels + h * d, channels, count, dv + h * d, row);
      }
      const T* factors = ds + heads * square;
      for (int64_t i = 0; i < count; ++i)
        for (int64_t c = 0; c < 2 * channels; c += kLanes<T>) {
          const int64_t rest = 2 * channels - c;
          store_partial(dq + i * row + c,
                        load_partial(dq + i * row + c, rest) +
                            load_partial(factors + c, rest) * load_partial(q + i * row + c, rest),
                        rest);
        }
    }
  });
}
CLEARSKY_COMPILE_ONCE(channel_attention_backward)

}  // namespace clearsky::cpu

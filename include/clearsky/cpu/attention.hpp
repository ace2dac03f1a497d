#pragma once
// Scaled dot-product attention that never stores the L x L matrix: keys are taken in blocks, with a running maximum and
// sum per query; backward computes the blocks again from the saved logarithm of the sum.
//
//     P_ij = exp(scale q_i k_j - lse_i),   lse_i = log sum_j exp(scale q_i k_j),   y_i = sum_j P_ij v_j
//
// Source: Dao et al., "FlashAttention", NeurIPS 2022, arXiv:2205.14135, algorithms 1 and 4.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/gemm.hpp"
#include "clearsky/cpu/simd_math.hpp"

namespace clearsky::cpu {

struct AttentionShape {
  int64_t batch, heads, queries, keys, width;  // width: of a head
  double scale;
  bool causal;  // query i sees keys 0 .. i + keys - queries
};

/// Where a query may look; strides fit (batch, heads, queries, keys) and are 0 where the mask is broadcast.
struct AttentionMask {
  const bool* allowed;  // or null: everywhere
  int64_t strides[4];
};

template <class T>
struct AttentionForward {
  const T* q;  // (batch, heads, queries, width)
  const T* k;  // (batch, heads, keys, width)
  const T* v;  // (batch, heads, keys, width)
  T* y;        // (batch, heads, queries, width)  written; 0 for a query that may look nowhere
  T* lse;      // (batch, heads, queries)         written; -infinity for such a query
  AttentionMask mask;
  AttentionShape shape;
};

/// With D_i = dy_i y_i:   dP = dy v^T,   dS = P (dP - D) scale,   dq = dS k,   dk = dS^T q,   dv = P^T dy
template <class T>
struct AttentionBackward {
  const T* q;
  const T* k;
  const T* v;
  const T* y;
  const T* lse;
  const T* dy;  // (batch, heads, queries, width)
  T* dq;        // each of its tensor's shape, written
  T* dk;
  T* dv;
  AttentionMask mask;
  AttentionShape shape;
};

namespace detail {

// Queries lie along the lanes, so that a row's maximum and sum need no sum over lanes: the scores are kept as
// (keys, queries), in panels as wide as a tile of cpu/gemm.hpp. A panel of a block of keys fits the first-level cache.
inline constexpr int64_t kQueryPanels = 2, kKeyBlock = 128;
template <class T>
inline constexpr int64_t kQueryBlock = kQueryPanels* kTileColumns<T>;

/// What is hidden from the queries of one head.
struct HiddenKeys {
  const bool* allowed;  // (queries, keys), or null
  int64_t query_step, key_step;
  bool causal;
  int64_t shift;  // query i sees keys 0 .. i + shift

  HiddenKeys(const AttentionShape& s, const AttentionMask& mask, int64_t head)
      : allowed(mask.allowed == nullptr
                    ? nullptr
                    : mask.allowed + head / s.heads * mask.strides[0] + head % s.heads * mask.strides[1]),
        query_step(mask.strides[2]),
        key_step(mask.strides[3]),
        causal(s.causal),
        shift(s.keys - s.queries) {}

  /// Keys behind these are hidden from all queries before `query_end`.
  int64_t visible(int64_t query_end, int64_t keys) const {
    return causal ? std::clamp(query_end + shift, int64_t(0), keys) : keys;
  }
  /// Sets scores (n keys, m queries) of one panel to -infinity where the query may not look.
  template <class T>
  void hide(T* s, int64_t q0, int64_t m, int64_t k0, int64_t n) const {
    constexpr T kNever = -std::numeric_limits<T>::infinity();
    for (int64_t j = 0; causal && j < n; ++j)
      std::fill_n(s + j * kTileColumns<T>, std::clamp(k0 + j - shift - q0, int64_t(0), m), kNever);
    if (allowed == nullptr) return;
    for (int64_t i = 0; i < m; ++i) {
      const bool* row = allowed + (q0 + i) * query_step + k0 * key_step;
      for (int64_t j = 0; j < n; ++j)
        s[j * kTileColumns<T> + i] = row[j * key_step] ? s[j * kTileColumns<T> + i] : kNever;
    }
  }
};

/// Rows x (m, width) as panels of (width, kTileColumns), times `factor`; 0 for the rows that are missing.
template <class T>
void pack_turned(const T* x, int64_t m, int64_t width, T factor, T* to) {
  constexpr int64_t kLane = kLanes<T>, kWide = kTileColumns<T>;
  for (int64_t i = 0; i < (m + kWide - 1) / kWide * kWide; i += kLane)
    for (int64_t c = 0; c < width; c += kLane) {
      Vec<T> square[kLane];
      CLEARSKY_UNROLL
      for (int64_t k = 0; k < kLane; ++k)
        square[k] = i + k < m ? load_partial(x + (i + k) * width + c, width - c) : Vec<T>{};
      transpose_square<T>(square);
      T* out = to + (i / kWide * width + c) * kWide + i % kWide;
      CLEARSKY_UNROLL
      for (int64_t k = 0; k < kLane; ++k)
        if (c + k < width) store(out + k * kWide, Vec<T>(square[k] * factor));
    }
}

/// The way back: y (m, width), written, each row times its lane of `factors`.
template <class T>
void unpack_turned(const T* from, const T* factors, T* y, int64_t m, int64_t width) {
  constexpr int64_t kLane = kLanes<T>, kWide = kTileColumns<T>;
  for (int64_t i = 0; i < m; i += kLane)
    for (int64_t c = 0; c < width; c += kLane) {
      const T* in = from + (i / kWide * width + c) * kWide + i % kWide;
      const Vec<T> factor = load(factors + i);
      Vec<T> square[kLane];
      CLEARSKY_UNROLL
      for (int64_t k = 0; k < kLane; ++k) square[k] = c + k < width ? Vec<T>(load(in + k * kWide) * factor) : Vec<T>{};
      transpose_square<T>(square);
      CLEARSKY_UNROLL
      for (int64_t k = 0; k < kLane; ++k)
        if (i + k < m) store_partial(y + (i + k) * width + c, square[k], width - c);
    }
}

/// The panels of a block of m queries, one after the other.
template <class T, class Body>
inline void each_panel(int64_t m, Body&& body) {
  for (int64_t p = 0; p * kTileColumns<T> < m; ++p) body(p, (std::min)(kTileColumns<T>, m - p * kTileColumns<T>));
}

/// c (n, panel) = rows of `a` times a packed panel (width, panel).
template <class T>
void panel_scores(const T* a, int64_t n, int64_t width, const T* panel, T* c) {
  run_tiles<T>({a, width, 1, panel, kTileColumns<T>, 0, width, c, kTileColumns<T>, kTileColumns<T>}, n);
}
/// c (width, panel) = a^T s, or added to: a (n, width), s (n, panel).
template <class T>
void panel_apply(const T* a, int64_t n, int64_t width, const T* s, T* c, bool add) {
  run_tiles<T>(
      {a, 1, width, s, kTileColumns<T>, 0, n, c, kTileColumns<T>, kTileColumns<T>, 1, &kNoOffset, nullptr, add}, width);
}

/// s (n, panel) <- 2^(s - top), where `top` is raised to the new largest score and `total` grows by the sum; `y`
/// (width, panel), the sum so far, is scaled to the new top.
template <class T>
void soften_panel(T* s, int64_t n, T* top, T* total, T* y, int64_t width) {
  constexpr int64_t kLane = kLanes<T>, kWide = kTileColumns<T>;
  const Vec<T> never = splat(-std::numeric_limits<T>::infinity());
  Vec<T> old[2] = {load(top), load(top + kLane)};
  Vec<T> high0 = old[0], high1 = old[1];
  for (int64_t j = 0; j < n; ++j) {  // passes a NaN by; the sum takes it up
    high0 = vec_max<T>(load(s + j * kWide), high0);
    high1 = vec_max<T>(load(s + j * kWide + kLane), high1);
  }
  store(top, high0);
  store(top + kLane, high1);
  // Nothing seen yet: a shift of -infinity would give inf - inf.
  const Vec<T> shift0 = high0 == never ? Vec<T>{} : high0, shift1 = high1 == never ? Vec<T>{} : high1;
  const Vec<T> shrink0 = vec_exp2_flushed<T>(old[0] - shift0), shrink1 = vec_exp2_flushed<T>(old[1] - shift1);
  Vec<T> sum0 = load(total) * shrink0, sum1 = load(total + kLane) * shrink1;
  for (int64_t j = 0; j < n; ++j) {
    const Vec<T> e0 = vec_exp2_flushed<T>(load(s + j * kWide) - shift0);
    const Vec<T> e1 = vec_exp2_flushed<T>(load(s + j * kWide + kLane) - shift1);
    store(s + j * kWide, e0);
    store(s + j * kWide + kLane, e1);
    sum0 += e0;
    sum1 += e1;
  }
  store(total, sum0);
  store(total + kLane, sum1);
  if (y == nullptr) return;
  for (int64_t c = 0; c < width; ++c) {
    store(y + c * kWide, Vec<T>(load(y + c * kWide) * shrink0));
    store(y + c * kWide + kLane, Vec<T>(load(y + c * kWide + kLane) * shrink1));
  }
}

/// Elements of scratch memory for a block of queries.
template <class T>
int64_t forward_scratch(int64_t width) {
  return (2 * width + kKeyBlock + 4) * kQueryBlock<T>;
}

/// Queries [q0, q0 + m) of the head that `a` points to, m at most kQueryBlock.
/// @param scratch  (forward_scratch)
template <class T>
void attend_forward(const AttentionForward<T>& a, const HiddenKeys& hidden, int64_t q0, int64_t m, T* scratch) {
  const AttentionShape& s = a.shape;
  constexpr int64_t kWide = kTileColumns<T>, kQ = kQueryBlock<T>;
  T *turned_q = scratch, *turned_y = turned_q + s.width * kQ, *scores = turned_y + s.width * kQ;
  T *top = scores + kKeyBlock * kQ, *total = top + kQ, *inverse = total + kQ;
  pack_turned(a.q + q0 * s.width, m, s.width, T(s.scale * kLog2E), turned_q);
  std::fill_n(top, kQ, -std::numeric_limits<T>::infinity());
  std::fill_n(total, kQ, T(0));
  const int64_t keys = hidden.visible(q0 + m, s.keys);
  if (keys == 0) std::fill_n(turned_y, s.width * kQ, T(0));
  for (int64_t k0 = 0; k0 < keys; k0 += kKeyBlock) {
    const int64_t n = (std::min)(kKeyBlock, keys - k0);
    each_panel<T>(m, [&](int64_t p, int64_t queries) {
      T *c = scores + p * kWide * kKeyBlock, *panel_y = turned_y + p * kWide * s.width;
      panel_scores(a.k + k0 * s.width, n, s.width, turned_q + p * kWide * s.width, c);
      hidden.hide(c, q0 + p * kWide, queries, k0, n);
      soften_panel<T>(c, n, top + p * kWide, total + p * kWide, k0 == 0 ? nullptr : panel_y, s.width);
    });
    each_panel<T>(m, [&](int64_t p, int64_t) {
      panel_apply(a.v + k0 * s.width, n, s.width, scores + p * kWide * kKeyBlock, turned_y + p * kWide * s.width,
                  k0 != 0);
    });
  }
  for (int64_t i = 0; i < m; i += kLanes<T>) {
    const Vec<T> sum = load(total + i);
    const auto blind = sum == Vec<T>{};  // where anything was seen, the largest score counts as 1
    store(inverse + i, Vec<T>(blind ? Vec<T>{} : T(1) / sum));
    store_partial(
        a.lse + q0 + i,
        Vec<T>(blind ? splat(-std::numeric_limits<T>::infinity()) : load(top + i) * T(kLn2) + vec_log<T>(sum)), m - i);
  }
  unpack_turned<T>(turned_y, inverse, a.y + q0 * s.width, m, s.width);
}

/// p (n, panel) <- 2^(p - lse), ds (n, panel) <- p (ds - dots)
template <class T>
void slopes_of_panel(T* p, T* ds, int64_t n, const T* lse, const T* dots) {
  constexpr int64_t kLane = kLanes<T>, kWide = kTileColumns<T>;
  const Vec<T> lse0 = load(lse), lse1 = load(lse + kLane), dot0 = load(dots), dot1 = load(dots + kLane);
  for (int64_t j = 0; j < n * kWide; j += kWide) {
    const Vec<T> p0 = vec_exp2_flushed<T>(load(p + j) - lse0), p1 = vec_exp2_flushed<T>(load(p + j + kLane) - lse1);
    store(p + j, p0);
    store(p + j + kLane, p1);
    store(ds + j, Vec<T>(p0 * (load(ds + j) - dot0)));
    store(ds + j + kLane, Vec<T>(p1 * (load(ds + j + kLane) - dot1)));
  }
}

/// Elements of scratch memory for a block of queries; rows of q and dy are padded to whole panels.
template <class T>
int64_t backward_scratch(int64_t width) {
  return (3 * width + 2 * panel_count<T>(width) * kTileColumns<T> + 2 * kKeyBlock + 4) * kQueryBlock<T>;
}

/// Gradients by the queries [q0, q0 + m) of the head that `a` points to, m at most kQueryBlock. dk and dv are written
/// where `first`, else added to.
template <class T>
void attend_backward(const AttentionBackward<T>& a, const HiddenKeys& hidden, int64_t q0, int64_t m, bool first,
                     T* scratch) {
  const AttentionShape& s = a.shape;
  const T *q = a.q + q0 * s.width, *dy = a.dy + q0 * s.width, *lse = a.lse + q0;
  constexpr int64_t kLane = kLanes<T>, kWide = kTileColumns<T>, kQ = kQueryBlock<T>;
  constexpr T kForever = std::numeric_limits<T>::infinity();
  const PackedPanels<T> rows{m, s.width};
  T *turned_q = scratch, *turned_dy = turned_q + s.width * kQ, *turned_dq = turned_dy + s.width * kQ;
  T *plain_q = turned_dq + s.width * kQ, *plain_dy = plain_q + rows.panels() * kWide * kQ;
  T *weights = plain_dy + rows.panels() * kWide * kQ, *slopes = weights + kKeyBlock * kQ;
  T *dots = slopes + kKeyBlock * kQ, *log_sum = dots + kQ, *scales = log_sum + kQ;

  // D_i, from y as (width, queries), which lies where dq will.
  pack_turned(a.y + q0 * s.width, m, s.width, T(1), turned_dq);
  pack_turned(dy, m, s.width, T(1), turned_dy);
  pack_turned(q, m, s.width, T(s.scale * kLog2E), turned_q);
  each_panel<T>(m, [&](int64_t p, int64_t) {
    const T *y = turned_dq + p * kWide * s.width, *g = turned_dy + p * kWide * s.width;
    for (int64_t i = 0; i < kWide; i += kLane) {
      Vec<T> dot{};
      for (int64_t c = 0; c < s.width; ++c) dot += load(y + c * kWide + i) * load(g + c * kWide + i);
      store(dots + p * kWide + i, dot);
    }
  });
  for (int64_t i = 0; i < kQ; ++i) {
    // Of a query that saw nothing, and of those that are missing, each weight is 2^-infinity.
    log_sum[i] = i >= m || lse[i] == -kForever ? kForever : lse[i] * T(kLog2E);
    scales[i] = T(s.scale);
  }
  for (int64_t p = 0; p < rows.panels(); ++p) {
    const int64_t w = rows.width(p), c0 = p * kWide;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t c = 0; c < w; c += kLane) {
        const int64_t left = (std::max)(int64_t(0), s.width - c0 - c), at = c0 * m + i * w + c;
        store(plain_q + at, Vec<T>(load_partial(q + i * s.width + c0 + c, left) * T(s.scale)));
        store(plain_dy + at, load_partial(dy + i * s.width + c0 + c, left));
      }
  }

  const int64_t keys = hidden.visible(q0 + m, s.keys);
  if (keys == 0) std::fill_n(turned_dq, s.width * kQ, T(0));
  if (first) {
    std::fill(a.dk + keys * s.width, a.dk + s.keys * s.width, T(0));
    std::fill(a.dv + keys * s.width, a.dv + s.keys * s.width, T(0));
  }
  for (int64_t k0 = 0; k0 < keys; k0 += kKeyBlock) {
    const int64_t n = (std::min)(kKeyBlock, keys - k0);
    const T *key = a.k + k0 * s.width, *value = a.v + k0 * s.width;
    each_panel<T>(m, [&](int64_t p, int64_t queries) {
      T *c = weights + p * kWide * kKeyBlock, *d = slopes + p * kWide * kKeyBlock;
      panel_scores(key, n, s.width, turned_q + p * kWide * s.width, c);
      hidden.hide(c, q0 + p * kWide, queries, k0, n);
      panel_scores(value, n, s.width, turned_dy + p * kWide * s.width, d);
      slopes_of_panel<T>(c, d, n, log_sum + p * kWide, dots + p * kWide);
      panel_apply(key, n, s.width, d, turned_dq + p * kWide * s.width, k0 != 0);
    });
    // dk (n, width) += dS^T q, dv += P^T dy: the sum runs over the panels of queries.
    for (int64_t f = 0; f < m; f += kWide) {
      const int64_t length = (std::min)(kWide, m - f), at = f * kKeyBlock, zero = 0;
      for (int64_t p = 0; p < rows.panels(); ++p) {
        const int64_t w = rows.width(p), c0 = p * kWide, columns = (std::min)(kWide, s.width - c0);
        const bool add = !first || f > 0;
        const T *b_q = plain_q + c0 * m + f * w, *b_dy = plain_dy + c0 * m + f * w;
        run_tiles<T>({slopes + at, kWide, 1, b_q, w, 0, length, a.dk + k0 * s.width + c0, s.width, columns, 1, &zero,
                      nullptr, add},
                     n);
        run_tiles<T>({weights + at, kWide, 1, b_dy, w, 0, length, a.dv + k0 * s.width + c0, s.width, columns, 1, &zero,
                      nullptr, add},
                     n);
      }
    }
  }
  unpack_turned<T>(turned_dq, scales, a.dq + q0 * s.width, m, s.width);
}

/// Parts of a head's queries whose dk and dv are added up apart, so that few heads keep many threads busy.
inline int64_t attention_parts(const AttentionShape& s, int64_t block) {
  const int64_t wanted = 32 / (s.batch * s.heads), most = s.queries / (2 * block);
  return std::clamp(wanted, int64_t(1), (std::max)(int64_t(1), most));
}

}  // namespace detail

template <class T>
void attention_forward(const AttentionForward<T>& p) {
  const AttentionShape& s = p.shape;
  constexpr int64_t kQ = detail::kQueryBlock<T>;
  const int64_t blocks = (s.queries + kQ - 1) / kQ, size = s.queries * s.width;
  if (s.batch * s.heads * size == 0) return;
  parallel_for(s.batch * s.heads * blocks, 1, [&](int64_t begin, int64_t end) {
    const Scratch<T> scratch(detail::forward_scratch<T>(s.width));
    for (int64_t t = begin; t < end; ++t) {
      const int64_t h = t / blocks, q0 = t % blocks * kQ;
      const AttentionForward<T> head{p.q + h * size,
                                     p.k + h * s.keys * s.width,
                                     p.v + h * s.keys * s.width,
                                     p.y + h * size,
                                     p.lse + h * s.queries,
                                     p.mask,
                                     s};
      detail::attend_forward(head, detail::HiddenKeys(s, p.mask, h), q0, (std::min)(kQ, s.queries - q0),
                             scratch.data());
    }
  });
}
CLEARSKY_COMPILE_ONCE(attention_forward)

template <class T>
void attention_backward(const AttentionBackward<T>& p) {
  const AttentionShape& s = p.shape;
  constexpr int64_t kQ = detail::kQueryBlock<T>;
  const int64_t blocks = (s.queries + kQ - 1) / kQ, size = s.queries * s.width, key_size = s.keys * s.width;
  if (s.batch * s.heads * s.width == 0) return;
  if (s.queries == 0) {
    std::fill_n(p.dk, s.batch * s.heads * key_size, T(0));
    std::fill_n(p.dv, s.batch * s.heads * key_size, T(0));
    return;
  }
  const int64_t parts = detail::attention_parts(s, kQ);
  const Scratch<T> sums(parts == 1 ? 1 : s.batch * s.heads * parts * 2 * key_size);
  parallel_for(s.batch * s.heads * parts, 1, [&](int64_t begin, int64_t end) {
    const Scratch<T> scratch(detail::backward_scratch<T>(s.width));
    for (int64_t t = begin; t < end; ++t) {
      const int64_t h = t / parts, part = t % parts, at = h * size;
      const int64_t first = blocks * part / parts, last = blocks * (part + 1) / parts;
      T* dk = parts == 1 ? p.dk + h * key_size : sums.data() + t * key_size;
      T* dv = parts == 1 ? p.dv + h * key_size : sums.data() + (s.batch * s.heads * parts + t) * key_size;
      const AttentionBackward<T> head{p.q + at,
                                      p.k + h * key_size,
                                      p.v + h * key_size,
                                      p.y + at,
                                      p.lse + h * s.queries,
                                      p.dy + at,
                                      p.dq + at,
                                      dk,
                                      dv,
                                      p.mask,
                                      s};
      for (int64_t b = first; b < last; ++b)
        detail::attend_backward(head, detail::HiddenKeys(s, p.mask, h), b * kQ, (std::min)(kQ, s.queries - b * kQ),
                                b == first, scratch.data());
    }
  });
  if (parts == 1) return;
  for (int64_t h = 0; h < s.batch * s.heads; ++h) {
    detail::add_slots(sums.data() + h * parts * key_size, parts, key_size, p.dk + h * key_size);
    detail::add_slots(sums.data() + (s.batch * s.heads + h) * parts * key_size, parts, key_size, p.dv + h * key_size);
  }
}
CLEARSKY_COMPILE_ONCE(attention_backward)

}  // namespace clearsky::cpu

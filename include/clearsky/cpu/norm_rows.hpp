#pragma once
// Layer normalisation of rows that lie in the cache, for the fused blocks: as many rows at once as a vector has lanes,
// since the sum over one vector's lanes costs as much as ten additions, and those of a whole square of vectors
// together cost three each.
//
//     xhat = (x - mean) rstd,   n = gamma xhat + beta,   rstd = 1 / sqrt(var + eps)
//     h = dn gamma,             dx = rstd (h - mean(h) - xhat mean(h xhat))
// Source: Ba, Kiros, Hinton, "Layer Normalization", 2016, arXiv:1607.06450, eq. 4.

#include <algorithm>
#include <cstdint>
#include <utility>

#include "clearsky/cpu/simd.hpp"
#include "clearsky/cpu/transpose.hpp"

namespace clearsky::cpu::detail {

/// Of a, then of b: the first `Unit` lanes of each two such units, or the second.
template <class T, int64_t Unit, bool Second, int64_t... Lane>
inline Vec<T> every_other(Vec<T> a, Vec<T> b, std::integer_sequence<int64_t, Lane...>) {
  constexpr int64_t kLane = kLanes<T>, kHalf = kLane / 2, kFrom = Second ? Unit : 0;
  return shuffle<T, (Lane / kHalf * kLane + Lane % kHalf / Unit * 2 * Unit + kFrom + Lane % Unit)...>(a, b);
}
template <class T, int64_t Unit>
inline Vec<T> add_neighbours(Vec<T> a, Vec<T> b) {
  constexpr auto kAll = std::make_integer_sequence<int64_t, kLanes<T>>{};
  return every_other<T, Unit, false>(a, b, kAll) + every_other<T, Unit, true>(a, b, kAll);
}
/// Lane i is the sum of rows[i]; every row's sum is made in the same order. First the pieces of each vector are added,
/// four vectors becoming one, then within the pieces: so all shuffles are of the cheap kinds.
template <class T>
inline Vec<T> lane_sums(Vec<T> (&rows)[kLanes<T>]) {
  constexpr int64_t kP = kPiece<T>, kPieces = kLanes<T> / kP;
  CLEARSKY_UNROLL
  for (int64_t i = 0; i < kP; ++i) {  // piece k is of row k kPiece + i
    if constexpr (kPieces == 4)
      rows[i] = add_neighbours<T, kP>(add_neighbours<T, 2 * kP>(rows[i], rows[kP + i]),
                                      add_neighbours<T, 2 * kP>(rows[2 * kP + i], rows[3 * kP + i]));
    else if constexpr (kPieces == 2) rows[i] = add_neighbours<T, kP>(rows[i], rows[kP + i]);
  }
  CLEARSKY_UNROLL
  for (int64_t i = 0; i < kP; i += 2)
    rows[i] = interleave<T, 1, false>(rows[i], rows[i + 1]) + interleave<T, 1, true>(rows[i], rows[i + 1]);
  if constexpr (kP == 4) return interleave<T, 2, false>(rows[0], rows[2]) + interleave<T, 2, true>(rows[0], rows[2]);
  else return rows[0];
}

/// 1 for the lanes below count, 0 for the others.
template <class T>
inline Vec<T> lanes_below(int64_t count) {
  Vec<T> keep{};
  for (int64_t i = 0; i < kLanes<T>; ++i) keep[i] = i < count ? T(1) : T(0);
  return keep;
}

/// Rows i .. i + kLanes of (count, cols) at once; behind the last row comes the last row again.
template <class T>
struct RowSquare {
  const T* x;
  int64_t cols, first, count;
  const T* row(int64_t i) const { return x + (std::min)(first + i, count - 1) * cols; }
};

inline constexpr int64_t kRowsAtOnce = 4;

/// The sums of term(v, i) over the vectors v of row i, for each of kLanes rows: several rows at once, since a row alone
/// would spend more on its loop than on its sum. Each row's sum is made in the same order.
/// @param last  made of the last, partial vector of a row, 0 behind its end: term or what sets its other lanes to 0
template <class T, class Term, class Last>
inline Vec<T> row_sums(const RowSquare<T>& x, const Term& term, const Last& last) {
  constexpr int64_t kLane = kLanes<T>, kAtOnce = (std::min)(kRowsAtOnce, kLane);
  const int64_t whole = x.cols / kLane * kLane, left = x.cols - whole;
  Vec<T> sums[kLane];
  CLEARSKY_UNROLL
  for (int64_t i = 0; i < kLane; i += kAtOnce) {
    const T* row[kAtOnce];
    Vec<T> sum[kAtOnce];
    CLEARSKY_UNROLL
    for (int64_t k = 0; k < kAtOnce; ++k) {
      row[k] = x.row(i + k);
      sum[k] = Vec<T>{};
    }
    for (int64_t c = 0; c < whole; c += kLane) {
      CLEARSKY_UNROLL
      for (int64_t k = 0; k < kAtOnce; ++k) sum[k] += term(load(row[k] + c), i + k);
    }
    CLEARSKY_UNROLL
    for (int64_t k = 0; k < kAtOnce; ++k)
      sums[i + k] = left == 0 ? sum[k] : Vec<T>(sum[k] + last(load_partial(row[k] + whole, left), i + k));
  }
  return lane_sums<T>(sums);
}

/// mean and rstd of kLanes rows.
template <class T>
inline void row_statistics(const RowSquare<T>& x, T eps, Vec<T>& mean, Vec<T>& rstd) {
  constexpr int64_t kLane = kLanes<T>;
  const T scale = T(1) / T(x.cols);
  const auto value = [](Vec<T> v, int64_t) { return v; };
  mean = row_sums(x, value, value) * scale;
  T means[kLane];
  store(means, mean);
  const Vec<T> keep = lanes_below<T>(x.cols % kLane);
  const auto square = [&](Vec<T> v, int64_t i) {
    const Vec<T> d = v - means[i];
    return Vec<T>(d * d);
  };
  rstd =
      T(1) /
      vec_sqrt<T>(row_sums(x, square, [&](Vec<T> v, int64_t i) { return Vec<T>(square(v, i) * keep); }) * scale + eps);
}

/// @param x     (count, cols)
/// @param n     (count, cols)  written
/// @param stats (2, count)     mean and rstd, written; or null
template <class T>
[[gnu::noinline]] void normalise_rows(const T* x, int64_t count, int64_t cols, const T* gamma, const T* beta, T eps,
                                      T* n, T* stats) {
  constexpr int64_t kLane = kLanes<T>;
  for (int64_t first = 0; first < count; first += kLane) {
    const RowSquare<T> square{x, cols, first, count};
    Vec<T> mean, rstd;
    row_statistics(square, eps, mean, rstd);
    T means[kLane], roots[kLane];
    store(means, mean);
    store(roots, rstd);
    const int64_t rows = (std::min)(kLane, count - first);
    if (stats != nullptr) {
      store_partial(stats + first, mean, rows);
      store_partial(stats + count + first, rstd, rows);
    }
    // Several rows at once, so that gamma and beta are loaded once for them.
    for (int64_t i = 0; i < rows; i += kRowsAtOnce) {
      const T* from[kRowsAtOnce];
      T* to[kRowsAtOnce];
      Vec<T> m[kRowsAtOnce], r[kRowsAtOnce];
      CLEARSKY_UNROLL
      for (int64_t k = 0; k < kRowsAtOnce; ++k) {
        const int64_t at = (std::min)(i + k, rows - 1);
        from[k] = x + (first + at) * cols;
        to[k] = n + (first + at) * cols;
        m[k] = splat(means[at]);
        r[k] = splat(roots[at]);
      }
      const auto put = [&](int64_t c, auto&& get, auto&& set) {
        const Vec<T> g = get(gamma + c), b = get(beta + c);
        CLEARSKY_UNROLL
        for (int64_t k = 0; k < kRowsAtOnce; ++k) {
          // The difference first: x rstd - mean rstd is one operation less, and not 0 where x is the mean.
          const Vec<T> xhat = (get(from[k] + c) - m[k]) * r[k];
          set(to[k] + c, Vec<T>(xhat * g + b));
        }
      };
      const int64_t whole = cols / kLane * kLane, left = cols - whole;
      for (int64_t c = 0; c < whole; c += kLane) put(c, load<T>, store<T>);
      if (left > 0)
        put(
            whole, [=](const T* p) { return load_partial(p, left); },
            [=](T* p, Vec<T> v) { store_partial(p, v, left); });
    }
  }
}

/// The gradient of normalise_rows, and what flows past it: dx = past + the gradient.
/// @param stats   (2, count)  of normalise_rows
/// @param past    (count, cols)
/// @param dx      (count, cols)  written
/// @param dgamma  (cols)         added to; dbeta likewise
template <class T>
[[gnu::noinline]] void normalise_rows_backward(const T* x, const T* stats, const T* dn, int64_t count, int64_t cols,
                                               const T* gamma, const T* past, T* dx, T* dgamma, T* dbeta) {
  constexpr int64_t kLane = kLanes<T>;
  const T scale = T(1) / T(cols);
  for (int64_t first = 0; first < count; first += kLane) {
    const RowSquare<T> xs{x, cols, first, count}, gs{dn, cols, first, count};
    const int64_t rows = (std::min)(kLane, count - first);
    T means[kLane], roots[kLane];
    for (int64_t i = 0; i < kLane; ++i) {
      means[i] = stats[(std::min)(first + i, count - 1)];
      roots[i] = stats[count + (std::min)(first + i, count - 1)];
    }
    Vec<T> sum_h[kLane], sum_hx[kLane];
    CLEARSKY_UNROLL
    for (int64_t i = 0; i < kLane; ++i) {
      const T *xr = xs.row(i), *gr = gs.row(i);
      Vec<T> h_sum{}, hx_sum{};
      for (int64_t c = 0; c < cols; c += kLane) {
        const int64_t left = cols - c;
        const Vec<T> h = load_partial(gr + c, left) * load_partial(gamma + c, left);  // 0 behind the last column
        h_sum += h;
        hx_sum += h * ((load_partial(xr + c, left) - means[i]) * roots[i]);
      }
      sum_h[i] = h_sum;
      sum_hx[i] = hx_sum;
    }
    T mean_h[kLane], mean_hx[kLane];
    store(mean_h, lane_sums<T>(sum_h) * scale);
    store(mean_hx, lane_sums<T>(sum_hx) * scale);
    for (int64_t c = 0; c < cols; c += kLane) {
      const int64_t left = cols - c;
      Vec<T> to_gamma = load_partial(dgamma + c, left), to_beta = load_partial(dbeta + c, left);
      const Vec<T> factor = load_partial(gamma + c, left);
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t at = (first + i) * cols + c;
        const Vec<T> xhat = (load_partial(x + at, left) - means[i]) * roots[i], g = load_partial(dn + at, left);
        to_gamma += g * xhat;
        to_beta += g;
        store_partial(dx + at, load_partial(past + at, left) + (g * factor - mean_h[i] - xhat * mean_hx[i]) * roots[i],
                      left);
      }
      store_partial(dgamma + c, to_gamma, left);
      store_partial(dbeta + c, to_beta, left);
    }
  }
}

}  // namespace clearsky::cpu::detail

#pragma once
// Layer normalisation of the rows of a (rows, cols) matrix; a row is one pixel's channels.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/conv.hpp"
#include "clearsky/cpu/norm_rows.hpp"

namespace clearsky::cpu {

///     xhat = (x - mean) * rstd        rstd = 1 / sqrt(var + eps), var divides by cols
///     y    = gamma * xhat + beta
/// Source: Ba, Kiros, Hinton, "Layer Normalization", 2016, arXiv:1607.06450, eq. 4.
template <class T>
struct LayerNormForward {
  const T* x;      // (rows, cols)
  const T* gamma;  // (cols)
  const T* beta;   // (cols)
  T* y;            // (rows, cols)  written
  T* mean;         // (rows)        written, for backward; or null
  T* rstd;         // (rows)        written, for backward; or null
  int64_t rows, cols;
  T eps;
};

///     h = dy * gamma,   dx = rstd (h - mean(h) - xhat mean(h xhat))
///     dgamma = sum over rows of dy xhat,   dbeta = sum over rows of dy
template <class T>
struct LayerNormBackward {
  const T* x;      // (rows, cols)
  const T* gamma;  // (cols)
  const T* mean;   // (rows)
  const T* rstd;   // (rows)
  const T* dy;     // (rows, cols)
  T* dx;           // (rows, cols)  written; or null
  T* dgamma;       // (cols)        written; or null
  T* dbeta;        // (cols)        written; or null
  int64_t rows, cols;
};

namespace detail {

/// Slots of a sum over many short rows: enough for many threads, few enough to cost nothing.
inline int64_t row_slots(int64_t rows) {
  return (std::min)(int64_t(64), rows / 256 + 1);
}

}  // namespace detail

template <class T>
void layer_norm_forward(const LayerNormForward<T>& p) {
  const int64_t cols = p.cols;
  if (cols == 0) return;
  const int64_t squares = (std::max)(int64_t(1), 8192 / cols / kLanes<T>);  // of kLanes rows
  parallel_for(p.rows, squares * kLanes<T>, [&](int64_t begin, int64_t end) {
    const int64_t rows = end - begin;
    const bool kept = p.mean != nullptr;
    const Scratch<T> stats(kept ? 2 * rows : 1);
    detail::normalise_rows(p.x + begin * cols, rows, cols, p.gamma, p.beta, p.eps, p.y + begin * cols,
                           kept ? stats.data() : nullptr);
    if (!kept) return;
    std::copy_n(stats.data(), rows, p.mean + begin);
    std::copy_n(stats.data() + rows, rows, p.rstd + begin);
  });
}
CLEARSKY_COMPILE_ONCE(layer_norm_forward)

template <class T>
void layer_norm_backward(const LayerNormBackward<T>& p) {
  constexpr int64_t kLane = kLanes<T>;
  const int64_t cols = p.cols;
  if (cols == 0) return;
  const T scale = T(1) / T(cols);
  const bool parameters = p.dgamma != nullptr || p.dbeta != nullptr;
  const int64_t slots = detail::row_slots(p.rows);
  const Scratch<T> parts(parameters ? slots * 2 * cols : 1);
  parallel_for(slots, 1, [&](int64_t first_slot, int64_t last_slot) {
    for (int64_t slot = first_slot; slot < last_slot; ++slot) {
      T *dgamma = parts.data() + slot * 2 * cols, *dbeta = dgamma + cols;
      if (parameters) std::fill_n(dgamma, 2 * cols, T(0));
      for (int64_t r = p.rows * slot / slots; r < p.rows * (slot + 1) / slots; ++r) {
        const T *x = p.x + r * cols, *dy = p.dy + r * cols;
        const T mean = p.mean[r], rstd = p.rstd[r];
        Vec<T> sum_h{}, sum_hx{};
        for (int64_t c = 0; c < cols; c += kLane) {
          const int64_t left = cols - c;
          const Vec<T> g = load_partial(dy + c, left), xhat = (load_partial(x + c, left) - mean) * rstd;
          const Vec<T> h = g * load_partial(p.gamma + c, left);  // 0 behind the last column
          sum_h += h;
          sum_hx += h * xhat;
          if (parameters) {
            store_partial(dgamma + c, load_partial(dgamma + c, left) + g * xhat, left);
            store_partial(dbeta + c, load_partial(dbeta + c, left) + g, left);
          }
        }
        if (p.dx == nullptr) continue;
        const T mean_h = sum_lanes<T>(sum_h) * scale, mean_hx = sum_lanes<T>(sum_hx) * scale;
        for (int64_t c = 0; c < cols; c += kLane) {
          const int64_t left = cols - c;
          const Vec<T> xhat = (load_partial(x + c, left) - mean) * rstd;
          const Vec<T> h = load_partial(dy + c, left) * load_partial(p.gamma + c, left);
          store_partial(p.dx + r * cols + c, (h - mean_h - xhat * mean_hx) * rstd, left);
        }
      }
    }
  });
  if (!parameters) return;
  const Scratch<T> total(2 * cols);
  detail::add_slots(parts.data(), slots, 2 * cols, total.data());
  if (p.dgamma != nullptr) std::copy_n(total.data(), cols, p.dgamma);
  if (p.dbeta != nullptr) std::copy_n(total.data() + cols, cols, p.dbeta);
}
CLEARSKY_COMPILE_ONCE(layer_norm_backward)

}  // namespace clearsky::cpu

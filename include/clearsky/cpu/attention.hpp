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

inline constexpr int64_t kQueryBlock = 48, kKeyBlock = 128;

/// A copy of (rows, width) with a readable vector behind its end, and its transpose likewise.
template <class T>
struct AttentionOperand {
  int64_t rows, width;
  Scratch<T> plain, turned;

  AttentionOperand(int64_t row_count, int64_t head_width, bool with_transpose)
      : rows(row_count),
        width(head_width),
        plain(row_count * head_width + 2 * kLanes<T>),
        turned(with_transpose ? row_count * head_width + kKeyBlock + 2 * kLanes<T> : 1) {
    std::fill_n(plain.data() + rows * width, 2 * kLanes<T>, T(0));
    if (with_transpose) std::fill_n(turned.data() + rows * width, kKeyBlock + 2 * kLanes<T>, T(0));
  }
  void set(const T* x, bool with_transpose) const {
    std::copy_n(x, rows * width, plain.data());
    if (!with_transpose) return;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < width; ++c) turned[c * rows + r] = x[r * width + c];
  }
};

/// c (m, n) = a (m, width) times columns [first, first + n) of a transposed operand.
template <class T>
void attention_scores(const T* a, int64_t m, int64_t n, const AttentionOperand<T>& b, int64_t first, T* c) {
  const int64_t zero = 0;
  for (int64_t i = 0; i < m; ++i) std::fill_n(c + i * kKeyBlock, n, T(0));
  gemm_add_unpacked<T>({a, b.width, 1, &zero, 1, b.width}, m, n, b.turned.data() + first, b.rows, c, kKeyBlock);
}

/// Scales the scores of queries [q0, q0 + m) and keys [k0, k0 + n) and sets -infinity where a query may not look.
template <class T>
void scale_and_mask(T* s, const AttentionShape& shape, const AttentionMask& mask, int64_t image, int64_t head,
                    int64_t q0, int64_t m, int64_t k0, int64_t n) {
  constexpr T kNever = -std::numeric_limits<T>::infinity();
  for (int64_t i = 0; i < m; ++i) {
    T* row = s + i * kKeyBlock;
    for (int64_t j = 0; j < n; ++j) row[j] *= T(shape.scale);
    if (shape.causal) {
      const int64_t last = q0 + i + shape.keys - shape.queries;
      for (int64_t j = (std::max)(int64_t(0), last - k0 + 1); j < n; ++j) row[j] = kNever;
    }
    if (mask.allowed != nullptr) {
      const bool* allowed = mask.allowed + image * mask.strides[0] + head * mask.strides[1] +
                            (q0 + i) * mask.strides[2] + k0 * mask.strides[3];
      for (int64_t j = 0; j < n; ++j)
        if (!allowed[j * mask.strides[3]]) row[j] = kNever;
    }
  }
}

/// row = exp(row - shift), the sum of which is returned.
template <class T>
T exponentials(T* row, int64_t n, T shift) {
  constexpr int64_t kLane = kLanes<T>;
  Vec<T> total{};
  for (int64_t j = 0; j < n; j += kLane) {
    const int64_t left = n - j;
    const Vec<T> e = vec_exp<T>(load_partial(row + j, left) - shift);
    store_partial(row + j, e, left);
    total += load_partial(row + j, left);  // lanes behind the row count as 0
  }
  return sum_lanes<T>(total);
}

}  // namespace detail

template <class T>
void attention_forward(const AttentionForward<T>& p) {
  const AttentionShape& s = p.shape;
  constexpr T kNever = -std::numeric_limits<T>::infinity();
  constexpr int64_t kQ = detail::kQueryBlock, kK = detail::kKeyBlock;
  const int64_t blocks = (s.queries + kQ - 1) / kQ, zero = 0;
  if (s.batch * s.heads * s.queries * s.width == 0) return;
  parallel_for(s.batch * s.heads, 1, [&](int64_t begin, int64_t end) {
    const detail::AttentionOperand<T> k(s.keys, s.width, true), v(s.keys, s.width, false);
    const Scratch<T> scores(kQ * kK), top(kQ), total(kQ);
    for (int64_t h = begin; h < end; ++h) {
      k.set(p.k + h * s.keys * s.width, true);
      v.set(p.v + h * s.keys * s.width, false);
      for (int64_t b = 0; b < blocks; ++b) {
        const int64_t q0 = b * kQ, m = (std::min)(kQ, s.queries - q0);
        const T* q = p.q + (h * s.queries + q0) * s.width;
        T* y = p.y + (h * s.queries + q0) * s.width;
        std::fill_n(y, m * s.width, T(0));
        std::fill_n(top.data(), m, kNever);
        std::fill_n(total.data(), m, T(0));
        for (int64_t k0 = 0; k0 < s.keys; k0 += kK) {
          const int64_t n = (std::min)(kK, s.keys - k0);
          detail::attention_scores(q, m, n, k, k0, scores.data());
          detail::scale_and_mask(scores.data(), s, p.mask, h / s.heads, h % s.heads, q0, m, k0, n);
          for (int64_t i = 0; i < m; ++i) {
            T* row = scores.data() + i * kK;
            T high = top[i];
            for (int64_t j = 0; j < n; ++j) high = (row[j] > high || row[j] != row[j]) ? row[j] : high;
            // Nothing seen yet: a shift of -infinity would give inf - inf.
            const T shift = high == kNever ? T(0) : high;
            const T shrink = high == top[i] ? T(1) : std::exp(top[i] - shift);
            total[i] = total[i] * shrink + detail::exponentials(row, n, shift);
            if (shrink != T(1))
              for (int64_t c = 0; c < s.width; ++c) y[i * s.width + c] *= shrink;
            top[i] = high;
          }
          detail::gemm_add_unpacked<T>({scores.data(), kK, 1, &zero, 1, n}, m, s.width, v.plain.data() + k0 * s.width,
                                       s.width, y, s.width);
        }
        for (int64_t i = 0; i < m; ++i) {
          const bool blind = top[i] == kNever;
          const T inverse = blind ? T(0) : T(1) / total[i];
          for (int64_t c = 0; c < s.width; ++c) y[i * s.width + c] *= inverse;
          p.lse[h * s.queries + q0 + i] = blind ? kNever : top[i] + std::log(total[i]);
        }
      }
    }
  });
}

template <class T>
void attention_backward(const AttentionBackward<T>& p) {
  const AttentionShape& s = p.shape;
  constexpr int64_t kQ = detail::kQueryBlock, kK = detail::kKeyBlock;
  const int64_t blocks = (s.queries + kQ - 1) / kQ, zero = 0;
  if (s.batch * s.heads * s.width == 0) return;
  parallel_for(s.batch * s.heads, 1, [&](int64_t begin, int64_t end) {
    const detail::AttentionOperand<T> k(s.keys, s.width, true), v(s.keys, s.width, true);
    const detail::AttentionOperand<T> q(s.queries, s.width, false), dy(s.queries, s.width, false);
    const Scratch<T> probabilities(kQ * kK), ds(kQ * kK), dots(kQ);
    for (int64_t h = begin; h < end; ++h) {
      k.set(p.k + h * s.keys * s.width, true);
      v.set(p.v + h * s.keys * s.width, true);
      q.set(p.q + h * s.queries * s.width, false);
      dy.set(p.dy + h * s.queries * s.width, false);
      T *dq = p.dq + h * s.queries * s.width, *dk = p.dk + h * s.keys * s.width, *dv = p.dv + h * s.keys * s.width;
      std::fill_n(dq, s.queries * s.width, T(0));
      std::fill_n(dk, s.keys * s.width, T(0));
      std::fill_n(dv, s.keys * s.width, T(0));
      for (int64_t b = 0; b < blocks; ++b) {
        const int64_t q0 = b * kQ, m = (std::min)(kQ, s.queries - q0);
        const T *y = p.y + (h * s.queries + q0) * s.width, *g = dy.plain.data() + q0 * s.width;
        const T* lse = p.lse + h * s.queries + q0;
        for (int64_t i = 0; i < m; ++i) {
          T dot = 0;
          for (int64_t c = 0; c < s.width; ++c) dot += g[i * s.width + c] * y[i * s.width + c];
          dots[i] = dot;
        }
        for (int64_t k0 = 0; k0 < s.keys; k0 += kK) {
          const int64_t n = (std::min)(kK, s.keys - k0);
          detail::attention_scores(q.plain.data() + q0 * s.width, m, n, k, k0, probabilities.data());
          detail::scale_and_mask(probabilities.data(), s, p.mask, h / s.heads, h % s.heads, q0, m, k0, n);
          detail::attention_scores(g, m, n, v, k0, ds.data());
          for (int64_t i = 0; i < m; ++i) {
            T *row = probabilities.data() + i * kK, *d = ds.data() + i * kK;
            if (lse[i] == -std::numeric_limits<T>::infinity()) std::fill_n(row, n, T(0));
            else detail::exponentials(row, n, lse[i]);
            for (int64_t j = 0; j < n; ++j) d[j] = row[j] * (d[j] - dots[i]) * T(s.scale);
          }
          detail::gemm_add_unpacked<T>({ds.data(), kK, 1, &zero, 1, n}, m, s.width, k.plain.data() + k0 * s.width,
                                       s.width, dq + q0 * s.width, s.width);
          // dk (n, width) += dS^T q, dv += P^T dy: rows of the scores are now the long dimension.
          detail::gemm_add_unpacked<T>({ds.data(), 1, kK, &zero, 1, m}, n, s.width, q.plain.data() + q0 * s.width,
                                       s.width, dk + k0 * s.width, s.width);
          detail::gemm_add_unpacked<T>({probabilities.data(), 1, kK, &zero, 1, m}, n, s.width, g, s.width,
                                       dv + k0 * s.width, s.width);
        }
      }
    }
  });
}

}  // namespace clearsky::cpu

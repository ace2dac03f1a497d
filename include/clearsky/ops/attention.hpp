#pragma once
// Attention between positions: over a whole sequence, and within the windows of an image.

#include <cmath>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/attention.hpp"
#include "clearsky/cpu/window_attention.hpp"
#include "clearsky/ops/channel_attention.hpp"
#include "clearsky/ops/view.hpp"

namespace clearsky {

template <class T>
struct AttentionOptions {
  Tensor<bool> mask = {};  ///< true where a query may look; broadcasts to (B, heads, L_q, L_k)
  bool causal = false;     ///< query i sees keys 0 .. i + L_k - L_q
  double scale = 0;        ///< factor on q k^T; 0 stands for 1 / sqrt(D)
};

namespace detail {

template <class T>
inline Kernel<cpu::AttentionForward<T>> attention_forward{"attention_forward", cpu::attention_forward<T>};
template <class T>
inline Kernel<cpu::AttentionBackward<T>> attention_backward{"attention_backward", cpu::attention_backward<T>};

template <class T>
struct AttentionOp {
  static constexpr const char* kName = "scaled_dot_product_attention";
  static constexpr bool kTwiceDifferentiable = false;
  cpu::AttentionShape shape;
  Tensor<bool> mask;  // (batch, heads, queries, keys) with strides of 0 where broadcast; or undefined

  cpu::AttentionMask mask_view() const {
    if (!mask.defined()) return {nullptr, {}};
    return {mask.data(), {mask.stride(0), mask.stride(1), mask.stride(2), mask.stride(3)}};
  }
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& query, const Tensor<T>& key, const Tensor<T>& value) const {
    const Tensor<T> q = contiguous(query), k = contiguous(key), v = contiguous(value);
    Tensor<T> y(q.shape(), q.device()), lse({shape.batch, shape.heads, shape.queries}, q.device());
    attention_forward<T>(q.device(),
                         {q.data(), k.data(), v.data(), y.mutable_data(), lse.mutable_data(), mask_view(), shape});
    for (const Tensor<T>& t : {q, k, v, lse}) saved.keep(t);
    saved.keep_output(y);
    return y;
  }
  Grads<T, 3> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const Tensor<T> q = saved[0], k = saved[1], v = saved[2], lse = saved[3], y = saved[4], dy = contiguous(g);
    Tensor<T> dq(q.shape(), q.device()), dk(k.shape(), q.device()), dv(k.shape(), q.device());
    attention_backward<T>(q.device(), {q.data(), k.data(), v.data(), y.data(), lse.data(), dy.data(), dq.mutable_data(),
                                       dk.mutable_data(), dv.mutable_data(), mask_view(), shape});
    return {dq, dk, dv};
  }
};

template <class T>
inline Kernel<cpu::WindowAttentionForward<T>> window_attention_forward{"window_attention_forward",
                                                                       cpu::window_attention_forward<T>};
template <class T>
inline Kernel<cpu::WindowAttentionBackward<T>> window_attention_backward{"window_attention_backward",
                                                                         cpu::window_attention_backward<T>};

template <class T>
struct WindowAttentionOp {
  static constexpr const char* kName = "window_attention";
  static constexpr bool kTwiceDifferentiable = false;
  cpu::WindowShape shape;

  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& query, const Tensor<T>& key, const Tensor<T>& value) const {
    const Tensor<T> q = contiguous(query), k = contiguous(key), v = contiguous(value);
    const cpu::AttentionShape s = shape.sequences();
    Tensor<T> y(q.shape(), q.device()), lse({s.batch, s.heads, s.queries}, q.device());
    window_attention_forward<T>(q.device(),
                                {q.data(), k.data(), v.data(), y.mutable_data(), lse.mutable_data(), shape});
    for (const Tensor<T>& t : {q, k, v, lse}) saved.keep(t);
    saved.keep_output(y);
    return y;
  }
  Grads<T, 3> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const Tensor<T> q = saved[0], k = saved[1], v = saved[2], lse = saved[3], y = saved[4], dy = contiguous(g);
    Tensor<T> dq(q.shape(), q.device()), dk(q.shape(), q.device()), dv(q.shape(), q.device());
    window_attention_backward<T>(q.device(), {q.data(), k.data(), v.data(), y.data(), lse.data(), dy.data(),
                                              dq.mutable_data(), dk.mutable_data(), dv.mutable_data(), shape});
    return {dq, dk, dv};
  }
};

}  // namespace detail

/// Scaled dot-product attention; the L_q x L_k matrix is never stored.
///
///     y_i = sum_j softmax_j(scale q_i k_j) v_j
///
/// A query whose mask is false everywhere gives 0 (and no gradient), not NaN.
///
/// @param q     (B, heads, L_q, D)
/// @param k, v  (B, heads, L_k, D)
/// @return      (B, heads, L_q, D)
/// @throws      ShapeError when the shapes do not fit
/// @source      Vaswani et al., "Attention Is All You Need", NeurIPS 2017, eq. 1
template <class T>
Tensor<T> scaled_dot_product_attention(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v,
                                       const AttentionOptions<T>& options = {}) {
  CLEARSKY_CHECK(ShapeError,
                 q.rank() == 4 && k.rank() == 4 && v.shape() == k.shape() && q.size(0) == k.size(0) &&
                     q.size(1) == k.size(1) && q.size(3) == k.size(3),
                 "scaled_dot_product_attention: q ", q.shape(), ", k ", k.shape(), ", v ", v.shape(),
                 " do not fit; they must be (B, heads, L, D), with k and v alike");
  const Shape full{q.size(0), q.size(1), q.size(2), k.size(2)};
  const double scale = options.scale != 0 ? options.scale : 1 / std::sqrt(double(q.size(3)));
  const Tensor<bool> mask = options.mask.defined() ? expand(options.mask, full) : Tensor<bool>();
  return apply(detail::AttentionOp<T>{{full[0], full[1], full[2], full[3], q.size(3), scale, options.causal}, mask}, q,
               k, v);
}

/// Attention within the windows of an image: each window x window tile is a sequence of its own.
///
/// @param q, k, v  (N, H, W, C); the channels split into heads side by side
/// @param window   divides H and W
/// @return         (N, H, W, C)
/// @throws         ShapeError when the shapes differ, or heads or window do not divide them
/// @source         Liu et al., "Swin Transformer", ICCV 2021, arXiv:2103.14030, sec. 3.2
template <class T>
Tensor<T> window_attention(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v, int64_t heads, int64_t window) {
  CLEARSKY_CHECK(ShapeError, q.rank() == 4 && k.shape() == q.shape() && v.shape() == q.shape(), "window_attention: q ",
                 q.shape(), ", k ", k.shape(), " and v ", v.shape(), " must all be one (N, H, W, C)");
  const int64_t n = q.size(0), h = q.size(1), w = q.size(2), c = q.size(3);
  CLEARSKY_CHECK(ShapeError, window >= 1 && h % window == 0 && w % window == 0, "window_attention: height ", h,
                 " and width ", w, " must be multiples of the window ", window, "; pad the image");
  CLEARSKY_CHECK(ShapeError, heads >= 1 && c % heads == 0, "window_attention: ", c, " channels do not divide into ",
                 heads, " heads");
  const cpu::WindowShape shape{n, h, w, c, heads, window, 1 / std::sqrt(double(c / heads))};
  return apply(detail::WindowAttentionOp<T>{shape}, q, k, v);
}

CLEARSKY_COMPILE_ONCE(window_attention)
CLEARSKY_COMPILE_ONCE(scaled_dot_product_attention)

}  // namespace clearsky

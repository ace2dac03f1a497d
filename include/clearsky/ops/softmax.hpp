#pragma once

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/softmax.hpp"
#include "clearsky/ops/reduce.hpp"

namespace clearsky {
namespace detail {

template <class T>
inline Kernel<cpu::Softmax<T>> softmax_kernel{"softmax", cpu::softmax<T>};

template <class T>
Tensor<T> softmax_forward(const Tensor<T>& x, int64_t dim, bool logarithm) {
  const Tensor<T> dense = contiguous(x);
  const Around a(x.shape(), dim);
  Tensor<T> y(x.shape(), x.device());
  softmax_kernel<T>(x.device(), {dense.data(), y.mutable_data(), a.outer, a.n, a.inner, logarithm});
  return y;
}

template <class T>
inline Kernel<cpu::SoftmaxBackward<T>> softmax_backward_kernel{"softmax_backward", cpu::softmax_backward<T>};

/// One pass; undefined where the gradient will itself be differentiated, or the device has no kernel for it.
template <class T>
Tensor<T> softmax_backward(const Tensor<T>& y, const Tensor<T>& g, int64_t dim, bool logarithm) {
  if (grad_enabled() || !softmax_backward_kernel<T>.exists_on(y.device())) return {};
  const Tensor<T> dy = contiguous(g);
  const Around a(y.shape(), dim);
  Tensor<T> dx(y.shape(), y.device());
  softmax_backward_kernel<T>(y.device(), {y.data(), dy.data(), dx.mutable_data(), a.outer, a.n, a.inner, logarithm});
  return dx;
}

template <class T>
struct SoftmaxOp {
  static constexpr const char* kName = "softmax";
  int64_t dim;
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x) const {
    const Tensor<T> y = softmax_forward(x, dim, false);
    saved.keep_output(y);  // backward needs y only; x can be freed
    return y;
  }
  /// dx_i = y_i (g_i - sum_j g_j y_j)
  Grads<T, 1> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const Tensor<T> y = saved[0], dx = softmax_backward(y, g, dim, false);
    if (dx.defined()) return {dx};
    return {y * (g - sum(g * y, {dim}, KeepDim::yes))};
  }
};

template <class T>
struct LogSoftmaxOp {
  static constexpr const char* kName = "log_softmax";
  int64_t dim;
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x) const {
    const Tensor<T> y = softmax_forward(x, dim, true);
    saved.keep_output(y);
    return y;
  }
  /// dx_i = g_i - e^(y_i) sum_j g_j
  Grads<T, 1> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const Tensor<T> y = saved[0], dx = softmax_backward(y, g, dim, true);
    if (dx.defined()) return {dx};
    return {g - exp(y) * sum(g, {dim}, KeepDim::yes)};
  }
};

}  // namespace detail

/// Softmax along one dimension.
///
///     y_i = exp(x_i - m) / sum_j exp(x_j - m)        m = max_j x_j
///
/// Subtracting m changes nothing in exact arithmetic and keeps exp() from overflowing.
///
/// @param x    (..., n, ...)
/// @param dim  the dimension of size n; negative counts from the back
/// @return     the shape of x; every slice along dim sums to 1
/// @throws     ShapeError when x is a scalar, or dim is outside [-rank, rank)
/// @source     Goodfellow, Bengio, Courville, "Deep Learning", 2016, eq. 4.1
template <class T>
Tensor<T> softmax(const Tensor<T>& x, int64_t dim) {
  return apply(detail::SoftmaxOp<T>{detail::normal_dim("softmax", dim, x.shape())}, x);
}

/// The logarithm of softmax(x, dim), without its underflow:  y_i = x_i - m - log sum_j exp(x_j - m).
/// @throws ShapeError when x is a scalar, or dim is outside [-rank, rank)
template <class T>
Tensor<T> log_softmax(const Tensor<T>& x, int64_t dim) {
  return apply(detail::LogSoftmaxOp<T>{detail::normal_dim("log_softmax", dim, x.shape())}, x);
}

CLEARSKY_COMPILE_ONCE(softmax)
CLEARSKY_COMPILE_ONCE(log_softmax)

}  // namespace clearsky

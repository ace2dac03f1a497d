#pragma once
// Matrix products of any batch, and the linear layer.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/gemm.hpp"
#include "clearsky/ops/conv2d.hpp"
#include "clearsky/ops/reduce.hpp"

namespace clearsky {

template <class T>
Tensor<T> matmul(const Tensor<T>& a, const Tensor<T>& b);

namespace detail {

template <class T>
inline Kernel<cpu::Gemm<T>> gemm_kernel{"gemm", cpu::gemm<T>};

/// Both of rank 3 with the same batch: (B, m, k) x (B, k, n). Operands are read through their strides, so a transposed
/// view costs no copy.
template <class T>
struct MatmulOp {
  static constexpr const char* kName = "matmul";
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& a, const Tensor<T>& b) const {
    saved.keep(saved.needs(1) ? a : Tensor<T>());
    saved.keep(saved.needs(0) ? b : Tensor<T>());
    Tensor<T> c({a.size(0), a.size(1), b.size(2)}, a.device());
    gemm_kernel<T>(a.device(),
                   {a.data(), b.data(), nullptr, c.mutable_data(), a.size(0), a.size(1), b.size(2), a.size(2),
                    a.stride(0), a.stride(1), a.stride(2), b.stride(0), b.stride(1), b.stride(2)});
    return c;
  }
  /// da = g b^T, db = a^T g
  Grads<T, 2> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    return {saved.needs(0) ? apply(MatmulOp{}, g, transpose(saved[1], 1, 2)) : Tensor<T>(),
            saved.needs(1) ? apply(MatmulOp{}, transpose(saved[0], 1, 2), g) : Tensor<T>()};
  }
};

}  // namespace detail

/// The matrix product over the last two dimensions; dimensions before them are a batch and broadcast.
///
///     c(..., i, j) = sum_k a(..., i, k) b(..., k, j)
///
/// A vector stands for one row on the left and one column on the right; that dimension is dropped from the result.
///
/// @param a  (..., m, k) or (k)
/// @param b  (..., k, n) or (k)
/// @throws   ShapeError when the inner sizes differ or the batches do not broadcast
template <class T>
Tensor<T> matmul(const Tensor<T>& a, const Tensor<T>& b) {
  CLEARSKY_CHECK(ShapeError, a.rank() >= 1 && b.rank() >= 1, "matmul: needs at least 1 dimension each, got ", a.shape(),
                 " and ", b.shape());
  if (a.rank() == 1) return squeeze(matmul(unsqueeze(a, 0), b), b.rank() == 1 ? 0 : -2);
  if (b.rank() == 1) return squeeze(matmul(a, unsqueeze(b, 1)), -1);
  CLEARSKY_CHECK(ShapeError, a.size(-1) == b.size(-2), "matmul: ", a.shape(), " x ", b.shape(), ": inner sizes ",
                 a.size(-1), " and ", b.size(-2), " differ; transpose one");
  const auto batch_of = [](const Tensor<T>& t) {
    return Shape(std::span<const int64_t>(t.shape().begin(), t.shape().size() - 2));
  };
  const Shape batch = detail::broadcast_shape("matmul", batch_of(a), batch_of(b));
  const auto as_batch = [&](const Tensor<T>& t) {
    if (t.rank() == 3 && t.size(0) == batch.numel()) return t;
    Shape shape = batch;
    shape.push_back(t.size(-2));
    shape.push_back(t.size(-1));
    return reshape(expand(t, shape), {batch.numel(), t.size(-2), t.size(-1)});
  };
  Shape result = batch;
  result.push_back(a.size(-2));
  result.push_back(b.size(-1));
  // One matrix on the right for all rows on the left: a single product of many rows.
  if (b.rank() == 2 && a.rank() > 2) {
    const Tensor<T> rows = reshape(a, {a.numel() / (std::max)(a.size(-1), int64_t(1)), a.size(-1)});
    if (a.size(-1) > 0) return reshape(apply(detail::MatmulOp<T>{}, unsqueeze(rows, 0), unsqueeze(b, 0)), result);
  }
  const auto with_batch = [&](const Tensor<T>& t) {
    return t.rank() == 2 && batch.empty() ? unsqueeze(t, 0) : as_batch(t);
  };
  return reshape(apply(detail::MatmulOp<T>{}, with_batch(a), with_batch(b)), result);
}

/// y = x W^T + bias over the last dimension.
///
/// @param x       (..., in)
/// @param weight  (out, in)
/// @param bias    (out), or undefined
/// @return        (..., out)
/// @throws        ShapeError when the sizes do not fit
template <class T>
Tensor<T> linear(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias = {}) {
  CLEARSKY_CHECK(ShapeError, x.rank() >= 1 && weight.rank() == 2 && x.size(-1) == weight.size(1), "linear: input ",
                 x.shape(), " does not fit weight ", weight.shape(),
                 "; the weight is (out, in) and the input (..., in)");
  CLEARSKY_CHECK(ShapeError, !bias.defined() || bias.shape() == Shape{weight.size(0)}, "linear: bias ", bias.shape(),
                 " for weight ", weight.shape(), "; it must be (", weight.size(0), ")");
  // A 1x1 convolution of images of one pixel: bias fused, and the weight gradient split over the rows.
  const int64_t in = weight.size(1), out = weight.size(0);
  Shape shape = x.shape();
  shape[shape.size() - 1] = 1;
  const int64_t rows = shape.numel();
  shape[shape.size() - 1] = out;
  const Tensor<T> y = conv2d(reshape(x, {rows, 1, 1, in}), reshape(weight, {out, 1, 1, in}), bias);
  return reshape(y, shape);
}

CLEARSKY_COMPILE_ONCE(matmul)

}  // namespace clearsky

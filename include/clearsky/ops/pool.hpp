#pragma once
// Pooling: the maximum or the mean over windows of an image, or over all of it.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/pool.hpp"
#include "clearsky/ops/reduce.hpp"

namespace clearsky {

namespace detail {

template <class T>
inline Kernel<cpu::MaxPool<T>> max_pool_kernel{"max_pool", cpu::max_pool<T>};
template <class T>
inline Kernel<cpu::MaxPoolRoute<T>> max_pool_scatter_kernel{"max_pool_scatter", cpu::max_pool_scatter<T>};
template <class T>
inline Kernel<cpu::MaxPoolRoute<T>> max_pool_take_kernel{"max_pool_take", cpu::max_pool_take<T>};
template <class T>
inline Kernel<cpu::AvgPool<T>> avg_pool_kernel{"avg_pool", cpu::avg_pool<T>};
template <class T>
inline Kernel<cpu::AvgPool<T>> avg_pool_transpose_kernel{"avg_pool_transpose", cpu::avg_pool_transpose<T>};

/// Checks the options and counts the windows:
///     H_out = floor((H + 2 padding - window) / stride) + 1, same for W
inline cpu::PoolSizes pool_sizes(const char* op, const Shape& x, int64_t window, int64_t stride, int64_t padding) {
  if (stride == 0) stride = window;
  CLEARSKY_CHECK(ShapeError, x.rank() == 4, op, ": input must be (N, H, W, C), got ", x);
  CLEARSKY_CHECK(ValueError, window >= 1 && stride >= 1, op, ": window ", window, " and stride ", stride,
                 "; use at least 1");
  CLEARSKY_CHECK(ValueError, 0 <= padding && padding <= window / 2, op, ": padding ", padding, " for a window of ",
                 window, "; use 0 to half of it, ", window / 2);
  cpu::PoolSizes s{x[0], x[1], x[2], x[3], 0, 0, window, stride, padding};
  for (size_t d : {size_t(1), size_t(2)})
    CLEARSKY_CHECK(ShapeError, window <= x[d] + 2 * padding, op, ": a window of ", window, " does not fit ",
                   d == 1 ? "height " : "width ", x[d], " with padding ", padding, "; input ", x);
  s.out_height = (s.height + 2 * padding - window) / stride + 1;
  s.out_width = (s.width + 2 * padding - window) / stride + 1;
  return s;
}
inline Shape pooled_shape(const cpu::PoolSizes& s) {
  return {s.batch, s.out_height, s.out_width, s.channels};
}
inline Shape image_shape(const cpu::PoolSizes& s) {
  return {s.batch, s.height, s.width, s.channels};
}

template <class T>
struct MaxPoolTakeOp;

/// The gradient of the maximum: each window's goes to the pixel that won it.
template <class T>
struct MaxPoolScatterOp {
  static constexpr const char* kName = "max_pool2d_backward";
  cpu::PoolSizes s;
  Tensor<int64_t> index;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& g) const {
    const Tensor<T> dense = contiguous(g);
    Tensor<T> y(image_shape(s), g.device());
    max_pool_scatter_kernel<T>(g.device(), {dense.data(), index.data(), y.mutable_data(), s});
    return y;
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {apply(MaxPoolTakeOp<T>{s, index}, g)}; }
};

template <class T>
struct MaxPoolTakeOp {
  static constexpr const char* kName = "max_pool2d_take";
  cpu::PoolSizes s;
  Tensor<int64_t> index;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& x) const {
    const Tensor<T> dense = contiguous(x);
    Tensor<T> y(pooled_shape(s), x.device());
    max_pool_take_kernel<T>(x.device(), {dense.data(), index.data(), y.mutable_data(), s});
    return y;
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {apply(MaxPoolScatterOp<T>{s, index}, g)}; }
};

template <class T>
struct MaxPoolOp {
  static constexpr const char* kName = "max_pool2d";
  cpu::PoolSizes s;
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x) const {
    const Tensor<T> dense = contiguous(x);
    Tensor<T> y(pooled_shape(s), x.device());
    Tensor<int64_t> index(y.shape(), x.device());
    max_pool_kernel<T>(x.device(), {dense.data(), y.mutable_data(), index.mutable_data(), s});
    saved.index = index;
    return y;
  }
  Grads<T, 1> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    return {apply(MaxPoolScatterOp<T>{s, saved.index}, g)};
  }
};

template <class T>
struct AvgPoolTransposeOp;

template <class T>
struct AvgPoolOp {
  static constexpr const char* kName = "avg_pool2d";
  cpu::PoolSizes s;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& x) const {
    const Tensor<T> dense = contiguous(x);
    Tensor<T> y(pooled_shape(s), x.device());
    avg_pool_kernel<T>(x.device(), {dense.data(), y.mutable_data(), s});
    return y;
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {apply(AvgPoolTransposeOp<T>{s}, g)}; }
};

template <class T>
struct AvgPoolTransposeOp {
  static constexpr const char* kName = "avg_pool2d_backward";
  cpu::PoolSizes s;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& g) const {
    const Tensor<T> dense = contiguous(g);
    Tensor<T> y(image_shape(s), g.device());
    avg_pool_transpose_kernel<T>(g.device(), {dense.data(), y.mutable_data(), s});
    return y;
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {apply(AvgPoolOp<T>{s}, g)}; }
};

}  // namespace detail

// Windows of window x window pixels:
//
//     H_out = floor((H + 2 padding - window) / stride) + 1, same for W
//
// @param x        (N, H, W, C)
// @param window   pixels, at least 1
// @param stride   pixels between two windows; 0 means `window`
// @param padding  pixels around the image, at most half a window
// @return         (N, H_out, W_out, C)
// @throws         ShapeError when x has another rank or no window fits; ValueError for options out of range

/// The maximum over each window. Padding never wins; of equal values the first, row by row, gets the gradient; a NaN
/// wins over every number.
template <class T>
Tensor<T> max_pool2d(const Tensor<T>& x, int64_t window, int64_t stride = 0, int64_t padding = 0) {
  return apply(detail::MaxPoolOp<T>{detail::pool_sizes("max_pool2d", x.shape(), window, stride, padding)}, x);
}

/// The mean over each window. Padding counts as zeros: the sum is always divided by window^2.
template <class T>
Tensor<T> avg_pool2d(const Tensor<T>& x, int64_t window, int64_t stride = 0, int64_t padding = 0) {
  return apply(detail::AvgPoolOp<T>{detail::pool_sizes("avg_pool2d", x.shape(), window, stride, padding)}, x);
}

/// The mean over all pixels of each image: (N, H, W, C) -> (N, 1, 1, C); NaN for images without pixels.
template <class T>
Tensor<T> global_avg_pool(const Tensor<T>& x) {
  CLEARSKY_CHECK(ShapeError, x.rank() == 4, "global_avg_pool: input must be (N, H, W, C), got ", x.shape());
  return mean(x, {1, 2}, KeepDim::yes);
}

CLEARSKY_COMPILE_ONCE(max_pool2d)
CLEARSKY_COMPILE_ONCE(avg_pool2d)
CLEARSKY_COMPILE_ONCE(global_avg_pool)

}  // namespace clearsky

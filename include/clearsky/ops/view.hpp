#pragma once
// Views: other shapes and orders of the same elements, without a copy; and the two that do copy, contiguous and cast.

#include <initializer_list>

#include "clearsky/autograd/engine.hpp"
#include "clearsky/autograd/op.hpp"
#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/copy.hpp"

namespace clearsky {

template <class T>
Tensor<T> contiguous(const Tensor<T>& x);
template <class T>
Tensor<T> expand(const Tensor<T>& x, const Shape& shape);
template <class T>
Tensor<T> reshape(const Tensor<T>& x, const Shape& shape);

namespace detail {

template <class From, class To>
inline Kernel<cpu::Copy<From, To>> copy_kernel{"copy", cpu::copy<From, To>};

/// A dense copy of x, as To.
template <class To, class From>
Tensor<To> dense_copy(const Tensor<From>& x) {
  Tensor<To> y(x.shape(), x.device());
  copy_kernel<From, To>(x.device(), {x.data(), x.strides(), y.mutable_data(), y.strides(), x.shape()});
  return y;
}

/// In clearsky/ops/reduce.hpp: the sum over the dimensions that broadcasting had added or stretched.
template <class T>
Tensor<T> sum_to(const Tensor<T>& x, const Shape& shape);

template <class T>
struct ContiguousOp {
  static constexpr const char* kName = "contiguous";
  Tensor<T> forward(Saved<T>&, const Tensor<T>& x) const { return dense_copy<T>(x); }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {g}; }
};

template <class T>
struct ReshapeOp {
  static constexpr const char* kName = "reshape";
  Shape shape, input_shape;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& x) const { return x.view_as(shape, dense_strides(shape), x.offset()); }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {reshape(g, input_shape)}; }
};

/// The same elements in the same order, with dimensions of size 1 put in or taken out.
template <class T>
struct RestrideOp {
  static constexpr const char* kName = "squeeze";
  Shape shape, strides, input_shape;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& x) const { return x.view_as(shape, strides, x.offset()); }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {reshape(g, input_shape)}; }
};

template <class T>
struct PermuteOp {
  static constexpr const char* kName = "permute";
  Shape order;  // output dimension d is input dimension order[d]
  Tensor<T> forward(Saved<T>&, const Tensor<T>& x) const {
    Shape shape = order, strides = order;
    for (size_t d = 0; d < order.size(); ++d) {
      shape[d] = x.shape()[size_t(order[d])];
      strides[d] = x.strides()[size_t(order[d])];
    }
    return x.view_as(shape, strides, x.offset());
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const {
    Shape inverse = order;
    for (size_t d = 0; d < order.size(); ++d) inverse[size_t(order[d])] = int64_t(d);
    return {apply(PermuteOp{inverse}, g)};
  }
};

template <class T>
struct SliceOp;

/// The transpose of a slice: zeros of the whole shape with x in place of the slice.
template <class T>
struct EmbedOp {
  static constexpr const char* kName = "slice_backward";
  int64_t dim, begin, end, step;
  Shape whole;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& x) const;
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const;
};

template <class T>
struct SliceOp {
  static constexpr const char* kName = "slice";
  int64_t dim, begin, end, step;
  Shape whole;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& x) const {
    Shape shape = x.shape(), strides = x.strides();
    shape[size_t(dim)] = (end - begin + step - 1) / step;
    strides[size_t(dim)] *= step;
    return x.view_as(shape, strides, x.offset() + begin * x.strides()[size_t(dim)]);
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const {
    return {apply(EmbedOp<T>{dim, begin, end, step, whole}, g)};
  }
};

template <class T>
Tensor<T> EmbedOp<T>::forward(Saved<T>&, const Tensor<T>& x) const {
  Tensor<T> y(whole, x.device());
  const Tensor<T> zero = full<T>({}, T(0), x.device());
  copy_kernel<T, T>(x.device(), {zero.data(), Shape::filled(whole.rank(), 0), y.mutable_data(), y.strides(), whole});
  Shape strides = y.strides();
  strides[size_t(dim)] *= step;
  copy_kernel<T, T>(x.device(),
                    {x.data(), x.strides(), y.mutable_data() + begin * y.strides()[size_t(dim)], strides, x.shape()});
  return y;
}

template <class T>
Grads<T, 1> EmbedOp<T>::backward(const Saved<T>&, const Tensor<T>& g) const {
  return {apply(SliceOp<T>{dim, begin, end, step, whole}, g)};
}

template <class T>
struct ExpandOp {
  static constexpr const char* kName = "expand";
  Shape shape, input_shape;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& x) const {
    Shape strides = Shape::filled(shape.rank(), 0);
    for (int64_t d = 1; d <= x.rank(); ++d) {
      const int64_t n = x.shape()[size_t(x.rank() - d)];
      if (n != 1) strides[size_t(shape.rank() - d)] = x.strides()[size_t(x.rank() - d)];
    }
    return x.view_as(shape, strides, x.offset());
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {sum_to(g, input_shape)}; }
};

/// The same values on another device.
template <class T>
struct ToDeviceOp {
  static constexpr const char* kName = "to";
  Device from, to;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& x) const { return copy_on(x, to); }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {apply(ToDeviceOp{to, from}, g)}; }
};

template <class From, class To>
struct CastOp {
  static constexpr const char* kName = "cast";
  Tensor<To> forward(Saved<From>&, const Tensor<From>& x) const { return dense_copy<To>(x); }
  Grads<From, 1> backward(const Saved<From>&, const Tensor<To>& g) const { return {apply(CastOp<To, From>{}, g)}; }
};

/// apply() for types that have gradients, a plain forward for the others.
template <class Op, class T>
auto apply_view(const Op& op, const Tensor<T>& x) {
  if constexpr (kDifferentiable<T>) {
    return apply(op, x);
  } else {
    Saved<T> saved;
    return op.forward(saved, x);
  }
}

}  // namespace detail

/// x itself when its elements lie in row-major order side by side, else a copy for which they do.
template <class T>
Tensor<T> contiguous(const Tensor<T>& x) {
  if (!x.defined() || x.is_contiguous()) return x;
  return detail::apply_view(detail::ContiguousOp<T>{}, x);
}

/// The elements in row-major order under another shape. A view where x is contiguous, else of a copy.
/// @param shape  one size may be -1: what is left over
/// @throws ShapeError when the numbers of elements differ
template <class T>
Tensor<T> reshape(const Tensor<T>& x, const Shape& shape) {
  Shape full_shape = shape;
  int64_t known = 1;
  size_t open = shape.size();
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] == -1) {
      CLEARSKY_CHECK(ShapeError, open == shape.size(), "reshape: more than one -1 in ", shape);
      open = d;
    } else {
      known *= shape[d];
    }
  }
  if (open < shape.size()) {
    CLEARSKY_CHECK(ShapeError, known > 0 && x.numel() % known == 0, "reshape: ", x.numel(), " elements of shape ",
                   x.shape(), " do not fit ", shape);
    full_shape[open] = x.numel() / known;
  }
  CLEARSKY_CHECK(ShapeError, full_shape.numel() == x.numel(), "reshape: shape ", x.shape(), " has ", x.numel(),
                 " elements but ", shape, " has ", full_shape.numel());
  if (full_shape == x.shape()) return x;
  const Tensor<T> dense = contiguous(x);
  return detail::apply_view(detail::ReshapeOp<T>{full_shape, x.shape()}, dense);
}

/// All elements as one vector.
template <class T>
Tensor<T> flatten(const Tensor<T>& x) {
  return reshape(x, {x.numel()});
}

/// A view whose dimension d is dimension order[d] of x.
/// @throws ShapeError when `order` does not name each dimension once
template <class T>
Tensor<T> permute(const Tensor<T>& x, const Shape& order) {
  CLEARSKY_CHECK(ShapeError, order.rank() == x.rank(), "permute: order ", order, " for shape ", x.shape());
  Shape normal = order;
  bool seen[kMaxRank] = {};
  for (auto& d : normal) {
    d = detail::normal_dim("permute", d, x.shape());
    CLEARSKY_CHECK(ShapeError, !seen[d], "permute: order ", order, " names dim ", d, " twice");
    seen[d] = true;
  }
  return detail::apply_view(detail::PermuteOp<T>{normal}, x);
}

/// A view with two dimensions swapped.
template <class T>
Tensor<T> transpose(const Tensor<T>& x, int64_t a, int64_t b) {
  Shape order = x.shape();
  for (size_t d = 0; d < order.size(); ++d) order[d] = int64_t(d);
  std::swap(order[size_t(detail::normal_dim("transpose", a, x.shape()))],
            order[size_t(detail::normal_dim("transpose", b, x.shape()))]);
  return detail::apply_view(detail::PermuteOp<T>{order}, x);
}

/// The view x[..., begin:end:step, ...] along `dim`.
/// @param begin, end  negative counts from the back
/// @param step        at least 1
template <class T>
Tensor<T> slice(const Tensor<T>& x, int64_t dim, int64_t begin, int64_t end, int64_t step = 1) {
  dim = detail::normal_dim("slice", dim, x.shape());
  const int64_t n = x.shape()[size_t(dim)];
  const int64_t first = begin < 0 ? begin + n : begin, last = end < 0 ? end + n : end;
  CLEARSKY_CHECK(ShapeError, 0 <= first && first <= last && last <= n, "slice: ", begin, " to ", end, " along dim ",
                 dim, " of shape ", x.shape(), "; use 0 <= begin <= end <= ", n);
  CLEARSKY_CHECK(ValueError, step >= 1, "slice: step ", step, "; use at least 1");
  if (first == 0 && last == n && step == 1) return x;
  return detail::apply_view(detail::SliceOp<T>{dim, first, last, step, x.shape()}, x);
}

/// x with a dimension of size 1 taken out.
template <class T>
Tensor<T> squeeze(const Tensor<T>& x, int64_t dim) {
  dim = detail::normal_dim("squeeze", dim, x.shape());
  CLEARSKY_CHECK(ShapeError, x.size(dim) == 1, "squeeze: dim ", dim, " of shape ", x.shape(), " has size ", x.size(dim),
                 ", not 1");
  Shape shape = x.shape(), strides = x.strides();
  shape.erase(dim);
  strides.erase(dim);
  return detail::apply_view(detail::RestrideOp<T>{shape, strides, x.shape()}, x);
}

/// x with a dimension of size 1 put in before `dim`.
template <class T>
Tensor<T> unsqueeze(const Tensor<T>& x, int64_t dim) {
  const int64_t at = dim < 0 ? dim + x.rank() + 1 : dim;
  CLEARSKY_CHECK(ShapeError, 0 <= at && at <= x.rank(), "unsqueeze: dim ", dim, " is out of range for shape ",
                 x.shape(), "; use ", -x.rank() - 1, " to ", x.rank());
  Shape shape = x.shape(), strides = x.strides();
  shape.insert(at, 1);
  strides.insert(at, at < x.rank() ? x.strides()[size_t(at)] * x.shape()[size_t(at)] : 1);
  return detail::apply_view(detail::RestrideOp<T>{shape, strides, x.shape()}, x);
}

/// The view x[..., index, ...]: one position along `dim`, which is taken out.
template <class T>
Tensor<T> select(const Tensor<T>& x, int64_t dim, int64_t index) {
  dim = detail::normal_dim("select", dim, x.shape());
  const int64_t n = x.shape()[size_t(dim)], i = index < 0 ? index + n : index;
  CLEARSKY_CHECK(ShapeError, 0 <= i && i < n, "select: index ", index, " along dim ", dim, " of shape ", x.shape());
  const Tensor<T> one = slice(x, dim, i, i + 1);
  Shape shape = one.shape(), strides = one.strides();
  shape.erase(dim);
  strides.erase(dim);
  return detail::apply_view(detail::RestrideOp<T>{shape, strides, one.shape()}, one);
}

/// A view in which sizes of 1 are repeated, without memory for the repetitions; new dimensions come in front.
/// @throws ShapeError when x does not broadcast to `shape`
template <class T>
Tensor<T> expand(const Tensor<T>& x, const Shape& shape) {
  if (shape == x.shape()) return x;
  CLEARSKY_CHECK(ShapeError, detail::broadcast_shape("expand", x.shape(), shape) == shape, "expand: shape ", x.shape(),
                 " does not broadcast to ", shape);
  return detail::apply_view(detail::ExpandOp<T>{shape, x.shape()}, x);
}

template <class T>
Tensor<T> Tensor<T>::to(Device device) const {
  if (!this->defined() || this->device() == device) return *this;
  return detail::apply_view(detail::ToDeviceOp<T>{this->device(), device}, *this);
}

/// The elements as another type, rounded to nearest. The gradient goes back through the conversion.
template <class To, class From>
Tensor<To> cast(const Tensor<From>& x) {
  if constexpr (std::is_same_v<To, From>) {
    return x;
  } else if constexpr (kDifferentiable<To> && kDifferentiable<From>) {
    return apply(detail::CastOp<From, To>{}, x);
  } else {
    return detail::dense_copy<To>(x);
  }
}

CLEARSKY_COMPILE_ONCE(contiguous)
CLEARSKY_COMPILE_ONCE(reshape)
CLEARSKY_COMPILE_ONCE(flatten)
CLEARSKY_COMPILE_ONCE(permute)
CLEARSKY_COMPILE_ONCE(transpose)
CLEARSKY_COMPILE_ONCE(slice)
CLEARSKY_COMPILE_ONCE(squeeze)
CLEARSKY_COMPILE_ONCE(unsqueeze)
CLEARSKY_COMPILE_ONCE(select)
CLEARSKY_COMPILE_ONCE(expand)

}  // namespace clearsky

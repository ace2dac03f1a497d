#pragma once
// Changes in place: for buffers, statistics and hand-written updates. Their names end in an underscore.
//
// No gradient is recorded for a change in place. So that none is silently wrong, it is refused for a tensor that
// requires a gradient while gradients are recorded; and each change counts, so that a backward that had saved the old
// values refuses to run.

#include <type_traits>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/ops/elementwise.hpp"

namespace clearsky {
namespace detail {

/// Throws unless every element of x may be written, each at an address of its own.
template <class T>
void check_in_place(const char* op, const Tensor<T>& x) {
  CLEARSKY_CHECK(ShapeError, x.defined(), op, ": the tensor is undefined");
  if constexpr (kDifferentiable<T>)
    CLEARSKY_CHECK(AutogradError, !grad_enabled() || !needs_grad(x), op, ": a tensor of shape ", x.shape(),
                   " that requires a gradient cannot be changed while gradients are recorded; compute a new tensor, "
                   "change x.detach(), or do it inside a NoGrad scope");
  for (size_t d = 0; d < x.shape().size(); ++d)
    CLEARSKY_CHECK(ShapeError, x.strides()[d] != 0 || x.shape()[d] <= 1, op, ": shape ", x.shape(),
                   " was expanded along dim ", int64_t(d), ", so that elements share memory; call clone() first");
}

/// The values of y are taken over without its gradient: refuse where that would be a surprise.
template <class T>
void check_source(const char* op, const Tensor<T>& y) {
  CLEARSKY_CHECK(ShapeError, y.defined(), op, ": the tensor to read from is undefined");
  if constexpr (kDifferentiable<T>)
    CLEARSKY_CHECK(AutogradError, !grad_enabled() || !needs_grad(y), op, ": the values come from a tensor of shape ",
                   y.shape(), " that requires a gradient, which a change in place does not record; use y.detach()");
}

/// x <- values, whose shape broadcasts to x's.
template <class To, class From>
void write_in_place(const char* op, Tensor<To>& x, const Tensor<From>& values) {
  check_same_device(op, x, values);
  CLEARSKY_CHECK(ShapeError, broadcast_shape(op, x.shape(), values.shape()) == x.shape(), op, ": shape ",
                 values.shape(), " does not broadcast to ", x.shape());
  Tensor<From> from = values.detach();
  if (from.storage() == x.storage()) from = from.clone();  // the copy may read what it has written
  copy_kernel<From, To>(x.device(),
                        {from.data(), broadcast_strides(from, x.shape()), x.mutable_data(), x.strides(), x.shape()});
}

}  // namespace detail

/// Sets every element. Returns x.
/// @throws AutogradError when x requires a gradient and gradients are recorded
template <class T>
Tensor<T>& fill_(Tensor<T>& x, std::type_identity_t<T> value) {
  detail::check_in_place("fill_", x);
  detail::write_in_place("fill_", x, full<T>({}, value, x.device()));
  return x;
}

/// Sets every element to 0. Returns x.
template <class T>
Tensor<T>& zero_(Tensor<T>& x) {
  detail::check_in_place("zero_", x);
  detail::write_in_place("zero_", x, full<T>({}, T(0), x.device()));
  return x;
}

/// x <- y, converted to x's type; y's shape broadcasts to x's. Returns x.
template <class T, class From>
Tensor<T>& copy_(Tensor<T>& x, const Tensor<From>& y) {
  detail::check_in_place("copy_", x);
  detail::check_source("copy_", y);
  detail::write_in_place("copy_", x, y);
  return x;
}

/// x <- x + y; y's shape broadcasts to x's. Returns x.
template <class T>
Tensor<T>& add_(Tensor<T>& x, const Tensor<T>& y) {
  static_assert(kDifferentiable<T>, "add_ is for float and double tensors");
  detail::check_in_place("add_", x);
  detail::check_source("add_", y);
  detail::write_in_place("add_", x, detail::map_binary("add_", cpu::fn::Add{}, x, y));
  return x;
}

/// x <- s x. Returns x.
template <class T>
Tensor<T>& mul_(Tensor<T>& x, std::type_identity_t<T> s) {
  static_assert(kDifferentiable<T>, "mul_ is for float and double tensors");
  detail::check_in_place("mul_", x);
  detail::write_in_place("mul_", x, detail::map_unary(cpu::fn::MulScalar<T>{s}, x));
  return x;
}

CLEARSKY_COMPILE_ONCE(zero_)
CLEARSKY_COMPILE_ONCE(add_)
CLEARSKY_COMPILE_ONCE(mul_)

}  // namespace clearsky

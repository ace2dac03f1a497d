#pragma once
// Comparisons: masks for where(), sums of them for counts.

#include "clearsky/ops/view.hpp"

namespace clearsky {

namespace detail {

// Decided on the CPU wherever the tensors are: masks are made once per batch, not in a layer.
template <class T, class F>
Tensor<bool> compare(const char* op, const Tensor<T>& a, const Tensor<T>& b, const F& f) {
  check_same_device(op, a, b);
  const NoGrad no_derivative;
  const Shape shape = broadcast_shape(op, a.shape(), b.shape());
  const Tensor<T> x = contiguous(expand(a, shape)).to(Device::cpu), y = contiguous(expand(b, shape)).to(Device::cpu);
  const Tensor<bool> out(shape);
  bool* to = out.mutable_data();
  for (int64_t i = 0; i < out.numel(); ++i) to[i] = f(x.data()[i], y.data()[i]);
  return out.to(a.device());
}
template <class T, class F>
Tensor<bool> compare(const Tensor<T>& a, T b, const F& f) {
  const Tensor<T> x = contiguous(a.detach()).to(Device::cpu);
  const Tensor<bool> out(x.shape());
  bool* to = out.mutable_data();
  for (int64_t i = 0; i < out.numel(); ++i) to[i] = f(x.data()[i], b);
  return out.to(a.device());
}

}  // namespace detail

// Element by element, with broadcasting or against one number; no gradient. As with plain numbers, everything but
// not_equal is false where a NaN takes part. @throws ShapeError when the shapes do not broadcast
//
// == and != between tensors are left undefined: whether they compare elements or the whole is a trap.

template <class T>
Tensor<bool> equal(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::compare("equal", a, b, [](T u, T v) { return u == v; });
}
template <class T>
Tensor<bool> equal(const Tensor<T>& a, std::type_identity_t<T> b) {
  return detail::compare(a, b, [](T u, T v) { return u == v; });
}
template <class T>
Tensor<bool> not_equal(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::compare("not_equal", a, b, [](T u, T v) { return u != v; });
}
template <class T>
Tensor<bool> not_equal(const Tensor<T>& a, std::type_identity_t<T> b) {
  return detail::compare(a, b, [](T u, T v) { return u != v; });
}
template <class T>
Tensor<bool> operator<(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::compare("less", a, b, [](T u, T v) { return u < v; });
}
template <class T>
Tensor<bool> operator<(const Tensor<T>& a, std::type_identity_t<T> b) {
  return detail::compare(a, b, [](T u, T v) { return u < v; });
}
template <class T>
Tensor<bool> operator<=(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::compare("less_equal", a, b, [](T u, T v) { return u <= v; });
}
template <class T>
Tensor<bool> operator<=(const Tensor<T>& a, std::type_identity_t<T> b) {
  return detail::compare(a, b, [](T u, T v) { return u <= v; });
}
template <class T>
Tensor<bool> operator>(const Tensor<T>& a, const Tensor<T>& b) {
  return b < a;
}
template <class T>
Tensor<bool> operator>(const Tensor<T>& a, std::type_identity_t<T> b) {
  return detail::compare(a, b, [](T u, T v) { return u > v; });
}
template <class T>
Tensor<bool> operator>=(const Tensor<T>& a, const Tensor<T>& b) {
  return b <= a;
}
template <class T>
Tensor<bool> operator>=(const Tensor<T>& a, std::type_identity_t<T> b) {
  return detail::compare(a, b, [](T u, T v) { return u >= v; });
}

}  // namespace clearsky

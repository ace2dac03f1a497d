#pragma once
// Comparisons: masks for where(), sums of them for counts.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/compare.hpp"
#include "clearsky/ops/view.hpp"

namespace clearsky {

namespace detail {

using cpu::Comparison;

template <class T>
inline Kernel<cpu::Compare<T>> compare_kernel{"compare", cpu::compare<T>};

/// Where the device has no kernel for this type, the CPU decides.
template <class T>
Tensor<bool> compare(Comparison c, const Tensor<T>& a, const Tensor<T>& b, T number) {
  const Device device = a.device(), where = compare_kernel<T>.exists_on(device) ? device : Device::cpu;
  const Tensor<T> x = contiguous(a.detach()).to(where), y = b.defined() ? contiguous(b.detach()).to(where) : b;
  const Tensor<bool> out(x.shape(), where);
  compare_kernel<T>(where, {c, x.data(), y.data(), number, out.mutable_data(), out.numel()});
  return out.to(device);
}
template <class T>
Tensor<bool> compare(const char* op, Comparison c, const Tensor<T>& a, const Tensor<T>& b) {
  check_same_device(op, a, b);
  const NoGrad no_derivative;
  const Shape shape = broadcast_shape(op, a.shape(), b.shape());
  return compare(c, expand(a, shape), expand(b, shape), T());
}
template <class T>
Tensor<bool> compare(Comparison c, const Tensor<T>& a, T b) {
  return compare(c, a, Tensor<T>(), b);
}

}  // namespace detail

// Element by element, with broadcasting or against one number; no gradient. As with plain numbers, everything but
// not_equal is false where a NaN takes part. @throws ShapeError when the shapes do not broadcast
//
// == and != between tensors are left undefined: whether they compare elements or the whole is a trap.

template <class T>
Tensor<bool> equal(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::compare("equal", detail::Comparison::equal, a, b);
}
template <class T>
Tensor<bool> equal(const Tensor<T>& a, std::type_identity_t<T> b) {
  return detail::compare(detail::Comparison::equal, a, b);
}
template <class T>
Tensor<bool> not_equal(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::compare("not_equal", detail::Comparison::not_equal, a, b);
}
template <class T>
Tensor<bool> not_equal(const Tensor<T>& a, std::type_identity_t<T> b) {
  return detail::compare(detail::Comparison::not_equal, a, b);
}
template <class T>
Tensor<bool> operator<(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::compare("less", detail::Comparison::less, a, b);
}
template <class T>
Tensor<bool> operator<(const Tensor<T>& a, std::type_identity_t<T> b) {
  return detail::compare(detail::Comparison::less, a, b);
}
template <class T>
Tensor<bool> operator<=(const Tensor<T>& a, const Tensor<T>& b) {
  return detail::compare("less_equal", detail::Comparison::less_equal, a, b);
}
template <class T>
Tensor<bool> operator<=(const Tensor<T>& a, std::type_identity_t<T> b) {
  return detail::compare(detail::Comparison::less_equal, a, b);
}
template <class T>
Tensor<bool> operator>(const Tensor<T>& a, const Tensor<T>& b) {
  return b < a;
}
template <class T>
Tensor<bool> operator>(const Tensor<T>& a, std::type_identity_t<T> b) {
  return detail::compare(detail::Comparison::greater, a, b);
}
template <class T>
Tensor<bool> operator>=(const Tensor<T>& a, const Tensor<T>& b) {
  return b <= a;
}
template <class T>
Tensor<bool> operator>=(const Tensor<T>& a, std::type_identity_t<T> b) {
  return detail::compare(detail::Comparison::greater_equal, a, b);
}

CLEARSKY_INSTANCE_FLOAT(Tensor<bool> equal(const Tensor<float>&, const Tensor<float>&))
CLEARSKY_INSTANCE_DOUBLE(Tensor<bool> equal(const Tensor<double>&, const Tensor<double>&))
CLEARSKY_INSTANCE_FLOAT(Tensor<bool> equal(const Tensor<float>&, float))
CLEARSKY_INSTANCE_DOUBLE(Tensor<bool> equal(const Tensor<double>&, double))
CLEARSKY_INSTANCE_FLOAT(Tensor<bool> not_equal(const Tensor<float>&, const Tensor<float>&))
CLEARSKY_INSTANCE_DOUBLE(Tensor<bool> not_equal(const Tensor<double>&, const Tensor<double>&))
CLEARSKY_INSTANCE_FLOAT(Tensor<bool> not_equal(const Tensor<float>&, float))
CLEARSKY_INSTANCE_DOUBLE(Tensor<bool> not_equal(const Tensor<double>&, double))
CLEARSKY_INSTANCE_FLOAT(Tensor<bool> operator<(const Tensor<float>&, const Tensor<float>&))
CLEARSKY_INSTANCE_DOUBLE(Tensor<bool> operator<(const Tensor<double>&, const Tensor<double>&))
CLEARSKY_INSTANCE_FLOAT(Tensor<bool> operator<(const Tensor<float>&, float))
CLEARSKY_INSTANCE_DOUBLE(Tensor<bool> operator<(const Tensor<double>&, double))
CLEARSKY_INSTANCE_FLOAT(Tensor<bool> operator<=(const Tensor<float>&, const Tensor<float>&))
CLEARSKY_INSTANCE_DOUBLE(Tensor<bool> operator<=(const Tensor<double>&, const Tensor<double>&))
CLEARSKY_INSTANCE_FLOAT(Tensor<bool> operator<=(const Tensor<float>&, float))
CLEARSKY_INSTANCE_DOUBLE(Tensor<bool> operator<=(const Tensor<double>&, double))
CLEARSKY_INSTANCE_FLOAT(Tensor<bool> operator>(const Tensor<float>&, const Tensor<float>&))
CLEARSKY_INSTANCE_DOUBLE(Tensor<bool> operator>(const Tensor<double>&, const Tensor<double>&))
CLEARSKY_INSTANCE_FLOAT(Tensor<bool> operator>(const Tensor<float>&, float))
CLEARSKY_INSTANCE_DOUBLE(Tensor<bool> operator>(const Tensor<double>&, double))
CLEARSKY_INSTANCE_FLOAT(Tensor<bool> operator>=(const Tensor<float>&, const Tensor<float>&))
CLEARSKY_INSTANCE_DOUBLE(Tensor<bool> operator>=(const Tensor<double>&, const Tensor<double>&))
CLEARSKY_INSTANCE_FLOAT(Tensor<bool> operator>=(const Tensor<float>&, float))
CLEARSKY_INSTANCE_DOUBLE(Tensor<bool> operator>=(const Tensor<double>&, double))

}  // namespace clearsky

#pragma once
// Dropout with explicit keys: the same key drops the same elements, on any device and with any number of threads.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/dropout.hpp"
#include "clearsky/ops/elementwise.hpp"

namespace clearsky {
namespace detail {

template <class T>
inline Kernel<cpu::DropoutMask<T>> dropout_mask_kernel{"dropout", cpu::dropout_mask<T>};

/// 1 / (1 - p) with probability 1 - p, else 0.
template <class T>
Tensor<T> dropout_mask(const char* op, const Shape& shape, double p, Key key, Device device) {
  CLEARSKY_CHECK(ValueError, 0 <= p && p <= 1, op, ": drop probability ", p, "; use 0 to 1");
  const Tensor<T> mask(shape, device);
  dropout_mask_kernel<T>(device, {key, p, mask.mutable_data(), mask.numel()});
  return mask;
}

}  // namespace detail

/// Sets each element to 0 with probability p and divides the others by 1 - p, which keeps the mean. A captured step
/// drops the same elements at each replay.
/// @param p    0 to 1
/// @param key  one per layer and step: the same key drops the same elements
/// @throws     ValueError when p is outside 0 to 1
/// @source     Srivastava et al., "Dropout", JMLR 15 (2014), 1929-1958
template <class T>
Tensor<T> dropout(const Tensor<T>& x, double p, Key key) {
  if (p == 0) return x;
  return x * detail::dropout_mask<T>("dropout", x.shape(), p, key, x.device());
}

/// As dropout, but whole samples (along the first dimension) at once: stochastic depth for a residual branch.
/// @source Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, arXiv:1603.09382
template <class T>
Tensor<T> drop_path(const Tensor<T>& x, double p, Key key) {
  CLEARSKY_CHECK(ShapeError, x.rank() >= 1, "drop_path: needs at least 1 dimension, got a scalar");
  if (p == 0) return x;
  Shape shape = Shape::filled(x.rank(), 1);
  shape[0] = x.size(0);
  return x * detail::dropout_mask<T>("drop_path", shape, p, key, x.device());
}

CLEARSKY_COMPILE_ONCE(dropout)
CLEARSKY_COMPILE_ONCE(drop_path)

}  // namespace clearsky

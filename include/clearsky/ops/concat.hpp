#pragma once
// Joining and cutting tensors along a dimension.

#include <initializer_list>
#include <span>
#include <vector>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/ops/view.hpp"

namespace clearsky {

namespace detail {

/// Copies the inputs one behind the other along `dim`, whatever their strides.
template <class T>
Tensor<T> concat_forward(std::span<const Tensor<T>> inputs, int64_t dim) {
  const auto d = size_t(dim);
  Shape shape = inputs[0].shape();
  shape[d] = 0;
  for (const Tensor<T>& x : inputs) shape[d] += x.shape()[d];
  Tensor<T> y(shape, inputs[0].device());
  T* to = y.mutable_data();
  for (const Tensor<T>& x : inputs) {
    if (x.numel() > 0) copy_kernel<T, T>(y.device(), {x.data(), x.strides(), to, y.strides(), x.shape()});
    to += x.shape()[d] * y.strides()[d];
  }
  return y;
}

template <class T>
struct ConcatOp {
  static constexpr const char* kName = "concat";
  int64_t dim;
  Workspace<int64_t> sizes;  // of the inputs along dim

  Tensor<T> forward(Saved<T>&, std::span<const Tensor<T>> inputs) const { return concat_forward(inputs, dim); }
  /// The gradient of each input is a view of its part.
  std::vector<Tensor<T>> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    std::vector<Tensor<T>> grads(sizes.size());
    int64_t begin = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (saved.needs(i)) grads[i] = slice(g, dim, begin, begin + sizes[i]);
      begin += sizes[i];
    }
    return grads;
  }
};

}  // namespace detail

/// Tensors one behind the other along a dimension.
///
/// @param inputs  at least one; equal in rank and in all sizes but that along dim
/// @param dim     negative counts from the back
/// @return        their size along dim is the sum of the inputs'
/// @throws        ShapeError when there is no input, or two do not fit
template <class T>
Tensor<T> concat(std::span<const Tensor<T>> inputs, int64_t dim) {
  CLEARSKY_CHECK(ShapeError, !inputs.empty(), "concat: no tensors; give at least 1");
  const Shape& first = inputs[0].shape();
  dim = detail::normal_dim("concat", dim, first);
  detail::ConcatOp<T> op{dim, {}};
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Shape& shape = inputs[i].shape();
    bool fits = shape.rank() == first.rank();
    for (int64_t d = 0; fits && d < first.rank(); ++d) fits = d == dim || shape[size_t(d)] == first[size_t(d)];
    CLEARSKY_CHECK(ShapeError, fits, "concat: tensor 0 is ", first, " but tensor ", int64_t(i), " is ", shape,
                   "; sizes may differ along dim ", dim, " only");
    op.sizes.push_back(shape[size_t(dim)]);
  }
  if constexpr (kDifferentiable<T>) return apply_list(op, inputs);
  else return detail::concat_forward(inputs, dim);
}
template <class T>
Tensor<T> concat(const std::vector<Tensor<T>>& inputs, int64_t dim) {
  return concat(std::span<const Tensor<T>>(inputs), dim);
}
template <class T>
Tensor<T> concat(std::initializer_list<Tensor<T>> inputs, int64_t dim) {
  return concat(std::span<const Tensor<T>>(inputs.begin(), inputs.size()), dim);
}

/// Tensors of equal shape one behind the other along a new dimension.
///
/// @param dim  where the new dimension stands in the result; negative counts from its back
/// @throws     ShapeError when there is no input, or two do not fit
template <class T>
Tensor<T> stack(std::span<const Tensor<T>> inputs, int64_t dim = 0) {
  CLEARSKY_CHECK(ShapeError, !inputs.empty(), "stack: no tensors; give at least 1");
  std::vector<Tensor<T>> parts;
  parts.reserve(inputs.size());
  for (const Tensor<T>& x : inputs) {
    CLEARSKY_CHECK(ShapeError, x.shape() == inputs[0].shape(), "stack: tensor 0 is ", inputs[0].shape(), " but tensor ",
                   int64_t(parts.size()), " is ", x.shape(), "; all must be equal");
    parts.push_back(unsqueeze(x, dim));
  }
  return concat(std::span<const Tensor<T>>(parts), dim);
}
template <class T>
Tensor<T> stack(const std::vector<Tensor<T>>& inputs, int64_t dim = 0) {
  return stack(std::span<const Tensor<T>>(inputs), dim);
}
template <class T>
Tensor<T> stack(std::initializer_list<Tensor<T>> inputs, int64_t dim = 0) {
  return stack(std::span<const Tensor<T>>(inputs.begin(), inputs.size()), dim);
}

/// The inverse of concat: views of consecutive parts along a dimension.
///
/// @param sizes  of the parts; their sum is the size along dim
/// @throws       ShapeError when the sum is another
template <class T>
std::vector<Tensor<T>> split(const Tensor<T>& x, std::span<const int64_t> sizes, int64_t dim) {
  dim = detail::normal_dim("split", dim, x.shape());
  int64_t total = 0;
  for (int64_t s : sizes) total += s;
  CLEARSKY_CHECK(ShapeError, total == x.size(dim), "split: the sizes add up to ", total, " but dim ", dim, " of shape ",
                 x.shape(), " has ", x.size(dim));
  std::vector<Tensor<T>> parts;
  parts.reserve(sizes.size());
  int64_t begin = 0;
  for (int64_t s : sizes) {
    parts.push_back(slice(x, dim, begin, begin + s));
    begin += s;
  }
  return parts;
}
template <class T>
std::vector<Tensor<T>> split(const Tensor<T>& x, std::initializer_list<int64_t> sizes, int64_t dim) {
  return split(x, std::span<const int64_t>(sizes.begin(), sizes.size()), dim);
}

CLEARSKY_INSTANCE_FLOAT(Tensor<float> concat(std::span<const Tensor<float>>, int64_t))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> concat(std::span<const Tensor<double>>, int64_t))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> concat(const std::vector<Tensor<float>>&, int64_t))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> concat(const std::vector<Tensor<double>>&, int64_t))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> concat(std::initializer_list<Tensor<float>>, int64_t))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> concat(std::initializer_list<Tensor<double>>, int64_t))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> stack(std::span<const Tensor<float>>, int64_t))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> stack(std::span<const Tensor<double>>, int64_t))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> stack(const std::vector<Tensor<float>>&, int64_t))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> stack(const std::vector<Tensor<double>>&, int64_t))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> stack(std::initializer_list<Tensor<float>>, int64_t))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> stack(std::initializer_list<Tensor<double>>, int64_t))
CLEARSKY_INSTANCE_FLOAT(std::vector<Tensor<float>> split(const Tensor<float>&, std::span<const int64_t>, int64_t))
CLEARSKY_INSTANCE_DOUBLE(std::vector<Tensor<double>> split(const Tensor<double>&, std::span<const int64_t>, int64_t))
CLEARSKY_INSTANCE_FLOAT(std::vector<Tensor<float>> split(const Tensor<float>&, std::initializer_list<int64_t>, int64_t))
CLEARSKY_INSTANCE_DOUBLE(std::vector<Tensor<double>> split(const Tensor<double>&, std::initializer_list<int64_t>,
                                                           int64_t))

}  // namespace clearsky

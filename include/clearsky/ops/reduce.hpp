#pragma once
// Reductions over any dimensions.

#include <limits>
#include <utility>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/reduce.hpp"
#include "clearsky/ops/elementwise.hpp"

namespace clearsky {

/// Whether a reduced dimension stays, with size 1.
enum class KeepDim { no, yes };

template <class T>
Tensor<T> sum(const Tensor<T>& x, const Shape& dims, KeepDim keep = KeepDim::no);

namespace detail {

template <class T>
inline Kernel<cpu::Sum<T>> sum_kernel{"sum", cpu::sum<T>};
template <class T>
inline Kernel<cpu::Extremum<T>> extremum_kernel{"extremum", cpu::extremum<T>};
template <class T>
inline Kernel<cpu::AlongIndex<T>> put_along_index_kernel{"put_along_index", cpu::put_along_index<T>};
template <class T>
inline Kernel<cpu::AlongIndex<T>> take_along_index_kernel{"take_along_index", cpu::take_along_index<T>};

/// Which dimensions of `shape` are reduced; an empty list means all.
struct Reduced {
  bool at[kMaxRank] = {};
  int64_t count = 1;  ///< elements per result
  Shape kept;         ///< reduced sizes as 1
  Shape dropped;      ///< reduced sizes left out

  Reduced(const char* op, const Shape& shape, const Shape& dims) {
    for (int64_t d : dims) {
      const int64_t n = normal_dim(op, d, shape);
      CLEARSKY_CHECK(ShapeError, !at[n], op, ": dims ", dims, " name dim ", n, " twice");
      at[n] = true;
    }
    if (dims.empty()) std::fill_n(at, shape.rank(), true);
    for (size_t d = 0; d < shape.size(); ++d) {
      kept.push_back(at[d] ? 1 : shape[d]);
      if (at[d]) count *= shape[d];
      else dropped.push_back(shape[d]);
    }
  }
  const Shape& shape(KeepDim keep) const { return keep == KeepDim::yes ? kept : dropped; }
};

/// Sums over the dimensions marked in r; shape r.kept. Neighbouring dimensions are taken together, the last first.
template <class T>
Tensor<T> sum_forward(const Tensor<T>& x, const Reduced& r) {
  Tensor<T> y = x.detach();
  for (int64_t end = x.rank(); end > 0;) {
    if (!r.at[end - 1]) {
      --end;
      continue;
    }
    int64_t begin = end;
    while (begin > 0 && r.at[begin - 1]) --begin;
    y = contiguous(y);
    int64_t outer = 1, n = 1, inner = 1;
    Shape shape = y.shape();
    for (int64_t d = 0; d < x.rank(); ++d) {
      (d < begin ? outer : d < end ? n : inner) *= shape[size_t(d)];
      if (begin <= d && d < end) shape[size_t(d)] = 1;
    }
    Tensor<T> next(shape, x.device());
    sum_kernel<T>(x.device(), {y.data(), next.mutable_data(), outer, n, inner});
    y = next;
    end = begin;
  }
  return y;
}

template <class T>
struct SumOp {
  static constexpr const char* kName = "sum";
  Reduced reduced;
  Shape shape, input_shape;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& x) const {
    const Tensor<T> y = sum_forward(x, reduced);
    return y.view_as(shape, dense_strides(shape), y.offset());
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const {
    return {expand(reshape(g, reduced.kept), input_shape)};
  }
};

template <class T>
Tensor<T> sum_to(const Tensor<T>& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  Shape dims;
  const int64_t added = x.rank() - shape.rank();
  for (int64_t d = 0; d < x.rank(); ++d)
    if (d < added || (shape[size_t(d - added)] == 1 && x.shape()[size_t(d)] != 1)) dims.push_back(d);
  return reshape(dims.empty() ? x : sum(x, dims, KeepDim::yes), shape);
}

/// (outer, n, inner) around one dimension of a dense tensor.
struct Around {
  int64_t outer = 1, n = 1, inner = 1;
  Around(const Shape& shape, int64_t dim) {
    for (int64_t d = 0; d < shape.rank(); ++d) (d < dim ? outer : d == dim ? n : inner) *= shape[size_t(d)];
  }
};

template <class T>
struct TakeAlongOp;

template <class T>
struct PutAlongOp {
  static constexpr const char* kName = "extremum_backward";
  int64_t dim;
  Shape whole;
  Tensor<int64_t> index;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& g) const {
    const Around a(whole, dim);
    const Tensor<T> dense = contiguous(g);
    Tensor<T> y(whole, g.device());
    put_along_index_kernel<T>(g.device(), {dense.data(), index.data(), y.mutable_data(), a.outer, a.n, a.inner});
    return y;
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const;
};

template <class T>
struct TakeAlongOp {
  static constexpr const char* kName = "take_along_index";
  int64_t dim;
  Shape whole;
  Tensor<int64_t> index;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& x) const {
    const Around a(whole, dim);
    const Tensor<T> dense = contiguous(x);
    Tensor<T> y(index.shape(), x.device());
    take_along_index_kernel<T>(x.device(), {dense.data(), index.data(), y.mutable_data(), a.outer, a.n, a.inner});
    return y;
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const {
    return {apply(PutAlongOp<T>{dim, whole, index}, g)};
  }
};

template <class T>
Grads<T, 1> PutAlongOp<T>::backward(const Saved<T>&, const Tensor<T>& g) const {
  return {apply(TakeAlongOp<T>{dim, whole, index}, g)};
}

/// The largest (or smallest) value along one dimension, which stays with size 1, and where it stands.
template <class T>
std::pair<Tensor<T>, Tensor<int64_t>> extremum_along(const char* op, const Tensor<T>& x, int64_t dim, bool largest) {
  const Around a(x.shape(), dim);
  Shape shape = x.shape();
  shape[size_t(dim)] = 1;
  CLEARSKY_CHECK(ShapeError, a.n > 0 || shape.numel() == 0, op, ": dim ", dim, " of shape ", x.shape(),
                 " is empty and has no ", largest ? "largest" : "smallest", " element");
  const Tensor<T> dense = contiguous(x);
  std::pair<Tensor<T>, Tensor<int64_t>> y{Tensor<T>(shape, x.device()), Tensor<int64_t>(shape, x.device())};
  if (shape.numel() > 0)
    extremum_kernel<T>(x.device(),
                       {dense.data(), y.first.mutable_data(), y.second.mutable_data(), a.outer, a.n, a.inner, largest});
  return y;
}

template <class T>
struct ExtremumAlongOp {
  static constexpr const char* kName = "extremum";
  const char* name;
  int64_t dim;
  bool largest;
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x) const {
    auto [y, index] = extremum_along(name, x, dim, largest);
    saved.index = index;
    saved.shapes[0] = x.shape();
    return y;
  }
  Grads<T, 1> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    return {apply(PutAlongOp<T>{dim, saved.shapes[0], saved.index}, g)};
  }
};

/// x with the reduced dimensions moved to the back and joined: (kept..., n).
template <class T>
Tensor<T> reduced_last(const Tensor<T>& x, const Reduced& r) {
  Shape order, shape = r.dropped;
  for (int64_t d = 0; d < x.rank(); ++d)
    if (!r.at[d]) order.push_back(d);
  for (int64_t d = 0; d < x.rank(); ++d)
    if (r.at[d]) order.push_back(d);
  shape.push_back(r.count);
  return reshape(permute(x, order), shape);
}

template <class T>
Tensor<T> extremum_over(const char* op, const Tensor<T>& x, const Shape& dims, KeepDim keep, bool largest) {
  if (x.rank() == 0) return x;
  const Reduced r(op, x.shape(), dims);
  if (dims.size() == 1) {
    const int64_t dim = normal_dim(op, dims[0], x.shape());
    return reshape(apply(ExtremumAlongOp<T>{op, dim, largest}, x), r.shape(keep));
  }
  const Tensor<T> joined = reduced_last(x, r);
  return reshape(apply(ExtremumAlongOp<T>{op, joined.rank() - 1, largest}, joined), r.shape(keep));
}

/// The Euclidean norm; its gradient x / norm is taken as 0 where the norm is 0.
template <class T>
struct NormOp {
  static constexpr const char* kName = "norm";
  Reduced reduced;
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x) const {
    saved.keep(x);
    const Tensor<T> y = map_unary(cpu::fn::Sqrt{}, sum_forward(map_unary(cpu::fn::Pow<T>{T(2)}, x), reduced));
    saved.keep_output(y);
    return y;
  }
  Grads<T, 1> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const Tensor<T> x = saved[0], y = saved[1];
    // Adding 1 where y is 0 keeps the quotient finite there and changes nothing elsewhere.
    const Tensor<T> zero_mask = map_unary(cpu::fn::InsideMask<T>{T(0), T(0)}, y.detach());
    return {(g / (y + zero_mask)) * x};
  }
};

}  // namespace detail

/// The sum over some dimensions.
/// @param dims  which; negative counts from the back; none means all
/// @throws ShapeError when a dimension does not exist or is named twice
template <class T>
Tensor<T> sum(const Tensor<T>& x, const Shape& dims, KeepDim keep) {
  if (x.rank() == 0) return x;
  const detail::Reduced r("sum", x.shape(), dims);
  return apply(detail::SumOp<T>{r, r.shape(keep), x.shape()}, x);
}
/// The sum of all elements, a scalar.
template <class T>
Tensor<T> sum(const Tensor<T>& x) {
  return sum(x, {});
}

/// The mean over some dimensions; NaN over none.
template <class T>
Tensor<T> mean(const Tensor<T>& x, const Shape& dims, KeepDim keep = KeepDim::no) {
  if (x.rank() == 0) return x;
  const detail::Reduced r("mean", x.shape(), dims);
  return sum(x, dims, keep) * T(1.0 / double(r.count));
}
template <class T>
Tensor<T> mean(const Tensor<T>& x) {
  return mean(x, {});
}

/// The variance over some dimensions.
///
///     var = sum (x - mean)^2 / (n - correction)
///
/// Two passes: E[x^2] - E[x]^2 would cancel.
/// @param correction  1 for the estimate from a sample, 0 for the population's own
template <class T>
Tensor<T> var(const Tensor<T>& x, const Shape& dims = {}, KeepDim keep = KeepDim::no, int64_t correction = 1) {
  if (x.rank() == 0) return x * T(0);
  const detail::Reduced r("var", x.shape(), dims);
  const Tensor<T> centred = x - mean(x, dims, KeepDim::yes);
  return sum(square(centred), dims, keep) * T(1.0 / double(r.count - correction));
}

/// The largest element over some dimensions; its first place gets the gradient.
/// @throws ShapeError when there is no element to choose from
template <class T>
Tensor<T> max(const Tensor<T>& x, const Shape& dims = {}, KeepDim keep = KeepDim::no) {
  return detail::extremum_over("max", x, dims, keep, true);
}
template <class T>
Tensor<T> max(const Tensor<T>& x, int64_t dim, KeepDim keep = KeepDim::no) {
  return max(x, Shape{dim}, keep);
}
/// The smallest element over some dimensions; its first place gets the gradient.
template <class T>
Tensor<T> min(const Tensor<T>& x, const Shape& dims = {}, KeepDim keep = KeepDim::no) {
  return detail::extremum_over("min", x, dims, keep, false);
}
template <class T>
Tensor<T> min(const Tensor<T>& x, int64_t dim, KeepDim keep = KeepDim::no) {
  return min(x, Shape{dim}, keep);
}

/// The first position of the largest element along a dimension; a NaN counts as the largest.
template <class T>
Tensor<int64_t> argmax(const Tensor<T>& x, int64_t dim, KeepDim keep = KeepDim::no) {
  dim = detail::normal_dim("argmax", dim, x.shape());
  const Tensor<int64_t> index = detail::extremum_along("argmax", x.detach(), dim, true).second;
  return keep == KeepDim::yes ? index : squeeze(index, dim);
}
template <class T>
Tensor<int64_t> argmin(const Tensor<T>& x, int64_t dim, KeepDim keep = KeepDim::no) {
  dim = detail::normal_dim("argmin", dim, x.shape());
  const Tensor<int64_t> index = detail::extremum_along("argmin", x.detach(), dim, false).second;
  return keep == KeepDim::yes ? index : squeeze(index, dim);
}

/// log(sum(exp(x))) over some dimensions, without overflow.
template <class T>
Tensor<T> logsumexp(const Tensor<T>& x, const Shape& dims, KeepDim keep = KeepDim::no) {
  const detail::Reduced r("logsumexp", x.shape(), dims);
  // Any shift gives the same result; a maximum of -infinity must not become -inf - -inf.
  const Tensor<T> top =
      clamp(max(x.detach(), dims, KeepDim::yes), -(std::numeric_limits<T>::max)(), (std::numeric_limits<T>::max)());
  return reshape(log(sum(exp(x - top), dims, KeepDim::yes)) + top, r.shape(keep));
}

/// The p-norm over some dimensions: p = 1, p = 2 or any p above 0.
///
///     norm = (sum |x|^p)^(1/p)
///
/// The gradient at 0 is 0.
template <class T>
Tensor<T> norm(const Tensor<T>& x, double p = 2, const Shape& dims = {}, KeepDim keep = KeepDim::no) {
  CLEARSKY_CHECK(ValueError, p > 0, "norm: p is ", p, "; use a value above 0");
  if (x.rank() == 0) return abs(x);
  if (p == 1) return sum(abs(x), dims, keep);
  const detail::Reduced r("norm", x.shape(), dims);
  if (p == 2) return reshape(apply(detail::NormOp<T>{r}, x), r.shape(keep));
  return pow(sum(pow(abs(x), p), dims, keep), 1 / p);
}

CLEARSKY_INSTANCE_FLOAT(Tensor<float> sum(const Tensor<float>&, const Shape&, KeepDim))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> sum(const Tensor<double>&, const Shape&, KeepDim))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> sum(const Tensor<float>&))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> sum(const Tensor<double>&))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> mean(const Tensor<float>&, const Shape&, KeepDim))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> mean(const Tensor<double>&, const Shape&, KeepDim))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> mean(const Tensor<float>&))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> mean(const Tensor<double>&))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> max(const Tensor<float>&, const Shape&, KeepDim))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> max(const Tensor<float>&, int64_t, KeepDim))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> max(const Tensor<double>&, const Shape&, KeepDim))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> max(const Tensor<double>&, int64_t, KeepDim))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> min(const Tensor<float>&, const Shape&, KeepDim))
CLEARSKY_INSTANCE_FLOAT(Tensor<float> min(const Tensor<float>&, int64_t, KeepDim))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> min(const Tensor<double>&, const Shape&, KeepDim))
CLEARSKY_INSTANCE_DOUBLE(Tensor<double> min(const Tensor<double>&, int64_t, KeepDim))
CLEARSKY_COMPILE_ONCE(var)
CLEARSKY_COMPILE_ONCE(norm)
CLEARSKY_COMPILE_ONCE(argmax)
CLEARSKY_COMPILE_ONCE(argmin)
CLEARSKY_COMPILE_ONCE(logsumexp)

}  // namespace clearsky

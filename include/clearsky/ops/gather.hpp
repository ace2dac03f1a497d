#pragma once
// Elements at given positions along a dimension, and positions as one-hot vectors.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/gather.hpp"
#include "clearsky/ops/index_check.hpp"
#include "clearsky/ops/reduce.hpp"

namespace clearsky {

namespace detail {

template <class T>
inline Kernel<cpu::Gather<T>> gather_kernel{"gather", cpu::gather<T>};
template <class T>
inline Kernel<cpu::Gather<T>> scatter_add_kernel{"scatter_add", cpu::scatter_add<T>};

/// Which elements a gather reads; the transpose adds to the same ones.
struct GatherPlan {
  Shape whole;            // of what is read
  int64_t dim;            // positions count along it
  int64_t count;          // positions
  Tensor<int64_t> index;  // dense: of the result's shape, or (count) for all rows alike

  Shape taken() const {
    Shape s = whole;
    s[size_t(dim)] = count;
    return s;
  }
  template <class T>
  cpu::Gather<T> arguments(const T* x, T* y) const {
    const Around a(whole, dim);
    const bool one_for_all = index.rank() == 1 && whole.rank() > 1;
    return {x,
            index.data(),
            y,
            a.outer,
            a.n,
            count,
            a.inner,
            one_for_all ? 0 : count * a.inner,
            one_for_all ? 1 : a.inner,
            one_for_all ? 0 : 1};
  }
};

template <class T>
struct ScatterAddOp;

template <class T>
struct GatherOp {
  static constexpr const char* kName = "gather";
  GatherPlan plan;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& x) const {
    const Tensor<T> dense = contiguous(x);
    Tensor<T> y(plan.taken(), x.device());
    gather_kernel<T>(x.device(), plan.arguments(dense.data(), y.mutable_data()));
    return y;
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {apply(ScatterAddOp<T>{plan}, g)}; }
};

template <class T>
struct ScatterAddOp {
  static constexpr const char* kName = "gather_backward";
  GatherPlan plan;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& g) const {
    const Tensor<T> dense = contiguous(g);
    Tensor<T> y(plan.whole, g.device());
    scatter_add_kernel<T>(g.device(), plan.arguments(dense.data(), y.mutable_data()));
    return y;
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {apply(GatherOp<T>{plan}, g)}; }
};

}  // namespace detail

/// Elements at positions that an index gives for each of them.
///
///     y[.., j, ..] = x[.., index[.., j, ..], ..]        j and index[..] along dim
///
/// @param index  the shape of x but for its size along dim; values 0 to the size of x along dim, less 1
/// @return       the shape of index
/// @throws       ShapeError when the shapes do not fit; ValueError for an index outside
template <class T>
Tensor<T> gather(const Tensor<T>& x, int64_t dim, const Tensor<int64_t>& index) {
  dim = detail::normal_dim("gather", dim, x.shape());
  bool fits = index.rank() == x.rank();
  for (int64_t d = 0; fits && d < x.rank(); ++d) fits = d == dim || index.size(d) == x.size(d);
  CLEARSKY_CHECK(ShapeError, fits, "gather: index ", index.shape(), " does not fit shape ", x.shape(),
                 "; sizes may differ along dim ", dim, " only");
  const Tensor<int64_t> dense = contiguous(index);
  detail::check_indices("gather", dense, x.size(dim), "positions");
  return detail::apply_view(detail::GatherOp<T>{{x.shape(), dim, index.size(dim), dense}}, x);
}

/// The slices of x at some positions along dim, in their order; a position may come more than once.
/// @param index  (n)  values 0 to the size of x along dim, less 1
/// @return       n along dim, else the shape of x
/// @throws       ShapeError when index is no vector; ValueError for an index outside
template <class T>
Tensor<T> index_select(const Tensor<T>& x, int64_t dim, const Tensor<int64_t>& index) {
  dim = detail::normal_dim("index_select", dim, x.shape());
  CLEARSKY_CHECK(ShapeError, index.rank() == 1, "index_select: index must be a vector, got ", index.shape());
  const Tensor<int64_t> dense = contiguous(index);
  detail::check_indices("index_select", dense, x.size(dim), "positions");
  return detail::apply_view(detail::GatherOp<T>{{x.shape(), dim, index.numel(), dense}}, x);
}

/// 1 at each index and 0 elsewhere, along a new last dimension.
/// @param index    (...)  uint8 or int64, 0 to classes - 1
/// @return         (..., classes)
/// @throws         ValueError for an index outside
template <class T, class Index>
Tensor<T> one_hot(const Tensor<Index>& index, int64_t classes) {
  CLEARSKY_CHECK(ValueError, classes >= 1, "one_hot: ", classes, " classes; use at least 1");
  const Tensor<Index> dense = contiguous(index).to(Device::cpu);
  detail::check_indices("one_hot", dense, classes, "classes");
  Shape shape = index.shape();
  shape.push_back(classes);
  Tensor<T> y(shape);
  T* out = y.mutable_data();
  const Index* p = dense.data();
  parallel_for(index.numel(), (std::max)(int64_t(1), 16384 / classes), [&](int64_t begin, int64_t end) {
    std::fill(out + begin * classes, out + end * classes, T(0));
    for (int64_t i = begin; i < end; ++i) out[i * classes + int64_t(p[i])] = T(1);
  });
  return y.to(index.device());
}

CLEARSKY_COMPILE_ONCE(gather)
CLEARSKY_COMPILE_ONCE(index_select)

}  // namespace clearsky

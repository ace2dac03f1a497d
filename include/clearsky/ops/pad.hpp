#pragma once
// Padding of images.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/pad.hpp"
#include "clearsky/ops/padding.hpp"
#include "clearsky/ops/view.hpp"

namespace clearsky {

namespace detail {

template <class T>
inline Kernel<cpu::Pad<T>> pad_kernel{"pad", cpu::pad<T>};
template <class T>
inline Kernel<cpu::Pad<T>> pad_transpose_kernel{"pad_transpose", cpu::pad_transpose<T>};

inline cpu::PadSource pad_source(Padding mode) {
  switch (mode) {
    case Padding::reflect:
      return cpu::PadSource::mirror;
    case Padding::replicate:
      return cpu::PadSource::border;
    default:
      return cpu::PadSource::value;
  }
}

template <class T>
struct PadTransposeOp;

template <class T>
struct PadOp {
  static constexpr const char* kName = "pad";
  PadSizes s;
  Padding mode;
  T value;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& x) const {
    const Tensor<T> dense = contiguous(x);
    Tensor<T> y({x.size(0), x.size(1) + s.top + s.bottom, x.size(2) + s.left + s.right, x.size(3)}, x.device());
    pad_kernel<T>(x.device(), {dense.data(), y.mutable_data(), x.size(0), x.size(1), x.size(2), x.size(3), s.top,
                               s.bottom, s.left, s.right, pad_source(mode), value});
    return y;
  }
  /// Zeros and other constants take no gradient: what is left is the middle, a view.
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const {
    if (mode == Padding::zeros)
      return {slice(slice(g, 1, s.top, g.size(1) - s.bottom), 2, s.left, g.size(2) - s.right)};
    if constexpr (kDifferentiable<T>) return {apply(PadTransposeOp<T>{s, mode}, g)};
    else return {};
  }
};

template <class T>
struct PadTransposeOp {
  static constexpr const char* kName = "pad_transpose";
  PadSizes s;
  Padding mode;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& g) const {
    const Tensor<T> dense = contiguous(g);
    const int64_t n = g.size(0), h = g.size(1) - s.top - s.bottom, w = g.size(2) - s.left - s.right, c = g.size(3);
    Tensor<T> y({n, h, w, c}, g.device());
    pad_transpose_kernel<T>(g.device(), {dense.data(), y.mutable_data(), n, h, w, c, s.top, s.bottom, s.left, s.right,
                                         pad_source(mode), T(0)});
    return y;
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {apply(PadOp<T>{s, mode, T(0)}, g)}; }
};

}  // namespace detail

/// Images with pixels added around them.
///
/// @param x      (N, H, W, C)
/// @param sizes  pixels added on each side, not negative
/// @param mode   zeros: they hold `value`; reflect: the image mirrored at its border pixels, which are not repeated,
///               so each side needs fewer new pixels than the image has; replicate: they repeat the border pixel
/// @param value  of the new pixels, for Padding::zeros
/// @return       (N, H + top + bottom, W + left + right, C)
/// @throws       ShapeError when x has another rank or is too small for what is to be repeated; ValueError for a
///               negative size
template <class T>
Tensor<T> pad(const Tensor<T>& x, const PadSizes& sizes, Padding mode = Padding::zeros,
              std::type_identity_t<T> value = T(0)) {
  const PadSizes& s = sizes;
  CLEARSKY_CHECK(ShapeError, x.rank() == 4, "pad: input must be (N, H, W, C), got ", x.shape());
  CLEARSKY_CHECK(ValueError, s.top >= 0 && s.bottom >= 0 && s.left >= 0 && s.right >= 0, "pad: sizes top ", s.top,
                 ", bottom ", s.bottom, ", left ", s.left, ", right ", s.right, "; none may be negative, use slice");
  const auto fits = [&](int64_t size, int64_t before, int64_t behind) {
    if (mode == Padding::zeros || (before == 0 && behind == 0)) return true;
    return mode == Padding::replicate ? size > 0 : before < size && behind < size;
  };
  CLEARSKY_CHECK(ShapeError, fits(x.size(1), s.top, s.bottom), "pad: height ", x.size(1), " of input ", x.shape(),
                 " is too small for ", s.top, " and ", s.bottom,
                 " pixels that repeat it; reflect needs a larger size "
                 "than it adds on a side, replicate at least 1");
  CLEARSKY_CHECK(ShapeError, fits(x.size(2), s.left, s.right), "pad: width ", x.size(2), " of input ", x.shape(),
                 " is too small for ", s.left, " and ", s.right,
                 " pixels that repeat it; reflect needs a larger size "
                 "than it adds on a side, replicate at least 1");
  if (s.top == 0 && s.bottom == 0 && s.left == 0 && s.right == 0) return x;
  return detail::apply_view(detail::PadOp<T>{s, mode, value}, x);
}

CLEARSKY_COMPILE_ONCE(pad)

}  // namespace clearsky

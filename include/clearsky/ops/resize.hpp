#pragma once
// Resizing of images by interpolation.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/resize.hpp"
#include "clearsky/ops/view.hpp"

namespace clearsky {

namespace detail {

template <class T>
inline Kernel<cpu::Resize<T>> resize_kernel{"resize", cpu::resize<T>};
template <class T>
inline Kernel<cpu::Resize<T>> resize_transpose_kernel{"resize_transpose", cpu::resize_transpose<T>};

struct ResizeSizes {
  int64_t height, width, out_height, out_width;
  Interpolation interpolation;
};

template <class T>
struct ResizeTransposeOp;

template <class T>
struct ResizeOp {
  static constexpr const char* kName = "resize";
  ResizeSizes s;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& x) const {
    const Tensor<T> dense = contiguous(x);
    Tensor<T> y({x.size(0), s.out_height, s.out_width, x.size(3)}, x.device());
    resize_kernel<T>(x.device(), {dense.data(), y.mutable_data(), x.size(0), s.height, s.width, s.out_height,
                                  s.out_width, x.size(3), s.interpolation});
    return y;
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {apply(ResizeTransposeOp<T>{s}, g)}; }
};

/// Each input pixel gathers from the output pixels that read it, with the weights they read it with.
template <class T>
struct ResizeTransposeOp {
  static constexpr const char* kName = "resize_transpose";
  ResizeSizes s;
  Tensor<T> forward(Saved<T>&, const Tensor<T>& g) const {
    const Tensor<T> dense = contiguous(g);
    Tensor<T> y({g.size(0), s.height, s.width, g.size(3)}, g.device());
    resize_transpose_kernel<T>(g.device(), {dense.data(), y.mutable_data(), g.size(0), s.height, s.width, s.out_height,
                                            s.out_width, g.size(3), s.interpolation});
    return y;
  }
  Grads<T, 1> backward(const Saved<T>&, const Tensor<T>& g) const { return {apply(ResizeOp<T>{s}, g)}; }
};

}  // namespace detail

/// Images at another size, by interpolation between pixel centres.
///
///     y[i] = sum over k of w(s - k) x[k]        s = (i + 1/2) H / height - 1/2, along each axis
///
/// Pixels outside repeat the border. No smoothing happens before a reduction, so reducing aliases. The values are those
/// of torch.nn.functional.interpolate with align_corners=False, antialias=False, in the modes of the same names.
///
/// @param x              (N, H, W, C)
/// @param height, width  the new size, at least 1
/// @param interpolation  nearest, nearest_exact (see Interpolation); bilinear (2 x 2 taps); bicubic (4 x 4 taps, a =
/// -0.75)
/// @return               (N, height, width, C)
/// @throws               ShapeError when x has another rank or has no pixels; ValueError for a size below 1
template <class T>
Tensor<T> resize(const Tensor<T>& x, int64_t height, int64_t width,
                 Interpolation interpolation = Interpolation::bilinear) {
  static_assert(kDifferentiable<T>, "resize interpolates: convert to float with cast");
  CLEARSKY_CHECK(ShapeError, x.rank() == 4, "resize: input must be (N, H, W, C), got ", x.shape());
  CLEARSKY_CHECK(ValueError, height >= 1 && width >= 1, "resize: the new size is ", height, " x ", width,
                 "; use at least 1 x 1");
  CLEARSKY_CHECK(ShapeError, x.size(1) >= 1 && x.size(2) >= 1, "resize: input ", x.shape(), " has no pixels");
  if (height == x.size(1) && width == x.size(2)) return x;
  return apply(detail::ResizeOp<T>{{x.size(1), x.size(2), height, width, interpolation}}, x);
}

CLEARSKY_COMPILE_ONCE(resize)

}  // namespace clearsky

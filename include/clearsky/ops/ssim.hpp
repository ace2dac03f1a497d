#pragma once
// Structural similarity, as a differentiable measure of how alike two images are.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/ssim.hpp"
#include "clearsky/ops/view.hpp"

namespace clearsky {

namespace detail {

template <class T>
inline Kernel<cpu::SsimForward<T>> ssim_forward{"ssim_forward", cpu::ssim_forward<T>};
template <class T>
inline Kernel<cpu::SsimBackward<T>> ssim_backward{"ssim_backward", cpu::ssim_backward<T>};

template <class T>
struct SsimOp {
  static constexpr const char* kName = "ssim";
  static constexpr bool kTwiceDifferentiable = false;

  /// Keeps the images and the derivatives by the filtered maps, so that backward only has to filter those.
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x, const Tensor<T>& y) const {
    const Tensor<T> a = contiguous(x), b = contiguous(y);
    const auto map = [&](bool wanted) { return wanted ? Tensor<T>(x.shape(), x.device()) : Tensor<T>(); };
    const Tensor<T> d_mean_x = map(saved.needs(0)), d_mean_y = map(saved.needs(1));
    const Tensor<T> d_squares = map(saved.recording()), d_product = map(saved.recording());
    Tensor<T> mean({}, x.device());
    ssim_forward<T>(x.device(),
                    {a.data(), b.data(), mean.mutable_data(), d_mean_x.mutable_data(), d_mean_y.mutable_data(),
                     d_squares.mutable_data(), d_product.mutable_data(), x.size(0), x.size(1), x.size(2), x.size(3)});
    for (const Tensor<T>& t : {a, b, d_mean_x, d_mean_y, d_squares, d_product}) saved.keep(t);
    return mean;
  }

  Grads<T, 2> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const auto gradient = [&](size_t image) -> Tensor<T> {
      if (!saved.needs(image)) return {};
      const Tensor<T> x = saved[image];
      Tensor<T> dx(x.shape(), x.device());
      ssim_backward<T>(x.device(),
                       {g.data(), x.data(), saved[1 - image].data(), saved[2 + image].data(), saved[4].data(),
                        saved[5].data(), dx.mutable_data(), x.size(0), x.size(1), x.size(2), x.size(3)});
      return dx;
    };
    return {gradient(0), gradient(1)};
  }
};

}  // namespace detail

/// Mean structural similarity of two images; 1 when they are equal.
///
///     SSIM = (2 mx my + C1) (2 sxy + C2) / ((mx^2 + my^2 + C1) (sx^2 + sy^2 + C2))
///
/// per pixel and band; m, s^2 and sxy are means, variances and covariance under a Gaussian window of 11 x 11 pixels,
/// sigma 1.5; outside the images is 0. C1 = 0.01^2 and C2 = 0.03^2, for values from 0 to 1. The mean is taken over
/// pixels, bands and images.
///
/// @param x, y  (N, H, W, C)  values from 0 to 1
/// @return      a scalar; NaN for images without pixels
/// @throws      ShapeError when the shapes differ or the rank is not 4
/// @source      Wang et al., IEEE Trans. Image Process. 13 (2004), 600, eq. 13
template <class T>
Tensor<T> ssim(const Tensor<T>& x, const Tensor<T>& y) {
  CLEARSKY_CHECK(ShapeError, x.rank() == 4 && x.shape() == y.shape(),
                 "ssim: both images must be (N, H, W, C) of one shape, got ", x.shape(), " and ", y.shape());
  return apply(detail::SsimOp<T>{}, x, y);
}

CLEARSKY_COMPILE_ONCE(ssim)

}  // namespace clearsky

#pragma once
// The cloud-adaptive regularised loss.

#include "clearsky/cpu/loss.hpp"
#include "clearsky/ops/elementwise.hpp"

namespace clearsky {

namespace detail {

template <class T>
inline Kernel<cpu::CarlForward<T>> carl_forward{"carl_forward", cpu::carl_forward<T>};
template <class T>
inline Kernel<cpu::CarlBackward<T>> carl_backward{"carl_backward", cpu::carl_backward<T>};

/// What the loss compares the prediction with; none of it takes a gradient. All dense.
template <class T>
struct CarlTargets {
  Tensor<T> target, input, mask;
  T lambda;
};

template <class T>
struct CarlGradientOp {
  static constexpr const char* kName = "carl_loss_backward";
  CarlTargets<T> t;
  Tensor<T> prediction;  // dense, cut off from the graph: the gradient is constant between the kinks
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& g) const {
    Tensor<T> one = full<T>({}, T(1)), signs(prediction.shape(), g.device());
    run(saved.recording() ? one : g, signs);
    if (!saved.recording()) return signs;
    saved.keep(signs);
    return map_binary(kName, cpu::fn::Mul{}, g, signs);
  }
  Grads<T, 1> backward(const Saved<T>& saved, const Tensor<T>& g) const { return {sum_to(g * saved[0], {})}; }

 private:
  void run(const Tensor<T>& g, const Tensor<T>& dx) const {
    const int64_t cols = dx.shape().back(), rows = dx.numel() / (std::max)(int64_t(1), cols);
    carl_backward<T>(dx.device(), {g.data(), prediction.data(), t.target.data(), t.input.data(), t.mask.data(),
                                   dx.mutable_data(), rows, cols, t.lambda});
  }
};

template <class T>
struct CarlOp {
  static constexpr const char* kName = "carl_loss";
  CarlTargets<T> t;
  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& prediction) const {
    const Tensor<T> x = contiguous(prediction);
    const int64_t cols = x.shape().back(), rows = x.numel() / (std::max)(int64_t(1), cols);
    Tensor<T> loss({}, x.device());
    carl_forward<T>(x.device(), {x.data(), t.target.data(), t.input.data(), t.mask.data(), loss.mutable_data(), rows,
                                 cols, t.lambda});
    saved.keep(x);
    return loss;
  }
  Grads<T, 1> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    return {apply(CarlGradientOp<T>{t, saved[0].detach()}, g)};
  }
};

}  // namespace detail

/// Cloud-adaptive regularised loss: the target counts where there was cloud, the input where there was none.
///
///     loss = mean of |M (P - T)| + |(1 - M) (P - I)|  +  lambda mean of |P - T|
///
/// @param prediction  (N, H, W, C)  P, the one that takes a gradient
/// @param target      (N, H, W, C)  T, free of clouds
/// @param input       (N, H, W, C)  I, cloudy
/// @param mask        (N, H, W, 1)  M, 1 under clouds and their shadows, 0 elsewhere
/// @param lambda      weight of the plain absolute error, not negative
/// @return            a scalar; NaN for no elements
/// @throws            ShapeError when the shapes do not fit; ValueError for a negative lambda
/// @source            Meraner et al., ISPRS J. Photogramm. Remote Sens. 166 (2020), 333, eq. 3
template <class T>
Tensor<T> carl_loss(const Tensor<T>& prediction, const Tensor<T>& target, const Tensor<T>& input, const Tensor<T>& mask,
                    double lambda = 1) {
  const Shape& shape = prediction.shape();
  CLEARSKY_CHECK(ShapeError, shape.rank() == 4, "carl_loss: prediction must be (N, H, W, C), got ", shape);
  CLEARSKY_CHECK(ShapeError, target.shape() == shape && input.shape() == shape, "carl_loss: prediction ", shape,
                 ", target ", target.shape(), " and input ", input.shape(), " must have one shape");
  const Shape pixels{shape[0], shape[1], shape[2], 1};
  CLEARSKY_CHECK(ShapeError, mask.shape() == pixels, "carl_loss: mask must be ", pixels, ", got ", mask.shape());
  CLEARSKY_CHECK(ValueError, lambda >= 0, "carl_loss: lambda ", lambda, "; use at least 0");
  for (const Tensor<T>* t : {&target, &input, &mask}) detail::check_same_device("carl_loss", prediction, *t);
  return apply(detail::CarlOp<T>{{contiguous(target.detach()), contiguous(input.detach()), contiguous(mask.detach()),
                                  T(lambda)}},
               prediction);
}

}  // namespace clearsky

#pragma once
// The cloud-adaptive regularised loss.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/loss.hpp"
#include "clearsky/ops/elementwise.hpp"

namespace clearsky {

namespace detail {

template <class T>
inline Kernel<cpu::CarlForward<T>> carl_forward{"carl_forward", cpu::carl_forward<T>};
template <class T>
inline Kernel<cpu::CarlBackward<T>> carl_backward{"carl_backward", cpu::carl_backward<T>};

template <class T>
struct CarlOp {
  static constexpr const char* kName = "carl_loss";
  Tensor<T> mask;  // dense
  T lambda;

  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& prediction, const Tensor<T>& target,
                    const Tensor<T>& input) const {
    const Tensor<T> p = contiguous(prediction), t = contiguous(target), i = contiguous(input);
    Tensor<T> loss({}, p.device());
    carl_forward<T>(p.device(), {p.data(), t.data(), i.data(), mask.data(), loss.mutable_data(), mask.numel(),
                                 p.shape().back(), lambda});
    for (const Tensor<T>& x : {prediction, target, input}) saved.keep(x);
    return loss;
  }

  Grads<T, 3> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const auto wanted = [&](size_t i, const Tensor<T>& d) { return saved.needs(i) ? d : Tensor<T>(); };
    if (grad_enabled()) {  // made of operations, for who differentiates twice
      const Tensor<T> factor = g * T(1 / double(saved[0].numel()));
      const Tensor<T> to_target = factor * ((abs(mask) + lambda) * map_unary(cpu::fn::Sign{}, saved[0] - saved[1]));
      const Tensor<T> to_input = factor * (abs(T(1) - mask) * map_unary(cpu::fn::Sign{}, saved[0] - saved[2]));
      return {wanted(0, to_target + to_input), wanted(1, -to_target), wanted(2, -to_input)};
    }
    const Tensor<T> p = contiguous(saved[0]), t = contiguous(saved[1]), i = contiguous(saved[2]);
    const auto map = [&](size_t k) { return saved.needs(k) ? Tensor<T>(p.shape(), p.device()) : Tensor<T>(); };
    const Tensor<T> dp = map(0), dt = map(1), di = map(2);
    carl_backward<T>(p.device(), {g.data(), p.data(), t.data(), i.data(), mask.data(), dp.mutable_data(),
                                  dt.mutable_data(), di.mutable_data(), mask.numel(), p.shape().back(), lambda});
    return {dp, dt, di};
  }
};

}  // namespace detail

/// Cloud-adaptive regularised loss: the target counts where there was cloud, the input where there was none.
///
///     loss = mean of |M (P - T)| + |(1 - M) (P - I)|  +  lambda mean of |P - T|
///
/// @param prediction  (N, H, W, C)  P
/// @param target      (N, H, W, C)  T, free of clouds
/// @param input       (N, H, W, C)  I, cloudy
/// @param mask        (N, H, W, 1)  M, 1 under clouds and their shadows, 0 elsewhere; takes no
///                    gradient
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
  detail::check_same_device("carl_loss", prediction, mask);
  return apply(detail::CarlOp<T>{contiguous(mask.detach()), T(lambda)}, prediction, target, input);
}

CLEARSKY_COMPILE_ONCE(carl_loss)

}  // namespace clearsky

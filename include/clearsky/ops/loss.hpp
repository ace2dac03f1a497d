#pragma once
// Losses that compare a prediction with its target element by element.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/loss.hpp"
#include "clearsky/ops/reduce.hpp"

namespace clearsky {

namespace detail {

template <class T, class E>
inline Kernel<cpu::ErrorLossForward<T, E>> error_loss_forward{"error_loss_forward", cpu::error_loss_forward<T, E>};
template <class T, class E>
inline Kernel<cpu::ErrorLossBackward<T, E>> error_loss_backward{"error_loss_backward", cpu::error_loss_backward<T, E>};

// The derivatives of the errors once more, made of operations, for who differentiates twice.
template <class T>
Tensor<T> error_slope(const cpu::AbsoluteError&, const Tensor<T>& d) {
  return map_unary(cpu::fn::Sign{}, d);
}
template <class T>
Tensor<T> error_slope(const cpu::SquaredError&, const Tensor<T>& d) {
  return d * T(2);
}
template <class T>
Tensor<T> error_slope(const cpu::HuberError<T>& e, const Tensor<T>& d) {
  return clamp(d, -e.delta, e.delta);
}
template <class T>
Tensor<T> error_slope(const cpu::CharbonnierError<T>& e, const Tensor<T>& d) {
  return d / sqrt(square(d) + e.eps * e.eps);
}

template <class T, class E>
struct ErrorLossOp {
  static constexpr const char* kName = "error_loss";
  E e;
  Tensor<T> weight;  // one per element, one per row of the last dimension, or undefined

  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& a, const Tensor<T>& b) const {
    const Tensor<T> x = contiguous(a), y = contiguous(b);
    Tensor<T> loss({}, a.device()), scale({}, a.device());
    error_loss_forward<T, E>(a.device(), {e, x.data(), y.data(), weight.data(), loss.mutable_data(),
                                          scale.mutable_data(), rows(a), cols(a)});
    saved.keep(a);
    saved.keep(b);
    saved.keep(scale);
    return loss;
  }

  Grads<T, 2> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const Tensor<T> a = saved[0], b = saved[1], scale = saved[2];
    if (grad_enabled()) {
      const Tensor<T> slope = error_slope(e, a - b), d = (g * scale) * (weight.defined() ? slope * weight : slope);
      return {saved.needs(0) ? d : Tensor<T>(), saved.needs(1) ? -d : Tensor<T>()};
    }
    const Tensor<T> x = contiguous(a), y = contiguous(b);
    const auto map = [&](bool wanted) { return wanted ? Tensor<T>(a.shape(), a.device()) : Tensor<T>(); };
    const Tensor<T> da = map(saved.needs(0)), db = map(saved.needs(1));
    error_loss_backward<T, E>(a.device(), {e, x.data(), y.data(), weight.data(), g.data(), scale.data(),
                                           da.mutable_data(), db.mutable_data(), rows(a), cols(a)});
    return {da, db};
  }

 private:
  int64_t cols(const Tensor<T>& a) const {
    return weight.defined() && weight.numel() != a.numel() ? a.shape().back() : 1;
  }
  int64_t rows(const Tensor<T>& a) const { return a.numel() / (std::max)(int64_t(1), cols(a)); }
};

template <class T, class E>
Tensor<T> error_loss(const char* op, const E& e, const Tensor<T>& a, const Tensor<T>& b, const Tensor<T>& weight) {
  CLEARSKY_CHECK(ShapeError, a.shape() == b.shape(), op, ": prediction ", a.shape(), " and target ", b.shape(),
                 " must have one shape");
  if (weight.defined()) {
    Shape pixels = a.shape();
    if (!pixels.empty()) pixels[pixels.size() - 1] = 1;
    CLEARSKY_CHECK(ShapeError, weight.shape() == a.shape() || weight.shape() == pixels, op, ": weight ", weight.shape(),
                   " fits neither all elements ", a.shape(), " nor all pixels ", pixels);
    check_same_device(op, a, weight);
  }
  return apply(ErrorLossOp<T, E>{e, contiguous(weight.detach())}, a, b);
}

}  // namespace detail

// All of these are means over all elements:
//
//     loss = sum w e(a - b) / sum w        w repeated over channels where it has one value per pixel
//
// @param a, b    prediction and target, of one shape (..., C)
// @param weight  (..., C) or (..., 1), not negative; takes no gradient. Undefined means 1 everywhere
// @return        a scalar; NaN for no elements; 0, with a gradient of 0, when all weights are 0
// @throws        ShapeError when the shapes do not fit

/// Mean absolute error: e(d) = |d|. The gradient at d = 0 is 0.
template <class T>
Tensor<T> l1_loss(const Tensor<T>& a, const Tensor<T>& b, const Tensor<T>& weight = {}) {
  return detail::error_loss("l1_loss", cpu::AbsoluteError{}, a, b, weight);
}
/// Mean squared error: e(d) = d^2.
template <class T>
Tensor<T> mse_loss(const Tensor<T>& a, const Tensor<T>& b, const Tensor<T>& weight = {}) {
  return detail::error_loss("mse_loss", cpu::SquaredError{}, a, b, weight);
}
/// e(d) = d^2 / 2 where |d| <= delta, and delta (|d| - delta / 2) elsewhere.
/// @param delta  above 0, in the unit of a and b
/// @source       Huber, Ann. Math. Statist. 35 (1964), 73
template <class T>
Tensor<T> huber_loss(const Tensor<T>& a, const Tensor<T>& b, double delta = 1, const Tensor<T>& weight = {}) {
  CLEARSKY_CHECK(ValueError, delta > 0, "huber_loss: delta ", delta, "; use a value above 0");
  return detail::error_loss("huber_loss", cpu::HuberError<T>{T(delta)}, a, b, weight);
}
/// e(d) = sqrt(d^2 + eps^2): the absolute error, smooth at 0.
/// @param eps  above 0, in the unit of a and b
/// @source     Lai et al., "Deep Laplacian Pyramid Networks for Fast and Accurate Super-Resolution", CVPR 2017,
/// sec. 3.3
template <class T>
Tensor<T> charbonnier_loss(const Tensor<T>& a, const Tensor<T>& b, double eps = 1e-3, const Tensor<T>& weight = {}) {
  CLEARSKY_CHECK(ValueError, eps > 0, "charbonnier_loss: eps ", eps, "; use a value above 0");
  return detail::error_loss("charbonnier_loss", cpu::CharbonnierError<T>{T(eps)}, a, b, weight);
}

CLEARSKY_COMPILE_ONCE(l1_loss)
CLEARSKY_COMPILE_ONCE(mse_loss)
CLEARSKY_COMPILE_ONCE(huber_loss)
CLEARSKY_COMPILE_ONCE(charbonnier_loss)

}  // namespace clearsky

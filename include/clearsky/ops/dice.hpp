#pragma once
// Dice loss: how little predicted and labelled areas overlap, each class counting alike whatever its size.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/dice.hpp"
#include "clearsky/ops/cross_entropy.hpp"

namespace clearsky {

namespace detail {

template <class T, class Label>
inline Kernel<cpu::DiceForward<T, Label>> dice_forward{"dice_forward", cpu::dice_forward<T, Label>};
template <class T, class Label>
inline Kernel<cpu::DiceBackward<T, Label>> dice_backward{"dice_backward", cpu::dice_backward<T, Label>};

template <class T, class Label>
struct DiceOp {
  static constexpr const char* kName = "dice_loss";
  static constexpr bool kTwiceDifferentiable = false;
  Tensor<Label> labels;
  int64_t ignore_index;
  double smooth;

  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& logits) const {
    const Tensor<T> x = contiguous(logits);
    const int64_t classes = x.shape().back();
    Tensor<T> loss({}, x.device()), slopes({2, classes}, x.device());
    const Tensor<T> p = saved.recording() ? Tensor<T>(x.shape(), x.device()) : Tensor<T>();
    int64_t invalid = -1;
    dice_forward<T, Label>(
        x.device(), {x.data(), labels.data(), loss.mutable_data(), p.mutable_data(), slopes.mutable_data(), &invalid,
                     labels.numel(), classes, ignore_index, smooth});
    if (invalid >= 0) fail_label(kName, labels, invalid, classes, ignore_index);
    saved.keep(p);
    saved.keep(slopes);
    return loss;
  }
  Grads<T, 1> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const Tensor<T> p = saved[0];
    Tensor<T> dx(p.shape(), p.device());
    dice_backward<T, Label>(p.device(), {g.data(), p.data(), saved[1].data(), labels.data(), dx.mutable_data(),
                                         labels.numel(), p.shape().back(), ignore_index});
    return {dx};
  }
};

}  // namespace detail

/// Dice loss of softmax(logits) against labels.
///
///     loss = 1 - mean over classes of (2 sum p t + s) / (sum p + sum t + s)
///
/// p is the softmax of a pixel's scores, t is 1 at its label; the sums are over all pixels of the batch that count.
///
/// @param logits  (..., classes)  scores, not normalised
/// @param labels  (...)           uint8 or int64: 0 to classes - 1, or ignore_index, which leaves the pixel out
/// @param smooth  s, above 0: a class that occurs nowhere then has a loss of 0 and not of 0/0
/// @return        a scalar, 0 to 1; 0, with a gradient of 0, when no pixel counts
/// @throws        ValueError for a label that is no class and not ignore_index, and for a smooth of 0 or less;
///                ShapeError when the shapes do not fit
/// @source        Milletari et al., "V-Net", 3DV 2016, sec. 3
template <class T, class Label>
Tensor<T> dice_loss(const Tensor<T>& logits, const Tensor<Label>& labels, double smooth = 1,
                    int64_t ignore_index = 255) {
  detail::check_class_scores("dice_loss", logits, labels);
  CLEARSKY_CHECK(ValueError, smooth > 0, "dice_loss: smooth ", smooth, "; use a value above 0");
  return apply(detail::DiceOp<T, Label>{contiguous(labels), ignore_index, smooth}, logits);
}

CLEARSKY_INSTANCE_FLOAT(decltype(dice_loss<float, uint8_t>) dice_loss<float, uint8_t>)
CLEARSKY_INSTANCE_FLOAT(decltype(dice_loss<float, int64_t>) dice_loss<float, int64_t>)
CLEARSKY_INSTANCE_DOUBLE(decltype(dice_loss<double, uint8_t>) dice_loss<double, uint8_t>)
CLEARSKY_INSTANCE_DOUBLE(decltype(dice_loss<double, int64_t>) dice_loss<double, int64_t>)

}  // namespace clearsky

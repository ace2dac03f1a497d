#pragma once
// Prompt-guided fusion (PGF) from the projected features on, as one operation.

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/prompt_fusion.hpp"
#include "clearsky/ops/fusion.hpp"

namespace clearsky {

namespace detail {

template <class T>
inline Kernel<cpu::PromptFusionForward<T>> prompt_fusion_forward{"prompt_guided_fusion_forward",
                                                                 cpu::prompt_fusion_forward<T>};
template <class T>
inline Kernel<cpu::PromptFusionBackward<T>> prompt_fusion_backward{"prompt_guided_fusion_backward",
                                                                   cpu::prompt_fusion_backward<T>};

/// Keeps its inputs only: backward computes s and G once more.
template <class T>
struct PromptGuidedFusionOp {
  static constexpr const char* kName = "prompt_guided_fusion";
  static constexpr bool kTwiceDifferentiable = false;
  FusionMode mode;
  Tensor<T>* reliance;  ///< read by forward only

  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& optical, const Tensor<T>& sar, const Tensor<T>& projected,
                    const Tensor<T>& prompt, const Tensor<T>& context, const Tensor<T>& weight,
                    const Tensor<T>& bias) const {
    const Tensor<T> o = contiguous(optical), s = contiguous(sar), a = contiguous(projected), q = contiguous(prompt),
                    c = contiguous(context), w = contiguous(weight), b = contiguous(bias);
    for (const Tensor<T>& t : {o, s, a, q, c, w, b}) saved.keep(t);
    Tensor<T> y(o.shape(), o.device());
    if (reliance != nullptr) *reliance = Tensor<T>({o.size(0), o.size(1), o.size(2), 1}, o.device());
    prompt_fusion_forward<T>(o.device(), {o.data(), s.data(), a.data(), q.data(), c.data(), w.data(), b.data(),
                                          y.mutable_data(), reliance == nullptr ? nullptr : reliance->mutable_data(),
                                          sizes(o, q), mode == FusionMode::replace});
    return y;
  }
  Grads<T, 7> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const Tensor<T> o = saved[0], s = saved[1], a = saved[2], q = saved[3], c = saved[4], w = saved[5], b = saved[6];
    const Tensor<T> dy = contiguous(g);
    Grads<T, 7> grads;
    for (size_t i = 0; i < 7; ++i)
      if (saved.needs(i)) grads[i] = Tensor<T>(saved[i].shape(), o.device());
    prompt_fusion_backward<T>(
        o.device(),
        {o.data(), s.data(), a.data(), q.data(), c.data(), w.data(), b.data(), dy.data(), grads[0].mutable_data(),
         grads[1].mutable_data(), grads[2].mutable_data(), grads[3].mutable_data(), grads[4].mutable_data(),
         grads[5].mutable_data(), grads[6].mutable_data(), sizes(o, q), mode == FusionMode::replace});
    return grads;
  }

 private:
  static cpu::PromptFusionSizes sizes(const Tensor<T>& o, const Tensor<T>& q) {
    return {o.size(0), o.size(1), o.size(2), o.size(3), q.size(1), q.size(2)};
  }
};

}  // namespace detail

/// Lets SAR into the optical feature where the gate opens, the gate's part of each pixel being made on the way.
///
///     s = projected + resize(prompt)      b = DW3x3(s) + bias      G = sigmoid(context + b)
///     y = O + G (S - O)  (replace)   or   O + G S  (inject)
///
/// The same as prompt_guided_mix of conv2d of the sum, but s, b and G are never stored: on a device every large array
/// is read once and one is written.
///
/// @param optical    (N, H, W, C)
/// @param sar        (N, H, W, C)  projected to the optical feature's channels
/// @param projected  (N, H, W, C)  the pointwise convolution of the normed optical feature
/// @param prompt     (N, h, w, C)  that of the prompt map at its own size; resized by bilinear interpolation
/// @param context    (N, 1, 1, C)  the gate's part that holds for the whole image
/// @param weight     (C, 3, 3, 1)  one window per channel, zeros around the image
/// @param bias       (C)
/// @param reliance   receives (N, H, W, 1), the mean of G over the channels, without a gradient; may be null
/// @return           (N, H, W, C)
/// @throws           ShapeError when the shapes do not fit, or the prompt has no pixels
/// @source           the structure: Zhang et al., arXiv:2601.12052, Figure 1; the equations are this project's
template <class T>
Tensor<T> prompt_guided_fusion(const Tensor<T>& optical, const Tensor<T>& sar, const Tensor<T>& projected,
                               const Tensor<T>& prompt, const Tensor<T>& context, const Tensor<T>& weight,
                               const Tensor<T>& bias, FusionMode mode = FusionMode::replace,
                               Tensor<T>* reliance = nullptr) {
  const Shape& shape = optical.shape();
  CLEARSKY_CHECK(ShapeError, shape.rank() == 4 && sar.shape() == shape && projected.shape() == shape,
                 "prompt_guided_fusion: optical ", shape, ", sar ", sar.shape(), " and projected ", projected.shape(),
                 " must all be one (N, H, W, C)");
  CLEARSKY_CHECK(ShapeError,
                 prompt.rank() == 4 && prompt.size(0) == shape[0] && prompt.size(3) == shape[3] &&
                     prompt.size(1) >= 1 && prompt.size(2) >= 1,
                 "prompt_guided_fusion: prompt ", prompt.shape(), " for optical ", shape, "; it must be (", shape[0],
                 ", h, w, ", shape[3], ") with at least 1 x 1 pixels");
  CLEARSKY_CHECK(ShapeError, context.shape() == (Shape{shape[0], 1, 1, shape[3]}), "prompt_guided_fusion: context ",
                 context.shape(), " for optical ", shape, "; it must be (", shape[0], ", 1, 1, ", shape[3], ")");
  CLEARSKY_CHECK(ShapeError, weight.shape() == (Shape{shape[3], 3, 3, 1}) && bias.shape() == Shape{shape[3]},
                 "prompt_guided_fusion: weight ", weight.shape(), " and bias ", bias.shape(), " for ", shape[3],
                 " channels; they must be (", shape[3], ", 3, 3, 1) and (", shape[3], ")");
  return apply(detail::PromptGuidedFusionOp<T>{mode, reliance}, optical, sar, projected, prompt, context, weight, bias);
}

CLEARSKY_COMPILE_ONCE(prompt_guided_fusion)

}  // namespace clearsky

#pragma once
// The gate and mix of prompt-guided fusion (PGF).

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/fusion.hpp"
#include "clearsky/ops/elementwise.hpp"

namespace clearsky {

/// What a gate of 1 does: put the SAR feature in the optical one's place, or add it.
enum class FusionMode { replace, inject };

namespace detail {

template <class T>
inline Kernel<cpu::MixForward<T>> mix_forward{"prompt_guided_mix_forward", cpu::mix_forward<T>};
template <class T>
inline Kernel<cpu::MixBackward<T>> mix_backward{"prompt_guided_mix_backward", cpu::mix_backward<T>};

template <class T>
struct PromptGuidedMixOp {
  static constexpr const char* kName = "prompt_guided_mix";
  static constexpr bool kTwiceDifferentiable = false;
  FusionMode mode;
  Tensor<T>* reliance;  ///< read by forward only

  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& optical, const Tensor<T>& sar, const Tensor<T>& context,
                    const Tensor<T>& bias) const {
    const Tensor<T> o = contiguous(optical), s = contiguous(sar), c = contiguous(context), b = contiguous(bias);
    for (const Tensor<T>& t : {o, s, c, b}) saved.keep(t);
    Tensor<T> y(o.shape(), o.device());
    if (reliance != nullptr) *reliance = Tensor<T>({o.size(0), o.size(1), o.size(2), 1}, o.device());
    mix_forward<T>(o.device(), {o.data(), s.data(), c.data(), b.data(), y.mutable_data(),
                                reliance == nullptr ? nullptr : reliance->mutable_data(), o.size(0),
                                o.size(1) * o.size(2), o.size(3), mode == FusionMode::replace});
    return y;
  }
  Grads<T, 4> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const Tensor<T> o = saved[0], s = saved[1], c = saved[2], b = saved[3], dy = contiguous(g);
    Grads<T, 4> grads;
    for (size_t i = 0; i < 4; ++i)
      if (saved.needs(i)) grads[i] = Tensor<T>(i == 2 ? c.shape() : o.shape(), o.device());
    mix_backward<T>(o.device(), {o.data(), s.data(), c.data(), b.data(), dy.data(), grads[0].mutable_data(),
                                 grads[1].mutable_data(), grads[2].mutable_data(), grads[3].mutable_data(), o.size(0),
                                 o.size(1) * o.size(2), o.size(3), mode == FusionMode::replace});
    return grads;
  }
};

}  // namespace detail

/// Lets SAR into the optical feature where the gate opens.
///
///     G = sigmoid(context + bias)      y = O + G (S - O)  (replace)   or   O + G S  (inject)
///
/// @param optical   (N, H, W, C)
/// @param sar       (N, H, W, C)  projected to the optical feature's channels
/// @param context   (N, 1, 1, C)  the gate's part that holds for the whole image
/// @param bias      (N, H, W, C)  the gate's part of each pixel
/// @param reliance  receives (N, H, W, 1), the mean of G over the channels, without a gradient; may be null
/// @return          (N, H, W, C)
/// @throws          ShapeError when the shapes do not fit
/// @source          the structure: Zhang et al., arXiv:2601.12052, Figure 1; the equations are this project's
template <class T>
Tensor<T> prompt_guided_mix(const Tensor<T>& optical, const Tensor<T>& sar, const Tensor<T>& context,
                            const Tensor<T>& bias, FusionMode mode = FusionMode::replace,
                            Tensor<T>* reliance = nullptr) {
  CLEARSKY_CHECK(ShapeError, optical.rank() == 4 && sar.shape() == optical.shape() && bias.shape() == optical.shape(),
                 "prompt_guided_mix: optical ", optical.shape(), ", sar ", sar.shape(), " and bias ", bias.shape(),
                 " must all be one (N, H, W, C)");
  CLEARSKY_CHECK(ShapeError, context.shape() == (Shape{optical.size(0), 1, 1, optical.size(3)}),
                 "prompt_guided_mix: context ", context.shape(), " for optical ", optical.shape(), "; it must be (",
                 optical.size(0), ", 1, 1, ", optical.size(3), ")");
  return apply(detail::PromptGuidedMixOp<T>{mode, reliance}, optical, sar, context, bias);
}

CLEARSKY_COMPILE_ONCE(prompt_guided_mix)

}  // namespace clearsky

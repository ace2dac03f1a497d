#pragma once
// The two halves of Restormer's block as one operation each, on the CPU: a block that is put together from
// convolutions, norms and gates reads and writes its feature maps some thirty times, these six times, and keep less
// than half of it for backward.

#include <array>

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/attention_block.hpp"
#include "clearsky/cpu/feed_forward_block.hpp"
#include "clearsky/ops/elementwise.hpp"

namespace clearsky {

/// Layer norm, 1x1 convolution and depthwise 3x3 convolution, which both halves begin with; no biases.
template <class T>
struct ExpansionWeights {
  Tensor<T> gamma, beta;  ///< (C)
  Tensor<T> pointwise;    ///< (E, 1, 1, C)
  Tensor<T> depthwise;    ///< (E, 3, 3, 1)
  double eps = 1e-5;
};

namespace detail {

template <class T>
inline Kernel<cpu::AttentionBlockForward<T>> attention_block_forward{"attention_block_forward",
                                                                     cpu::attention_block_forward<T>};
template <class T>
inline Kernel<cpu::AttentionBlockBackward<T>> attention_block_backward{"attention_block_backward",
                                                                       cpu::attention_block_backward<T>};
template <class T>
inline Kernel<cpu::FeedForwardBlockForward<T>> feed_forward_block_forward{"feed_forward_block_forward",
                                                                          cpu::feed_forward_block_forward<T>};
template <class T>
inline Kernel<cpu::FeedForwardBlockBackward<T>> feed_forward_block_backward{"feed_forward_block_backward",
                                                                            cpu::feed_forward_block_backward<T>};

/// x, gamma, beta, pointwise, depthwise, in this order; all dense.
template <class T>
using ExpansionInputs = std::array<Tensor<T>, 5>;

template <class T>
cpu::Expansion<T> expansion_of(const ExpansionInputs<T>& t, T eps) {
  return {t[0].data(),  t[1].data(),  t[2].data(),  t[3].data(),  t[4].data(), t[0].size(0),
          t[0].size(1), t[0].size(2), t[0].size(3), t[3].size(0), eps};
}

/// New tensors for the gradients that are asked for, and the pointers to them.
template <class T, size_t N>
cpu::ExpansionGradient<T> expansion_gradient(const Saved<T>& saved, const ExpansionInputs<T>& t, Grads<T, N>& grads) {
  for (size_t i = 1; i < 5; ++i)
    if (saved.needs(i)) grads[i] = Tensor<T>(t[i].shape(), t[i].device());
  return {grads[1].mutable_data(), grads[2].mutable_data(), grads[3].mutable_data(), grads[4].mutable_data()};
}

template <class T>
struct RestormerAttentionOp {
  static constexpr const char* kName = "restormer_attention";
  static constexpr bool kTwiceDifferentiable = false;
  T eps;

  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta,
                    const Tensor<T>& pointwise, const Tensor<T>& depthwise, const Tensor<T>& temperature,
                    const Tensor<T>& projection) const {
    const ExpansionInputs<T> in{contiguous(x), contiguous(gamma), contiguous(beta), contiguous(pointwise),
                                contiguous(depthwise)};
    const Tensor<T> t = contiguous(temperature), project = contiguous(projection);
    const Shape& shape = in[0].shape();
    const int64_t channels = shape[3], heads = t.numel(), d = channels / heads;
    Tensor<T> u, v(shape, x.device()), y(shape, x.device());
    Tensor<T> state({shape[0], heads, 2 * d * d + 2 * d}, x.device());
    if (saved.recording()) u = Tensor<T>({shape[0], shape[1], shape[2], 3 * channels}, x.device());
    attention_block_forward<T>(x.device(), {expansion_of(in, eps), t.data(), project.data(), u.mutable_data(),
                                            v.mutable_data(), state.mutable_data(), y.mutable_data(), heads});
    for (const Tensor<T>& kept : in) saved.keep(kept);
    for (const Tensor<T>& kept : {t, project, u, state}) saved.keep(kept);
    return y;
  }
  Grads<T, 7> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const ExpansionInputs<T> in{saved[0], saved[1], saved[2], saved[3], saved[4]};
    const Tensor<T> t = saved[5], project = saved[6], u = saved[7], state = saved[8], dy = contiguous(g);
    Grads<T, 7> grads;
    grads[0] = Tensor<T>(in[0].shape(), dy.device());
    const cpu::ExpansionGradient<T> to = expansion_gradient(saved, in, grads);
    if (saved.needs(5)) grads[5] = Tensor<T>(t.shape(), dy.device());
    if (saved.needs(6)) grads[6] = Tensor<T>(project.shape(), dy.device());
    attention_block_backward<T>(
        dy.device(), {expansion_of(in, eps), t.data(), project.data(), u.data(), state.data(), dy.data(),
                      grads[0].mutable_data(), to, grads[5].mutable_data(), grads[6].mutable_data(), t.numel()});
    return grads;
  }
};

template <class T>
struct RestormerFeedForwardOp {
  static constexpr const char* kName = "restormer_feed_forward";
  static constexpr bool kTwiceDifferentiable = false;
  T eps;

  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta,
                    const Tensor<T>& pointwise, const Tensor<T>& depthwise, const Tensor<T>& projection) const {
    const ExpansionInputs<T> in{contiguous(x), contiguous(gamma), contiguous(beta), contiguous(pointwise),
                                contiguous(depthwise)};
    const Tensor<T> project = contiguous(projection);
    const Shape& shape = in[0].shape();
    Tensor<T> u, y(shape, x.device());
    if (saved.recording()) u = Tensor<T>({shape[0], shape[1], shape[2], in[3].size(0)}, x.device());
    feed_forward_block_forward<T>(x.device(),
                                  {expansion_of(in, eps), project.data(), u.mutable_data(), y.mutable_data()});
    for (const Tensor<T>& kept : in) saved.keep(kept);
    for (const Tensor<T>& kept : {project, u}) saved.keep(kept);
    return y;
  }
  Grads<T, 6> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const ExpansionInputs<T> in{saved[0], saved[1], saved[2], saved[3], saved[4]};
    const Tensor<T> project = saved[5], u = saved[6], dy = contiguous(g);
    Grads<T, 6> grads;
    grads[0] = Tensor<T>(in[0].shape(), dy.device());
    const cpu::ExpansionGradient<T> to = expansion_gradient(saved, in, grads);
    if (saved.needs(5)) grads[5] = Tensor<T>(project.shape(), dy.device());
    feed_forward_block_backward<T>(dy.device(), {expansion_of(in, eps), project.data(), u.data(), dy.data(),
                                                 grads[0].mutable_data(), to, grads[5].mutable_data()});
    return grads;
  }
};

/// @param expanded  how many channels the projection needs of the expansion: E
template <class T>
void check_expansion(const char* op, const Tensor<T>& x, const ExpansionWeights<T>& w, int64_t expanded) {
  CLEARSKY_CHECK(ShapeError, x.rank() == 4, op, ": input must be (N, H, W, C), got ", x.shape());
  const int64_t channels = x.size(3);
  CLEARSKY_CHECK(ShapeError, w.gamma.shape() == Shape{channels} && w.beta.shape() == Shape{channels}, op, ": gamma ",
                 w.gamma.shape(), " and beta ", w.beta.shape(), " for input ", x.shape(), "; both must be ",
                 Shape{channels});
  const Shape pointwise{expanded, 1, 1, channels}, depthwise{expanded, 3, 3, 1};
  CLEARSKY_CHECK(ShapeError, w.pointwise.shape() == pointwise && w.depthwise.shape() == depthwise, op,
                 ": weights pointwise ", w.pointwise.shape(), " and depthwise ", w.depthwise.shape(), " for input ",
                 x.shape(), "; they must be ", pointwise, " and ", depthwise);
}

}  // namespace detail

/// The first half of Restormer's block:
///
///     [q k v] = DW3x3(Conv1x1_{C -> 3C}(LN(x)))        y = x + Conv1x1_{C -> C}(channel_attention(q, k, v))
///
/// The values of conv2d, layer_norm, channel_attention_qkv and + one after the other, but for rounding: the projection
/// and the attention's weights are multiplied with each other before either meets a pixel. CPU only.
///
/// @param x            (N, H, W, C)
/// @param expansion    E = 3 C: the channels of q, then of k, then of v
/// @param temperature  (heads), which divide C
/// @param projection   (C, 1, 1, C)
/// @return             (N, H, W, C)
/// @throws             ShapeError when the sizes do not fit
/// @source             Zamir et al., "Restormer", CVPR 2022, arXiv:2111.09881, eq. 1
template <class T>
Tensor<T> restormer_attention(const Tensor<T>& x, const ExpansionWeights<T>& expansion, const Tensor<T>& temperature,
                              const Tensor<T>& projection) {
  detail::check_expansion("restormer_attention", x, expansion, x.rank() == 4 ? 3 * x.size(3) : 0);
  const int64_t channels = x.size(3);
  CLEARSKY_CHECK(ShapeError,
                 temperature.rank() == 1 && temperature.size(0) >= 1 && channels % temperature.size(0) == 0 &&
                     projection.shape() == (Shape{channels, 1, 1, channels}),
                 "restormer_attention: temperature ", temperature.shape(), " and projection ", projection.shape(),
                 " for input ", x.shape(), "; they must be (heads), heads dividing the channels, and ",
                 Shape{channels, 1, 1, channels});
  return apply(detail::RestormerAttentionOp<T>{T(expansion.eps)}, x, expansion.gamma, expansion.beta,
               expansion.pointwise, expansion.depthwise, temperature, projection);
}

/// The second half of Restormer's block:
///
///     [a b] = DW3x3(Conv1x1_{C -> 2 H}(LN(x)))        y = x + Conv1x1_{H -> C}(gelu(a) b)
///
/// CPU only.
///
/// @param x           (N, H, W, C)
/// @param expansion   E = 2 hidden
/// @param projection  (C, 1, 1, hidden)
/// @return            (N, H, W, C)
/// @throws            ShapeError when the sizes do not fit
/// @source            Zamir et al., "Restormer", CVPR 2022, arXiv:2111.09881, eq. 3
template <class T>
Tensor<T> restormer_feed_forward(const Tensor<T>& x, const ExpansionWeights<T>& expansion,
                                 const Tensor<T>& projection) {
  CLEARSKY_CHECK(
      ShapeError,
      projection.rank() == 4 && x.rank() == 4 && projection.shape() == (Shape{x.size(3), 1, 1, projection.size(3)}),
      "restormer_feed_forward: projection ", projection.shape(), " for input ", x.shape(),
      "; it must be (C, 1, 1, hidden) for (N, H, W, C)");
  detail::check_expansion("restormer_feed_forward", x, expansion, 2 * projection.size(3));
  return apply(detail::RestormerFeedForwardOp<T>{T(expansion.eps)}, x, expansion.gamma, expansion.beta,
               expansion.pointwise, expansion.depthwise, projection);
}

CLEARSKY_COMPILE_ONCE(restormer_attention)
CLEARSKY_COMPILE_ONCE(restormer_feed_forward)

}  // namespace clearsky

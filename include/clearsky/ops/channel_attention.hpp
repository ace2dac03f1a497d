#pragma once

#include "clearsky/core/compile_once.hpp"
#include "clearsky/cpu/channel_attention.hpp"
#include "clearsky/ops/concat.hpp"

namespace clearsky {
namespace detail {

template <class T>
inline Kernel<cpu::ChannelAttentionForward<T>> channel_attention_forward{"channel_attention_forward",
                                                                         cpu::channel_attention_forward<T>};
template <class T>
inline Kernel<cpu::ChannelAttentionBackward<T>> channel_attention_backward{"channel_attention_backward",
                                                                           cpu::channel_attention_backward<T>};

template <class T>
struct ChannelAttentionOp {
  static constexpr const char* kName = "channel_attention";
  static constexpr bool kTwiceDifferentiable = false;

  Tensor<T> forward(Saved<T>& saved, const Tensor<T>& qkv, const Tensor<T>& temperature) const {
    const Tensor<T> x = contiguous(qkv), t = contiguous(temperature);
    const int64_t channels = x.size(3) / 3, heads = t.numel(), d = channels / heads;
    Tensor<T> y({x.size(0), x.size(1), x.size(2), channels}, x.device());
    Tensor<T> state({x.size(0), heads, 2 * d * d + 2 * d}, x.device());
    channel_attention_forward<T>(x.device(), {x.data(), t.data(), y.mutable_data(), state.mutable_data(), x.size(0),
                                              x.size(1) * x.size(2), channels, heads});
    for (const Tensor<T>& kept : {x, t, state}) saved.keep(kept);
    return y;
  }
  Grads<T, 2> backward(const Saved<T>& saved, const Tensor<T>& g) const {
    const Tensor<T> x = saved[0], t = saved[1], state = saved[2], dy = contiguous(g);
    Tensor<T> dqkv(x.shape(), x.device()), dt;
    if (saved.needs(1)) dt = Tensor<T>(t.shape(), t.device());
    channel_attention_backward<T>(
        x.device(), {x.data(), t.data(), state.data(), dy.data(), dqkv.mutable_data(), dt.mutable_data(), x.size(0),
                     x.size(1) * x.size(2), x.size(3) / 3, t.numel()});
    return {dqkv, dt};
  }
};

}  // namespace detail

/// Attention between channels: per image and head,
///
///     A = softmax(t q^ k^T)   (C/h x C/h),   y = A v        q^, k^ normalised along the pixels
///
/// so that its cost grows with the pixels and not with their square. One operation each way: neither the normalised
/// q and k nor their products with other pixels are ever stored.
///
/// @param qkv          (N, H, W, 3 C): the channels of q, then of k, then of v; each split into heads side by side
/// @param temperature  (heads); heads divide C
/// @return             (N, H, W, C)
/// @throws             ShapeError when the sizes do not fit
/// @source             Zamir et al., "Restormer", CVPR 2022, arXiv:2111.09881, eq. 1
template <class T>
Tensor<T> channel_attention_qkv(const Tensor<T>& qkv, const Tensor<T>& temperature) {
  CLEARSKY_CHECK(ShapeError, qkv.rank() == 4 && qkv.size(3) % 3 == 0,
                 "channel_attention: qkv must be (N, H, W, 3 C), got ", qkv.shape());
  CLEARSKY_CHECK(ShapeError,
                 temperature.rank() == 1 && temperature.size(0) >= 1 && qkv.size(3) / 3 % temperature.size(0) == 0,
                 "channel_attention: ", qkv.size(3) / 3, " channels do not divide into heads for temperature ",
                 temperature.shape());
  return apply(detail::ChannelAttentionOp<T>{}, qkv, temperature);
}

/// channel_attention_qkv on three tensors of shape (N, H, W, C), which are copied side by side first.
/// @throws ShapeError when the shapes differ or the heads do not divide the channels
template <class T>
Tensor<T> channel_attention(const Tensor<T>& q, const Tensor<T>& k, const Tensor<T>& v, const Tensor<T>& temperature) {
  CLEARSKY_CHECK(ShapeError, q.rank() == 4 && k.shape() == q.shape() && v.shape() == q.shape(), "channel_attention: q ",
                 q.shape(), ", k ", k.shape(), " and v ", v.shape(), " must all be one (N, H, W, C)");
  return channel_attention_qkv(concat(std::vector<Tensor<T>>{q, k, v}, 3), temperature);
}

CLEARSKY_COMPILE_ONCE(channel_attention_qkv)
CLEARSKY_COMPILE_ONCE(channel_attention)

}  // namespace clearsky

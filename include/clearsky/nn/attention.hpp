#pragma once
// Attention layers.

#include "clearsky/nn/conv2d.hpp"
#include "clearsky/nn/linear.hpp"
#include "clearsky/ops/attention.hpp"

namespace clearsky::nn {

/// Attention between the positions of a sequence, with several heads.
///
/// Input and output (B, L, channels); head j owns channels j C/h .. (j + 1) C/h.
/// @source Vaswani et al., "Attention Is All You Need", NeurIPS 2017, sec. 3.2.2
template <class T = float>
struct MultiHeadAttention {
  using value_type = T;
  Linear<T> query, key, value, projection;
  int64_t heads;

  MultiHeadAttention(int64_t channels, int64_t head_count)
      : query(channels, channels),
        key(channels, channels),
        value(channels, channels),
        projection(channels, channels),
        heads(head_count) {
    CLEARSKY_CHECK(ValueError, heads >= 1 && channels % heads == 0, "MultiHeadAttention: ", channels,
                   " channels cannot be divided into ", heads, " heads");
  }

  /// @param x        (B, L, channels)      asks
  /// @param context  (B, L_k, channels)    is looked at; x itself for self-attention
  Tensor<T> operator()(const Tensor<T>& x, const Tensor<T>& context, const AttentionOptions<T>& options = {}) const {
    const ProfileModule scope(*this);
    CLEARSKY_CHECK(ShapeError, x.rank() == 3 && context.rank() == 3 && x.size(0) == context.size(0),
                   "MultiHeadAttention: input ", x.shape(), " and context ", context.shape(),
                   " must be (B, L, channels) with the same B");
    const auto split_heads = [&](const Tensor<T>& t) {
      return permute(reshape(t, {t.size(0), t.size(1), heads, t.size(2) / heads}), {0, 2, 1, 3});
    };
    const Tensor<T> y = scaled_dot_product_attention(split_heads(query(x)), split_heads(key(context)),
                                                     split_heads(value(context)), options);
    return projection(reshape(permute(y, {0, 2, 1, 3}), x.shape()));
  }
  Tensor<T> operator()(const Tensor<T>& x, const AttentionOptions<T>& options = {}) const {
    return (*this)(x, x, options);
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("query", query);
    visit("key", key);
    visit("value", value);
    visit("projection", projection);
  }
};

/// Attention within the windows of an image: (N, H, W, channels) to the same; the window divides H and W.
/// @source Liu et al., "Swin Transformer", ICCV 2021, arXiv:2103.14030, sec. 3.2, without the position bias
template <class T = float>
struct WindowAttention {
  using value_type = T;
  Linear<T> query, key, value, projection;
  int64_t heads, window;

  WindowAttention(int64_t channels, int64_t head_count, int64_t window_pixels)
      : query(channels, channels),
        key(channels, channels),
        value(channels, channels),
        projection(channels, channels),
        heads(head_count),
        window(window_pixels) {
    CLEARSKY_CHECK(ValueError, heads >= 1 && channels % heads == 0, "WindowAttention: ", channels,
                   " channels cannot be divided into ", heads, " heads");
  }

  Tensor<T> operator()(const Tensor<T>& x) const {
    const ProfileModule scope(*this);
    return projection(window_attention(query(x), key(x), value(x), heads, window));
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("query", query);
    visit("key", key);
    visit("value", value);
    visit("projection", projection);
  }
};

/// Multi-Dconv head transposed attention: attention between channels, whose cost grows with the pixels alone.
///
///     [q k v] = DW3x3(Conv1x1(x))        y = Conv1x1(softmax(t q^ k^T) v) per head
///
/// Input and output (N, H, W, channels). No biases; the temperatures t start at 1.
/// @source Zamir et al., "Restormer", CVPR 2022, arXiv:2111.09881, eq. 1
template <class T = float>
struct Mdta {
  using value_type = T;
  Conv2d<T> qkv, qkv_depthwise, projection;
  Parameter<T> temperature;  ///< (heads)

  [[gnu::cold]] Mdta(int64_t channels, int64_t heads)
      : qkv(pointwise_conv2d<T>(channels, 3 * channels)),
        qkv_depthwise(depthwise_conv2d<T>(3 * channels)),
        projection(pointwise_conv2d<T>(channels, channels)),
        temperature({heads}, init::constant(1)) {
    CLEARSKY_CHECK(ValueError, heads >= 1 && channels % heads == 0, "Mdta: ", channels,
                   " channels cannot be divided into ", heads, " heads");
  }

  Tensor<T> operator()(const Tensor<T>& x) const {
    const ProfileModule scope(*this);
    return projection(channel_attention_qkv(qkv_depthwise(qkv(x)), temperature.value));
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("qkv", qkv);
    visit("qkv_depthwise", qkv_depthwise);
    visit("temperature", temperature);
    visit("projection", projection);
  }
};

}  // namespace clearsky::nn

#pragma once
// The two kinds of block, and the stack of them that one level has.

#include "clearsky/autograd/checkpoint.hpp"
#include "clearsky/nn/attention.hpp"
#include "clearsky/nn/norm.hpp"
#include "clearsky/ops/gate.hpp"
#include "clearsky/ops/naf.hpp"
#include "clearsky/ops/pool.hpp"
#include "clearsky/ops/restormer.hpp"
#include "clearsky/tdpcr/config.hpp"

namespace clearsky::tdpcr {

namespace detail {

/// Whether the fused operations are the faster way: they stream through rows of pixels, and each of their units adds up
/// the gradients of all weights by itself, so that an image must have some more pixels than a pixel has channels.
template <class T>
bool is_streamed(const Tensor<T>& x) {
  constexpr int64_t kLeastPixels = 4;  // per channel
  return x.device() == Device::cpu && x.size(0) * x.size(1) * x.size(2) >= kLeastPixels * x.size(3);
}

}  // namespace detail

/// Restormer's gated feed-forward part.
///
///     [a b] = DW3x3(Conv1x1_{C -> 2 g C}(x))        y = Conv1x1_{g C -> C}(gelu(a) b)
///
/// @source Zamir et al., "Restormer", CVPR 2022, arXiv:2111.09881, eq. 3
template <class T = float>
struct FeedForward {
  using value_type = T;
  nn::Conv2d<T> expand, depthwise, project;

  /// @param hidden  g C, the channels between gate and output
  [[gnu::cold]] FeedForward(int64_t channels, int64_t hidden)
      : expand(nn::pointwise_conv2d<T>(channels, 2 * hidden)),
        depthwise(nn::depthwise_conv2d<T>(2 * hidden)),
        project(nn::pointwise_conv2d<T>(hidden, channels)) {}

  Tensor<T> operator()(const Tensor<T>& x) const {
    const ProfileModule scope(*this);
    return project(gelu_gate(depthwise(expand(x))));
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("expand", expand);
    visit("depthwise", depthwise);
    visit("project", project);
  }
};

/// Restormer's block, (N, H, W, channels) to the same.
///
///     y = x + MDTA(LN(x))        z = y + GDFN(LN(y))
///
/// @source Zamir et al., "Restormer", CVPR 2022, arXiv:2111.09881, sec. 3
template <class T = float>
struct RestormerBlock {
  using value_type = T;
  nn::LayerNorm<T> norm1, norm2;
  nn::Mdta<T> attention;
  FeedForward<T> feed_forward;

  [[gnu::cold]] RestormerBlock(int64_t channels, int64_t heads, double expansion = 2)
      : norm1(channels),
        norm2(channels),
        attention(channels, heads),
        feed_forward(channels, int64_t(double(channels) * expansion)) {}

  Tensor<T> operator()(const Tensor<T>& x) const {
    const ProfileModule scope(*this);
    return detail::is_streamed(x) ? fused(x) : composed(x);
  }

  /// Operation by operation.
  Tensor<T> composed(const Tensor<T>& x) const {
    const Tensor<T> y = x + attention(norm1(x));
    return y + feed_forward(norm2(y));
  }
  /// The same in two operations; on the CPU only.
  Tensor<T> fused(const Tensor<T>& x) const {
    const Tensor<T> y = restormer_attention<T>(x,
                                               {norm1.weight.value, norm1.bias.value, attention.qkv.weight.value,
                                                attention.qkv_depthwise.weight.value, norm1.eps},
                                               attention.temperature.value, attention.projection.weight.value);
    return restormer_feed_forward<T>(y,
                                     {norm2.weight.value, norm2.bias.value, feed_forward.expand.weight.value,
                                      feed_forward.depthwise.weight.value, norm2.eps},
                                     feed_forward.project.weight.value);
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("norm1", norm1);
    visit("attention", attention);
    visit("norm2", norm2);
    visit("feed_forward", feed_forward);
  }
};

/// NAFNet's block without biases in its convolutions, (N, H, W, channels) to the same.
///
///     y = x + beta  Conv1x1(SCA(SG(DW3x3(Conv1x1_{C -> 2C}(LN(x))))))
///     z = y + gamma Conv1x1(SG(Conv1x1_{C -> 2C}(LN(y))))
///
/// SG multiplies the halves of the channels; SCA(u) = u Conv1x1(GAP(u)). beta and gamma start at 0, so a new block
/// passes its input on.
/// @source Chen et al., "Simple Baselines for Image Restoration", ECCV 2022, arXiv:2204.04676, Figure 3 c, eq. 4 and 6
template <class T = float>
struct NafBlock {
  using value_type = T;
  nn::LayerNorm<T> norm1, norm2;
  nn::Conv2d<T> expand1, depthwise, channel_attention, project1, expand2, project2;
  nn::Parameter<T> beta, gamma;  ///< (channels)

  [[gnu::cold]] explicit NafBlock(int64_t channels)
      : norm1(channels),
        norm2(channels),
        expand1(nn::pointwise_conv2d<T>(channels, 2 * channels)),
        depthwise(nn::depthwise_conv2d<T>(2 * channels)),
        channel_attention(nn::pointwise_conv2d<T>(channels, channels)),
        project1(nn::pointwise_conv2d<T>(channels, channels)),
        expand2(nn::pointwise_conv2d<T>(channels, 2 * channels)),
        project2(nn::pointwise_conv2d<T>(channels, channels)),
        beta({channels}, nn::init::constant(0)),
        gamma({channels}, nn::init::constant(0)) {}

  Tensor<T> operator()(const Tensor<T>& x) const {
    const ProfileModule scope(*this);
    return detail::is_streamed(x) ? fused(x) : composed(x);
  }

  /// Operation by operation.
  Tensor<T> composed(const Tensor<T>& x) const {
    const Tensor<T> u = simple_gate(depthwise(expand1(norm1(x))));
    const Tensor<T> y = x + scaled(project1, beta, u * channel_attention(global_avg_pool(u)));
    return y + scaled(project2, gamma, simple_gate(expand2(norm2(y))));
  }
  /// The same as one operation; on the CPU only.
  Tensor<T> fused(const Tensor<T>& x) const {
    return naf_block<T>(
        x, {{norm1.weight.value, norm1.bias.value, expand1.weight.value, depthwise.weight.value, norm1.eps},
            channel_attention.weight.value,
            project1.weight.value,
            beta.value,
            norm2.weight.value,
            norm2.bias.value,
            expand2.weight.value,
            project2.weight.value,
            gamma.value,
            norm2.eps});
  }

  /// factor * project(x). The factor goes into the weights, which are a few thousand numbers and not a feature map.
  static Tensor<T> scaled(const nn::Conv2d<T>& project, const nn::Parameter<T>& factor, const Tensor<T>& x) {
    return conv2d(x, project.weight.value * reshape(factor.value, {factor.value.numel(), 1, 1, 1}));
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("norm1", norm1);
    visit("expand1", expand1);
    visit("depthwise", depthwise);
    visit("channel_attention", channel_attention);
    visit("project1", project1);
    visit("beta", beta);
    visit("norm2", norm2);
    visit("expand2", expand2);
    visit("project2", project2);
    visit("gamma", gamma);
  }
};

/// The blocks of one depth, of the configured kind. Their owner names them: visit("blocks", restormer) and the same for
/// naf, one of which is empty.
template <class T = float>
struct Blocks {
  nn::List<RestormerBlock<T>> restormer;
  nn::List<NafBlock<T>> naf;
  bool recompute = false;

  [[gnu::cold]] Blocks(const Config& config, int64_t level, int64_t count) : recompute(config.checkpoint_blocks) {
    const int64_t channels = config.channels(level);
    if (config.block == Block::restormer)
      restormer = {count,
                   [&](int64_t) { return RestormerBlock<T>(channels, config.heads[size_t(level)], config.expansion); }};
    else naf = {count, [&](int64_t) { return NafBlock<T>(channels); }};
  }

  Tensor<T> operator()(Tensor<T> x) const {
    for (const auto& block : restormer) x = run(block, x);
    for (const auto& block : naf) x = run(block, x);
    return x;
  }

 private:
  template <class B>
  Tensor<T> run(const B& block, const Tensor<T>& x) const {
    // Backward comes by a checkpoint only through its inputs: behind a frozen part there is none to come by.
    if (!recompute || !grad_enabled() || !x.requires_grad()) return block(x);
    return checkpoint<T>([&block](std::span<const Tensor<T>> in) { return block(in[0]); }, {x});
  }
};

}  // namespace clearsky::tdpcr

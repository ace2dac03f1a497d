#pragma once
// Prompt-guided fusion (PGF): SAR enters the optical stream where the prompt says the optical data is corrupted.

#include "clearsky/nn/conv2d.hpp"
#include "clearsky/nn/linear.hpp"
#include "clearsky/nn/norm.hpp"
#include "clearsky/ops/concat.hpp"
#include "clearsky/ops/fusion.hpp"
#include "clearsky/ops/pool.hpp"
#include "clearsky/ops/prompt_fusion.hpp"
#include "clearsky/ops/resize.hpp"
#include "clearsky/tdpcr/config.hpp"

namespace clearsky::tdpcr {

namespace detail {

/// A 1x1 convolution of the channels [first, last) of what `weight` reads: the convolution of several tensors side by
/// side is the sum of such parts, without the copy that puts them side by side.
template <class T>
Tensor<T> part_of_pointwise(const Tensor<T>& x, const Tensor<T>& weight, int64_t first) {
  return conv2d(x, slice(weight, 3, first, first + x.size(-1)));
}

}  // namespace detail

/// The gate's part that holds for the whole image:  c = W2 GELU(W1 [GAP(O) ; GAP(S)]), hidden width C/4.
template <class T = float>
struct ChannelContext {
  using value_type = T;
  nn::Linear<T> hidden, output;

  ChannelContext() = default;
  [[gnu::cold]] explicit ChannelContext(int64_t channels)
      : hidden(2 * channels, channels / 4), output(channels / 4, channels) {}

  /// @return (N, 1, 1, C)
  Tensor<T> operator()(const Tensor<T>& optical, const Tensor<T>& sar) const {
    const ProfileModule scope(*this);
    return output(gelu(hidden(concat({global_avg_pool(optical), global_avg_pool(sar)}, -1))));
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("hidden", hidden);
    visit("output", output);
  }
};

/// The gate's part of each pixel:  b = DW3x3(Conv1x1([LN(O) ; Q])), Q the prompt map at the optical feature's size.
///
/// The depthwise bias starts at -2: sigmoid(-2) = 0.12, so that training begins with little SAR.
template <class T = float>
struct SpatialBias {
  using value_type = T;
  nn::Conv2d<T> project, depthwise;

  SpatialBias() = default;
  [[gnu::cold]] SpatialBias(int64_t channels, int64_t prompt_channels)
      : project(nn::pointwise_conv2d<T>(channels + prompt_channels + 1, channels)),
        depthwise(nn::depthwise_conv2d<T>(channels, 3, nn::Bias::yes)) {
    depthwise.bias = nn::Parameter<T>({channels}, nn::init::constant(-2));
  }

  /// @param normed  (N, H, W, C)
  /// @param prompt  (N, h, w, C_p + 1) of any size, or undefined for zeros
  Tensor<T> operator()(const Tensor<T>& normed, const Tensor<T>& prompt) const {
    const ProfileModule scope(*this);
    Tensor<T> sum = of_normed(normed);
    if (prompt.defined()) {
      check_prompt(normed.size(3), prompt);
      const int64_t height = normed.size(1), width = normed.size(2);
      // Resizing and a convolution without window or bias commute: both are done at the smaller size.
      const bool enlarges = prompt.size(1) <= height;
      sum = sum + (enlarges ? resize(of_prompt(prompt), height, width) : of_prompt(resize(prompt, height, width)));
    }
    return depthwise(sum);
  }

  /// The convolution's parts, each at its own size.
  Tensor<T> of_normed(const Tensor<T>& normed) const {
    const ProfileModule scope(project);
    return detail::part_of_pointwise(normed, project.weight.value, 0);
  }
  Tensor<T> of_prompt(const Tensor<T>& prompt) const {
    const ProfileModule scope(project);
    return detail::part_of_pointwise(prompt, project.weight.value, project.weight.value.size(0));
  }
  void check_prompt(int64_t channels, const Tensor<T>& prompt) const {
    CLEARSKY_CHECK(ShapeError, channels + prompt.size(3) == project.weight.value.size(3), "SpatialBias: a prompt map ",
                   prompt.shape(), " where ", project.weight.value.size(3) - channels, " channels are expected");
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("project", project);
    visit("depthwise", depthwise);
  }
};

/// One fusion block, (N, H, W, channels) to the same.
///
///     G = sigmoid(c + b)
///     replace:  O' = O + G (Conv1x1(S) - O)        inject:  O' = O + G Conv1x1(S)
///     concat:   O' = Conv1x1([O ; S])              add:     O' = O + Conv1x1(S)
///
/// @source  the structure: Zhang et al., arXiv:2601.12052, Figure 1; the equations are this project's
template <class T = float>
struct FusionBlock {
  using value_type = T;
  Fusion kind;
  ChannelContext<T> context;
  nn::LayerNorm<T> norm;
  SpatialBias<T> spatial;
  nn::Conv2d<T> sar;
  nn::Conv2d<T> mix;

  [[gnu::cold]] FusionBlock(Fusion fusion, int64_t channels, int64_t prompt_channels) : kind(fusion) {
    if (gated()) {
      context = ChannelContext<T>(channels);
      norm = nn::LayerNorm<T>(channels);
      spatial = SpatialBias<T>(channels, prompt_channels);
    }
    if (kind == Fusion::concat) mix = nn::pointwise_conv2d<T>(2 * channels, channels);
    else if (kind != Fusion::none) sar = nn::pointwise_conv2d<T>(channels, channels);
  }

  bool gated() const { return kind == Fusion::replace || kind == Fusion::inject; }

  /// @param prompt    the prompt map, of any size; undefined for zeros
  /// @param reliance  receives the mean of G over the channels (N, H, W, 1); may be null, and is left alone without
  /// gate
  Tensor<T> operator()(const Tensor<T>& optical, const Tensor<T>& sar_feature, const Tensor<T>& prompt,
                       Tensor<T>* reliance = nullptr) const {
    const ProfileModule scope(*this);
    switch (kind) {
      case Fusion::none:
        return optical;
      case Fusion::add:
        return optical + sar(sar_feature);
      case Fusion::concat: {
        const Tensor<T>& w = mix.weight.value;
        return detail::part_of_pointwise(optical, w, 0) + detail::part_of_pointwise(sar_feature, w, optical.size(3));
      }
      default:
        break;
    }
    const FusionMode mode = kind == Fusion::replace ? FusionMode::replace : FusionMode::inject;
    if (prompt.defined() && prompt.size(1) <= optical.size(1) && prompt.size(2) <= optical.size(2)) {
      spatial.check_prompt(optical.size(3), prompt);
      return prompt_guided_fusion(optical, sar(sar_feature), spatial.of_normed(norm(optical)),
                                  spatial.of_prompt(prompt), context(optical, sar_feature),
                                  spatial.depthwise.weight.value, spatial.depthwise.bias.value, mode, reliance);
    }
    return prompt_guided_mix(optical, sar(sar_feature), context(optical, sar_feature), spatial(norm(optical), prompt),
                             mode, reliance);
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("context", context);
    visit("norm", norm);
    visit("spatial", spatial);
    visit("sar", sar);
    visit("mix", mix);
  }
};

}  // namespace clearsky::tdpcr

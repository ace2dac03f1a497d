#pragma once
// The shared decoder: from the deepest fused feature up to the image.

#include <utility>

#include "clearsky/ops/pixel_shuffle.hpp"
#include "clearsky/tdpcr/blocks.hpp"
#include "clearsky/tdpcr/fusion.hpp"

namespace clearsky::tdpcr {

/// A feature per depth, shallowest first.
template <class T = float>
using Features = std::array<Tensor<T>, size_t(kLevels)>;

/// One depth of the decoder. `up` leads from this level to the one above: a 1x1 convolution to twice the channels,
/// four of which become 2 x 2 pixels. `merge` takes the encoder's feature in, for skips = concat.
template <class T = float>
struct DecoderLevel {
  using value_type = T;
  Blocks<T> blocks;
  nn::Conv2d<T> up, merge;

  [[gnu::cold]] DecoderLevel(const Config& config, int64_t level)
      : blocks(config, level, config.decoder_blocks[size_t(level)]) {
    const int64_t channels = config.channels(level);
    if (level > 0) up = nn::pointwise_conv2d<T>(channels, 2 * channels);
    if (config.skips == Skips::concat && level + 1 < kLevels) merge = nn::pointwise_conv2d<T>(2 * channels, channels);
  }

  Tensor<T> ascend(const Tensor<T>& x) const {
    const ProfileModule scope(*this);
    return pixel_shuffle(up(x), 2);
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("blocks", blocks.restormer);
    visit("blocks", blocks.naf);
    visit("up", up);
    visit("merge", merge);
  }
};

template <class T = float>
struct Decoder {
  using value_type = T;
  nn::List<DecoderLevel<T>> levels;
  nn::Conv2d<T> head;  ///< to the optical bands
  Skips skips;

  [[gnu::cold]] explicit Decoder(const Config& config)
      : levels(kLevels, [&](int64_t l) { return DecoderLevel<T>(config, l); }),
        head(config.width, config.optical_bands, 3, {.padding = 1}),
        skips(config.skips) {}

  /// The fused features of all depths to the decoder's own; head(features[0]) is the image. Takes the features along,
  /// so that each one's memory is free as soon as it has been used (and backward does not want it).
  Features<T> operator()(Features<T> fused) const {
    const ProfileModule scope(*this);
    Features<T> features;
    Tensor<T> x = std::move(fused[size_t(kLevels - 1)]);
    for (size_t l = size_t(kLevels); l-- > 0;) {
      if (l + 1 < size_t(kLevels)) x = with_skip(levels[l], levels[l + 1].ascend(x), std::move(fused[l]));
      features[l] = x = levels[l].blocks(std::move(x));
    }
    return features;
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("levels", levels);
    visit("head", head);
  }

 private:
  Tensor<T> with_skip(const DecoderLevel<T>& level, const Tensor<T>& x, const Tensor<T>& skip) const {
    if (skips == Skips::none) return x;
    const ProfileModule scope(level);
    if (skips == Skips::add) return x + skip;
    const Tensor<T>& w = level.merge.weight.value;
    return detail::part_of_pointwise(x, w, 0) + detail::part_of_pointwise(skip, w, x.size(3));
  }
};

}  // namespace clearsky::tdpcr

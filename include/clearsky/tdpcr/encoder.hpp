#pragma once
// The encoders: optical and SAR have the same form.

#include "clearsky/nn/conv2d.hpp"
#include "clearsky/ops/pixel_shuffle.hpp"
#include "clearsky/tdpcr/blocks.hpp"

namespace clearsky::tdpcr {

/// One depth of an encoder: blocks, then, but for the deepest, halved height and width and twice the channels, by a
/// 3x3 convolution to half the channels whose 2 x 2 pixels become channels.
template <class T = float>
struct EncoderLevel {
  using value_type = T;
  Blocks<T> blocks;
  nn::Conv2d<T> down;

  [[gnu::cold]] EncoderLevel(const Config& config, int64_t level, int64_t count) : blocks(config, level, count) {
    const int64_t channels = config.channels(level);
    if (level + 1 < kLevels) down = nn::Conv2d<T>(channels, channels / 2, 3, {.padding = 1}, nn::Bias::no);
  }

  Tensor<T> descend(const Tensor<T>& x) const {
    const ProfileModule scope(*this);
    return pixel_unshuffle(down(x), 2);
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("blocks", blocks.restormer);
    visit("blocks", blocks.naf);
    visit("down", down);
  }
};

/// A 3x3 convolution, then the levels, which the model steps through one by one: fusion happens between them.
template <class T = float>
struct Encoder {
  using value_type = T;
  nn::Conv2d<T> stem;
  nn::List<EncoderLevel<T>> levels;

  [[gnu::cold]] Encoder(const Config& config, int64_t bands, const PerLevel& blocks)
      : stem(bands, config.width, 3, {.padding = 1}),
        levels(kLevels, [&](int64_t l) { return EncoderLevel<T>(config, l, blocks[size_t(l)]); }) {}

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("stem", stem);
    visit("levels", levels);
  }
};

}  // namespace clearsky::tdpcr

#pragma once
// Every switch of the TDP-CR network, with its default, and the names that files and command lines use for them.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "clearsky/core/error.hpp"

namespace clearsky::tdpcr {

/// Depths of the network; each has half the pixels and twice the channels of the one above.
inline constexpr int64_t kLevels = 4;
/// Both sides are padded to a multiple of this: the deepest level has an eighth of the pixels along each.
inline constexpr int64_t kSizeMultiple = 8;

/// The block of encoders and decoder.
enum class Block {
  restormer,  ///< channel attention and gated feed-forward
  naf,        ///< NAFNet's: gates and channel attention without a softmax
};

/// What tells the fusion where the clouds are.
enum class Prompt {
  mixture,  ///< per pixel, a mixture of learned vectors; gives the uncertainty map too
  bank,     ///< PromptIR's: per image, a mixture of learned maps
  none,     ///< zeros, the ablation
};

/// How the SAR feature enters the optical one.
enum class Fusion {
  replace,  ///< gated, in the optical feature's place
  inject,   ///< gated, added to it
  concat,   ///< a 1x1 convolution of both side by side; no gate
  add,      ///< added, projected; no gate
  none,     ///< not at all: there is no SAR encoder
};

/// How the encoder's features reach the decoder's levels.
enum class Skips { add, concat, none };

/// What the decoder's image is added to.
enum class Residual {
  none,
  input,  ///< the cloudy image
};

/// What a phase of training trains; everything else is frozen.
enum class Trains {
  reconstruction,  ///< phase 1: all but the segmentation decoder
  segmentation,    ///< phase 2: the segmentation decoder alone
  decoders,        ///< phase 2: both decoders
  all,
};

namespace detail {

template <class Enum>
struct EnumTexts;
template <>
struct EnumTexts<Block> {
  static constexpr const char* key = "block";
  static constexpr const char* texts[] = {"restormer", "naf"};
};
template <>
struct EnumTexts<Prompt> {
  static constexpr const char* key = "prompt";
  static constexpr const char* texts[] = {"mixture", "bank", "none"};
};
template <>
struct EnumTexts<Fusion> {
  static constexpr const char* key = "fusion";
  static constexpr const char* texts[] = {"replace", "inject", "concat", "add", "none"};
};
template <>
struct EnumTexts<Skips> {
  static constexpr const char* key = "skips";
  static constexpr const char* texts[] = {"add", "concat", "none"};
};
template <>
struct EnumTexts<Residual> {
  static constexpr const char* key = "residual";
  static constexpr const char* texts[] = {"none", "input"};
};
template <>
struct EnumTexts<Trains> {
  static constexpr const char* key = "trains";
  static constexpr const char* texts[] = {"reconstruction", "segmentation", "decoders", "all"};
};

}  // namespace detail

/// The name of a switch's position, as configuration files spell it.
template <class Enum>
requires requires {
  detail::EnumTexts<Enum>::key;
}
std::string to_text(Enum value) {
  return detail::EnumTexts<Enum>::texts[size_t(value)];
}

/// All positions of a switch, in order.
template <class Enum>
std::span<const char* const> enum_texts() {
  return detail::EnumTexts<Enum>::texts;
}

/// The opposite of to_text. @throws ConfigError that lists what there is
template <class Enum>
Enum enum_from_text(std::string_view text) {
  std::string known;
  const auto texts = enum_texts<Enum>();
  for (size_t i = 0; i < texts.size(); ++i) {
    if (text == texts[i]) return Enum(i);
    known += (i == 0 ? "" : i + 1 == texts.size() ? " or " : ", ") + std::string(texts[i]);
  }
  CLEARSKY_FAIL(ConfigError, "config: ", detail::EnumTexts<Enum>::key, " = ", text, " is unknown; use ", known);
}

/// A number per level, shallowest first.
using PerLevel = std::array<int64_t, size_t(kLevels)>;

/// The network. Everything here is this project's choice within what the paper fixes; see docs.
struct Config {
  int64_t width = 32;  ///< channels of level 0; level l has width * 2^l
  PerLevel optical_blocks = {2, 2, 2, 2};
  PerLevel sar_blocks = {1, 1, 1, 1};
  PerLevel decoder_blocks = {2, 2, 2, 2};
  PerLevel heads = {1, 2, 4, 8};  ///< of channel attention; each divides its level's channels
  double expansion = 2;           ///< channels of a restormer block's feed-forward part, as a multiple
  Block block = Block::restormer;
  Prompt prompt = Prompt::mixture;
  Fusion fusion = Fusion::replace;
  Skips skips = Skips::add;
  Residual residual = Residual::none;
  int64_t prompt_components = 5;  ///< vectors (or maps) that are mixed
  int64_t prompt_channels = 32;
  int64_t prompt_hidden = 32;  ///< channels of the prompt generator's two convolutions
  int64_t bank_size = 16;      ///< pixels along each side of a map of prompt = bank
  int64_t optical_bands = 13;
  int64_t sar_bands = 2;
  bool segmentation = true;  ///< whether the segmentation decoder is there from the start
  int64_t segmentation_width = 64;
  int64_t classes = 7;
  /// Keep only the input of each block in training and compute the rest again in backward: a quarter of the memory, a
  /// third more time, the same bits. The model must stay where it is until backward is done.
  bool checkpoint_blocks = false;

  int64_t channels(int64_t level) const { return width << level; }
  /// Whether the fusion has a gate, and so the network a reliance map.
  bool gated() const { return fusion == Fusion::replace || fusion == Fusion::inject; }
  bool uses_sar() const { return fusion != Fusion::none; }

  bool operator==(const Config&) const = default;
};

/// @throws ConfigError for a value that no network can have
inline void validate(const Config& c) {
  const auto at_least = [](const char* key, int64_t value, int64_t least) {
    CLEARSKY_CHECK(ConfigError, value >= least && value <= 65536, "config: ", key, " = ", value, "; use ", least,
                   " to 65536");
  };
  // An odd width cannot be halved by the first downsampling, whose output has a quarter of what it unshuffles.
  CLEARSKY_CHECK(ConfigError, c.width >= 2 && c.width <= 4096 && c.width % 2 == 0, "config: width = ", c.width,
                 "; use an even number from 2 to 4096");
  CLEARSKY_CHECK(ConfigError, !c.gated() || c.width >= 4, "config: width = ", c.width,
                 " leaves the gate of fusion = ", c.fusion, " no hidden channel; use at least 4");
  for (size_t l = 0; l < size_t(kLevels); ++l) {
    const auto check_blocks = [&](const char* key, int64_t blocks) {
      CLEARSKY_CHECK(ConfigError, blocks >= 0 && blocks <= 1024, "config: ", key, "[", l, "] = ", blocks,
                     "; use 0 to 1024");
    };
    check_blocks("optical_blocks", c.optical_blocks[l]);
    check_blocks("sar_blocks", c.sar_blocks[l]);
    check_blocks("decoder_blocks", c.decoder_blocks[l]);
    CLEARSKY_CHECK(ConfigError, c.heads[l] >= 1 && c.channels(int64_t(l)) % c.heads[l] == 0, "config: heads[", l,
                   "] = ", c.heads[l], " does not divide the ", c.channels(int64_t(l)), " channels of level ", l);
  }
  CLEARSKY_CHECK(ConfigError, c.expansion > 0 && c.expansion <= 64 && c.expansion * double(c.width) >= 1,
                 "config: expansion = ", c.expansion, "; use a number above 0, at most 64, that leaves a channel");
  // The entropy of one component is 0 / 0.
  at_least("prompt_components", c.prompt_components, 2);
  at_least("prompt_channels", c.prompt_channels, 1);
  at_least("prompt_hidden", c.prompt_hidden, 1);
  at_least("bank_size", c.bank_size, 1);
  at_least("optical_bands", c.optical_bands, 1);
  at_least("sar_bands", c.sar_bands, 1);
  at_least("segmentation_width", c.segmentation_width, 1);
  at_least("classes", c.classes, 2);
}

}  // namespace clearsky::tdpcr

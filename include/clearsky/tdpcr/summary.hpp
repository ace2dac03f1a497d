#pragma once
// What a TDP-CR network consists of: parameters and multiply-adds, part by part.

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "clearsky/tdpcr/model.hpp"

namespace clearsky::tdpcr {

struct SummaryRow {
  std::string part;  ///< as the names of parameters begin
  int64_t parameters;
  int64_t macs;  ///< multiply-adds of one forward pass
};

struct Summary {
  std::vector<SummaryRow> rows;
  SummaryRow total;
  int64_t height, width;
};

namespace detail {

/// Multiply-adds of the network as it is defined: convolutions, linear layers and attention's two products. Where this
/// program computes the same by fewer (a convolution before a resizing instead of after it), the definition counts.
class MacCount {
 public:
  MacCount(const Config& config, int64_t height, int64_t width)
      : c_(config), pixels_((height + 7) / 8 * ((width + 7) / 8) * 64) {}

  /// visit(name, multiply-adds) of each part, by the name of its module.
  template <class Visit>
  void each(Visit&& visit) const {
    prompt_generator(visit);
    encoder("optical_encoder", c_.optical_bands, c_.optical_blocks, visit);
    if (c_.uses_sar()) {
      encoder("sar_encoder", c_.sar_bands, c_.sar_blocks, visit);
      fusion(visit);
    }
    decoder(visit);
    if (c_.segmentation) segmentation_decoder(visit);
  }

 private:
  static std::string name(const std::string& list, int64_t i) { return list + "." + std::to_string(i); }

  template <class Visit>
  void prompt_generator(Visit&& visit) const {
    const int64_t hidden = c_.prompt_hidden, components = c_.prompt_components;
    if (c_.prompt == Prompt::bank) visit("prompt_generator.mixing", c_.optical_bands * components);
    if (c_.prompt != Prompt::mixture) return;
    visit("prompt_generator.conv1", pixels_ / 4 * 9 * c_.optical_bands * hidden);
    visit("prompt_generator.conv2", pixels_ / 16 * 9 * hidden * hidden);
    visit("prompt_generator.logits", pixels_ / 16 * hidden * components);
  }

  template <class Visit>
  void encoder(const std::string& path, int64_t bands, const PerLevel& blocks, Visit&& visit) const {
    visit(path + ".stem", pixels_ * 9 * bands * c_.width);
    for (int64_t l = 0; l < kLevels; ++l) {
      const std::string level = name(path + ".levels", l);
      for (int64_t i = 0; i < blocks[size_t(l)]; ++i) visit(name(level + ".blocks", i), block(l));
      if (l + 1 < kLevels) visit(level + ".down", at(l) * 9 * c_.channels(l) * (c_.channels(l) / 2));
    }
  }

  template <class Visit>
  void fusion(Visit&& visit) const {
    for (int64_t l = 0; l < kLevels; ++l) {
      const int64_t channels = c_.channels(l);
      const std::string level = name("fusion", l);
      if (c_.fusion == Fusion::concat) visit(level + ".mix", at(l) * channels * 2 * channels);
      else visit(level + ".sar", at(l) * channels * channels);
      if (!c_.gated()) continue;
      visit(level + ".spatial.project", at(l) * channels * (channels + c_.prompt_channels + 1));
      visit(level + ".spatial.depthwise", at(l) * channels * 9);
      visit(level + ".context.hidden", 2 * channels * (channels / 4));
      visit(level + ".context.output", (channels / 4) * channels);
    }
  }

  template <class Visit>
  void decoder(Visit&& visit) const {
    for (int64_t l = 0; l < kLevels; ++l) {
      const int64_t channels = c_.channels(l);
      const std::string level = name("decoder.levels", l);
      for (int64_t i = 0; i < c_.decoder_blocks[size_t(l)]; ++i) visit(name(level + ".blocks", i), block(l));
      if (l > 0) visit(level + ".up", at(l) * channels * 2 * channels);
      if (l + 1 < kLevels && c_.skips == Skips::concat) visit(level + ".merge", at(l) * 2 * channels * channels);
    }
    visit("decoder.head", pixels_ * 9 * c_.width * c_.optical_bands);
  }

  template <class Visit>
  void segmentation_decoder(Visit&& visit) const {
    const int64_t d = c_.segmentation_width;
    for (int64_t l = 0; l < kLevels; ++l) visit(name("segmentation_decoder.levels", l), at(l) * c_.channels(l) * d);
    visit("segmentation_decoder.fuse", pixels_ / 4 * kLevels * d * d);
    visit("segmentation_decoder.refine", pixels_ / 4 * 9 * d * d);
    visit("segmentation_decoder.classifier", pixels_ / 4 * d * c_.classes);
  }

  int64_t at(int64_t level) const { return pixels_ >> (2 * level); }

  int64_t block(int64_t level) const {
    const int64_t channels = c_.channels(level);
    if (c_.block == Block::naf) {
      const int64_t per_pixel = 2 * channels * channels + 2 * channels * 9 + channels * channels +
                                2 * channels * channels + channels * channels;
      return at(level) * per_pixel + channels * channels;  // the channel attention sees one mean per image
    }
    const int64_t hidden = int64_t(double(channels) * c_.expansion);
    const int64_t attention = 3 * channels * channels + 3 * channels * 9 +
                              2 * channels * (channels / c_.heads[size_t(level)]) + channels * channels;
    const int64_t feed_forward = channels * 2 * hidden + 2 * hidden * 9 + hidden * channels;
    return at(level) * (attention + feed_forward);
  }

  const Config& c_;
  int64_t pixels_;
};

/// 5246364 -> "5,246,364"
inline std::string with_commas(int64_t n) {
  std::string digits = std::to_string(n);
  for (int64_t at = int64_t(digits.size()) - 3; at > 0; at -= 3) digits.insert(size_t(at), ",");
  return digits;
}

}  // namespace detail

/// The multiply-adds of one image, module by module.
inline std::vector<SummaryRow> macs_by_module(const Config& config, int64_t height, int64_t width) {
  std::vector<SummaryRow> rows;
  detail::MacCount(config, height, width).each([&](const std::string& name, int64_t macs) {
    rows.push_back({name, 0, macs});
  });
  return rows;
}

/// Parameters and multiply-adds of one image of height x width, which count as padded to a multiple of 8.
template <class T>
Summary summarise(const Model<T>& model, int64_t height = 256, int64_t width = 256) {
  const Config& c = model.config();
  Summary s{{}, {"total", nn::parameter_count(model), 0}, height, width};
  for (const char* part :
       {"prompt_generator", "optical_encoder", "sar_encoder", "fusion", "decoder", "segmentation_decoder"}) {
    const std::string_view name = part;
    if (!c.uses_sar() && (name == "sar_encoder" || name == "fusion")) continue;
    if (!c.segmentation && name == "segmentation_decoder") continue;
    s.rows.push_back({part, nn::parameter_count(model, part), 0});
  }
  detail::MacCount(c, height, width).each([&](const std::string& name, int64_t macs) {
    for (SummaryRow& row : s.rows)
      if (nn::detail::name_is_below(name, row.part)) row.macs += macs;
    s.total.macs += macs;
  });
  return s;
}

/// A table with one line per part.
inline std::string to_text(const Summary& s) {
  char line[160];
  std::string text;
  std::snprintf(line, sizeof line, "%-22s %12s %10s  (one image of %lld x %lld)\n", "part", "parameters", "GMAC",
                static_cast<long long>(s.height), static_cast<long long>(s.width));
  text += line;
  const auto add = [&](const SummaryRow& row) {
    std::snprintf(line, sizeof line, "%-22s %12s %10.3f\n", row.part.c_str(),
                  detail::with_commas(row.parameters).c_str(), 1e-9 * double(row.macs));
    text += line;
  };
  for (const SummaryRow& row : s.rows) add(row);
  add(s.total);
  return text;
}

}  // namespace clearsky::tdpcr

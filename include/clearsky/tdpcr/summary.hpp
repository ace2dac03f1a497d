#pragma once
// What a TDP-CR network consists of: parameters and multiply-adds, part by part.

#include <cstdio>
#include <string>
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

  int64_t prompt_generator() const {
    const int64_t hidden = c_.prompt_hidden, components = c_.prompt_components;
    if (c_.prompt == Prompt::bank) return c_.optical_bands * components;
    if (c_.prompt == Prompt::none) return 0;
    return pixels_ / 4 * 9 * c_.optical_bands * hidden + pixels_ / 16 * (9 * hidden * hidden + hidden * components);
  }

  int64_t encoder(int64_t bands, const PerLevel& blocks) const {
    int64_t macs = pixels_ * 9 * bands * c_.width;
    for (int64_t l = 0; l < kLevels; ++l) {
      macs += blocks[size_t(l)] * block(l);
      if (l + 1 < kLevels) macs += at(l) * 9 * c_.channels(l) * (c_.channels(l) / 2);
    }
    return macs;
  }

  int64_t fusion() const {
    int64_t macs = 0;
    for (int64_t l = 0; l < kLevels && c_.uses_sar(); ++l) {
      const int64_t channels = c_.channels(l);
      macs += at(l) * channels * (c_.fusion == Fusion::concat ? 2 * channels : channels);  // the SAR projection
      if (c_.gated()) {
        macs += at(l) * channels * (channels + c_.prompt_channels + 1 + 9);  // the spatial bias
        macs += 2 * channels * (channels / 4) + (channels / 4) * channels;   // the channel context
      }
    }
    return macs;
  }

  int64_t decoder() const {
    int64_t macs = pixels_ * 9 * c_.width * c_.optical_bands;
    for (int64_t l = 0; l < kLevels; ++l) {
      const int64_t channels = c_.channels(l);
      macs += c_.decoder_blocks[size_t(l)] * block(l);
      if (l > 0) macs += at(l) * channels * 2 * channels;
      if (l + 1 < kLevels && c_.skips == Skips::concat) macs += at(l) * 2 * channels * channels;
    }
    return macs;
  }

  int64_t segmentation_decoder() const {
    const int64_t d = c_.segmentation_width;
    int64_t macs = pixels_ / 4 * (kLevels * d * d + 9 * d * d + d * c_.classes);
    for (int64_t l = 0; l < kLevels; ++l) macs += at(l) * c_.channels(l) * d;
    return macs;
  }

 private:
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

/// Parameters and multiply-adds of one image of height x width, which count as padded to a multiple of 8.
template <class T>
Summary summarise(const Model<T>& model, int64_t height = 256, int64_t width = 256) {
  const Config& c = model.config();
  const detail::MacCount macs(c, height, width);
  Summary s{{}, {"total", 0, 0}, height, width};
  const auto add = [&](const char* part, int64_t count) {
    s.rows.push_back({part, nn::parameter_count(model, part), count});
    s.total.parameters += s.rows.back().parameters;
    s.total.macs += count;
  };
  add("prompt_generator", macs.prompt_generator());
  add("optical_encoder", macs.encoder(c.optical_bands, c.optical_blocks));
  if (c.uses_sar()) {
    add("sar_encoder", macs.encoder(c.sar_bands, c.sar_blocks));
    add("fusion", macs.fusion());
  }
  add("decoder", macs.decoder());
  if (model.segmentation_decoder.has_value()) add("segmentation_decoder", macs.segmentation_decoder());
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

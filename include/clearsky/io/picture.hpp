#pragma once
// From arrays to pictures: (H, W, 3) bytes for write_png. None of these functions touches a file.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "clearsky/core/tensor.hpp"
#include "clearsky/io/font.hpp"

namespace clearsky::io {

using Picture = Tensor<uint8_t>;  ///< (H, W, 3)  RGB
using Colour = std::array<uint8_t, 3>;

/// The values shown as black and as white. Use one stretch for all pictures that are to be compared.
struct Stretch {
  double low = 0, high = 0.35;
  double gamma = 1.4;  ///< above 1 lifts the dark parts, where most land lies
};

/// Red, green, blue of a 13-band image: B4, B3, B2.
inline constexpr std::array<int64_t, 3> kTrueColour = {3, 2, 1};
/// B11, B8, B4: vegetation green, bare soil magenta, water black; sees through haze.
inline constexpr std::array<int64_t, 3> kShortWave = {11, 7, 3};

namespace detail {

inline uint8_t to_byte(double v) {
  return uint8_t((std::clamp)(v, 0.0, 1.0) * 255 + 0.5);
}

inline void check_map(const char* op, const Shape& s) {
  CLEARSKY_CHECK(ShapeError, s.rank() == 2 || (s.rank() == 3 && s[2] == 1), op,
                 ": map must be (H, W) or (H, W, 1), got ", s);
}

}  // namespace detail

/// The stretch between two percentiles of the given bands; an image of one value gets a range of 1e-3 around it.
/// @param image  (H, W, C)
inline Stretch percentile_stretch(const Tensor<float>& image, const std::array<int64_t, 3>& bands = kTrueColour,
                                  double low_percent = 1, double high_percent = 99) {
  const Shape& s = image.shape();
  CLEARSKY_CHECK(ShapeError, s.rank() == 3 && s.numel() > 0, "percentile_stretch: image must be (H, W, C), got ", s);
  std::vector<float> values;
  for (const int64_t b : bands) {
    CLEARSKY_CHECK(ShapeError, 0 <= b && b < s[2], "percentile_stretch: no band ", b, " in ", s);
    for (const float v :
         image.view_as({s[0], s[1]}, {image.stride(0), image.stride(1)}, image.offset() + b * image.stride(2))
             .to_vector())
      if (std::isfinite(v)) values.push_back(v);
  }
  if (values.empty()) return {};
  const auto at = [&](double percent) {
    const auto n = std::ptrdiff_t((std::clamp)(percent, 0.0, 100.0) / 100 * double(values.size() - 1));
    std::nth_element(values.begin(), values.begin() + n, values.end());
    return double(values[size_t(n)]);
  };
  Stretch stretch{at(low_percent), at(high_percent), 1.0};
  if (stretch.high - stretch.low < 1e-3) stretch = {stretch.low - 5e-4, stretch.low + 5e-4, 1.0};
  return stretch;
}

/// Three bands of an image as colours. NaN is black.
/// @param image  (H, W, C)
inline Picture rgb_picture(const Tensor<float>& image, const Stretch& stretch = {},
                           const std::array<int64_t, 3>& bands = kTrueColour) {
  const Shape& s = image.shape();
  CLEARSKY_CHECK(ShapeError, s.rank() == 3, "rgb_picture: image must be (H, W, C), got ", s);
  for (const int64_t b : bands) CLEARSKY_CHECK(ShapeError, 0 <= b && b < s[2], "rgb_picture: no band ", b, " in ", s);
  Picture out({s[0], s[1], 3});
  uint8_t* to = out.mutable_data();
  for (int64_t r = 0; r < s[0]; ++r)
    for (int64_t c = 0; c < s[1]; ++c)
      for (const int64_t b : bands) {
        const double v = double(image.data()[r * image.stride(0) + c * image.stride(1) + b * image.stride(2)]);
        const double t = std::isfinite(v) ? (v - stretch.low) / (stretch.high - stretch.low) : 0;
        *to++ = detail::to_byte(std::pow((std::clamp)(t, 0.0, 1.0), 1 / stretch.gamma));
      }
  return out;
}

/// Radar as colours: red VV, green VH, blue VV - VH, so that forest is green, towns are yellow to white, water is dark
/// blue.
/// @param sar  (H, W, 2)  VV, VH scaled to [0, 1]
inline Picture sar_picture(const Tensor<float>& sar) {
  const Shape& s = sar.shape();
  CLEARSKY_CHECK(ShapeError, s.rank() == 3 && s[2] == 2, "sar_picture: needs (H, W, 2), got ", s);
  Picture out({s[0], s[1], 3});
  uint8_t* to = out.mutable_data();
  for (int64_t r = 0; r < s[0]; ++r)
    for (int64_t c = 0; c < s[1]; ++c) {
      const float* p = sar.data() + r * sar.stride(0) + c * sar.stride(1);
      const double vv = double(p[0]), vh = double(p[sar.stride(2)]);
      *to++ = detail::to_byte(1.2 * vv - 0.05);
      *to++ = detail::to_byte(1.35 * vh - 0.05);
      *to++ = detail::to_byte(0.35 + 0.9 * (vv - vh));
    }
  return out;
}

/// One value per pixel as grey: low is black, high is white.
/// @param map  (H, W) or (H, W, 1)
inline Picture grey_picture(const Tensor<float>& map, double low = 0, double high = 1) {
  detail::check_map("grey_picture", map.shape());
  Picture out({map.size(0), map.size(1), 3});
  uint8_t* to = out.mutable_data();
  for (const float v : map.to_vector()) {
    to = std::fill_n(to, 3, detail::to_byte(std::isfinite(v) ? (double(v) - low) / (high - low) : 0));
  }
  return out;
}

/// A colour for t in [0, 1], dark violet over green to yellow; lightness rises evenly, so that equal steps look equal,
/// in grey print too.
/// @source  nine points of "viridis" (van der Walt, Smith; CC0), joined linearly
inline Colour viridis(double t) {
  constexpr uint8_t kPoints[9][3] = {{68, 1, 84},    {71, 44, 122}, {59, 81, 139},  {44, 113, 142}, {33, 144, 141},
                                     {39, 173, 129}, {92, 200, 99}, {170, 220, 50}, {253, 231, 37}};
  const double u = (std::isfinite(t) ? (std::clamp)(t, 0.0, 1.0) : 0.0) * 8;
  const int i = (std::min)(int(u), 7);
  Colour out{};
  for (size_t k = 0; k < 3; ++k)
    out[k] = uint8_t(double(kPoints[i][k]) + (u - i) * (double(kPoints[i + 1][k]) - double(kPoints[i][k])) + 0.5);
  return out;
}

/// One value per pixel as colour: for reliance, uncertainty, thickness. NaN is grey.
/// @param map  (H, W) or (H, W, 1)
inline Picture colour_picture(const Tensor<float>& map, double low = 0, double high = 1) {
  detail::check_map("colour_picture", map.shape());
  Picture out({map.size(0), map.size(1), 3});
  uint8_t* to = out.mutable_data();
  for (const float v : map.to_vector()) {
    const Colour c = std::isfinite(v) ? viridis((double(v) - low) / (high - low)) : Colour{128, 128, 128};
    to = std::copy(c.begin(), c.end(), to);
  }
  return out;
}

/// Colours for up to 12 classes: the first seven suit water, forest, cropland, grassland, built, bare, wetland.
inline const std::vector<Colour>& class_colours() {
  static const std::vector<Colour> colours = {{52, 116, 196}, {26, 110, 52},   {232, 190, 70}, {150, 206, 104},
                                              {206, 60, 56},  {178, 148, 120}, {96, 186, 184}, {240, 240, 244},
                                              {148, 98, 176}, {240, 140, 60},  {110, 110, 60}, {236, 150, 190}};
  return colours;
}

/// A map of classes. The label 255 (ignored) is dark grey; classes beyond the palette start over.
/// @param labels  (H, W)
inline Picture class_picture(const Tensor<uint8_t>& labels, const std::vector<Colour>& colours = class_colours()) {
  CLEARSKY_CHECK(ShapeError, labels.rank() == 2, "class_picture: labels must be (H, W), got ", labels.shape());
  CLEARSKY_CHECK(ValueError, !colours.empty(), "class_picture: no colours given");
  Picture out({labels.size(0), labels.size(1), 3});
  uint8_t* to = out.mutable_data();
  for (const uint8_t label : labels.to_vector()) {
    const Colour c = label == 255 ? Colour{48, 48, 48} : colours[label % colours.size()];
    to = std::copy(c.begin(), c.end(), to);
  }
  return out;
}

/// Draws text with its top left corner at (row, column); what leaves the picture is cut off.
inline void draw_text(Picture& picture, int64_t row, int64_t column, const std::string& text, Colour colour = {0, 0, 0},
                      int64_t size = 1) {
  uint8_t* const p = picture.mutable_data();
  const int64_t h = picture.size(0), w = picture.size(1);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto& rows = detail::glyph(text[i]);
    for (int64_t y = 0; y < kGlyphHeight * size; ++y)
      for (int64_t x = 0; x < kGlyphWidth * size; ++x) {
        const int64_t r = row + y, c = column + int64_t(i) * (kGlyphWidth + 1) * size + x;
        if (rows[size_t(y / size)] >> (kGlyphWidth - 1 - x / size) & 1 && r >= 0 && r < h && c >= 0 && c < w)
          std::copy(colour.begin(), colour.end(), p + (r * w + c) * 3);
      }
  }
}

/// Pictures side by side, rows of them below each other, with gaps between.
///
///     write_png("sheet.png", sheet({{cloudy, restored, clear}}, {"cloudy", "restored", "clear"}));
///
/// Pictures may differ in size; each column is as wide as its widest, each row as high as its highest.
///
/// @param captions  one per column, or none
inline Picture sheet(const std::vector<std::vector<Picture>>& rows, const std::vector<std::string>& captions = {},
                     int64_t gap = 4, Colour background = {255, 255, 255}) {
  std::vector<int64_t> widths(captions.size(), 0), heights;
  for (size_t c = 0; c < captions.size(); ++c) widths[c] = text_width(captions[c]);
  for (const auto& row : rows) {
    heights.push_back(0);
    if (widths.size() < row.size()) widths.resize(row.size(), 0);
    for (size_t c = 0; c < row.size(); ++c) {
      CLEARSKY_CHECK(ShapeError, row[c].rank() == 3 && row[c].size(2) == 3, "sheet: pictures must be (H, W, 3), got ",
                     row[c].shape());
      widths[c] = (std::max)(widths[c], row[c].size(1));
      heights.back() = (std::max)(heights.back(), row[c].size(0));
    }
  }
  const int64_t head = captions.empty() ? 0 : kGlyphHeight + gap;
  int64_t h = gap + head, w = gap;
  for (const int64_t v : heights) h += v + gap;
  for (const int64_t v : widths) w += v + gap;
  Picture out({h, w, 3});
  uint8_t* const to = out.mutable_data();
  for (int64_t i = 0; i < h * w; ++i) std::copy(background.begin(), background.end(), to + i * 3);
  int64_t top = gap + head;
  for (size_t r = 0; r < rows.size(); ++r) {
    int64_t left = gap;
    for (size_t c = 0; c < rows[r].size(); ++c) {
      const Picture p = rows[r][c].is_contiguous() ? rows[r][c] : rows[r][c].clone();
      for (int64_t y = 0; y < p.size(0); ++y)
        std::copy_n(p.data() + y * p.size(1) * 3, p.size(1) * 3, to + ((top + y) * w + left) * 3);
      left += widths[c] + gap;
    }
    top += heights[r] + gap;
  }
  int64_t left = gap;
  for (size_t c = 0; c < captions.size(); ++c) {
    draw_text(out, gap, left, captions[c]);
    left += widths[c] + gap;
  }
  return out;
}

/// Every pixel as a square of `factor` x `factor`.
inline Picture enlarge(const Picture& picture, int64_t factor) {
  CLEARSKY_CHECK(ShapeError, picture.rank() == 3 && factor >= 1, "enlarge: picture ", picture.shape(), ", factor ",
                 factor);
  const int64_t h = picture.size(0), w = picture.size(1), channels = picture.size(2);
  const Picture p = picture.is_contiguous() ? picture : picture.clone();
  Picture out({h * factor, w * factor, channels});
  uint8_t* to = out.mutable_data();
  for (int64_t r = 0; r < h * factor; ++r)
    for (int64_t c = 0; c < w * factor; ++c)
      to = std::copy_n(p.data() + (r / factor * w + c / factor) * channels, channels, to);
  return out;
}

}  // namespace clearsky::io

#pragma once
// Line charts as pictures: curves of loss or PSNR over steps, bars of class scores. Small on purpose: axes, ticks, a
// legend, nothing to configure that a report does not need.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "clearsky/io/picture.hpp"

namespace clearsky::io {

/// One line of a chart. Points with a NaN or infinite coordinate leave a gap.
struct Curve {
  std::string name;
  std::vector<double> x, y;
};

enum class Scale { linear, logarithmic };

struct ChartOptions {
  std::string title = {};
  std::string x_label = {}, y_label = {};  ///< with units, as in "PSNR (dB)"
  int64_t height = 320, width = 520;
  Scale y_scale = Scale::linear;  ///< logarithmic leaves out values of 0 and below
};

namespace detail {

/// Straight from one pixel to another (Bresenham's algorithm); what leaves the picture is cut off.
inline void draw_line(Picture& picture, int64_t r0, int64_t c0, int64_t r1, int64_t c1, const Colour& colour) {
  uint8_t* const p = picture.mutable_data();
  const int64_t h = picture.size(0), w = picture.size(1);
  const int64_t dr = -std::abs(r1 - r0), dc = std::abs(c1 - c0), sr = r0 < r1 ? 1 : -1, sc = c0 < c1 ? 1 : -1;
  for (int64_t error = dr + dc;;) {
    if (0 <= r0 && r0 < h && 0 <= c0 && c0 < w) std::copy(colour.begin(), colour.end(), p + (r0 * w + c0) * 3);
    if (r0 == r1 && c0 == c1) return;
    const int64_t twice = 2 * error;
    if (twice >= dr) error += dr, c0 += sc;
    if (twice <= dc) error += dc, r0 += sr;
  }
}

/// A step of 1, 2 or 5 times a power of ten that cuts a range into at most `most` parts.
inline double nice_step(double range, int most) {
  const double power = std::pow(10, std::floor(std::log10(range / most)));
  for (const double m : {1.0, 2.0, 5.0})
    if (range / (m * power) <= most) return m * power;
  return 10 * power;
}

inline std::string tick_text(double v) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.4g", v);
  return buffer;
}

/// One axis: which values it shows, where they lie, and its ticks.
struct Axis {
  double low, high;
  bool logarithmic;
  std::vector<double> ticks;

  /// @param positive_y  points with y of 0 or below are not shown
  Axis(const std::vector<Curve>& curves, bool vertical, bool positive_y, int most)
      : low(std::numeric_limits<double>::infinity()), high(-low), logarithmic(vertical && positive_y) {
    for (const Curve& c : curves)
      for (size_t i = 0; i < c.x.size(); ++i)
        if (std::isfinite(c.x[i]) && std::isfinite(c.y[i]) && (!positive_y || c.y[i] > 0)) {
          const double v = to_scale(vertical ? c.y[i] : c.x[i]);
          low = (std::min)(low, v);
          high = (std::max)(high, v);
        }
    if (low > high) low = 0, high = 1;
    if (high - low < 1e-12 * (std::max)(1.0, std::abs(high))) low -= 0.5, high += 0.5;
    if (logarithmic) {
      low = std::floor(low + 1e-9);
      high = std::ceil(high - 1e-9);
      const double step = (std::max)(1.0, std::ceil((high - low) / most));
      for (double t = low; t <= high + 1e-9; t += step) {
        ticks.push_back(std::pow(10, t));
        for (const double m : {2.0, 5.0})
          if (high - low < 2.5 && t + 0.5 < high) ticks.push_back(m * std::pow(10, t));
      }
    } else {
      const double step = nice_step(high - low, most);
      if (vertical) low = std::floor(low / step + 1e-9) * step, high = std::ceil(high / step - 1e-9) * step;
      // Counted in whole steps: adding the step up would print 0.30000000000000004 as a tick of its own.
      for (double k = std::ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; ++k)
        ticks.push_back(k * step + 0.0);  // + 0.0: no tick reads -0
    }
  }
  double to_scale(double v) const { return logarithmic ? std::log10(v) : v; }
  /// 0 at the low end, 1 at the high end.
  double share(double v) const { return (to_scale(v) - low) / (high - low); }
};

}  // namespace detail

/// A line chart.
///
///     write_png("loss.png", chart({{"train", steps, losses}}, {.title = "Loss", .x_label = "step"}));
///
/// @throws ShapeError when a curve's x and y differ in length, or the chart is smaller than 160 x 120
inline Picture chart(const std::vector<Curve>& curves, const ChartOptions& options = {}) {
  CLEARSKY_CHECK(ShapeError, options.width >= 160 && options.height >= 120, "chart: size ", options.width, " x ",
                 options.height, "; use at least 160 x 120");
  for (const Curve& c : curves)
    CLEARSKY_CHECK(ShapeError, c.x.size() == c.y.size(), "chart: curve ", c.name, " has ", int64_t(c.x.size()),
                   " x and ", int64_t(c.y.size()), " y");
  constexpr Colour kInk = {40, 40, 48}, kGrid = {226, 226, 230};
  constexpr Colour kLines[] = {{32, 98, 178},  {206, 78, 46},  {44, 138, 82},
                               {142, 76, 166}, {190, 144, 20}, {60, 160, 176}};
  const bool positive_y = options.y_scale == Scale::logarithmic;
  const detail::Axis x(curves, false, positive_y, int(options.width / 90));
  const detail::Axis y(curves, true, positive_y, int(options.height / 45));

  int64_t left = 0;
  for (const double t : y.ticks) left = (std::max)(left, text_width(detail::tick_text(t)));
  left += 12;
  const int64_t top = 10 + (options.title.empty() ? 0 : 14) + (options.y_label.empty() ? 0 : 12);
  const int64_t bottom = options.height - 18 - (options.x_label.empty() ? 0 : 12), right = options.width - 14;
  const auto row = [&](double v) { return bottom - int64_t(std::lround(y.share(v) * double(bottom - top))); };
  const auto column = [&](double v) { return left + int64_t(std::lround(x.share(v) * double(right - left))); };

  Picture out = full<uint8_t>({options.height, options.width, 3}, 255);
  draw_text(out, 6, (options.width - text_width(options.title)) / 2, options.title, kInk);
  draw_text(out, top - 12, 4, options.y_label, kInk);
  draw_text(out, options.height - 10, right - text_width(options.x_label), options.x_label, kInk);
  for (const double t : y.ticks) {
    detail::draw_line(out, row(t), left, row(t), right, kGrid);
    const std::string text = detail::tick_text(t);
    draw_text(out, row(t) - 3, left - 5 - text_width(text), text, kInk);
  }
  for (const double t : x.ticks) {
    detail::draw_line(out, top, column(t), bottom, column(t), kGrid);
    const std::string text = detail::tick_text(t);
    draw_text(out, bottom + 5, (std::min)(column(t) - text_width(text) / 2, options.width - text_width(text) - 1), text,
              kInk);
  }
  detail::draw_line(out, top, left, bottom, left, kInk);
  detail::draw_line(out, bottom, left, bottom, right, kInk);

  for (size_t k = 0; k < curves.size(); ++k) {
    const Curve& c = curves[k];
    const Colour& colour = kLines[k % std::size(kLines)];
    bool drawing = false;
    int64_t r0 = 0, c0 = 0;
    for (size_t i = 0; i < c.x.size(); ++i) {
      const bool shown = std::isfinite(c.x[i]) && std::isfinite(c.y[i]) && (!y.logarithmic || c.y[i] > 0);
      if (shown) {
        const int64_t r1 = row(c.y[i]), c1 = column(c.x[i]);
        if (!drawing) r0 = r1, c0 = c1;
        detail::draw_line(out, r0, c0, r1, c1, colour);
        detail::draw_line(out, r0 + 1, c0, r1 + 1, c1, colour);  // two pixels thick: one is lost on a dense screen
        r0 = r1;
        c0 = c1;
      }
      drawing = shown;
    }
  }
  for (size_t k = 0; k < curves.size(); ++k) {  // names last, so that no curve runs through them
    const Curve& c = curves[k];
    const Colour& colour = kLines[k % std::size(kLines)];
    const int64_t legend = top + 4 + int64_t(k) * 11;
    const int64_t name = right - 6 - text_width(c.name);
    if (!c.name.empty()) {
      for (int64_t r = legend - 2; r < legend + 9; ++r)
        detail::draw_line(out, r, name - 20, r, right, Colour{255, 255, 255});
      draw_text(out, legend, name, c.name, colour);
      detail::draw_line(out, legend + 3, name - 16, legend + 3, name - 5, colour);
      detail::draw_line(out, legend + 4, name - 16, legend + 4, name - 5, colour);
    }
  }
  return out;
}

}  // namespace clearsky::io

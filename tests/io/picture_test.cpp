#include "clearsky/io/picture.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "clearsky/io/chart.hpp"
#include "io/scratch_folder.hpp"

namespace clearsky::test {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST_CASE("rgb_picture: B4, B3, B2 are red, green, blue; the stretch's ends are black and white; NaN is black") {
  Tensor<float> image = zeros({1, 3, 13});
  image.mutable_data()[3] = 0.2f;              // B4 of the first pixel
  image.mutable_data()[13 + 1] = 0.1f;         // B2 of the second
  image.mutable_data()[26 + 2] = float(kNan);  // B3 of the third
  const io::Picture p = io::rgb_picture(image, {0, 0.2, 1});
  CHECK(p.to_vector() == std::vector<uint8_t>{255, 0, 0, 0, 0, 128, 0, 0, 0});
  CHECK(io::rgb_picture(image, {0, 0.2, 1}, {1, 2, 3}).at({0, 0, 2}) == 255);
  CHECK(io::rgb_picture(image, {0, 0.2, 2}).at({0, 1, 2}) == 180);  // 255 sqrt(1/2)
  CHECK(thrown<ShapeError>([&] {
          io::rgb_picture(zeros({2, 2, 3}));
        }).find("no band 3 in (2, 2, 3)") != std::string::npos);
}

TEST_CASE("percentile_stretch: percentiles, constants, NaN") {
  Tensor<float> image = zeros({101, 1, 13});
  for (int64_t i = 0; i <= 100; ++i)
    for (int64_t b = 0; b < 13; ++b) image.mutable_data()[i * 13 + b] = float(i) / 100;
  const io::Stretch s = io::percentile_stretch(image, io::kTrueColour, 10, 90);
  CHECK(s.low == doctest::Approx(0.1));
  CHECK(s.high == doctest::Approx(0.9));
  const io::Stretch flat = io::percentile_stretch(full({2, 2, 13}, 0.5));
  CHECK(flat.high > flat.low);
  CHECK(io::percentile_stretch(full({2, 2, 13}, float(kNan))).high > 0);
}

TEST_CASE("grey, colour and class pictures") {
  const Tensor<float> map({1, 4, 1}, {-1, 0, 0.5f, 2});
  CHECK(io::grey_picture(map).to_vector() == std::vector<uint8_t>{0, 0, 0, 0, 0, 0, 128, 128, 128, 255, 255, 255});
  const io::Picture c = io::colour_picture(map);
  CHECK(c.at({0, 0, 0}) == 68);   // viridis begins dark violet
  CHECK(c.at({0, 3, 0}) == 253);  // and ends yellow
  CHECK(io::colour_picture(full({1, 1}, float(kNan))).to_vector() == std::vector<uint8_t>{128, 128, 128});
  double before = -1;  // lightness never falls along the map
  for (int i = 0; i <= 100; ++i) {
    const io::Colour v = io::viridis(i / 100.0);
    const double light = 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2];
    CHECK(light > before);
    before = light;
  }
  const io::Picture classes = io::class_picture(Tensor<uint8_t>({1, 3}, {0, 255, 12}));
  CHECK(classes.at({0, 0, 2}) == 196);
  CHECK(classes.at({0, 1, 0}) == 48);
  CHECK(classes.at({0, 2, 2}) == 196);  // starts over
  CHECK_THROWS_AS(io::grey_picture(zeros({2, 2, 2})), ShapeError);
  CHECK_THROWS_AS(io::sar_picture(zeros({2, 2, 3})), ShapeError);
  CHECK(io::sar_picture(zeros({2, 3, 2})).shape() == Shape{2, 3, 3});
}

TEST_CASE("sheet: sizes, gaps, captions") {
  const io::Picture a = full<uint8_t>({4, 6, 3}, 10), b = full<uint8_t>({2, 3, 3}, 20);
  const io::Picture s = io::sheet({{a, b}, {b}}, {}, 2);
  CHECK(s.shape() == Shape{2 + 4 + 2 + 2 + 2, 2 + 6 + 2 + 3 + 2, 3});
  CHECK(s.at({0, 0, 0}) == 255);
  CHECK(s.at({2, 2, 0}) == 10);
  CHECK(s.at({5, 7, 1}) == 10);
  CHECK(s.at({2, 10, 2}) == 20);
  CHECK(s.at({8, 2, 0}) == 20);
  CHECK(io::sheet({{b}}, {"a long caption"}, 2).size(1) == 2 + io::text_width("a long caption") + 2);
  CHECK(io::sheet({}).size(0) > 0);
  const io::Picture big = io::enlarge(b, 3);
  CHECK(big.shape() == Shape{6, 9, 3});
  CHECK(big.at({5, 8, 2}) == 20);
}

TEST_CASE("draw_text: glyphs are drawn, and cut off at the border") {
  io::Picture p = full<uint8_t>({7, 11, 3}, 255);
  io::draw_text(p, 0, 0, "1l", {0, 0, 0});
  int64_t dark = 0;
  for (const uint8_t v : p.to_vector()) dark += v == 0;
  CHECK(dark / 3 == 10 + 10);
  CHECK_NOTHROW(io::draw_text(p, -3, -3, "far outside\x80\n"));
  for (char c = ' ' + 1; c < 127; ++c) {
    int bits = 0;
    for (const uint8_t row : io::detail::glyph(c)) bits += row;
    CHECK(bits > 0);
  }
}

TEST_CASE("chart: a curve lies between its axes, gaps stay open, odd input is drawn too") {
  const io::Picture p = io::chart({{"up", {0, 1, 2, 3}, {0, 1, 2, 3}}}, {.height = 200, .width = 300});
  CHECK(p.shape() == Shape{200, 300, 3});
  int64_t blue = 0;
  for (int64_t i = 0; i < 200 * 300; ++i) blue += p.data()[i * 3] == 32 && p.data()[i * 3 + 2] == 178;
  CHECK(blue > 300);
  CHECK_NOTHROW(io::chart({}));
  CHECK_NOTHROW(io::chart({{"one", {5}, {7}}}));
  CHECK_NOTHROW(io::chart({{"flat", {0, 1e9}, {1e-9, 1e-9}}}));
  CHECK_NOTHROW(io::chart({{"nan", {0, kNan, 2}, {1, 2, kNan}}}));
  CHECK_NOTHROW(io::chart({{"zero", {0, 1, 2}, {0, 1, 100}}}, {.y_scale = io::Scale::logarithmic}));
  CHECK(thrown<ShapeError>([] {
          io::chart({{"bad", {1, 2}, {1}}});
        }).find("curve bad has 2 x and 1 y") != std::string::npos);
  CHECK_THROWS_AS(io::chart({}, {.height = 20}), ShapeError);
}

TEST_CASE("chart: ticks are round numbers inside the range") {
  const io::detail::Axis y({{"", {0, 1}, {0.13, 0.87}}}, true, false, 6);
  CHECK(y.ticks.front() == doctest::Approx(0));
  CHECK(y.ticks.back() == doctest::Approx(1));
  CHECK(y.ticks.size() == 6);
  CHECK(io::detail::tick_text(y.ticks[3]) == "0.6");
  const io::detail::Axis log({{"", {0, 1}, {0.02, 300}}}, true, true, 6);
  CHECK(log.ticks.front() == doctest::Approx(0.01));
  CHECK(log.ticks.back() == doctest::Approx(1000));
}

}  // namespace
}  // namespace clearsky::test

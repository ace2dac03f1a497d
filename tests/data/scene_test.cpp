#include "clearsky/data/scene.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "clearsky/data/simulate.hpp"
#include "clearsky/data/synthetic.hpp"
#include "io/scratch_folder.hpp"

namespace clearsky::test {
namespace {

template <class T>
double mean(const Tensor<T>& x) {
  double total = 0;
  for (const T v : x.to_vector()) total += double(v);
  return total / double(x.numel());
}

TEST_CASE("fractal_noise: its distribution, and a window is a part of the whole plane") {
  const data::NoiseOptions options{.feature_pixels = 16, .octaves = 4};
  const Tensor<float> whole = data::fractal_noise(200, 200, Key{3}, options);
  double squares = 0;
  for (const float v : whole.to_vector()) {
    squares += double(v) * double(v);
    CHECK(std::abs(v) < 1.2f);
  }
  CHECK(std::abs(mean(whole)) < 0.05);
  CHECK(std::sqrt(squares / 40000) == doctest::Approx(0.25).epsilon(0.25));
  data::NoiseOptions moved = options;
  moved.row = 50;
  moved.column = 120;
  const Tensor<float> window = data::fractal_noise(10, 30, Key{3}, moved);
  for (int64_t r = 0; r < 10; ++r)
    for (int64_t c = 0; c < 30; ++c)
      CHECK(window.at({r, c}) == doctest::Approx(double(whole.at({50 + r, 120 + c}))).epsilon(1e-4));
  CHECK(data::fractal_noise(0, 5, Key{3}, options).shape() == Shape{0, 5});
  CHECK(data::fractal_noise(1, 1, Key{3}, options).shape() == Shape{1, 1});
}

TEST_CASE("make_scene: same key, same bits, for any number of threads; another key, another scene") {
  const int64_t before = threads();
  const data::SceneOptions options{.height = 70, .width = 45};
  set_threads(1);
  const data::Scene one = data::make_scene(Key{7}, options);
  set_threads(3);
  const data::Scene three = data::make_scene(Key{7}, options);
  set_threads(before);
  CHECK(one.optical.to_vector() == three.optical.to_vector());
  CHECK(one.sar_db.to_vector() == three.sar_db.to_vector());
  CHECK(one.labels.to_vector() == three.labels.to_vector());
  CHECK(one.labels.to_vector() != data::make_scene(Key{8}, options).labels.to_vector());
}

TEST_CASE("make_scene: values are physical, sizes are free") {
  for (const auto& size : std::vector<std::vector<int64_t>>{{1, 1}, {3, 90}, {128, 64}}) {
    const data::Scene s = data::make_scene(Key{1}, {.height = size[0], .width = size[1]});
    CHECK(s.optical.shape() == Shape{size[0], size[1], 13});
    for (const float v : s.optical.to_vector()) CHECK((v >= 0 && v <= 1));
    for (const float v : s.sar_db.to_vector()) CHECK((v > -51 && v < 20));
    for (const uint8_t v : s.labels.to_vector()) CHECK(v < data::kClasses);
  }
  CHECK(thrown<ValueError>([] { data::make_scene(Key{1}, {.height = 0}); }).find("size 0 x 256") != std::string::npos);
  CHECK_THROWS_AS(data::make_scene(Key{1}, {.looks = 9}), ValueError);
  CHECK_THROWS_AS(data::make_scene(Key{1}, {.region_pixels = 1}), ValueError);
}

TEST_CASE("make_scene: labels are what the pixels were made from: class means tell the classes apart in both sensors") {
  double optical[data::kClasses][2] = {}, radar[data::kClasses][2] = {}, count[data::kClasses] = {};
  for (uint64_t i = 0; i < 12; ++i) {
    const data::Scene s = data::make_scene(Key{11}.at(i), {.height = 96, .width = 96});
    for (int64_t p = 0; p < 96 * 96; ++p) {
      const uint8_t l = s.labels.data()[p];
      ++count[l];
      optical[l][0] += double(s.optical.data()[p * 13 + data::kB8]);
      optical[l][1] += double(s.optical.data()[p * 13 + data::kB11]);
      for (int k = 0; k < 2; ++k) radar[l][k] += double(s.sar_db.data()[p * 2 + k]);
    }
  }
  for (int64_t a = 0; a < data::kClasses; ++a) {
    CAPTURE(data::kClassNames[a]);
    CHECK(count[a] / (12 * 96 * 96) > 0.02);  // no class is rare
    for (int64_t b = 0; b < a; ++b) {
      CAPTURE(data::kClassNames[b]);
      const auto gap = [&](double(&x)[data::kClasses][2]) {
        return std::hypot(x[a][0] / count[a] - x[b][0] / count[b], x[a][1] / count[a] - x[b][1] / count[b]);
      };
      CHECK(gap(optical) > 0.01);
      CHECK(gap(radar) > 1.5);  // dB
    }
  }
}

TEST_CASE("make_scene: speckle has the spread of its looks") {
  // On open water all else is smooth: intensity over its neighbourhood's mean varies as 1/sqrt(looks).
  double sum = 0, squares = 0, count = 0;
  for (uint64_t i = 0; i < 6; ++i) {
    const data::Scene s = data::make_scene(Key{5}.at(i), {.height = 128, .width = 128, .roads = false, .looks = 4});
    for (int64_t r = 4; r + 4 < 128; r += 9)
      for (int64_t c = 4; c + 4 < 128; c += 9) {
        double local = 0, local_squares = 0;
        bool water = true;
        for (int64_t y = -4; y <= 4; ++y)
          for (int64_t x = -4; x <= 4; ++x) {
            const double v = std::pow(10, 0.1 * double(s.sar_db.at({r + y, c + x, 0})));
            water = water && s.labels.at({r + y, c + x}) == 0;
            local += v / 81;
            local_squares += v * v / 81;
          }
        if (!water) continue;
        sum += local_squares / (local * local) - 1;
        squares += 1;
        count += 1;
      }
  }
  REQUIRE(count > 20);
  CHECK(std::sqrt(sum / count) == doctest::Approx(0.5).epsilon(0.12));
  CHECK(squares == count);
}

TEST_CASE("simulate_clouds: same key, same bits, for any number of threads") {
  const Tensor<float> clear = full({50, 60, 13}, 0.2);
  const int64_t before = threads();
  set_threads(1);
  const data::CloudedImage one = data::simulate_clouds(clear, Key{7});
  set_threads(3);
  const data::CloudedImage three = data::simulate_clouds(clear, Key{7});
  set_threads(before);
  CHECK(one.optical.to_vector() == three.optical.to_vector());
  CHECK(one.shadow.to_vector() == three.shadow.to_vector());
}

TEST_CASE("simulate_clouds: coverage is what was asked for") {
  const Tensor<float> clear = full({96, 96, 13}, 0.2);
  for (const double coverage : {0.0, 0.2, 0.5, 0.8, 1.0}) {
    CAPTURE(coverage);
    const data::CloudedImage c = data::simulate_clouds(
        clear, Key{2}, {.coverage = coverage, .optical_depth = 4, .softness = 0.4, .cirrus_depth = 0});
    CHECK(std::abs(mean(c.mask) - coverage) < 0.06);
    CHECK(data::cloud_cover(c.mask) == doctest::Approx(mean(c.mask)));
    for (const float v : c.optical.to_vector()) CHECK((v >= 0 && v <= 1));
  }
  CHECK_THROWS_AS(data::simulate_clouds(clear, Key{2}, {.coverage = 1.5}), ValueError);
  CHECK_THROWS_AS(data::simulate_clouds(zeros({4, 4, 3}), Key{2}), ShapeError);
  CHECK(data::simulate_clouds(zeros({0, 4, 13}), Key{2}).mask.shape() == Shape{0, 4});
}

TEST_CASE("simulate_clouds: where no cloud and no shadow is, the image is the clear one to the bit") {
  const Tensor<float> clear = data::make_scene(Key{1}, {.height = 64, .width = 64}).optical;
  const data::CloudedImage c = data::simulate_clouds(clear, Key{2}, {.coverage = 0.4, .cirrus_depth = 0});
  int64_t untouched = 0;
  for (int64_t p = 0; p < 64 * 64; ++p) {
    if (c.thickness.data()[p] > 0 || c.shadow.data()[p] > 0) continue;
    ++untouched;
    for (int64_t b = 0; b < 13; ++b) CHECK(c.optical.data()[p * 13 + b] == clear.data()[p * 13 + b]);
  }
  CHECK(untouched > 200);
}

TEST_CASE("simulate_clouds: bands differ as they do in the sky") {
  const Tensor<float> clear = full({64, 64, 13}, 0.1);
  const auto rise = [&](const data::CloudedImage& c, int64_t band) {  // where the cloud is thick
    double total = 0, count = 0;
    for (int64_t p = 0; p < 64 * 64; ++p)
      if (c.thickness.data()[p] > 0.3f) total += double(c.optical.data()[p * 13 + band]) - 0.1, ++count;
    return total / count;
  };
  const auto water = data::simulate_clouds(clear, Key{2}, {.coverage = 0.7, .cirrus_depth = 0, .shadow = 0});
  CHECK(rise(water, data::kB2) > rise(water, data::kB11));
  CHECK(rise(water, data::kB10) < 0);  // low clouds lie below the vapour that B10 sees
  const auto ice = data::simulate_clouds(clear, Key{2}, {.coverage = 0, .cirrus_depth = 1.5, .shadow = 0});
  CHECK(rise(ice, data::kB10) > 0.1);
  CHECK(rise(ice, data::kB2) > 2 * rise(ice, data::kB11));
}

TEST_CASE("simulate_clouds: the shadow is the cloud, moved away from the sun") {
  // The sun in the south (azimuth 180) at 45 degrees, clouds at 200 m: shadows lie 20 pixels north, towards row 0.
  const data::CloudOptions options{.coverage = 0.5,
                                   .cirrus_depth = 0,
                                   .shadow = 1,
                                   .sun_azimuth_degrees = 180,
                                   .sun_elevation_degrees = 45,
                                   .cloud_height_metres = 200};
  const data::CloudedImage c = data::simulate_clouds(full({80, 40, 13}, 0.3), Key{4}, options);
  for (int64_t r = 0; r < 60; ++r)
    for (int64_t x = 0; x < 40; ++x) CHECK(std::abs(c.shadow.at({r, x}) - c.thickness.at({r + 20, x})) < 2e-3f);
}

TEST_CASE("Synthetic: samples are complete, repeatable, and mostly cloudy") {
  const data::Synthetic set({.count = 24, .height = 48, .width = 48, .seed = 3});
  double cover = 0;
  for (int64_t i = 0; i < set.size(); ++i) {
    const data::Sample s = set.load(i);
    CHECK_NOTHROW(data::check_sample(s));
    CHECK(s.labels.defined());
    CHECK(s.thickness.defined());
    CHECK(s.info.id == set.info(i).id);
    cover += data::cloud_cover(s.cloud_mask) / 24;
  }
  CHECK(cover > 0.35);
  CHECK(cover < 0.75);
  CHECK(set.info(3).roi == "01");
  CHECK(set.info(4).roi == "02");
  CHECK(set.load(5).optical_cloudy.to_vector() == set.load(5).optical_cloudy.to_vector());
  CHECK(set.load(5).sar.to_vector() != set.load(6).sar.to_vector());
  CHECK(thrown<ValueError>([&] { set.load(24); }).find("no sample 24; there are 24") != std::string::npos);
}

}  // namespace
}  // namespace clearsky::test

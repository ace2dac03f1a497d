#include "clearsky/train/scene_prediction.hpp"

#include <cstdio>

#include "tiny.hpp"

namespace clearsky::train {

using namespace test;

namespace {

tdpcr::Model<float> tiny_model() {
  tdpcr::Config c = tiny_config().model;
  c.segmentation = true;
  return tdpcr::Model<float>(c, 3);
}

Tensor<float> image(int64_t height, int64_t width, int64_t bands, uint64_t seed) {
  return clamp(randn<float>({height, width, bands}, Key{seed}) * 0.1f + 0.4f, 0, 1);
}

}  // namespace

TEST_CASE("tiles cover every pixel, stay inside, and overlap by at least what was asked for") {
  for (const int64_t length : {32, 33, 63, 64, 65, 100, 257, 1000})
    for (const int64_t tile : {32, 64})
      for (const int64_t overlap : {0, 8, 24}) {
        INFO("length ", length, ", tile ", tile, ", overlap ", overlap);
        const std::vector<int64_t> starts = detail::tile_starts(length, tile, overlap);
        const int64_t size = starts.size() == 1 ? length : tile;
        CHECK(starts.front() == 0);
        CHECK(starts.back() + size == length);
        for (size_t i = 1; i < starts.size(); ++i) {
          CHECK(starts[i] > starts[i - 1]);
          CHECK(starts[i - 1] + size - starts[i] >= overlap);
        }
        CHECK((starts.size() == 1) == (length <= tile));
      }
  CHECK(detail::tile_starts(5000, 0, 64) == std::vector<int64_t>{0});
}

TEST_CASE("the weights of two neighbouring tiles fade into each other and add up to 1") {
  const std::vector<float> left = detail::tile_weights(32, 0, 8), right = detail::tile_weights(32, 8, 0);
  for (size_t i = 0; i < 8; ++i) CHECK(left[24 + i] + right[i] == doctest::Approx(1));
  for (size_t i = 0; i < 24; ++i) CHECK(left[i] == 1);
  for (const float w : detail::tile_weights(16, 12, 12)) CHECK(w > 0);  // overlaps that meet in the middle
}

TEST_CASE("a scene that fits one tile is the model's own output, whatever the tile") {
  const tdpcr::Model<float> model = tiny_model();
  const Tensor<float> optical = image(40, 36, 13, 1), sar = image(40, 36, 2, 2);
  const NoGrad guard;
  const auto direct = model(unsqueeze(optical, 0), unsqueeze(sar, 0));
  for (const SceneOptions& o :
       {SceneOptions{.tile = 0}, SceneOptions{.tile = 64, .overlap = 16}, SceneOptions{.tile = 40, .overlap = 8}}) {
    const auto scene = predict_scene(model, optical, sar, o);
    CHECK(scene.reconstruction.to_vector() == direct.reconstruction.to_vector());
    CHECK(scene.logits.to_vector() == direct.logits.to_vector());
    CHECK(scene.uncertainty.to_vector() == direct.uncertainty.to_vector());
  }
}

TEST_CASE("tiles put together: where only one tile lies, its output; a flat image has no seams") {
  const tdpcr::Model<float> model = tiny_model();
  const int64_t height = 72, width = 104;
  const Tensor<float> optical = image(height, width, 13, 1), sar = image(height, width, 2, 2);
  const SceneOptions o{.tile = 64, .overlap = 16};
  int64_t tiles = 0;
  const auto scene = predict_scene(model, optical, sar, o, [&](int64_t, int64_t all) { tiles = all; });
  CHECK(tiles == 4);
  CHECK(scene.reconstruction.shape() == Shape{1, height, width, 13});
  CHECK(scene.logits.shape() == Shape{1, height, width, 7});
  CHECK(scene.reliance.shape() == Shape{1, height, width, 1});
  for (const float v : scene.reconstruction.to_vector()) CHECK(std::isfinite(v));

  const NoGrad guard;
  const auto corner = [&](const Tensor<float>& x) {
    return unsqueeze(contiguous(slice(slice(x, 0, 0, 64), 1, 0, 64)), 0);
  };
  const auto first = model(corner(optical), corner(sar));
  for (int64_t band = 0; band < 13; ++band)
    CHECK(scene.reconstruction.at({0, 3, 20, band}) == doctest::Approx(first.reconstruction.at({0, 3, 20, band})));

  // Away from the padded borders of tiles, the same input everywhere gives the same output everywhere.
  const auto flat =
      predict_scene(model, full<float>({height, width, 13}, 0.3f), full<float>({height, width, 2}, 0.5f), o);
  const float middle = flat.uncertainty.at({0, 30, 30, 0});
  CHECK(flat.uncertainty.at({0, 35, 52, 0}) == doctest::Approx(middle).epsilon(1e-3));
}

TEST_CASE("a scene whose images do not fit is refused") {
  const tdpcr::Model<float> model = tiny_model();
  const Tensor<float> optical = image(32, 32, 13, 1);
  CHECK(thrown<ShapeError>([&] {
          predict_scene(model, optical, image(32, 24, 2, 2));
        }).starts_with("predict_scene: the optical image is 32 x 32 pixels but the SAR image 32 x 24"));
  CHECK(thrown<ValueError>([&] {
          predict_scene(model, optical, image(32, 32, 2, 2), {.tile = 32, .overlap = 32});
        }).starts_with("predict_scene: tiles of 32 pixels that overlap by 32"));
  CHECK(thrown<ShapeError>([&] { predict_scene(model, image(32, 32, 12, 1), image(32, 32, 2, 2)); }).find("12 bands") !=
        std::string::npos);
}

TEST_CASE("a written scene keeps the georeference; the name decides the format") {
  const ScratchFolder folder;
  geo::Raster like;
  like.geotransform = {500000, 10, 0, 4100000, 0, -10};
  like.band_names = {"VV", "VH"};
  const Tensor<float> pixels = image(9, 11, 2, 4);
  write_scene(folder / "a.tif", pixels, like, "float32", io::Picture({9, 11, 3}));
  const geo::Raster back = geo::read_geotiff(folder / "a.tif");
  CHECK(back.geotransform == like.geotransform);
  CHECK(back.band_names == like.band_names);
  CHECK(back.pixels.to_vector() == pixels.to_vector());
  write_scene(folder / "a.png", pixels, like, "float32", full<uint8_t>({9, 11, 3}, 7));
  CHECK(io::read_png(folder / "a.png").shape() == Shape{9, 11, 3});
  CHECK(thrown<ValueError>([&] {
          write_scene(folder / "a.jpg", pixels, like, "float32", io::Picture({9, 11, 3}));
        }).find("ends in neither .tif nor .png") != std::string::npos);
  CHECK(folder.files() == 2);
}

}  // namespace clearsky::train

#pragma once
// Restoring whole scenes: in one piece while that fits, else tile by tile with overlaps that fade into each other, so
// that no seam shows. What ties the scene to the ground is kept.

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "clearsky/autograd/grad_mode.hpp"
#include "clearsky/geo/geotiff.hpp"
#include "clearsky/io/picture.hpp"
#include "clearsky/io/png.hpp"
#include "clearsky/ops/view.hpp"
#include "clearsky/train/restorer.hpp"

namespace clearsky::train {

struct SceneOptions {
  int64_t tile = 512;    ///< a side that is longer is cut into tiles of this length; 0: never; pixels
  int64_t overlap = 64;  ///< of neighbouring tiles at least, where one fades into the other; pixels
};

namespace detail {

/// Where the tiles of one axis begin: evenly spaced, overlapping by at least what was asked for.
inline std::vector<int64_t> tile_starts(int64_t length, int64_t tile, int64_t overlap) {
  if (tile == 0 || length <= tile) return {0};
  const int64_t step = tile - overlap, count = (length - overlap + step - 1) / step;
  std::vector<int64_t> starts;
  for (int64_t i = 0; i < count; ++i) starts.push_back((length - tile) * i / (count - 1));
  return starts;
}

/// The weight of each pixel along one axis of a tile: rises over what it shares with the tile before, falls over what
/// it shares with the tile behind, and is never 0.
inline std::vector<float> tile_weights(int64_t length, int64_t before, int64_t behind) {
  std::vector<float> weights;
  for (int64_t i = 0; i < length; ++i) {
    const int64_t left = length - 1 - i;
    float w = 1;
    if (i < before) w *= (float(i) + 0.5f) / float(before);
    if (left < behind) w *= (float(left) + 0.5f) / float(behind);
    weights.push_back(w);
  }
  return weights;
}

struct Tile {
  int64_t row, column, height, width;  // pixels
  std::vector<float> down, right;      // weights along the height, along the width
};

inline std::vector<Tile> tiles_of(int64_t height, int64_t width, const SceneOptions& o) {
  const auto along = [&](int64_t length) {
    const std::vector<int64_t> starts = tile_starts(length, o.tile, o.overlap);
    const int64_t size = starts.size() == 1 ? length : o.tile;
    std::vector<std::pair<int64_t, std::vector<float>>> parts;
    for (size_t i = 0; i < starts.size(); ++i) {
      const int64_t before = i == 0 ? 0 : starts[i - 1] + size - starts[i];
      const int64_t behind = i + 1 == starts.size() ? 0 : starts[i] + size - starts[i + 1];
      parts.emplace_back(starts[i], tile_weights(size, before, behind));
    }
    return parts;
  };
  std::vector<Tile> tiles;
  const auto columns = along(width);
  for (const auto& r : along(height))
    for (const auto& c : columns)
      tiles.push_back({r.first, c.first, int64_t(r.second.size()), int64_t(c.second.size()), r.second, c.second});
  return tiles;
}

/// @param x      (1, h, w, C)  a tile's output
/// @param scene  (1, H, W, C)  weight * x is added to
inline void add_tile(const Tile& t, const Tensor<float>& x, const Tensor<float>& scene) {
  const Tensor<float> from = contiguous(x);
  const int64_t channels = scene.size(3), line = scene.size(2) * channels;
  float* const to = scene.mutable_data() + t.row * line + t.column * channels;
  for (int64_t r = 0; r < t.height; ++r)
    for (int64_t c = 0; c < t.width; ++c) {
      const float w = t.down[size_t(r)] * t.right[size_t(c)];
      const float* p = from.data() + (r * t.width + c) * channels;
      for (int64_t k = 0; k < channels; ++k) to[r * line + c * channels + k] += w * p[k];
    }
}

/// @param weight  (1, H, W, 1)
/// @param scene   (1, H, W, C)  divided by it
inline void divide_by_weight(const Tensor<float>& scene, const Tensor<float>& weight) {
  const int64_t channels = scene.size(3);
  float* const p = scene.mutable_data();
  for (int64_t i = 0; i < weight.numel(); ++i)
    for (int64_t k = 0; k < channels; ++k) p[i * channels + k] /= weight.data()[i];
}

}  // namespace detail

/// Restores a scene of any size from 8 x 8 pixels, without recording gradients.
///
/// Channel attention looks at all pixels of what it is given, so that tiles differ a little from the whole even far
/// from their borders; the fading hides it.
///
/// @param optical  (H, W, 13)  cloudy, reflectance in [0, 1]
/// @param sar      (H, W, 2)   scaled to [0, 1]
/// @param done     called with (tiles done, all tiles) after each
/// @return         the model's outputs as a batch of one, (1, H, W, ...)
/// @throws         ShapeError when the images do not fit each other, ValueError for tiles that cannot overlap so
template <class Done>
tdpcr::Outputs<float> predict_scene(const Restorer& restorer, const Tensor<float>& optical, const Tensor<float>& sar,
                                    const SceneOptions& options, Done&& done) {
  CLEARSKY_CHECK(ShapeError, optical.rank() == 3 && sar.rank() == 3, "predict_scene: needs images (H, W, bands), got ",
                 optical.shape(), " and ", sar.shape());
  CLEARSKY_CHECK(ShapeError, optical.size(0) == sar.size(0) && optical.size(1) == sar.size(1),
                 "predict_scene: the optical image is ", optical.size(0), " x ", optical.size(1),
                 " pixels but the SAR image ", sar.size(0), " x ", sar.size(1), "; resample one to the other's grid");
  CLEARSKY_CHECK(ValueError,
                 options.tile == 0 || (options.tile >= 32 && 0 <= options.overlap && options.overlap < options.tile),
                 "predict_scene: tiles of ", options.tile, " pixels that overlap by ", options.overlap,
                 "; use tiles of at least 32 and an overlap below that, or 0 for no tiles");
  const NoGrad guard;
  const int64_t height = optical.size(0), width = optical.size(1);
  const std::vector<detail::Tile> tiles = detail::tiles_of(height, width, options);
  if (tiles.size() == 1) {
    tdpcr::Outputs<float> whole = restorer(unsqueeze(contiguous(optical), 0), unsqueeze(contiguous(sar), 0));
    done(int64_t(1), int64_t(1));
    return whole;
  }
  tdpcr::Outputs<float> scene;
  const Tensor<float> weight = zeros<float>({1, height, width, 1});
  const auto add = [&](const detail::Tile& t, const Tensor<float>& x, Tensor<float>& to) {
    if (!x.defined()) return;
    if (!to.defined()) to = zeros<float>({1, height, width, x.size(3)});
    detail::add_tile(t, x, to);
  };
  int64_t count = 0;
  for (const detail::Tile& t : tiles) {
    const auto cut = [&](const Tensor<float>& x) {
      return unsqueeze(contiguous(slice(slice(x, 0, t.row, t.row + t.height), 1, t.column, t.column + t.width)), 0);
    };
    const tdpcr::Outputs<float> out = restorer(cut(optical), cut(sar));
    add(t, out.reconstruction, scene.reconstruction);
    add(t, out.logits, scene.logits);
    add(t, out.reliance, scene.reliance);
    add(t, out.uncertainty, scene.uncertainty);
    detail::add_tile(t, ones<float>({1, t.height, t.width, 1}), weight);
    done(++count, int64_t(tiles.size()));
  }
  for (const Tensor<float>* x : {&scene.reconstruction, &scene.logits, &scene.reliance, &scene.uncertainty})
    if (x->defined()) detail::divide_by_weight(*x, weight);
  return scene;
}
inline tdpcr::Outputs<float> predict_scene(const Restorer& restorer, const Tensor<float>& optical,
                                           const Tensor<float>& sar, const SceneOptions& options = {}) {
  return predict_scene(restorer, optical, sar, options, [](int64_t, int64_t) {});
}

/// Whether a scene would be written as a picture. @throws ValueError for a name that ends in neither .tif nor .png
inline bool is_picture_name(const std::string& path) {
  const bool png = path.ends_with(".png"), tif = path.ends_with(".tif") || path.ends_with(".tiff");
  CLEARSKY_CHECK(ValueError, png || tif, "predict: the output ", path, " ends in neither .tif nor .png; choose one");
  return png;
}

/// Writes pixels as a GeoTIFF on the grid of another raster, or as a picture if the name ends in .png; atomically.
/// @param pixels   (H, W, bands)
/// @param like     gives the georeference, and the names of bands where their number fits
/// @param dtype    of the GeoTIFF
/// @param picture  what a PNG shows
inline void write_scene(const std::string& path, const Tensor<float>& pixels, const geo::Raster& like,
                        const char* dtype, const io::Picture& picture) {
  if (is_picture_name(path)) return io::write_png(path, picture);
  geo::Raster r;
  r.pixels = pixels;
  r.geotransform = like.geotransform;
  r.projection_wkt = like.projection_wkt;
  r.dtype = dtype;
  if (int64_t(like.band_names.size()) == pixels.size(2)) r.band_names = like.band_names;
  geo::write_geotiff(path, r);
}

}  // namespace clearsky::train

#include "clearsky/geo/geotiff.hpp"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>

#include <string>

#include "io/real_samples.hpp"
#include "io/scratch_folder.hpp"

namespace clearsky::test {
namespace {

geo::Raster some_raster(const std::string& dtype, int64_t bands) {
  geo::Raster r;
  r.pixels = Tensor<float>({9, 7, bands});
  for (int64_t i = 0; i < r.pixels.numel(); ++i) r.pixels.mutable_data()[i] = float((i * 37) % 251);
  r.dtype = dtype;
  r.geotransform = std::array<double, 6>{500000, 10, 0, 3700000, 0, -10};
  r.nodata = 250;
  for (int64_t b = 0; b < bands; ++b) r.band_names.push_back("band " + std::to_string(b));
  return r;
}

TEST_CASE("geotiff: round trip of every dtype, layout and compression") {
  const ScratchFolder folder;
  const std::string path = folder / "r.tif";
  for (const char* dtype : {"uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"})
    for (const auto interleave : {geo::Interleave::pixel, geo::Interleave::band})
      for (const auto compression : {geo::Compression::none, geo::Compression::deflate}) {
        CAPTURE(dtype);
        const geo::Raster r = some_raster(dtype, 3);
        geo::write_geotiff(path, r, {compression, interleave});
        const geo::Raster back = geo::read_geotiff(path);
        CHECK(back.pixels.shape() == Shape{9, 7, 3});
        CHECK(back.pixels.to_vector() == r.pixels.to_vector());
        CHECK(back.dtype == dtype);
        CHECK(back.geotransform == r.geotransform);
        CHECK(back.nodata == r.nodata);
        CHECK(back.band_names == r.band_names);
      }
  CHECK(folder.files() == 1);  // no parts, no side files
}

TEST_CASE("geotiff: without a georeference, with strides, and the rounding of integers") {
  const ScratchFolder folder;
  geo::Raster r;
  r.pixels = Tensor<float>({2, 2, 1}, {-5, 1.4f, 1.6f, 70000});
  r.dtype = "uint16";
  geo::write_geotiff(folder / "r.tif", r);
  const geo::Raster back = geo::read_geotiff(folder / "r.tif");
  CHECK(back.pixels.to_vector() == std::vector<float>{0, 1, 2, 65535});
  CHECK_FALSE(back.geotransform.has_value());
  CHECK(back.projection_wkt.empty());
  CHECK_FALSE(back.nodata.has_value());
  CHECK(back.band_names.empty());

  r.dtype = "float32";
  r.pixels = arange(12).view_as({2, 3, 2}, {1, 4, 2}, 0);
  geo::write_geotiff(folder / "r.tif", r);
  CHECK(geo::read_geotiff(folder / "r.tif").pixels.to_vector() == r.pixels.to_vector());
}

TEST_CASE("geotiff: a window carries its own geotransform") {
  const ScratchFolder folder;
  const geo::Raster r = some_raster("uint16", 2);
  geo::write_geotiff(folder / "r.tif", r);
  const geo::Raster part = geo::read_geotiff(folder / "r.tif", {.row = 2, .column = 3, .height = 4, .width = 2});
  CHECK(part.pixels.shape() == Shape{4, 2, 2});
  CHECK(part.pixels.at({1, 1, 1}) == r.pixels.at({3, 4, 1}));
  CHECK(part.geotransform == std::array<double, 6>{500030, 10, 0, 3699980, 0, -10});
  CHECK(geo::read_geotiff(folder / "r.tif", {.row = 8}).pixels.shape() == Shape{1, 7, 2});
  CHECK(thrown<ShapeError>([&] {
          geo::read_geotiff(folder / "r.tif", {.row = 8, .height = 2});
        }).find("the window of 2 x 7 at (8, 0) is not inside 9 x 7") != std::string::npos);
  const geo::RasterInfo info = geo::read_geotiff_info(folder / "r.tif");
  CHECK(info.height == 9);
  CHECK(info.width == 7);
  CHECK(info.bands == 2);
  CHECK(info.raster.dtype == "uint16");
}

TEST_CASE("geotiff: what cannot be read is named, with GDAL's reason") {
  const ScratchFolder folder;
  const std::string path = folder / "r.tif";
  CHECK(thrown<IoError>([&] {
          geo::read_geotiff(path);
        }).starts_with("read_geotiff: " + path + ": No such file or directory"));
  io::atomic_write_text(path, "not a picture");
  CHECK(thrown<IoError>([&] { geo::read_geotiff(path); }).find("not recognized as a supported file format") !=
        std::string::npos);
  geo::write_geotiff(path, some_raster("uint16", 12));
  CHECK(thrown<IoError>([&] {
          geo::read_geotiff(path, {}, 13);
        }).starts_with("read_geotiff: " + path + " has 12 bands, 13 are needed (B10 is missing); L2A products have"));
  CHECK(thrown<IoError>([&] { geo::read_geotiff(path, {}, 2); }).find("has 12 bands, 2 are needed") !=
        std::string::npos);
  geo::write_geotiff(path, some_raster("float32", 2), {geo::Compression::none, geo::Interleave::pixel});
  const std::string whole = io::read_file(path);
  io::atomic_write_text(path, whole.substr(0, whole.size() - 300));
  CHECK(thrown<IoError>([&] { geo::read_geotiff(path); }).starts_with("read_geotiff: " + path + ": "));
}

TEST_CASE("geotiff: what cannot be written leaves the old file") {
  const ScratchFolder folder;
  const std::string path = folder / "r.tif";
  geo::Raster r = some_raster("uint16", 2);
  geo::write_geotiff(path, r);
  const std::string before = io::read_file(path);

  geo::Raster large;
  large.pixels = rand({200, 200, 3}, Key{1});
  {
    void (*const handler)(int) = ::signal(SIGXFSZ, SIG_IGN);
    rlimit old{}, small{};
    ::getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 100'000;
    ::setrlimit(RLIMIT_FSIZE, &small);
    const std::string text = thrown<IoError>([&] { geo::write_geotiff(path, large); });
    ::setrlimit(RLIMIT_FSIZE, &old);
    ::signal(SIGXFSZ, handler);
    CHECK(text.starts_with("write_geotiff: " + path + ": "));
  }
  CHECK(io::read_file(path) == before);
  CHECK(folder.files() == 1);

  CHECK(thrown<IoError>([&] { geo::write_geotiff(folder / "no/r.tif", r); }).find("No such file or directory") !=
        std::string::npos);
  r.dtype = "int12";
  CHECK(thrown<ValueError>([&] { geo::write_geotiff(path, r); }).find("unknown dtype int12") != std::string::npos);
  r = some_raster("uint8", 2);
  r.band_names.pop_back();
  CHECK(thrown<ValueError>([&] { geo::write_geotiff(path, r); }).find("1 band names for 2 bands") != std::string::npos);
  r.pixels = zeros({4, 4});
  CHECK(thrown<ShapeError>([&] { geo::write_geotiff(path, r); }).find("must be (H, W, bands)") != std::string::npos);
}

TEST_CASE("geotiff: real samples, and their georeference through a round trip") {
  const std::string data = real_samples();
  if (data.empty()) return;
  const geo::Raster r =
      geo::read_geotiff(data + "/sen12mscr-mini/ROIs1970_fall_s2/s2_139/ROIs1970_fall_s2_139_p839.tif", {}, 13);
  CHECK(r.pixels.shape() == Shape{256, 256, 13});
  CHECK(r.dtype == "uint16");
  REQUIRE(r.geotransform.has_value());
  CHECK((*r.geotransform)[1] == doctest::Approx(10));
  CHECK(r.projection_wkt.find("UTM zone 50N") != std::string::npos);
  const ScratchFolder folder;
  geo::write_geotiff(folder / "r.tif", r);
  const geo::Raster back = geo::read_geotiff(folder / "r.tif");
  CHECK(back.geotransform == r.geotransform);
  CHECK(back.projection_wkt == r.projection_wkt);
  CHECK(back.pixels.to_vector() == r.pixels.to_vector());
}

}  // namespace
}  // namespace clearsky::test

#pragma once
// GeoTIFF files through GDAL: pixels, and what ties them to the ground. The only header that includes GDAL.
//
// Pixels come as (H, W, bands) float, whatever the file's layout (pixel- or band-interleaved, tiled, compressed).
// A float holds uint16 exactly; 32-bit integers above 2^24 lose their last digits.

#include <cpl_error.h>
#include <gdal.h>
#include <gdal_frmts.h>

#include <array>
#include <cmath>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "clearsky/core/tensor.hpp"
#include "clearsky/io/file.hpp"

namespace clearsky::geo {

/// Pixels with their georeference. Everything but the pixels may be absent.
struct Raster {
  Tensor<float> pixels;                               ///< (H, W, bands)
  std::optional<std::array<double, 6>> geotransform;  ///< GDAL's order: x0, dx, 0, y0, 0, dy, in the projection's unit
  std::string projection_wkt;                         ///< empty: none
  std::optional<double> nodata;                       ///< the value that means "no data" in every band
  std::string dtype = "float32";        ///< in the file: uint8, uint16, int16, uint32, int32, float32, float64
  std::vector<std::string> band_names;  ///< empty, or one per band
};

/// A part of a raster, in pixels.
struct Window {
  int64_t row = 0, column = 0;
  int64_t height = -1, width = -1;  ///< -1: up to the border
};

enum class Compression { none, deflate };
enum class Interleave { pixel, band };

struct WriteOptions {
  Compression compression = Compression::deflate;
  Interleave interleave = Interleave::pixel;
};

namespace detail {

using clearsky::detail::to_text;

/// While alive, GDAL's messages are kept instead of printed.
class GdalMessages {
 public:
  GdalMessages() { CPLPushErrorHandlerEx(&GdalMessages::keep, this); }
  ~GdalMessages() { CPLPopErrorHandler(); }
  GdalMessages(const GdalMessages&) = delete;
  GdalMessages& operator=(const GdalMessages&) = delete;

  bool failed() const { return failed_; }
  /// The first message, which names the cause; later ones say what it led to. GDAL often repeats the path in front.
  std::string text(const std::string& path) const {
    if (text_.empty()) return "GDAL gives no reason";
    return text_.starts_with(path + ": ") ? text_.substr(path.size() + 2) : text_;
  }

 private:
  static void CPL_STDCALL keep(CPLErr kind, CPLErrorNum, const char* text) {
    if (kind != CE_Failure && kind != CE_Fatal) return;
    auto* self = static_cast<GdalMessages*>(CPLGetErrorHandlerUserData());
    self->failed_ = true;
    if (!self->text_.empty()) return;
    self->text_ = text;
    for (char& c : self->text_)
      if (c == '\n') c = ' ';  // one line
  }

  bool failed_ = false;
  std::string text_;
};

struct DType {
  GDALDataType type;
  const char* name;
};
inline constexpr DType kDTypes[] = {{GDT_Byte, "uint8"},     {GDT_UInt16, "uint16"}, {GDT_Int16, "int16"},
                                    {GDT_UInt32, "uint32"},  {GDT_Int32, "int32"},   {GDT_Float32, "float32"},
                                    {GDT_Float64, "float64"}};

class Dataset {
 public:
  explicit Dataset(GDALDatasetH handle) : handle_(handle) {}
  ~Dataset() { close(); }
  Dataset(const Dataset&) = delete;
  Dataset& operator=(const Dataset&) = delete;
  GDALDatasetH get() const { return handle_; }
  void close() {
    if (handle_ != nullptr) GDALClose(std::exchange(handle_, nullptr));
  }

 private:
  GDALDatasetH handle_;
};

/// Only the GeoTIFF driver: registering all of GDAL's costs a tenth of a second and loads plugins.
inline GDALDriverH driver() {
  static std::once_flag once;
  std::call_once(once, [] { GDALRegister_GTiff(); });
  return GDALGetDriverByName("GTiff");
}

inline GDALDatasetH open(const std::string& path) {
  (void)driver();
  constexpr const char* kDrivers[] = {"GTiff", nullptr};
  return GDALOpenEx(path.c_str(), GDAL_OF_RASTER | GDAL_OF_READONLY | GDAL_OF_VERBOSE_ERROR, kDrivers, nullptr,
                    nullptr);
}

/// Everything but the pixels. @param height, width, bands  written
inline Raster describe(const std::string& path, GDALDatasetH file, int64_t& height, int64_t& width, int64_t& bands) {
  Raster r;
  height = GDALGetRasterYSize(file);
  width = GDALGetRasterXSize(file);
  bands = GDALGetRasterCount(file);
  CLEARSKY_CHECK(IoError, bands > 0, "read_geotiff: ", path, ": has no bands");
  std::array<double, 6> transform{};
  if (GDALGetGeoTransform(file, transform.data()) == CE_None) r.geotransform = transform;
  if (const char* wkt = GDALGetProjectionRef(file)) r.projection_wkt = wkt;
  const GDALRasterBandH first = GDALGetRasterBand(file, 1);
  int has_nodata = 0;
  const double nodata = GDALGetRasterNoDataValue(first, &has_nodata);
  if (has_nodata) r.nodata = nodata;
  const GDALDataType type = GDALGetRasterDataType(first);
  CLEARSKY_CHECK(IoError, !GDALDataTypeIsComplex(type), "read_geotiff: ", path, ": has complex pixels (",
                 GDALGetDataTypeName(type), "); convert to intensity first");
  r.dtype = "float64";
  for (const DType& t : kDTypes)
    if (t.type == type) r.dtype = t.name;
  bool named = false;
  for (int64_t b = 1; b <= bands; ++b) {
    r.band_names.emplace_back(GDALGetDescription(GDALGetRasterBand(file, int(b))));
    named = named || !r.band_names.back().empty();
  }
  if (!named) r.band_names.clear();
  return r;
}

}  // namespace detail

/// A raster's size and georeference, without its pixels.
struct RasterInfo {
  int64_t height = 0, width = 0, bands = 0;
  Raster raster;  ///< pixels undefined
};

/// @throws IoError with GDAL's reason
inline RasterInfo read_geotiff_info(const std::string& path) {
  const detail::GdalMessages messages;
  const detail::Dataset file(detail::open(path));
  CLEARSKY_CHECK(IoError, file.get() != nullptr, "read_geotiff: ", path, ": ", messages.text(path));
  RasterInfo info;
  info.raster = detail::describe(path, file.get(), info.height, info.width, info.bands);
  return info;
}

/// Reads a GeoTIFF, or a window of it; the geotransform is that of the window.
///
/// @param bands  how many bands the caller needs; 0 takes any number
/// @return       pixels (H, W, bands)
/// @throws       IoError with the file and GDAL's reason: missing, no TIFF, truncated; or another number of bands
/// @throws       ShapeError when the window leaves the raster
inline Raster read_geotiff(const std::string& path, const Window& window = {}, int64_t bands = 0) {
  const detail::GdalMessages messages;
  const detail::Dataset file(detail::open(path));
  CLEARSKY_CHECK(IoError, file.get() != nullptr, "read_geotiff: ", path, ": ", messages.text(path));
  int64_t full_height = 0, full_width = 0, count = 0;
  Raster r = detail::describe(path, file.get(), full_height, full_width, count);
  CLEARSKY_CHECK(
      IoError, bands == 0 || bands == count, "read_geotiff: ", path, " has ", count,
      count == 1 ? " band, " : " bands, ", bands,
      bands == 13 && count == 12 ? " are needed (B10 is missing); L2A products have no B10, use L1C" : " are needed");
  const int64_t height = window.height < 0 ? full_height - window.row : window.height;
  const int64_t width = window.width < 0 ? full_width - window.column : window.width;
  CLEARSKY_CHECK(ShapeError,
                 window.row >= 0 && window.column >= 0 && height > 0 && width > 0 &&
                     window.row + height <= full_height && window.column + width <= full_width,
                 "read_geotiff: ", path, ": the window of ", height, " x ", width, " at (", window.row, ", ",
                 window.column, ") is not inside ", full_height, " x ", full_width);
  r.pixels = Tensor<float>({height, width, count});
  const GSpacing element = sizeof(float);
  const CPLErr status =
      GDALDatasetRasterIOEx(file.get(), GF_Read, int(window.column), int(window.row), int(width), int(height),
                            r.pixels.mutable_data(), int(width), int(height), GDT_Float32, int(count), nullptr,
                            element * count, element * count * width, element, nullptr);
  CLEARSKY_CHECK(IoError, status == CE_None && !messages.failed(), "read_geotiff: ", path, ": ", messages.text(path));
  if (r.geotransform) {
    std::array<double, 6>& g = *r.geotransform;
    g[0] += double(window.column) * g[1] + double(window.row) * g[2];
    g[3] += double(window.column) * g[4] + double(window.row) * g[5];
  }
  return r;
}

/// Writes a GeoTIFF with its georeference, atomically. For integer dtypes values are rounded, and clamped to the range.
///
/// @throws IoError with GDAL's reason; what stood there before is unchanged
inline void write_geotiff(const std::string& path, const Raster& raster, const WriteOptions& options = {}) {
  const Shape& s = raster.pixels.shape();
  CLEARSKY_CHECK(ShapeError, s.rank() == 3 && s.numel() > 0, "write_geotiff: ", path,
                 ": pixels must be (H, W, bands) and not empty, got ", s);
  GDALDataType type = GDT_Unknown;
  for (const detail::DType& t : detail::kDTypes)
    if (raster.dtype == t.name) type = t.type;
  CLEARSKY_CHECK(ValueError, type != GDT_Unknown, "write_geotiff: ", path, ": unknown dtype ", raster.dtype,
                 "; use uint8, uint16, int16, uint32, int32, float32 or float64");
  CLEARSKY_CHECK(ValueError, raster.band_names.empty() || int64_t(raster.band_names.size()) == s[2],
                 "write_geotiff: ", path, ": ", int64_t(raster.band_names.size()), " band names for ", s[2], " bands");
  const Tensor<float> pixels = raster.pixels.is_contiguous() ? raster.pixels : raster.pixels.clone();

  const std::string target = io::detail::final_path(path);
  struct Part {
    std::string path;
    ~Part() {
      (void)::unlink(path.c_str());
      (void)::unlink((path + ".aux.xml").c_str());
    }
  } const part{io::detail::name_aside(target)};

  const detail::GdalMessages messages;
  const bool integer = raster.dtype.find("int") != std::string::npos;
  const bool deflate = options.compression == Compression::deflate;
  const char* creation[] = {options.interleave == Interleave::pixel ? "INTERLEAVE=PIXEL" : "INTERLEAVE=BAND",
                            "BIGTIFF=IF_SAFER", deflate ? "COMPRESS=DEFLATE" : "COMPRESS=NONE",
                            deflate ? (integer ? "PREDICTOR=2" : "PREDICTOR=3") : nullptr, nullptr};
  detail::Dataset file(GDALCreate(detail::driver(), part.path.c_str(), int(s[1]), int(s[0]), int(s[2]), type,
                                  const_cast<char**>(creation)));
  CLEARSKY_CHECK(IoError, file.get() != nullptr, "write_geotiff: ", path, ": ", messages.text(path));
  if (raster.geotransform) GDALSetGeoTransform(file.get(), const_cast<double*>(raster.geotransform->data()));
  if (!raster.projection_wkt.empty()) GDALSetProjection(file.get(), raster.projection_wkt.c_str());
  for (int b = 1; b <= int(s[2]); ++b) {
    const GDALRasterBandH band = GDALGetRasterBand(file.get(), b);
    if (raster.nodata) GDALSetRasterNoDataValue(band, *raster.nodata);
    if (!raster.band_names.empty()) GDALSetDescription(band, raster.band_names[size_t(b - 1)].c_str());
  }
  const GSpacing element = sizeof(float);
  const CPLErr status = GDALDatasetRasterIOEx(
      file.get(), GF_Write, 0, 0, int(s[1]), int(s[0]), const_cast<float*>(pixels.data()), int(s[1]), int(s[0]),
      GDT_Float32, int(s[2]), nullptr, element * s[2], element * s[2] * s[1], element, nullptr);
  if (status == CE_None) GDALFlushCache(file.get());
  file.close();  // writes what is still in memory; a full disk shows here at the latest
  CLEARSKY_CHECK(IoError, status == CE_None && !messages.failed(), "write_geotiff: ", path, ": ", messages.text(path));
  const int descriptor = ::open(part.path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor >= 0) {
    (void)::fsync(descriptor);
    (void)::close(descriptor);
  }
  io::detail::rename_into_place(part.path, target);
}

}  // namespace clearsky::geo

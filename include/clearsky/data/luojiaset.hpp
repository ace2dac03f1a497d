#pragma once
// LuojiaSET-OSFCR: cloudy and clear Sentinel-2, Sentinel-1, cloud masks and land cover in five folders of cloud cover.
//
//     <root>/20%-40%/s1/ROIs_01_s1_p4438.tif                               VV, VH; dB; float32
//                    s2_cloudy/ROIs_01_s2_cloudy_p4438.tif                 13 bands; DN; uint16
//                    s2/ROIs_01_s2_p4438.tif                               the same place without clouds
//                    cloud_detection_results/ROIs_01_s2_cloudy_p4438.tif   1 = cloud; float32
//                    land_cover_maps/ROIs_01_s2_p4438.tif                  classes 0 to 6; uint8

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "clearsky/data/raster_dataset.hpp"

namespace clearsky::data {
namespace detail {

/// The names of a folder's files or folders, sorted; the order that the system lists them in means nothing.
inline std::vector<std::string> sorted_names(const std::string& folder, bool folders) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (it->is_directory() == folders) names.push_back(it->path().filename().string());
  CLEARSKY_CHECK(IoError, !error, "dataset: ", folder, ": ", error.message());
  std::sort(names.begin(), names.end());
  return names;
}

inline bool is_folder(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored);
}

/// "ROIs_01_s2_cloudy_p4438.tif" with the marker "_s2_cloudy_p" -> ("ROIs_01", "4438"); empty when it does not fit.
inline std::pair<std::string, std::string> split_name(const std::string& name, const std::string& marker) {
  const size_t at = name.rfind(marker);
  if (at == name.npos || !name.ends_with(".tif")) return {};
  const std::string number = name.substr(at + marker.size(), name.size() - at - marker.size() - 4);
  if (number.empty() || number.find_first_not_of("0123456789") != number.npos) return {};
  return {name.substr(0, at), number};
}

/// `path` when it exists, else "".
inline std::string if_there(const std::string& path) {
  return io::file_exists(path) ? path : "";
}

/// Orders numbers in names by value: p9 before p10.
inline auto natural_key(const RasterPaths& p) {
  const std::string& id = p.info.id;
  const size_t at = id.rfind('p') + 1;
  return std::make_tuple(p.info.bucket, id.substr(0, at), id.size() - at, id.substr(at));
}

inline void sort_samples(std::vector<RasterPaths>& samples) {
  std::sort(samples.begin(), samples.end(),
            [](const RasterPaths& a, const RasterPaths& b) { return natural_key(a) < natural_key(b); });
}

}  // namespace detail

/// Lists the samples below a folder in LuojiaSET-OSFCR's layout. Masks and labels may be absent.
///
///     auto data = open_luojiaset("LuojiaSET-OSFCR", {.optical = {.dn_offset = 1000}});
///
/// The region is the number behind "ROIs_". Ids read "ROIs_01_p4438". No pixel is read here.
/// @throws IoError when the folder is not there, has no samples, or a sample lacks its SAR or clear image
inline RasterDatasetPointer open_luojiaset(const std::string& root, const RasterOptions& options = {}) {
  CLEARSKY_CHECK(IoError, detail::is_folder(root), "open_luojiaset: ", root, ": no such folder");
  std::vector<RasterPaths> samples;
  for (const std::string& bucket : detail::sorted_names(root, true)) {
    const std::string folder = root + "/" + bucket;
    if (!detail::is_folder(folder + "/s2_cloudy")) continue;
    for (const std::string& name : detail::sorted_names(folder + "/s2_cloudy", false)) {
      const auto parts = detail::split_name(name, "_s2_cloudy_p");
      if (parts.second.empty()) continue;
      const std::string s1 = parts.first + "_s1_p" + parts.second + ".tif";
      const std::string s2 = parts.first + "_s2_p" + parts.second + ".tif";
      RasterPaths p;
      p.info.id = parts.first + "_p" + parts.second;
      p.info.bucket = bucket;
      p.info.roi = parts.first.starts_with("ROIs_") ? parts.first.substr(5) : parts.first;
      p.optical_cloudy = folder + "/s2_cloudy/" + name;
      p.optical_clear = folder + "/s2/" + s2;
      p.sar = folder + "/s1/" + s1;
      for (const std::string* path : {&p.optical_clear, &p.sar})
        CLEARSKY_CHECK(IoError, io::file_exists(*path), "open_luojiaset: ", *path, " is missing, which belongs to ",
                       p.optical_cloudy);
      p.mask = detail::if_there(folder + "/cloud_detection_results/" + name);
      p.labels = detail::if_there(folder + "/land_cover_maps/" + s2);
      samples.push_back(std::move(p));
    }
  }
  CLEARSKY_CHECK(IoError, !samples.empty(), "open_luojiaset: ", root,
                 ": has no <cloud cover>/s2_cloudy/ROIs_<region>_s2_cloudy_p<number>.tif");
  detail::sort_samples(samples);
  return std::make_shared<const RasterDataset>(std::move(samples), options);
}

struct WriteLuojiasetOptions {
  OpticalScaling optical = {};  ///< its offset is added to the digital numbers
  SarScaling sar = {};
  int64_t first_number = 1;  ///< of the patches
};

/// Writes a dataset in LuojiaSET-OSFCR's layout, in buckets by the cover of the masks. Regions come from the samples;
/// those without one get "01". Files that exist are replaced.
///
/// @return  how many samples were written
/// @throws  ValueError for a sample without SAR, cloudy or clear image; IoError when a file cannot be written
inline int64_t write_luojiaset(const Dataset& dataset, const std::string& root,
                               const WriteLuojiasetOptions& options = {}) {
  for (int64_t i = 0; i < dataset.size(); ++i) {
    const Sample s = dataset.load(i);
    check_sample(s);
    CLEARSKY_CHECK(ValueError, s.sar.defined() && s.optical_cloudy.defined() && s.optical_clear.defined(),
                   "write_luojiaset: sample ", s.info.id, " needs SAR, cloudy and clear images");
    const std::string bucket = s.cloud_mask.defined()   ? cloud_bucket(cloud_cover(s.cloud_mask))
                               : !s.info.bucket.empty() ? s.info.bucket
                                                        : kBuckets[0];
    const std::string folder = root + "/" + bucket, start = "ROIs_" + (s.info.roi.empty() ? "01" : s.info.roi);
    const std::string end = "_p" + std::to_string(options.first_number + i) + ".tif";
    const auto write = [&](const char* kind, const char* modality, const char* dtype, const Tensor<float>& pixels) {
      io::make_folders(folder + "/" + kind);
      geo::Raster raster;
      raster.pixels = pixels;
      raster.dtype = dtype;
      geo::write_geotiff(folder + "/" + kind + "/" + start + modality + end, raster);
    };
    const Shape plane = {s.height(), s.width(), 1};
    write("s1", "_s1", "float32", unscale_sar(s.sar, options.sar));
    write("s2", "_s2", "uint16", unscale_optical(s.optical_clear, options.optical));
    write("s2_cloudy", "_s2_cloudy", "uint16", unscale_optical(s.optical_cloudy, options.optical));
    if (s.cloud_mask.defined())
      write("cloud_detection_results", "_s2_cloudy", "float32", Tensor<float>(plane, s.cloud_mask.to_vector()));
    if (s.labels.defined()) {
      const std::vector<uint8_t> labels = s.labels.to_vector();
      write("land_cover_maps", "_s2", "uint8", Tensor<float>(plane, std::vector<float>(labels.begin(), labels.end())));
    }
  }
  return dataset.size();
}

}  // namespace clearsky::data

#pragma once
// SEN12MS-CR: cloudy and clear Sentinel-2 and Sentinel-1, by season and scene.
//
//     <root>/ROIs1970_fall_s1/s1_139/ROIs1970_fall_s1_139_p839.tif                        VV, VH; dB
//            ROIs1970_fall_s2/s2_139/ROIs1970_fall_s2_139_p839.tif                        13 bands; DN
//            ROIs1970_fall_s2_cloudy/s2_cloudy_139/ROIs1970_fall_s2_cloudy_139_p839.tif   the same with clouds

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "clearsky/data/luojiaset.hpp"

namespace clearsky::data {

/// Lists the samples below a folder in SEN12MS-CR's layout. It has neither masks nor labels.
///
/// The region is season and scene, "ROIs1970_fall_139", as split_sen12mscr expects; ids read "ROIs1970_fall_139_p839".
/// @throws IoError when the folder is not there, has no samples, or a sample lacks its SAR or clear image
inline RasterDatasetPointer open_sen12mscr(const std::string& root, const RasterOptions& options = {}) {
  CLEARSKY_CHECK(IoError, detail::is_folder(root), "open_sen12mscr: ", root, ": no such folder");
  constexpr const char* kCloudy = "_s2_cloudy";
  std::vector<RasterPaths> samples;
  for (const std::string& folder : detail::sorted_names(root, true)) {
    if (!folder.starts_with("ROIs") || !folder.ends_with(kCloudy)) continue;
    const std::string season = folder.substr(0, folder.size() - std::string(kCloudy).size());
    for (const std::string& scene_folder : detail::sorted_names(root + "/" + folder, true)) {
      if (!scene_folder.starts_with("s2_cloudy_")) continue;
      const std::string scene = scene_folder.substr(10);
      for (const std::string& name : detail::sorted_names(root + "/" + folder + "/" + scene_folder, false)) {
        const std::string number = detail::split_name(name, season + kCloudy + "_" + scene + "_p").second;
        if (number.empty()) continue;
        const auto path = [&](const std::string& modality) {
          return root + "/" + season + "_" + modality + "/" + modality + "_" + scene + "/" + season + "_" + modality +
                 "_" + scene + "_p" + number + ".tif";
        };
        RasterPaths p;
        p.info.roi = season + "_" + scene;
        p.info.id = p.info.roi + "_p" + number;
        p.optical_cloudy = path("s2_cloudy");
        p.optical_clear = path("s2");
        p.sar = path("s1");
        for (const std::string* other : {&p.optical_clear, &p.sar})
          CLEARSKY_CHECK(IoError, io::file_exists(*other), "open_sen12mscr: ", *other, " is missing, which belongs to ",
                         p.optical_cloudy);
        samples.push_back(std::move(p));
      }
    }
  }
  CLEARSKY_CHECK(IoError, !samples.empty(), "open_sen12mscr: ", root,
                 ": has no ROIs<season>_s2_cloudy/s2_cloudy_<scene>/ROIs<season>_s2_cloudy_<scene>_p<number>.tif");
  detail::sort_samples(samples);
  return std::make_shared<const RasterDataset>(std::move(samples), options);
}

}  // namespace clearsky::data

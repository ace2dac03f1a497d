#include <doctest/doctest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "clearsky/data/luojiaset.hpp"
#include "clearsky/data/manifest.hpp"
#include "clearsky/data/sen12mscr.hpp"
#include "clearsky/data/synthetic.hpp"
#include "io/real_samples.hpp"
#include "io/scratch_folder.hpp"

namespace clearsky::test {
namespace {

TEST_CASE("write_luojiaset, then open_luojiaset: everything comes back, to half a digital number") {
  const ScratchFolder folder;
  const data::Synthetic set({.count = 3, .height = 20, .width = 24, .patches_per_roi = 2});
  for (const double offset : {0.0, 1000.0}) {
    const std::string root = folder / ("set" + std::to_string(int(offset)));
    CHECK(data::write_luojiaset(set, root, {.optical = {offset}, .first_number = 9}) == 3);
    const auto back = data::open_luojiaset(root, {.optical = {offset}});
    REQUIRE(back->size() == 3);
    CHECK(back->warning().empty());
    for (int64_t i = 0; i < 3; ++i) {
      const data::Sample got = back->load(i);
      int64_t number = 0;
      while (got.info.id != "ROIs_" + set.info(number).roi + "_p" + std::to_string(9 + number)) ++number;
      const data::Sample expected = set.load(number);
      CHECK(got.info.roi == expected.info.roi);
      CHECK(got.info.bucket == expected.info.bucket);
      CHECK(got.labels.to_vector() == expected.labels.to_vector());
      CHECK(got.cloud_mask.to_vector() == expected.cloud_mask.to_vector());
      constexpr float kHalf = 0.5e-4f + 4 * 0x1p-24f;  // half a digital number, and roundings of values up to 1
      for (int64_t k = 0; k < got.optical_clear.numel(); ++k) {
        CHECK(std::abs(got.optical_clear.data()[k] - expected.optical_clear.data()[k]) <= kHalf);
        CHECK(std::abs(got.optical_cloudy.data()[k] - expected.optical_cloudy.data()[k]) <= kHalf);
      }
      for (int64_t k = 0; k < got.sar.numel(); ++k)
        CHECK(std::abs(got.sar.data()[k] - expected.sar.data()[k]) <= 1e-6f);
    }
  }
  // p9 comes before p10 and p11 within a bucket and region; masks and labels may be absent.
  const std::string root = folder / "set0";
  std::filesystem::remove_all(root + "/" + set.load(0).info.bucket + "/land_cover_maps");
  std::filesystem::remove_all(root + "/" + set.load(0).info.bucket + "/cloud_detection_results");
  const auto back = data::open_luojiaset(root);
  bool one_without = false;
  for (int64_t i = 0; i < 3; ++i) one_without = one_without || !back->load(i).labels.defined();
  CHECK(one_without);
}

TEST_CASE("open_luojiaset and open_sen12mscr: what is missing is named") {
  const ScratchFolder folder;
  CHECK(thrown<IoError>([&] { data::open_luojiaset(folder / "none"); }).find("none: no such folder") !=
        std::string::npos);
  CHECK(thrown<IoError>([&] {
          data::open_luojiaset(folder.path);
        }).find("has no <cloud cover>/s2_cloudy/ROIs_<region>_s2_cloudy_p<number>.tif") != std::string::npos);
  CHECK(thrown<IoError>([&] { data::open_sen12mscr(folder / "none"); }).find("none: no such folder") !=
        std::string::npos);
  CHECK(thrown<IoError>([&] { data::open_sen12mscr(folder.path); }).find("has no ROIs<season>") != std::string::npos);

  const data::Synthetic set({.count = 1, .height = 8, .width = 8});
  data::write_luojiaset(set, folder / "set");
  const auto back = data::open_luojiaset(folder / "set");
  std::filesystem::remove(back->paths(0).sar);
  const std::string text = thrown<IoError>([&] { data::open_luojiaset(folder / "set"); });
  CHECK(text.starts_with("open_luojiaset: " + back->paths(0).sar + " is missing, which belongs to "));
  CHECK(thrown<IoError>([&] { back->load(0); }).find("No such file or directory") != std::string::npos);
}

TEST_CASE("open_manifest: columns in any order, absent images, relative paths, quotes, label maps") {
  const ScratchFolder folder;
  const data::Synthetic set({.count = 1, .height = 8, .width = 8});
  data::write_luojiaset(set, folder / "a set, with comma");
  const auto files = data::open_luojiaset(folder / "a set, with comma")->paths(0);
  const auto relative = [&](const std::string& path) { return path.substr(folder.path.size() + 1); };
  io::atomic_write_text(folder / "m.csv",
                        "\xef\xbb\xbfsar, label,optical_clear,optical_cloudy,mask,roi\r\n\"" + relative(files.sar) +
                            "\",\"" + relative(files.labels) + "\",\"" + relative(files.optical_clear) + "\",\"" +
                            files.optical_cloudy + "\",,north\r\n\n\"" + relative(files.sar) + "\",,,\"" +
                            relative(files.optical_cloudy) + "\",\"" + relative(files.mask) + "\",south\n");
  data::LabelMap shift;
  for (int i = 0; i < 7; ++i) shift.classes[i] = uint8_t(6 - i);
  const auto back = data::open_manifest(folder / "m.csv", {.labels = shift});
  REQUIRE(back->size() == 2);
  const data::Sample first = back->load(0), second = back->load(1), expected = set.load(0);
  CHECK(first.info.roi == "north");
  CHECK(first.info.id == relative(files.optical_clear));
  CHECK(first.labels.at({3, 4}) == 6 - expected.labels.at({3, 4}));
  CHECK(first.optical_cloudy.defined());
  CHECK_FALSE(first.cloud_mask.defined());
  CHECK_FALSE(second.optical_clear.defined());
  CHECK_FALSE(second.labels.defined());
  CHECK(second.cloud_mask.to_vector() == expected.cloud_mask.to_vector());
}

TEST_CASE("open_manifest: what is wrong is named with its line") {
  const ScratchFolder folder;
  const data::Synthetic set({.count = 1, .height = 8, .width = 8});
  io::atomic_write_text(folder / "x.tif", "x");
  const auto says = [&](const std::string& csv, const std::string& expected) {
    io::atomic_write_text(folder / "m.csv", csv);
    const std::string text = thrown<IoError>([&] { data::open_manifest(folder / "m.csv"); });
    CAPTURE(text);
    CHECK(text.starts_with("open_manifest: " + (folder / "m.csv") + expected));
  };
  says("", ": is empty; the first line must read optical_cloudy,");
  says("sar,optical_clear\n", ": lists no samples");
  says("sar,optic\n", ":1: unknown column optic; known are");
  says("sar,sar\n", ":1: column sar appears twice");
  says("sar,optical_clear\n\nx.tif\n", ":3: 1 fields, the header has 2");
  says("sar,optical_clear\nx.tif,y.tif\n", ":2: optical_clear " + (folder / "y.tif") + " does not exist");
  says("sar,optical_clear\nx.tif,\n", ":2: a sample needs sar and at least one of");
  says("sar,optical_clear\nx.tif,x.tif\nx.tif,x.tif\n", ":3: the id x.tif is used twice");
  says("sar,optical_clear\n\"x.tif,x.tif\n", ":2: a quote is never closed");
  CHECK(thrown<IoError>([&] { data::open_manifest(folder / "none.csv"); }).find("No such file or directory") !=
        std::string::npos);
}

TEST_CASE("images of different sizes in one sample are refused") {
  const ScratchFolder folder;
  data::write_luojiaset(data::Synthetic({.count = 1, .height = 8, .width = 8}), folder / "a");
  data::write_luojiaset(data::Synthetic({.count = 1, .height = 9, .width = 8}), folder / "b");
  data::RasterPaths paths = data::open_luojiaset(folder / "a")->paths(0);
  paths.optical_clear = data::open_luojiaset(folder / "b")->paths(0).optical_clear;
  CHECK(thrown<ShapeError>([&] {
          data::read_sample(paths, {});
        }).find("optical_clear is (9, 8, 13), expected (8, 8, 13)") != std::string::npos);
  paths.optical_clear = paths.sar;
  CHECK(thrown<IoError>([&] { data::read_sample(paths, {}); }).find("has 2 bands, 13 are needed") != std::string::npos);
}

TEST_CASE("real samples: LuojiaSET-OSFCR") {
  const std::string folder = real_samples();
  if (folder.empty()) return;
  const auto set = data::open_luojiaset(folder + "/osfcr-mini");
  REQUIRE(set->size() == 12);
  CHECK(set->info(0).id == "ROIs_01_p316");
  CHECK(set->info(0).bucket == "0-20%");
  CHECK(set->info(0).roi == "01");
  // The "copy" baseline: the cloudy image taken as the prediction.
  const std::map<std::string, double> psnr = {{"ROIs_01_p316", 32.3}, {"ROIs_01_p3968", 10.5}, {"ROIs_01_p7264", 8.0}};
  for (int64_t i = 0; i < set->size(); ++i) {
    const auto known = psnr.find(set->info(i).id);
    if (known == psnr.end()) continue;
    const data::Sample s = set->load(i);
    CHECK(s.optical_clear.shape() == Shape{256, 256, 13});
    CHECK(s.cloud_mask.defined());
    CHECK_FALSE(s.labels.defined());
    double squares = 0;
    for (int64_t k = 0; k < s.optical_clear.numel(); ++k) {
      const double d = double(s.optical_clear.data()[k]) - double(s.optical_cloudy.data()[k]);
      squares += d * d;
    }
    CHECK(-10 * std::log10(squares / double(s.optical_clear.numel())) == doctest::Approx(known->second).epsilon(0.01));
  }
}

TEST_CASE("real samples: SEN12MS-CR") {
  const std::string folder = real_samples();
  if (folder.empty()) return;
  const auto set = data::open_sen12mscr(folder + "/sen12mscr-mini");
  REQUIRE(set->size() == 2);
  CHECK(set->info(0).id == "ROIs1970_fall_139_p839");
  CHECK(set->info(0).roi == "ROIs1970_fall_139");
  CHECK(set->info(1).roi == "ROIs2017_winter_112");
  CHECK(set->load(0).sar.shape() == Shape{256, 256, 2});
  CHECK(set->warning().empty());
}

TEST_CASE("real samples: TerraMesh by a manifest, with labels remapped and the offset noticed") {
  const std::string folder = real_samples();
  if (folder.empty()) return;
  const ScratchFolder scratch;
  std::string csv = "optical_clear,sar,label\n";
  const std::string root = std::filesystem::absolute(folder + "/terramesh-mini").string();
  for (const char* name : {"433D_629L_3_1", "38D_378R_2_3"})
    csv += root + "/S2L1C/" + name + ".tif," + root + "/S1RTC/" + name + ".tif," + root + "/LULC/" + name + ".tif\n";
  io::atomic_write_text(scratch / "m.csv", csv);
  const auto set =
      data::open_manifest(scratch / "m.csv", {.labels = data::parse_label_map("1:0,2:1,4:2,9:3,5:4,6:5,3:6")});
  CHECK(set->load(1).labels.shape() == Shape{224, 224});
  for (const uint8_t v : set->load(1).labels.to_vector()) CHECK((v < 7 || v == 255));
  CHECK(set->warning().find("set dn_offset to 1000") != std::string::npos);
}

}  // namespace
}  // namespace clearsky::test

#include "clearsky/data/scaling.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "clearsky/data/sample.hpp"
#include "io/scratch_folder.hpp"

namespace clearsky::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

TEST_CASE("scale_optical: clip, offset, and invalid values") {
  const Tensor<float> dn({7}, {-5, 0, 2500, 10000, 28000, kNan, kInfinity});
  int64_t invalid = 1;
  CHECK(data::scale_optical(dn, {}, &invalid).to_vector() == std::vector<float>{0, 0, 0.25f, 1, 1, 0, 0});
  CHECK(invalid == 3);  // added to
  CHECK(data::scale_optical(Tensor<float>({3}, {900, 1000, 3500}), {.dn_offset = 1000}).to_vector() ==
        std::vector<float>{0, 0, 0.25f});
}

TEST_CASE("scale_optical and unscale_optical are inverse on whole digital numbers") {
  const Tensor<float> dn = arange(11001);
  for (const double offset : {0.0, 1000.0}) {
    const Tensor<float> back = data::unscale_optical(data::scale_optical(dn, {offset}), {offset});
    for (int64_t i = int64_t(offset); i <= 10000 + int64_t(offset) && i < 11001; ++i) CHECK(back.data()[i] == float(i));
  }
}

TEST_CASE("scale_sar: each polarisation has its own range") {
  const Tensor<float> db({4, 2}, {-25, -32.5f, 0, 0, -12.5f, -16.25f, -40, 5});
  CHECK(data::scale_sar(db).to_vector() == std::vector<float>{0, 0, 1, 1, 0.5f, 0.5f, 0, 1});
  CHECK(data::scale_sar(db, data::SarScaling::ecrformer()).at({0, 1}) == 0);
  CHECK(data::scale_sar(db, data::SarScaling::ecrformer()).at({2, 1}) == doctest::Approx(0.35));
  const Tensor<float> back = data::unscale_sar(data::scale_sar(db));
  CHECK(back.at({2, 0}) == doctest::Approx(-12.5));
  CHECK(back.at({2, 1}) == doctest::Approx(-16.25));
  int64_t invalid = 0;
  CHECK(data::scale_sar(Tensor<float>({1, 2}, {-kInfinity, -10}), {}, &invalid).at({0, 0}) == 0);
  CHECK(invalid == 1);
  CHECK(thrown<ShapeError>([] {
          data::scale_sar(zeros({4, 3}));
        }).find("the last dimension must hold VV and VH, got (4, 3)") != std::string::npos);
}

TEST_CASE("scale_sar and scale_optical accept views") {
  const Tensor<float> db = full({2, 2, 3}, -12.5).view_as({2, 2, 2}, {6, 3, 1}, 1);
  CHECK(data::scale_sar(db).at({1, 1, 0}) == 0.5f);
  CHECK(data::scale_optical(full({2, 3}, 5000).view_as({3, 2}, {1, 3}, 0)).at({2, 1}) == 0.5f);
}

TEST_CASE("dn_offset_warning: the cirrus band tells") {
  const auto image = [](float cirrus) {
    Tensor<float> x = full({2, 2, 13}, 1500);
    for (int64_t i = 0; i < 4; ++i) x.mutable_data()[i * 13 + data::kB10] = cirrus + float(i);
    return x;
  };
  CHECK(data::dn_offset_warning(image(12), {0}).empty());
  CHECK(data::dn_offset_warning(image(1012), {1000}).empty());
  CHECK(data::dn_offset_warning(image(1012), {0}) ==
        "the darkest pixel of the cirrus band B10 is 1012, so the digital numbers seem to carry the +1000 offset of "
        "processing baseline 04.00; set dn_offset to 1000");
  CHECK(data::dn_offset_warning(image(12), {1000}) ==
        "the darkest pixel of the cirrus band B10 is 12, so the digital numbers seem to carry no offset; set dn_offset "
        "to 0");
  CHECK(data::dn_offset_warning(zeros({2, 2, 13}), {1000}).empty());  // no data at all
}

TEST_CASE("LabelMap: identity, remapping, and what is no label") {
  const data::LabelMap identity, map = data::parse_label_map("1:0,2:1,7:255");
  CHECK(identity(6) == 6);
  CHECK(identity(-1) == 255);
  CHECK(identity(kNan) == 255);
  CHECK(identity(300) == 255);
  CHECK(map(1) == 0);
  CHECK(map(2) == 1);
  CHECK(map(7) == 255);
  CHECK(map(3) == 255);
  CHECK(data::parse_label_map("").classes.empty());
  for (const char* text : {"1", "1:", ":1", "1:x", "-1:2", "1:256", "1:2,,"})
    CHECK(thrown<ValueError>([&] { data::parse_label_map(text); }).find("does not read as value:class") !=
          std::string::npos);
  CHECK(thrown<ValueError>([&] { data::parse_label_map("1:2,1:3"); }).find("value 1 is mapped twice") !=
        std::string::npos);
}

TEST_CASE("cloud_bucket and check_sample") {
  CHECK(data::cloud_bucket(0) == "0-20%");
  CHECK(data::cloud_bucket(0.2) == "20%-40%");
  CHECK(data::cloud_bucket(0.79) == "60%-80%");
  CHECK(data::cloud_bucket(1) == "80%-100%");
  CHECK(data::cloud_cover(Tensor<float>({4}, {0, 1, 1, 0})) == 0.5);
  data::Sample s;
  s.info.id = "x";
  CHECK(thrown<ValueError>([&] { data::check_sample(s); }).find("Sample x: has no image") != std::string::npos);
  s.sar = zeros({4, 5, 2});
  s.labels = zeros<uint8_t>({5, 4});
  CHECK(thrown<ShapeError>([&] { data::check_sample(s); }).find("sample x: labels is (5, 4), expected (4, 5)") !=
        std::string::npos);
}

}  // namespace
}  // namespace clearsky::test

#include "clearsky/data/split.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "io/scratch_folder.hpp"

namespace clearsky::test {
namespace {

std::vector<data::SampleInfo> some_infos(int64_t regions, int64_t patches) {
  std::vector<data::SampleInfo> out;
  for (int64_t r = 0; r < regions; ++r)
    for (int64_t p = 0; p < patches; ++p)
      out.push_back({"r" + std::to_string(r) + "p" + std::to_string(p), data::kBuckets[p % 5], std::to_string(r)});
  return out;
}

/// Every index from 0 to count - 1 is in exactly one part.
bool partition(const data::Split& s, size_t count) {
  std::vector<int64_t> all = s.train;
  all.insert(all.end(), s.validation.begin(), s.validation.end());
  all.insert(all.end(), s.test.begin(), s.test.end());
  std::sort(all.begin(), all.end());
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i] != int64_t(i)) return false;
  return all.size() == count;
}

TEST_CASE("split_by_roi: no region is on two sides, shares are met, the seed decides") {
  const auto infos = some_infos(20, 10);
  const data::Split s = data::split_by_roi(infos);
  CHECK(partition(s, 200));
  std::map<std::string, int> side;
  int number = 0;
  for (const auto* part : {&s.train, &s.validation, &s.test}) {
    ++number;
    for (const int64_t i : *part) {
      int& known = side[infos[size_t(i)].roi];
      CHECK((known == 0 || known == number));
      known = number;
    }
  }
  CHECK(s.train.size() == 140);
  CHECK(s.validation.size() == 30);
  CHECK(s.test.size() == 30);
  CHECK(data::split_by_roi(infos).train == s.train);
  CHECK(data::split_by_roi(infos, 43).train != s.train);
}

TEST_CASE("split_by_roi: as few regions as parts, uneven ones, and fewer") {
  auto infos = some_infos(3, 4);
  data::Split s = data::split_by_roi(infos);
  CHECK(partition(s, 12));
  CHECK((s.train.size() == 4 && s.validation.size() == 4 && s.test.size() == 4));
  s = data::split_by_roi(infos, 1, {.train = 0.8, .validation = 0, .test = 0.2});
  CHECK(s.validation.empty());
  CHECK(s.test.size() == 4);
  CHECK(thrown<ValueError>([&] {
          data::split_by_roi(some_infos(1, 4));
        }).find("1 region cannot be split into 3 parts; use the random split or lists of ids") != std::string::npos);
  infos[0].roi = "";
  CHECK(thrown<ValueError>([&] { data::split_by_roi(infos); }).find("sample r0p0 names no region") !=
        std::string::npos);
  CHECK(thrown<ValueError>([&] {
          data::split_by_roi(infos, 1, {0.5, 0.5, 0.5});
        }).find("must be at least 0 and add up to 1") != std::string::npos);
  CHECK(data::split_by_roi({}).train.empty());
}

TEST_CASE("split_random: per bucket") {
  const auto infos = some_infos(10, 20);  // 40 samples in each of 5 buckets
  for (const data::SplitShares& shares : {data::SplitShares{}, data::SplitShares{0.8, 0.1, 0.1}}) {
    const data::Split s = data::split_random(infos, 42, shares);
    CHECK(partition(s, 200));
    std::map<std::string, int> train;
    for (const int64_t i : s.train) ++train[infos[size_t(i)].bucket];
    for (const char* bucket : data::kBuckets) CHECK(train[bucket] == int(40 * shares.train + 0.5));
  }
  CHECK(data::split_random(infos).test == data::split_random(infos).test);
}

TEST_CASE("split_by_ids") {
  const auto infos = some_infos(2, 3);
  const data::Split s = data::split_by_ids(infos, {"r1p0", "r0p0"}, {}, {"r0p2"});
  CHECK(s.train == std::vector<int64_t>{0, 3});
  CHECK(s.test == std::vector<int64_t>{2});
  CHECK(thrown<ValueError>([&] { data::split_by_ids(infos, {"x"}, {}, {}); }).find("no sample has the id x") !=
        std::string::npos);
  CHECK(thrown<ValueError>([&] { data::split_by_ids(infos, {"r0p0"}, {}, {"r0p0"}); }).find("r0p0 is listed twice") !=
        std::string::npos);
}

TEST_CASE("split_sen12mscr: the standard scenes") {
  const std::vector<data::SampleInfo> infos = {{"a", "", "ROIs1970_fall_139"},   {"b", "", "ROIs1970_fall_65"},
                                               {"c", "", "ROIs2017_winter_112"}, {"d", "", "ROIs1158_spring_44"},
                                               {"e", "", "ROIs1158_spring_17"},  {"f", "", "ROIs1868_summer_17"}};
  const data::Split s = data::split_sen12mscr(infos);
  CHECK(s.test == std::vector<int64_t>{0, 3});
  CHECK(s.validation == std::vector<int64_t>{1, 4, 5});
  CHECK(s.train == std::vector<int64_t>{2});
}

}  // namespace
}  // namespace clearsky::test

#pragma once
// Which samples train, which choose, which judge.

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "clearsky/core/philox.hpp"
#include "clearsky/data/sample.hpp"

namespace clearsky::data {

/// Indices into the dataset, each list in rising order.
struct Split {
  std::vector<int64_t> train, validation, test;
};

/// Shares of the whole; they add up to 1.
struct SplitShares {
  double train = 0.7, validation = 0.15, test = 0.15;
};

namespace detail {

inline void check_shares(const char* op, const SplitShares& s) {
  const double total = s.train + s.validation + s.test;
  CLEARSKY_CHECK(ValueError, s.train >= 0 && s.validation >= 0 && s.test >= 0 && total > 1 - 1e-9 && total < 1 + 1e-9,
                 op, ": shares ", s.train, ", ", s.validation, ", ", s.test, " must be at least 0 and add up to 1");
}

/// Fisher and Yates' shuffle.
template <class T>
void shuffle(std::vector<T>& items, const Key& key) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[size_t(key.integer(i, int64_t(i)))]);
}

inline Split sorted(Split s) {
  for (auto* part : {&s.train, &s.validation, &s.test}) std::sort(part->begin(), part->end());
  return s;
}

}  // namespace detail

/// Splits by region: all samples of a region go to one part. Patches of a region overlap, so that this is the split
/// that does not leak; use it unless a comparison with published numbers asks for another.
///
/// Regions are shuffled, then each goes to the part that lacks most of its share. Every part with a share above 0 gets
/// at least one region.
///
/// @throws ValueError when there are fewer regions than parts, or a sample's region is unknown
inline Split split_by_roi(const std::vector<SampleInfo>& samples, uint64_t seed = 42, const SplitShares& shares = {}) {
  detail::check_shares("split_by_roi", shares);
  std::map<std::string, std::vector<int64_t>> regions;
  for (size_t i = 0; i < samples.size(); ++i) {
    CLEARSKY_CHECK(ValueError, !samples[i].roi.empty(), "split_by_roi: sample ", samples[i].id,
                   " names no region; use the random split or lists of ids");
    regions[samples[i].roi].push_back(int64_t(i));
  }
  const int64_t parts = (shares.train > 0) + (shares.validation > 0) + (shares.test > 0);
  CLEARSKY_CHECK(ValueError, samples.empty() || int64_t(regions.size()) >= parts,
                 "split_by_roi: ", int64_t(regions.size()), regions.size() == 1 ? " region" : " regions",
                 " cannot be split into ", parts, " parts; use the random split or lists of ids");
  std::vector<std::string> order;
  for (const auto& region : regions) order.push_back(region.first);
  detail::shuffle(order, Key{seed}.at(0x726f69));

  Split out;
  std::vector<int64_t>* const lists[] = {&out.train, &out.validation, &out.test};
  const double wanted[] = {shares.train, shares.validation, shares.test};
  int64_t empty = parts;
  for (size_t r = 0; r < order.size(); ++r) {
    const bool fill_empty = int64_t(order.size() - r) <= empty;
    int best = -1;
    double most = 0;
    for (int i = 0; i < 3; ++i) {
      if (wanted[i] <= 0 || (fill_empty && !lists[i]->empty())) continue;
      const double lack = wanted[i] - double(lists[i]->size()) / double(samples.size());
      if (best < 0 || lack > most) best = i, most = lack;
    }
    empty -= lists[best]->empty();
    const auto& members = regions[order[r]];
    lists[best]->insert(lists[best]->end(), members.begin(), members.end());
  }
  return detail::sorted(out);
}

/// Splits at random within each cloud bucket, as published numbers for LuojiaSET-OSFCR do (70/15/15 or 80/10/10).
/// Leaks: neighbours overlap by half, so a test patch's ground is partly known from training.
inline Split split_random(const std::vector<SampleInfo>& samples, uint64_t seed = 42, const SplitShares& shares = {}) {
  detail::check_shares("split_random", shares);
  std::map<std::string, std::vector<int64_t>> buckets;
  for (size_t i = 0; i < samples.size(); ++i) buckets[samples[i].bucket].push_back(int64_t(i));
  Split out;
  uint64_t number = 0;
  for (auto& bucket : buckets) {
    std::vector<int64_t>& members = bucket.second;
    detail::shuffle(members, Key{seed}.at(0x72616e646f6d, number++));
    const double n = double(members.size());
    const auto first = std::ptrdiff_t(n * shares.train + 0.5);
    const auto second = std::ptrdiff_t(n * (shares.train + shares.validation) + 0.5);
    out.train.insert(out.train.end(), members.begin(), members.begin() + first);
    out.validation.insert(out.validation.end(), members.begin() + first, members.begin() + second);
    out.test.insert(out.test.end(), members.begin() + second, members.end());
  }
  return detail::sorted(out);
}

/// Splits by lists of ids; samples on no list are left out.
/// @throws ValueError for an id that no sample has, or that is on two lists
inline Split split_by_ids(const std::vector<SampleInfo>& samples, const std::vector<std::string>& train,
                          const std::vector<std::string>& validation, const std::vector<std::string>& test) {
  std::map<std::string, int64_t> index;
  for (size_t i = 0; i < samples.size(); ++i) index.emplace(samples[i].id, int64_t(i));
  std::set<std::string> seen;
  const auto find = [&](const std::vector<std::string>& ids, std::vector<int64_t>& to) {
    for (const std::string& id : ids) {
      const auto found = index.find(id);
      CLEARSKY_CHECK(ValueError, found != index.end(), "split_by_ids: no sample has the id ", id);
      CLEARSKY_CHECK(ValueError, seen.insert(id).second, "split_by_ids: the id ", id, " is listed twice");
      to.push_back(found->second);
    }
  };
  Split out;
  find(train, out.train);
  find(validation, out.validation);
  find(test, out.test);
  return detail::sorted(out);
}

/// SEN12MS-CR's standard split: fixed scenes test and validate, all others train. Regions read "ROIs1158_spring_106".
/// @source  Ebel et al., IEEE TGRS 59 (2021), and the lists of its public code
inline Split split_sen12mscr(const std::vector<SampleInfo>& samples) {
  static const std::set<std::string> kTest = {
      "ROIs1158_spring_106", "ROIs1158_spring_123", "ROIs1158_spring_140", "ROIs1158_spring_31",  "ROIs1158_spring_44",
      "ROIs1868_summer_119", "ROIs1868_summer_73",  "ROIs1970_fall_139",   "ROIs2017_winter_108", "ROIs2017_winter_63"};
  static const std::set<std::string> kValidation = {
      "ROIs2017_winter_22", "ROIs2017_winter_107", "ROIs2017_winter_130", "ROIs2017_winter_84", "ROIs1868_summer_19",
      "ROIs1868_summer_80", "ROIs1868_summer_127", "ROIs1868_summer_17",  "ROIs1970_fall_65",   "ROIs1158_spring_17"};
  Split out;
  for (size_t i = 0; i < samples.size(); ++i) {
    const std::string& roi = samples[i].roi;
    (kTest.count(roi) ? out.test : kValidation.count(roi) ? out.validation : out.train).push_back(int64_t(i));
  }
  return out;
}

}  // namespace clearsky::data

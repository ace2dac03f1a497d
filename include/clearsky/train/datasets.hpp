#pragma once
// From a configuration to data sets: opened, split, kept in memory.

#include <cstdio>

#include "clearsky/data/luojiaset.hpp"
#include "clearsky/data/manifest.hpp"
#include "clearsky/data/sen12mscr.hpp"
#include "clearsky/data/split.hpp"
#include "clearsky/data/synthetic.hpp"
#include "clearsky/train/config.hpp"

namespace clearsky::train {

struct DataParts {
  data::DatasetPointer train, validation, test;
  std::string warning;  ///< for the user; empty when all is well
};

/// @throws IoError, ConfigError, ValueError
inline DataParts open_data(const RunConfig& config) {
  const DataOptions& d = config.data;
  const data::SarScaling sar = d.sar_scaling == SarRule::ecrformer ? data::SarScaling::ecrformer() : data::SarScaling{};
  data::DatasetPointer whole;
  DataParts parts;
  if (d.source == Source::synthetic) {
    data::SyntheticOptions o;
    o.count = d.count;
    o.height = o.width = d.size;
    o.seed = config.seed;
    o.sar = sar;
    whole = std::make_shared<data::Synthetic>(o);
  } else {
    data::RasterOptions o;
    o.optical.dn_offset = d.dn_offset;
    o.sar = sar;
    o.labels = data::parse_label_map(d.labels);
    data::RasterDatasetPointer files;
    if (d.source == Source::luojiaset) files = data::open_luojiaset(d.path, o);
    if (d.source == Source::sen12mscr) files = data::open_sen12mscr(d.path, o);
    if (d.source == Source::manifest) files = data::open_manifest(d.path, o);
    parts.warning = files->warning();
    whole = files;
  }
  whole = std::make_shared<data::Cached>(whole);

  const std::vector<data::SampleInfo> infos = data::infos(*whole);
  const data::SplitShares shares{d.split_shares[0], d.split_shares[1], d.split_shares[2]};
  data::Split split;
  switch (d.split) {
    case SplitRule::roi:
      split = data::split_by_roi(infos, d.split_seed, shares);
      break;
    case SplitRule::random:
      split = data::split_random(infos, d.split_seed, shares);
      break;
    case SplitRule::standard:
      split = data::split_sen12mscr(infos);
      break;
    case SplitRule::ids:
      split = data::split_by_ids(infos, d.train_ids, d.validation_ids, d.test_ids);
      break;
    case SplitRule::whole:
      for (int64_t i = 0; i < whole->size(); ++i) split.train.push_back(i);
      split.test = split.train;
      break;
  }
  // An id list that names only some parts: the samples it does not name train.
  if (d.split == SplitRule::ids && d.train_ids.empty()) {
    for (int64_t i = 0; i < whole->size(); ++i) {
      const auto listed = [i](const std::vector<int64_t>& list) {
        return std::find(list.begin(), list.end(), i) != list.end();
      };
      if (!listed(split.validation) && !listed(split.test)) split.train.push_back(i);
    }
  }
  parts.train = std::make_shared<data::Subset>(whole, split.train);
  parts.validation = std::make_shared<data::Subset>(whole, split.validation);
  parts.test = std::make_shared<data::Subset>(whole, split.test);
  return parts;
}

}  // namespace clearsky::train

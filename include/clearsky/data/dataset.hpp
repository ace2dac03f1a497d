#pragma once
// A dataset is a numbered list of samples. Reading files is the business of its derived classes; everything else
// (splits, loaders, training) sees only this.

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "clearsky/data/sample.hpp"

namespace clearsky::data {

/// A list of samples. load() is called from several threads at once and gives the same sample every time.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual int64_t size() const = 0;
  /// Id, bucket and region without reading pixels. @param index  from 0 to size() - 1
  virtual SampleInfo info(int64_t index) const = 0;
  virtual Sample load(int64_t index) const = 0;

 protected:
  void check_index(int64_t index) const {
    CLEARSKY_CHECK(ValueError, 0 <= index && index < size(), "dataset: no sample ", index, "; there are ", size());
  }
};

using DatasetPointer = std::shared_ptr<const Dataset>;

/// The infos of all samples, for splits.
inline std::vector<SampleInfo> infos(const Dataset& dataset) {
  std::vector<SampleInfo> out;
  for (int64_t i = 0; i < dataset.size(); ++i) out.push_back(dataset.info(i));
  return out;
}

/// Some samples of another dataset, in the given order.
class Subset : public Dataset {
 public:
  Subset(DatasetPointer whole, std::vector<int64_t> indices) : whole_(std::move(whole)), indices_(std::move(indices)) {
    for (const int64_t i : indices_)
      CLEARSKY_CHECK(ValueError, 0 <= i && i < whole_->size(), "Subset: no sample ", i, "; there are ", whole_->size());
  }
  int64_t size() const override { return int64_t(indices_.size()); }
  SampleInfo info(int64_t index) const override { return whole_->info(at(index)); }
  Sample load(int64_t index) const override { return whole_->load(at(index)); }

 private:
  int64_t at(int64_t index) const {
    check_index(index);
    return indices_[size_t(index)];
  }
  DatasetPointer whole_;
  std::vector<int64_t> indices_;
};

/// Samples that exist already.
class InMemory : public Dataset {
 public:
  explicit InMemory(std::vector<Sample> samples) : samples_(std::move(samples)) {
    for (const Sample& s : samples_) check_sample(s);
  }
  int64_t size() const override { return int64_t(samples_.size()); }
  SampleInfo info(int64_t index) const override { return load(index).info; }
  Sample load(int64_t index) const override {
    check_index(index);
    return samples_[size_t(index)];
  }

 private:
  std::vector<Sample> samples_;
};

/// Keeps what another dataset loaded, as long as it fits: reading and unpacking a sample costs more than training on
/// it.
class Cached : public Dataset {
 public:
  /// @param max_bytes  samples beyond this are loaded anew each time
  explicit Cached(DatasetPointer whole, int64_t max_bytes = int64_t(4) << 30)
      : whole_(std::move(whole)), left_bytes_(max_bytes) {}
  int64_t size() const override { return whole_->size(); }
  SampleInfo info(int64_t index) const override { return whole_->info(index); }
  Sample load(int64_t index) const override {
    {
      const std::lock_guard lock(mutex_);
      if (const auto found = kept_.find(index); found != kept_.end()) return found->second;
    }
    Sample s = whole_->load(index);
    const int64_t bytes = s.optical_cloudy.bytes() + s.optical_clear.bytes() + s.sar.bytes() + s.labels.bytes() +
                          s.cloud_mask.bytes() + s.thickness.bytes();
    const std::lock_guard lock(mutex_);
    if (bytes <= left_bytes_ && kept_.emplace(index, s).second) left_bytes_ -= bytes;
    return s;
  }

 private:
  DatasetPointer whole_;
  mutable std::mutex mutex_;
  mutable std::map<int64_t, Sample> kept_;
  mutable int64_t left_bytes_;
};

}  // namespace clearsky::data

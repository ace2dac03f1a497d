#pragma once
// Batches, made ahead of time on a background thread. What a batch holds depends on the seed and the step alone.

#include <algorithm>
#include <bit>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <numeric>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "clearsky/core/threads.hpp"
#include "clearsky/data/augment.hpp"
#include "clearsky/data/dataset.hpp"
#include "clearsky/data/split.hpp"

namespace clearsky::data {

/// Samples of one size, stacked. Memory comes from the pool and goes back to it when the last handle is gone.
struct Batch {
  Tensor<float> optical;    ///< (N, H, W, 13)  cloudy
  Tensor<float> clear;      ///< (N, H, W, 13)  undefined unless all samples have it
  Tensor<float> sar;        ///< (N, H, W, 2)   undefined unless all samples have it
  Tensor<uint8_t> labels;   ///< (N, H, W)      255 for samples without labels; undefined when none has them
  Tensor<float> mask;       ///< (N, H, W, 1)   0 for samples without one; undefined when none has one
  Tensor<float> thickness;  ///< (N, H, W, 1)   0 for samples without one; undefined when none has one
  Tensor<float> opacity;    ///< (N, H, W, 1)   of the clouds: the thickness where it is known, else the mask, else 0
  std::vector<uint8_t> knows_opacity;  ///< (N)  whether opacity is known of a sample: 1 or 0
  std::vector<SampleInfo> infos;
  int64_t step = 0;  ///< which batch of the run this is
  int64_t size() const { return int64_t(infos.size()); }
};

/// Stacks samples of one size.
/// @throws ShapeError when their sizes differ, ValueError when there are none
inline Batch make_batch(std::span<const Sample> samples) {
  CLEARSKY_CHECK(ValueError, !samples.empty(), "make_batch: no samples");
  const int64_t n = int64_t(samples.size()), h = samples[0].height(), w = samples[0].width();
  for (const Sample& s : samples) {
    check_sample(s);
    CLEARSKY_CHECK(ShapeError, s.height() == h && s.width() == w, "make_batch: sample ", s.info.id, " is ", s.height(),
                   " x ", s.width(), ", sample ", samples[0].info.id, " ", h, " x ", w, "; set a crop");
  }
  Batch batch;
  const auto stack = [&](auto Sample::*image, auto& to, const Shape& shape, bool need_all, auto absent) {
    const auto has = [&](const Sample& s) { return (s.*image).defined(); };
    if (need_all ? !std::all_of(samples.begin(), samples.end(), has)
                 : std::none_of(samples.begin(), samples.end(), has))
      return;
    to = std::decay_t<decltype(to)>(shape);
    auto* p = to.mutable_data();
    const int64_t each = shape.numel() / n;
    for (const Sample& s : samples) {
      if (has(s)) copy_mapped(s.*image, {0, 0, h, w}, p);
      else std::fill_n(p, each, absent);
      p += each;
    }
  };
  stack(&Sample::optical_cloudy, batch.optical, {n, h, w, kBands}, true, 0.0f);
  stack(&Sample::optical_clear, batch.clear, {n, h, w, kBands}, true, 0.0f);
  stack(&Sample::sar, batch.sar, {n, h, w, kPolarisations}, true, 0.0f);
  stack(&Sample::labels, batch.labels, {n, h, w}, false, kIgnored);
  stack(&Sample::cloud_mask, batch.mask, {n, h, w, 1}, false, 0.0f);
  stack(&Sample::thickness, batch.thickness, {n, h, w, 1}, false, 0.0f);
  if (batch.mask.defined() || batch.thickness.defined()) {
    batch.opacity = Tensor<float>(Shape{n, h, w, 1});
    float* p = batch.opacity.mutable_data();
    for (const Sample& s : samples) {
      const Tensor<float>& known = s.thickness.defined() ? s.thickness : s.cloud_mask;
      if (known.defined()) copy_mapped(known, {0, 0, h, w}, p);
      else std::fill_n(p, h * w, 0.0f);
      p += h * w;
    }
  }
  for (const Sample& s : samples) batch.knows_opacity.push_back(s.thickness.defined() || s.cloud_mask.defined());
  for (const Sample& s : samples) batch.infos.push_back(s.info);
  return batch;
}

struct LoaderOptions {
  int64_t batch_size = 8;
  uint64_t seed = 1;
  bool shuffle = true;  ///< a new order in each epoch; false: the dataset's order, over and over
  AugmentOptions augment = {};
  int64_t prefetch = 2;    ///< batches made ahead; 0 makes each when asked for, on the caller's thread
  int64_t first_step = 0;  ///< where a resumed run goes on
};

/// An endless stream of batches.
///
///     Loader loader(dataset, {.batch_size = 8, .seed = 1, .augment = {.crop = 128}});
///     for (...) { Batch batch = loader.next(); ... }   // batch.step counts 0, 1, 2, ...
///
/// Batch s holds the samples at positions s * batch_size onwards of the stream of shuffled epochs; position p's crop,
/// flips and clouds are drawn from (seed, p). So a loader with first_step = s, or after seek(s), goes on exactly as an
/// uninterrupted one, and neither timing nor the number of threads changes a bit. The dataset is not copied.
///
/// An exception while a batch is made (a file that cannot be read) is thrown by the next() that asks for that batch,
/// and again by later ones until seek().
class Loader {
 public:
  Loader(DatasetPointer dataset, const LoaderOptions& options)
      : dataset_(std::move(dataset)), options_(options), step_(options.first_step), making_(options.first_step) {
    CLEARSKY_CHECK(ValueError, dataset_ && dataset_->size() > 0, "Loader: the dataset is empty");
    CLEARSKY_CHECK(ValueError, options.batch_size >= 1 && options.prefetch >= 0 && options.first_step >= 0,
                   "Loader: batch_size ", options.batch_size, " must be at least 1, prefetch ", options.prefetch,
                   " and first_step ", options.first_step, " at least 0");
    rehearse();
    start();
  }
  ~Loader() { stop(); }
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// The batch of this step; waits for it if need be.
  Batch next() {
    if (step_ > options_.first_step) {
      rehearsal_.clear();
      rehearsal_handles_.clear();
    }
    if (options_.prefetch == 0) {
      Batch batch = make(step_, options_.augment);
      ++step_;
      return batch;
    }
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !ready_.empty() || error_; });
    if (ready_.empty()) std::rethrow_exception(error_);
    Batch batch = std::move(ready_.front());
    ready_.pop_front();
    ++step_;
    lock.unlock();
    changed_.notify_all();
    return batch;
  }

  /// The step that next() gives: all there is to save for a resumed run.
  int64_t step() const { return step_; }
  /// Goes to another step, forwards or back.
  void seek(int64_t step) {
    CLEARSKY_CHECK(ValueError, step >= 0, "Loader: seek to step ", step, "; use 0 or more");
    stop();
    step_ = making_ = step;
    start();
  }
  /// Batches until every sample has been seen once, rounded up.
  int64_t steps_per_epoch() const { return (dataset_->size() + options_.batch_size - 1) / options_.batch_size; }

 private:
  enum Stream : uint64_t { kOrder = 0x6f72646572, kAugment = 0x6175676d, kMix = 0x6d6978 };

  /// The sample at a position of the stream of epochs.
  int64_t sample_at(int64_t position) {
    const int64_t n = dataset_->size(), epoch = position / n;
    if (!options_.shuffle) return position % n;
    if (epoch != epoch_) {
      order_.resize(size_t(n));
      std::iota(order_.begin(), order_.end(), int64_t(0));
      detail::shuffle(order_, Key{options_.seed}.at(kOrder, uint64_t(epoch)));
      epoch_ = epoch;
    }
    return order_[size_t(position % n)];
  }

  Batch make(int64_t step, const AugmentOptions& options) {
    samples_.clear();
    for (int64_t i = 0; i < options_.batch_size; ++i) {
      const int64_t position = step * options_.batch_size + i;
      const Key key = Key{options_.seed}.at(kAugment, uint64_t(position));
      samples_.push_back(augment(dataset_->load(sample_at(position)), key, options));
      const Key mix = key.at(kMix);
      if (mix.uniform(0) < options.mix_probability && !samples_.back().labels.defined()) {
        const Sample partner = dataset_->load(mix.integer(1, dataset_->size()));
        mix_samples(samples_.back(), augment(partner, mix.at(1), options), mix.at(2));
      }
    }
    Batch batch = make_batch(samples_);
    samples_.clear();  // their memory goes back to the pool
    batch.step = step;
    return batch;
  }

  /// Takes from the pool, until the second next(), all that the two threads can ever hold at once: so that what the
  /// first step of training takes comes on top, and no later coincidence makes the pool ask the system for more.
  void rehearse() {
    if (options_.prefetch == 0) return;
    // Tensors' small objects come from the common pool, whichever thread makes them.
    const int64_t handles = (options_.prefetch + 3) * (options_.batch_size + 1) * 8;
    for (int64_t i = 0; i < handles; ++i) rehearsal_handles_.emplace_back(64 * size_t(1 + i % 3));
    const clearsky::detail::PoolOfThread memory{clearsky::detail::PoolOfThread::kDataPool};
    std::vector<Workspace<char>> small;
    // The lattices of simulated clouds have sizes that are drawn: a few blocks of every small size.
    for (size_t bytes = 64; bytes <= 16384; bytes += (std::max)(size_t(64), std::bit_floor(bytes) / 8))
      for (int i = 0; i < 4; ++i) small.emplace_back(bytes);
    small.clear();
    // What only some samples draw takes memory on top: here all of them draw it, since one day they may.
    AugmentOptions all = options_.augment;
    if (all.simulate_probability > 0) all.simulate_probability = 1;
    if (all.mix_probability > 0) all.mix_probability = 1;
    try {
      for (int64_t i = 0; i < options_.prefetch + 2; ++i) rehearsal_.push_back(make(step_ + i, all));
    } catch (...) {
      samples_.clear();  // a sample that cannot be read is the business of the next() that asks for it
    }
    epoch_ = -1;
  }

  void start() {
    stopping_ = false;
    error_ = nullptr;
    epoch_ = -1;
    if (options_.prefetch > 0) worker_ = std::thread([this] { work(); });
  }
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    if (worker_.joinable()) worker_.join();
    ready_.clear();
  }
  void work() {
    // The pool's threads belong to the training step: what this thread does runs on this thread alone.
    clearsky::detail::inside_parallel_region = true;
    const clearsky::detail::PoolOfThread memory{clearsky::detail::PoolOfThread::kDataPool};
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return stopping_ || int64_t(ready_.size()) < options_.prefetch; });
      if (stopping_) return;
      lock.unlock();
      try {
        Batch batch = make(making_, options_.augment);
        lock.lock();
        ready_.push_back(std::move(batch));
        ++making_;
      } catch (...) {
        samples_.clear();
        if (!lock.owns_lock()) lock.lock();
        error_ = std::current_exception();
      }
      changed_.notify_all();
      if (error_) return;
    }
  }

  DatasetPointer dataset_;
  LoaderOptions options_;
  int64_t step_ = 0;    // of the consumer
  int64_t making_ = 0;  // of the worker
  int64_t epoch_ = -1;  // whose order is in order_
  std::vector<int64_t> order_;
  std::vector<Sample> samples_;
  std::vector<Batch> rehearsal_;
  std::vector<Workspace<char>> rehearsal_handles_;
  std::deque<Batch> ready_;
  std::exception_ptr error_;
  bool stopping_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::thread worker_;
};

}  // namespace clearsky::data

#pragma once
// What the tests of kernels share: buffers that show what was not written and what was written beyond them, and runs
// in every order of threads.

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "clearsky/core/philox.hpp"
#include "clearsky/cuda/portable.cuh"
#include "tolerance.hpp"

namespace clearsky::test {

/// Floats of a kernel's output: NaN at first, with sentinels behind them.
class Output {
 public:
  explicit Output(int64_t count, float first = std::numeric_limits<float>::quiet_NaN())
      : count_(size_t(count)), values_(size_t(count) + kSentinels, kSentinel) {
    for (size_t i = 0; i < count_; ++i) values_[i] = first;
  }
  explicit Output(const std::vector<float>& first) : Output(int64_t(first.size())) {
    for (size_t i = 0; i < count_; ++i) values_[i] = first[i];
  }

  float* data() { return values_.data(); }
  float operator[](int64_t i) const { return values_[size_t(i)]; }
  int64_t size() const { return int64_t(count_); }
  bool sentinels_intact() const {
    for (size_t i = count_; i < values_.size(); ++i)
      if (values_[i] != kSentinel) return false;
    return true;
  }
  bool same_bits(const Output& other) const {
    return count_ == other.count_ && std::memcmp(values_.data(), other.values_.data(), count_ * sizeof(float)) == 0;
  }

 private:
  static constexpr size_t kSentinels = 2048;  // more than a row: one row too many must not reach other memory
  static constexpr float kSentinel = 12345.678f;
  size_t count_;
  std::vector<float> values_;
};

/// The outputs of run(), which must be the same bits in every order of the threads.
template <class Run>
std::vector<Output> in_every_order(Run&& run) {
  std::vector<Output> first;
  using simt::Copies, simt::Order;
  for (const simt::Settings& way :
       {simt::Settings{.order = Order::forward}, simt::Settings{.order = Order::reverse},
        simt::Settings{.order = Order::random, .seed = 7}, simt::Settings{.copies = Copies::early}}) {
    CAPTURE(int(way.order));
    CAPTURE(int(way.copies));
    const simt::UseSettings guard(way);
    std::vector<Output> out = run();
    for (size_t i = 0; i < out.size(); ++i) {
      CAPTURE(i);
      CHECK(out[i].sentinels_intact());
      if (!first.empty()) CHECK(out[i].same_bits(first[i]));
    }
    if (first.empty()) first = std::move(out);
  }
  return first;
}

inline std::vector<float> draw(int64_t count, uint64_t seed, double low = -1, double high = 1) {
  std::vector<float> v(static_cast<size_t>(count));
  for (size_t i = 0; i < v.size(); ++i) v[i] = float(Key{seed}.uniform(i, low, high));
  return v;
}

/// The largest error as a share of what is allowed. NaN and values that were not written count as infinite.
class Worst {
 public:
  void add(double got, double want, double allowed) {
    const double error = std::abs(got - want);
    const double share = error == 0 ? 0 : error / allowed;
    if (!(share <= share_)) share_ = std::isnan(share) ? std::numeric_limits<double>::infinity() : share;
  }
  double share() const { return share_; }

 private:
  double share_ = 0;
};

}  // namespace clearsky::test

#pragma once
// What the tests of kernels share: buffers that show what was not written and what was written beyond them, and runs
// in every order of threads. The tests can be compiled as C++, to run on the CPU, and by nvcc, to run on a device; so
// kernels are only ever given device memory.

#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "clearsky/core/philox.hpp"
#include "clearsky/cuda/memory.cuh"
#include "tolerance.hpp"
#if !defined(__CUDACC__) && CLEARSKY_SIMT_LENS
#include "clearsky/simt/lens.hpp"
#endif

namespace clearsky::test {

/// Under the lens: whether every launch up to now was as it must be. The lens comes with the first call, before the
/// first memory; it is never destroyed. With CLEARSKY_LENS_TABLES in the environment, every launch is printed as a
/// table.
inline void check_with_lens() {
#if !defined(__CUDACC__) && CLEARSKY_SIMT_LENS
  static const bool tables = std::getenv("CLEARSKY_LENS_TABLES") != nullptr;
  static simt::Lens* const lens = new simt::Lens({.statistics = tables});
  const simt::LensReport seen = lens->take();
  if (!seen.launches.empty()) std::puts(seen.table().c_str());
  std::string errors;
  for (const simt::LensError& e : seen.errors) errors += e.text + "\n";
  CAPTURE(errors);
  CHECK(errors.empty());
#endif
}

/// While it lives, the lens looks away: for launches of so many blocks that it would take minutes.
class [[nodiscard]] WithoutLens {
 public:
  WithoutLens() {
    check_with_lens();  // the lens must be there before it is told to look away
#if !defined(__CUDACC__) && CLEARSKY_SIMT_LENS
    pause_.emplace();
  }

 private:
  std::optional<simt::LensPause> pause_;
#else
  }
#endif
};

/// Values on the host, with a copy of exactly their size in device memory.
template <class T>
class Values {
 public:
  Values() = default;
  Values(std::vector<T> values) : values_(std::move(values)) {}

  const T* data() const { return values_.data(); }
  /// Where kernels find them, `shift` elements behind the start of an allocation: 16-byte accesses need 0, 4, ...
  const T* device(int64_t shift = 0) const {
    check_with_lens();
    auto& copy = copies_[size_t(shift)];
    if (copy == nullptr) {
      std::vector<T> shifted(size_t(shift), T{});
      shifted.insert(shifted.end(), values_.begin(), values_.end());
      copy = std::make_shared<cuda::DeviceArray<T>>(shifted.data(), int64_t(shifted.size()));
    }
    return copy->data() + shift;
  }
  const T& operator[](size_t i) const { return values_[i]; }
  size_t size() const { return values_.size(); }
  const std::vector<T>& vector() const { return values_; }

 private:
  std::vector<T> values_;
  mutable std::map<size_t, std::shared_ptr<cuda::DeviceArray<T>>> copies_;
};

/// Which of its two places a test's argument struct points to: at(values) and at(output).
struct OnHost {
  template <class T>
  const T* operator()(const Values<T>& v) const {
    return v.data();
  }
};
struct OnDevice {
  int64_t shift = 0;  ///< see Values::device
  template <class T>
  const T* operator()(const Values<T>& v) const {
    return v.device(shift);
  }
};

/// A kernel's output in device memory: NaN (or -1) at first, with sentinels behind it. operator[] reads what is there
/// at the first call after data(): launch before you look.
template <class T>
class OutputOf {
 public:
  explicit OutputOf(int64_t count, T first = never_written())
      : OutputOf(std::vector<T>(static_cast<size_t>(count), first)) {}
  explicit OutputOf(const std::vector<T>& first) : count_(int64_t(first.size())) {
    check_with_lens();
    std::vector<T> all = first;
    all.resize(first.size() + kSentinels, kSentinel);
    memory_ = std::make_shared<cuda::DeviceArray<T>>(all.data(), int64_t(all.size()));
  }

  /// For kernels.
  T* data() {
    host_.clear();
    return memory_->data();
  }
  T operator[](int64_t i) const { return host()[size_t(i)]; }
  int64_t size() const { return count_; }
  std::vector<T> vector() const { return {host().begin(), host().begin() + count_}; }
  bool sentinels_intact() const {
    for (size_t i = size_t(count_); i < host().size(); ++i)
      if (host()[i] != kSentinel) return false;
    return true;
  }
  bool same_bits(const OutputOf& other) const {
    return count_ == other.count_ &&
           (count_ == 0 || std::memcmp(host().data(), other.host().data(), size_t(count_) * sizeof(T)) == 0);
  }

 private:
#if !defined(__CUDACC__) && CLEARSKY_SIMT_LENS
  static constexpr size_t kSentinels = 0;  // the lens knows where an allocation ends
#else
  static constexpr size_t kSentinels = 2048;  // more than a row: one row too many must not reach other memory
#endif
  static constexpr T kSentinel = T(113);
  static T never_written() {
    if constexpr (std::numeric_limits<T>::has_quiet_NaN) return std::numeric_limits<T>::quiet_NaN();
    else return T(-1);
  }
  const std::vector<T>& host() const {
    if (host_.empty()) {
      check_with_lens();
      host_.resize(size_t(count_) + kSentinels);
      memory_->download(host_.data());
    }
    return host_;
  }
  int64_t count_;
  std::shared_ptr<cuda::DeviceArray<T>> memory_;
  mutable std::vector<T> host_;
};
using Output = OutputOf<float>;

/// The outputs of run(), which must be the same bits in every order of the threads. On a device there is one order,
/// the device's: run twice. The lens looks at the first order, which shows it everything.
template <class Run>
auto in_every_order(Run&& run) {
  using Outputs = decltype(run());
  Outputs first;
  const auto compare = [&](Outputs out) {
    for (size_t i = 0; i < out.size(); ++i) {
      CAPTURE(i);
      CHECK(out[i].sentinels_intact());
      if (!first.empty()) CHECK(out[i].same_bits(first[i]));
    }
    if (first.empty()) first = std::move(out);
  };
#ifdef __CUDACC__
  for (int time = 0; time < 2; ++time) compare(run());
#else
  using simt::Copies, simt::Order;
#if CLEARSKY_SIMT_LENS
  compare(run());
  check_with_lens();
  const simt::LensPause pause;
#endif
  for (const simt::Settings& way :
       {simt::Settings{.order = Order::forward}, simt::Settings{.order = Order::reverse},
        simt::Settings{.order = Order::random, .seed = 7}, simt::Settings{.copies = Copies::early}}) {
    CAPTURE(int(way.order));
    CAPTURE(int(way.copies));
    const simt::UseSettings guard(way);
    compare(run());
  }
  CHECK(simt::GlobalMemory::global().overruns() == 0);
#endif
  return first;
}

inline Values<float> draw(int64_t count, uint64_t seed, double low = -1, double high = 1) {
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

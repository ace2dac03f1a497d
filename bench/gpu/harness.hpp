#pragma once
// What the rows of the GPU harness share: values on both sides, times by events, differences from the CPU's kernels,
// JSON. Compiled by nvcc it measures; compiled as C++ (clearsky/simt) it can only compare.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "clearsky/core/device.hpp"
#include "clearsky/core/philox.hpp"
#include "clearsky/cuda/stream.cuh"

namespace clearsky::cuda::bench {

/// What a kernel wrote, next to what the CPU's wrote.
class Compared {
 public:
  virtual ~Compared() = default;
  /// Overwrites the device's side with what no kernel writes: NaN, -1.
  virtual void poison() = 0;
  /// The largest difference over the CPU's largest value; infinite where one side is not a number.
  virtual double difference() const = 0;
};

/// An array on the host, and one of the same size in device memory.
template <class T>
class Both final : public Compared {
 public:
  explicit Both(int64_t count) : host_(static_cast<size_t>(count)), device_(count) { poison(); }
  explicit Both(std::vector<T> values) : host_(std::move(values)), device_(host_.data(), int64_t(host_.size())) {}
  T* host() { return host_.data(); }
  T* device() { return device_.data(); }
  int64_t size() const { return int64_t(host_.size()); }

  void poison() override { fill_device(device_.data(), 0xff, host_.size() * sizeof(T), nullptr); }
  double difference() const override {
    std::vector<T> got(host_.size());
    device_.download(got.data());
    double worst = 0, largest = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      const double want = number(host_[i]), d = std::abs(number(got[i]) - want);
      if (!std::isfinite(d)) return INFINITY;
      worst = (std::max)(worst, d);
      largest = (std::max)(largest, std::abs(want));
    }
    return largest > 0 ? worst / largest : worst;
  }

 private:
  static double number(T v) {
    if constexpr (std::is_arithmetic_v<T>) return double(v);
    else return double(float(v));
  }
  std::vector<T> host_;
  DeviceArray<T> device_;
};
using Numbers = Both<float>;

/// The same numbers on both sides.
inline Numbers draw(int64_t count, uint64_t seed, double low = -1, double high = 1) {
  std::vector<float> v(static_cast<size_t>(count));
  for (size_t i = 0; i < v.size(); ++i) v[i] = float(Key{seed}.uniform(i, low, high));
  return Numbers(std::move(v));
}
template <class T>
Both<T> draw_integers_below(int64_t bound, int64_t count, uint64_t seed) {
  std::vector<T> v(static_cast<size_t>(count));
  for (size_t i = 0; i < v.size(); ++i) v[i] = T(Key{seed}.integer(i, bound));
  return Both<T>(std::move(v));
}

/// Which side an argument struct points to: kHost(x), kDevice(x).
struct Side {
  bool device;
  template <class T>
  T* operator()(Both<T>& x) const {
    return device ? x.device() : x.host();
  }
};
inline constexpr Side kHost{false}, kDevice{true};

using Work = std::function<void(Stream)>;

/// Another library's way to the same result.
struct Peer {
  std::string name = {};     ///< empty without a peer
  Work work = {};            ///< null where the library refused
  bool same_output = true;   ///< whether it writes to the row's first output
  std::string refusal = {};  ///< why there is no work
};

struct Row {
  const char* operation;
  std::string shape;
  double bytes;      ///< compulsory: each input once, each output once, as our kernel's types have it
  double flops = 0;  ///< 2 per multiply-add; 0 where not counted
  double allowed;    ///< largest difference: bound(), or 0
  Precision precision = Precision::float32;
};

/// What a row's kernel writes; or, with changed(), what it reads and writes, which only the first run sees as it was.
struct Result {
  Compared* array;
  bool changed = false;
  template <class T>
  Result(Both<T>& written) : array(&written) {}
  Result(Compared* a, bool c) : array(a), changed(c) {}
};
template <class T>
Result changed(Both<T>& x) {
  return {&x, true};
}

/// How far two float results may be apart, as a share of the largest: both sides' roundings of sums of `terms`
/// products, and those of one side's factors. They grow as sqrt(terms), as the results do (tests/tolerance.hpp); 4 for
/// the unluckiest of many results.
inline double bound(Precision precision, double terms) {
  const double factors = precision == Precision::float32 ? 0 : precision == Precision::tf32 ? 0x1p-11 : 0x1p-8;
  return 4 * (factors + 0x1p-24 * std::sqrt(terms));
}
/// The CPU's kernels have one precision: they run for the first, and the others' rows compare with the same.
inline std::function<void()> shared_reference(Precision precision, std::function<void()> reference) {
  return precision == Precision::float32 ? std::move(reference) : nullptr;
}
/// For functions of few values.
inline double bound(double terms = 16) {
  return bound(Precision::float32, terms);
}

/// One level of the network, for an image of 256 x 256.
struct Level {
  int64_t side, width, heads;
  int64_t pixels() const { return side * side; }
};

inline std::string times(std::initializer_list<int64_t> sizes) {
  std::string text;
  for (int64_t n : sizes) text += (text.empty() ? "" : "x") + std::to_string(n);
  return text;
}

class Harness {
 public:
  /// @param check  tiny shapes, differences alone
  explicit Harness(bool check) : check_(check) {
#ifdef __CUDACC__
    if (!check) evicted_ = std::make_unique<DeviceArray<char>>(kEvicted);
#endif
  }
  bool check() const {
    return check_;
  }
  bool within() const {
    return within_;
  }
  const std::string& now() const {
    return now_;
  }

  /// The default network's; tiny ones to check.
  std::vector<Level> levels() const {
    if (check_) return {{8, 16, 2}};
    return {{256, 32, 1}, {128, 64, 2}, {64, 128, 4}, {32, 256, 8}};
  }
  /// Of these, where one shape is enough.
  Level first_level() const {
    return levels().front();
  }
  std::vector<Precision> precisions() const {
    return {Precision::float32, Precision::tf32, Precision::bfloat16};
  }

  /// @param results    of the kernel; the first is the peer's as well
  /// @param reference  the CPU's kernel, for the host's side of them; null where that is filled already
  void measure(const Row& row, std::initializer_list<Result> results, const Work& ours,
               const std::function<void()>& reference, const Peer& peer = {}) {
    now_ = std::string(row.operation) + ", " + row.shape + ", " + to_text(row.precision);
    if (reference) reference();
    const double d = difference(results, results.size(), ours);
    within_ = within_ && d <= row.allowed;
    if (check_) {
      std::printf("%-4s %-34s %-28s %-9s %9.2g of %.2g\n", d <= row.allowed ? "ok" : "FAR", row.operation,
                  row.shape.c_str(), to_text(row.precision).c_str(), d, row.allowed);
      return;
    }
    const bool changes = std::any_of(results.begin(), results.end(), [](const Result& r) { return r.changed; });
    Peer other = peer;
    double peer_difference = INFINITY;
    try {
      if (other.work && other.same_output && !changes) peer_difference = difference(results, 1, other.work);
      else if (other.work) other.work(stream_.get());
    } catch (const std::exception& e) {
      other.refusal = e.what();
      other.work = nullptr;
    }
    print(row, d, other, peer_difference, ours);
  }

#ifdef __CUDACC__
  /// Bytes/s of a copy on the device, read and written: what other rows are shares of.
  double measure_copy() {
    const size_t size = kEvicted;
    const DeviceArray<char> from(kEvicted);
    fill_device(from.data(), 1, size, nullptr);
    synchronize(nullptr);
    const Times t = repeat([&](Stream s) { copy_on_device(evicted_->data(), from.data(), size, s); }, {}, false).first;
    return copy_rate_ = 2 * double(size) / t.median;
  }
#endif

 private:
  double difference(std::initializer_list<Result> results, size_t count, const Work& work) {
    for (const Result& r : results)
      if (!r.changed) r.array->poison();
    synchronize(nullptr);  // uploads went there
    work(stream_.get());
    synchronize(stream_.get());
    double worst = 0;
    for (size_t i = 0; i < count; ++i) worst = (std::max)(worst, results.begin()[i].array->difference());
    return worst;
  }

#ifdef __CUDACC__
  static constexpr int kWarmUp = 5, kRepetitions = 30;
  static constexpr int64_t kEvicted = int64_t{256} << 20;  // bytes: more than any second-level cache

  struct Times {
    double median = 0, least = 0, spread = 0;  // seconds
  };
  static Times times_of(std::vector<double> v) {
    if (v.empty()) return {};
    std::sort(v.begin(), v.end());
    return {(v[(v.size() - 1) / 2] + v[v.size() / 2]) / 2, v.front(), v.back() - v.front()};
  }
  double time_of(const Work& work, bool cold) {
    // The fill also keeps the device busy until the work is queued: a cold time has no launch of the host's in it.
    if (cold) fill_device(evicted_->data(), 0, kEvicted, stream_.get());
    Event start, stop;
    start.record(stream_.get());
    work(stream_.get());
    stop.record(stream_.get());
    stop.wait();
    return double(stop.since(start)) * 1e-3;
  }
  /// Ours and the peer's, in turn: both see the same clocks.
  std::pair<Times, Times> repeat(const Work& ours, const Work& peer, bool cold) {
    std::vector<double> a, b;
    for (int i = -kWarmUp; i < kRepetitions; ++i) {
      const double t = time_of(ours, cold), u = peer ? time_of(peer, cold) : 0;
      if (i < 0) continue;
      a.push_back(t);
      if (peer) b.push_back(u);
    }
    return {times_of(a), times_of(b)};
  }

  static std::string number(const char* name, double v) {
    char buffer[80];
    if (std::isfinite(v)) std::snprintf(buffer, sizeof buffer, ", \"%s\": %.4g", name, v);
    else std::snprintf(buffer, sizeof buffer, ", \"%s\": null", name);
    return buffer;
  }
  static std::string whole(const char* name, double v) {
    return std::string(", \"") + name + "\": " + std::to_string(int64_t(v));
  }
  void print(const Row& row, double d, const Peer& peer, double peer_difference, const Work& ours) {
    const auto [warm, peer_warm] = repeat(ours, peer.work, false);
    const auto [cold, peer_cold] = repeat(ours, peer.work, true);
    std::string text = std::string(first_ ? "\n" : ",\n") + "  {\"operation\": \"" + row.operation +
                       "\", \"shape\": \"" + row.shape + "\", \"precision\": \"" + to_text(row.precision) + "\"";
    text += number("median_s", warm.median) + number("min_s", warm.least) + number("spread_s", warm.spread);
    text += number("cold_median_s", cold.median) + number("cold_min_s", cold.least);
    text += whole("bytes", row.bytes) + number("bytes_per_s", row.bytes / cold.median);
    text += number("of_copy", row.bytes / cold.median / copy_rate_);
    if (row.flops > 0) text += whole("flops", row.flops) + number("flops_per_s", row.flops / warm.median);
    text += number("difference", d) + number("allowed", row.allowed);
    if (!peer.name.empty()) {
      text += ", \"peer\": \"" + peer.name + "\"";
      if (peer.work) {
        text += number("peer_median_s", peer_warm.median) + number("peer_min_s", peer_warm.least) +
                number("peer_cold_median_s", peer_cold.median) + number("peer_difference", peer_difference);
      } else {
        std::string why = peer.refusal.substr(0, peer.refusal.find("  ["));  // without the place in the source
        std::replace_if(
            why.begin(), why.end(), [](char c) { return c == '"' || c == '\\' || c < ' '; }, '\'');
        text += ", \"peer_refusal\": \"" + why + "\"";
      }
    }
    std::printf("%s}", text.c_str());
    std::fflush(stdout);
    first_ = false;
  }
  std::unique_ptr<DeviceArray<char>> evicted_;
  double copy_rate_ = 0;
  bool first_ = true;
#else
  void print(const Row&, double, const Peer&, double, const Work&) {}
#endif
  OwnedStream stream_;
  bool check_, within_ = true;
  std::string now_ = "start";
};

// The families, one file each.
void measure_convolutions(Harness&);
void measure_products(Harness&);
void measure_attention(Harness&);
void measure_fusion(Harness&);
void measure_rows(Harness&);
void measure_losses(Harness&);
void measure_images(Harness&);
void measure_elementwise(Harness&);
void measure_training(Harness&);

}  // namespace clearsky::cuda::bench

#pragma once
// Requests of warps: the lanes' accesses put together again, and what memory makes of them.
//
// The k-th execution of an access by each lane of a warp belongs to one request, counted from the last point where the
// warp met: a barrier, a shuffle, a vote.

#include <bit>
#include <memory>
#include <unordered_map>

#include "clearsky/simt/lens.hpp"
#include "clearsky/simt/lens/shadow.hpp"

namespace clearsky::simt::lens {

struct Request {
  uint32_t mask = 0, bytes = 0;
  uintptr_t at[32];  // of the lanes in the mask
};

/// Of a request to global memory.
struct Sectors {
  int count, ideal;
};
/// @source  CUDA C++ Best Practices Guide, "Coalesced Access to Global Memory": 32 bytes at a time, of 32-byte segments
inline Sectors sectors_of(const Request& r) {
  uintptr_t at[32];
  int lanes = 0;
  bool ascending = true;
  for (uint32_t left = r.mask; left != 0; left &= left - 1, ++lanes) {
    at[lanes] = r.at[std::countr_zero(left)];
    if (lanes > 0 && at[lanes] < at[lanes - 1]) ascending = false;
  }
  if (!ascending) std::sort(at, at + lanes);
  Sectors s{0, 0};
  uintptr_t counted_to = 0, covered_to = 0;  // sector and byte behind the last that was counted
  size_t bytes = 0;
  for (int i = 0; i < lanes; ++i) {
    const uintptr_t first = (std::max)(at[i] / 32, counted_to), behind = (at[i] + r.bytes - 1) / 32 + 1;
    if (behind > first) s.count += int(behind - first), counted_to = behind;
    const uintptr_t from = (std::max)(at[i], covered_to), to = at[i] + r.bytes;
    if (to > from) bytes += to - from, covered_to = to;
  }
  s.ideal = int((bytes + 31) / 32);
  return s;
}

/// Of a request to shared memory.
struct Passes {
  int count = 0, ideal = 0, worst_ways = 0;
};
/// 32 banks of 4 bytes. Lanes that read one word share it. Accesses of 8 bytes are served for half a warp at a time,
/// of 16 bytes for a quarter.
/// @source  CUDA C++ Programming Guide, "Compute Capability 5.x", Shared Memory; NVIDIA, "Volta: Architecture and
///          performance optimization", GTC 2018, for the 8 and 16 bytes
inline Passes passes_of(const Request& r) {
  const int together = r.bytes <= 4 ? 32 : r.bytes <= 8 ? 16 : 8;
  Passes passes;
  for (int first = 0; first < 32; first += together) {
    const uint32_t mask = together == 32 ? r.mask : r.mask >> first & ((1u << together) - 1);
    if (mask == 0) continue;
    uintptr_t words[8 * 32];
    int count = 0;
    for (uint32_t left = mask; left != 0; left &= left - 1) {
      const uintptr_t at = r.at[first + std::countr_zero(left)];
      for (uintptr_t w = at / 4; w <= (at + r.bytes - 1) / 4 && count < 8 * 32; ++w) words[count++] = w;
    }
    std::sort(words, words + count);
    int in_bank[32] = {}, ways = 0;
    for (int i = 0; i < count; ++i)
      if (i == 0 || words[i] != words[i - 1]) ways = (std::max)(ways, ++in_bank[words[i] % 32]);
    passes.count += ways;
    passes.ideal += 1;
    passes.worst_ways = (std::max)(passes.worst_ways, ways);
  }
  return passes;
}

/// The requests of one launch.
class Requests {
 public:
  struct Site {
    SiteNumber number;
    LensLine sums;

    struct Lane {
      uint32_t period = 0, count = 0;
    };
    std::vector<Lane> lanes;                     // (threads)
    std::vector<std::vector<Request>> requests;  // (warps)  that are not counted yet
  };

  void start_launch(int threads) {
    threads_ = threads;
    sites_.clear();
    std::fill(std::begin(found_), std::end(found_), Found{});
    by_key_.clear();
    touched_.assign(size_t(threads + 31) / 32, {});
    period_.assign(touched_.size(), 1);
  }

  void add(SiteNumber number, bool shared, AccessKind kind, int thread, uintptr_t at, size_t bytes) {
    Site& site = find(number, shared, kind);
    const auto warp = size_t(thread) / 32;
    auto& lane = site.lanes[size_t(thread)];
    auto& requests = site.requests[warp];
    if (lane.period != period_[warp]) lane = {period_[warp], 0};
    if (requests.empty()) touched_[warp].push_back(&site);
    if (lane.count == requests.size()) requests.emplace_back();
    Request& r = requests[lane.count++];
    r.mask |= 1u << thread % 32;
    r.bytes = (std::max)(r.bytes, uint32_t(bytes));
    r.at[thread % 32] = at;
  }

  /// The lanes met: what they did before does not belong to what they do after.
  void met(size_t warp) {
    for (Site* site : touched_[warp]) {
      for (const Request& r : site->requests[warp]) count(site->sums, r);
      site->requests[warp].clear();
    }
    touched_[warp].clear();
    ++period_[warp];
  }
  void all_met() {
    for (size_t w = 0; w < touched_.size(); ++w) met(w);
  }

  const std::vector<std::unique_ptr<Site>>& sites() const { return sites_; }

 private:
  struct Found {
    uint32_t key = 0;
    Site* site = nullptr;
  };

  Site& find(SiteNumber number, bool shared, AccessKind kind) {
    const uint32_t key = uint32_t(number) << 3 | uint32_t(kind) << 1 | uint32_t(shared);
    Found& f = found_[key % std::size(found_)];
    if (f.site != nullptr && f.key == key) return *f.site;
    Site*& site = by_key_[key];
    if (site == nullptr) {
      sites_.push_back(std::make_unique<Site>());
      site = sites_.back().get();
      site->number = number;
      site->sums.shared = shared;
      site->sums.access = kind;
      site->lanes.resize(size_t(threads_));
      site->requests.resize(touched_.size());
    }
    f = {key, site};
    return *site;
  }

  static void count(LensLine& sums, const Request& r) {
    const int lanes = std::popcount(r.mask);
    ++sums.requests;
    sums.lanes += lanes;
    sums.bytes += int64_t(lanes) * r.bytes;
    if (sums.shared) {
      const Passes p = passes_of(r);
      sums.wavefronts += p.count;
      sums.ideal_wavefronts += p.ideal;
      sums.worst_ways = (std::max)(sums.worst_ways, p.worst_ways);
    } else {
      const Sectors s = sectors_of(r);
      sums.sectors += s.count;
      sums.ideal_sectors += s.ideal;
    }
  }

  int threads_ = 0;
  std::vector<std::unique_ptr<Site>> sites_;
  std::unordered_map<uint32_t, Site*> by_key_;
  Found found_[512];
  std::vector<std::vector<Site*>> touched_;  // (warps)
  std::vector<uint32_t> period_;             // (warps)
};

}  // namespace clearsky::simt::lens

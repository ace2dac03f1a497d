#pragma once
// Takes every access of a launch: is it allowed, does it race, what does it move. Included by the one unit that is not
// instrumented (see clearsky/simt/lens.hpp).

#include <map>
#include <tuple>
#include <unordered_map>

#include "clearsky/simt/global_memory.hpp"
#include "clearsky/simt/launch.hpp"
#include "clearsky/simt/lens.hpp"
#include "clearsky/simt/lens/requests.hpp"
#include "clearsky/simt/lens/shadow.hpp"
#include "clearsky/simt/lens/symbols.hpp"

// Where a program's own constants end, as the C library's start code says: kernels may read those.
extern "C" char __executable_start, __data_start;

namespace clearsky::simt {

/// What is known of an error before its lines are looked up. Sites are numbers of return addresses.
struct FoundError {
  LensErrorKind kind;
  lens::SiteNumber site, other_site;
  AnyKernel kernel;
  std::string before, middle, after;  // the text around the two lines
  int64_t times;
};

class LensTracker final : public Watcher, public MemoryObserver {
 public:
  explicit LensTracker(const LensOptions& options) : options_(options) {
    CLEARSKY_CHECK(ValueError, !exists_.exchange(true),
                   "Lens: there is one already; end it before the next one starts");
    pcs_.push_back(nullptr);
    watcher = this;
    memory_.observe(this);
  }
  ~LensTracker() override {
    memory_.observe(nullptr);
    watcher = nullptr;
    exists_ = false;
  }

  // Launches.
  void launch_begins(AnyKernel kernel, const cuda::dim3& grid, const cuda::dim3& block) override;
  void launch_ends() override;
  void block_begins(const cuda::uint3& index, const SharedMemory& shared) override;
  void block_ends() override;
  void shared_array(const void* p, size_t bytes) override {
    const uintptr_t at = reinterpret_cast<uintptr_t>(p);
    arrays_.push_back({at, bytes});
    shared_.grow(at - shared_.base + bytes);
    shared_.set_initialized(at - shared_.base, bytes, false);
  }
  void thread_runs(const Thread& t) override {
    thread_ = &t;
    me_ = uint16_t(t.number);
    stack_ = reinterpret_cast<uintptr_t>(t.fiber.stack_bottom());
  }
  void block_synchronized() override {
    ++epoch_;
    if (options_.statistics) requests_.all_met();
  }
  void warp_met(unsigned warp, uint32_t mask, bool orders_memory) override;

  // Accesses.
  void access(const void* p, size_t bytes, AccessKind kind, const void* pc) override;
  void copy_asked(const AsyncCopy& copy) override;
  void copy_waited(const AsyncCopy& copy) override;

  // Global memory, by the host.
  void allocated(const void* p, size_t bytes) override {
    const auto at = reinterpret_cast<uintptr_t>(p);
    std::lock_guard lock(mutex_);
    global_.insert_or_assign(at, lens::Shadow(at, bytes, false));
  }
  void released(const void* p) override {
    std::lock_guard lock(mutex_);
    global_.erase(reinterpret_cast<uintptr_t>(p));
    std::fill(std::begin(recent_), std::end(recent_), nullptr);
  }
  void written(const void* p, size_t bytes) override { initialize(p, bytes, true); }
  void forgotten(const void* p, size_t bytes) override { initialize(p, bytes, false); }

  void forget() {
    launched_.clear();
    errors_.clear();
    error_at_.clear();
  }
  std::vector<LensError> errors();
  std::vector<LensLaunch> launches();
  int64_t accesses() const { return accesses_; }

 private:
  enum class Count { yes, no };  // in the statistics

  void initialize(const void* p, size_t bytes, bool to) {
    const auto at = reinterpret_cast<uintptr_t>(p);
    std::lock_guard lock(mutex_);
    if (lens::Shadow* s = find_shadow(at, bytes)) s->set_initialized(at - s->base, bytes, to);
  }
  /// The allocation that has all of these bytes, of those that were made since the lens is there.
  lens::Shadow* find_shadow(uintptr_t at, size_t bytes) {
    auto found = global_.upper_bound(at);
    if (found == global_.begin()) return nullptr;
    --found;
    return found->second.contains(at, bytes) ? &found->second : nullptr;
  }
  lens::SiteNumber site_of(const void* pc);

  void shared_access(uintptr_t at, size_t bytes, AccessKind kind, lens::SiteNumber site, Count count);
  void global_access(uintptr_t at, size_t bytes, AccessKind kind, lens::SiteNumber site, Count count);
  lens::Shadow* global_shadow(uintptr_t at, size_t bytes, lens::SiteNumber site);
  void foreign_access(uintptr_t at, size_t bytes, AccessKind kind, lens::SiteNumber site);
  template <bool Shared>
  void touch(lens::Cell& c, int bytes, AccessKind kind, lens::SiteNumber site, uintptr_t at);
  template <bool Shared>
  void touch_cells(lens::Shadow& shadow, uintptr_t at, size_t bytes, AccessKind kind, lens::SiteNumber site);
  void count_sectors(lens::Shadow& shadow, size_t offset, size_t bytes, AccessKind kind);
  /// Whether the cache still has it. Each launch starts with an empty cache.
  bool use_cached(lens::Sector& s) {
    const bool kept = s.used > cache_start_ && cache_uses_ - s.used < options_.cache_bytes / 32;
    if (!kept) s.dirty = false;
    s.used = ++cache_uses_;
    return kept;
  }

  /// Whether what a thread of this block did in this epoch, at its clock, is over for the current thread.
  bool ordered(uint16_t thread, uint32_t clock) const {
    if (thread == me_) return true;
    return thread / 32 == me_ / 32 && known_[me_][thread % 32] > clock;
  }
  /// One of the threads that the current one may race with, or kNobody.
  uint16_t unordered_of(const lens::Threads& t) const {
    const auto first_lane = uint16_t(t.warp * 32);
    if (t.warp != me_ / 32) return uint16_t(first_lane + std::countr_zero(t.mask));
    for (uint32_t left = t.mask; left != 0; left &= left - 1)
      if (const auto thread = uint16_t(first_lane + std::countr_zero(left)); !ordered(thread, t.clock)) return thread;
    return t.other;
  }
  void add_to(lens::Threads& t, lens::SiteNumber site) {
    const uint32_t clock = known_[me_][me_ % 32];
    if (t.epoch == epoch_ && t.warp == me_ / 32 && clock > t.clock)
      for (uint32_t left = t.mask; left != 0; left &= left - 1)
        if (ordered(uint16_t(t.warp * 32 + std::countr_zero(left)), t.clock)) t.mask &= ~(left & -left);
    t.add(epoch_, clock, me_, site);
  }

  // Reports.
  std::string here() const { return ", block " + to_text(block_) + ", thread " + to_text(thread_->index); }
  std::string thread_text(uint16_t number) const {
    return to_text(cuda::uint3{number % shape_.x, number / shape_.x % shape_.y, number / (shape_.x * shape_.y)});
  }
  std::string block_text(uint32_t epoch) const {
    auto at =
        std::upper_bound(blocks_.begin(), blocks_.end(), epoch, [](uint32_t e, const auto& b) { return e < b.first; });
    return at == blocks_.begin() ? std::string("?") : to_text(std::prev(at)->second);
  }
  std::string place(bool shared, uintptr_t at) const;
  void race(bool shared, AccessKind mine, lens::SiteNumber site, uint16_t other, const char* did,
            lens::SiteNumber other_site, uintptr_t at);
  void race_of_blocks(AccessKind mine, lens::SiteNumber site, uint32_t other_epoch, uint16_t other, const char* did,
                      lens::SiteNumber other_site, uintptr_t at);
  FoundError* report(LensErrorKind kind, lens::SiteNumber site, lens::SiteNumber other_site);
  SourceLine line_of(lens::SiteNumber site) const { return symbols_.line(pcs_[site]); }
  std::string kernel_name(AnyKernel kernel) const {
    const SourceLine line = symbols_.line(reinterpret_cast<const void*>(kernel));
    return line.function.empty() || line.function.starts_with("??") ? "kernel at " + to_text(line)
                                                                    : lens::short_name(line.function);
  }

  struct Launched {
    AnyKernel kernel;
    LensLaunch sums;
    std::vector<std::pair<lens::SiteNumber, LensLine>> sites;
  };

  LensOptions options_;
  GlobalMemory& memory_ = GlobalMemory::global();

  std::vector<const void*> pcs_;  // of sites, by number
  std::unordered_map<const void*, lens::SiteNumber> numbers_;
  struct Recent {
    const void* pc = nullptr;
    lens::SiteNumber number = 0;
  } recent_pcs_[1024];
  lens::Symbols symbols_;

  static inline std::atomic<bool> exists_ = false;

  std::mutex mutex_;                          // of what follows: other threads may allocate
  std::map<uintptr_t, lens::Shadow> global_;  // by start
  lens::Shadow* recent_[64] = {};             // by site
  lens::Shadow shared_;
  struct Array {
    uintptr_t base;
    size_t bytes;
  };
  std::vector<Array> arrays_;  // of the block

  // Epochs and clocks; the first epoch is 1, so that cells that were never touched are older than everything.
  uint32_t epoch_ = 0, block_first_ = 0, launch_first_ = 0, meetings_ = 0;
  uint32_t known_[1024][32] = {};  // the meeting at which this thread last heard from that lane of its warp
  std::vector<lens::Threads> atomics_;

  AnyKernel kernel_ = nullptr;
  cuda::dim3 shape_;
  cuda::uint3 block_;
  std::vector<std::pair<uint32_t, cuda::uint3>> blocks_;  // of the launch, by their first epoch
  const Thread* thread_ = nullptr;
  uint16_t me_ = 0;
  uintptr_t stack_ = 0;

  int64_t cache_uses_ = 0, cache_start_ = 0;  // before this launch

  lens::Requests requests_;
  LensLaunch sums_;
  std::vector<Launched> launched_;
  int64_t accesses_ = 0;
  std::vector<FoundError> errors_;
  std::map<std::tuple<AnyKernel, LensErrorKind, lens::SiteNumber, lens::SiteNumber>, size_t> error_at_;
};

}  // namespace clearsky::simt

#pragma once
// Large blocks of memory out of one range of addresses: what is given back joins its free neighbours and serves any
// other size. Lists of blocks by size cannot do that: a network whose levels differ in size then holds nearly twice the
// memory that it ever uses at once.
//
// A training step asks for the same sizes in the same order every time. So the places that the first step finds are
// those of every later one, and the system is asked no more.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>
#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace clearsky::detail {

/// Addresses are reserved once, for more than the machine's memory, and made usable as they are needed.
class Arena {
 public:
  static constexpr size_t kGranule = 4096;            ///< block sizes are multiples of it
  static constexpr size_t kGrowth = size_t(2) << 20;  ///< a huge page

  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() {
#if defined(__linux__)
    if (begin_ != nullptr) (void)::munmap(begin_, size_t(limit_ - begin_));
#endif
  }

  static size_t block_bytes(size_t bytes) {
    return (bytes + kGranule - 1) / kGranule * kGranule;
  }

  bool owns(const void* p) const {
    return begin_ <= p && p < limit_;
  }
  /// Bytes from the first to the last address in use, and how often they became more.
  size_t extent() const {
    return size_t(end_ - begin_);
  }
  int64_t growths() const {
    return growths_;
  }

  /// From the free range that fits best, the first of equals; or null: no memory left, or not on this system. The last
  /// range, which can grow, is taken only where no other fits: whether it has grown already then changes no choice, and
  /// a step that is repeated finds the same places again.
  /// @param bytes  a multiple of kGranule
  void* take(size_t bytes) {
    const auto last = free_.end() - (last_is_free() ? 1 : 0);
    auto best = last;
    for (auto at = free_.begin(); at != last; ++at)
      if (at->bytes >= bytes && (best == last || at->bytes < best->bytes)) best = at;
    if (best == last) {
      if ((last == free_.end() || last->bytes < bytes) && !grow(bytes)) return nullptr;
      best = free_.end() - 1;
    }
    char* const p = best->at;
    best->at += bytes;
    best->bytes -= bytes;
    if (best->bytes == 0) free_.erase(best);
    return p;
  }

  void put_back(void* block, size_t bytes) {
    char* const p = static_cast<char*>(block);
    const auto next =
        std::lower_bound(free_.begin(), free_.end(), p, [](const Range& r, char* at) { return r.at < at; });
    const bool joins_next = next != free_.end() && p + bytes == next->at;
    const bool joins_previous = next != free_.begin() && (next - 1)->end() == p;
    if (joins_previous) {
      (next - 1)->bytes += bytes + (joins_next ? next->bytes : 0);
      if (joins_next) free_.erase(next);
    } else if (joins_next) {
      next->at = p;
      next->bytes += bytes;
    } else {
      free_.insert(next, {p, bytes});
    }
  }

  /// Gives the memory behind the last block back to the system, and that between blocks; the addresses between them
  /// stay usable.
  void trim() {
#if defined(__linux__)
    if (last_is_free()) {
      // Down to whole units of growth, as they were made.
      const size_t kept = (size_t(free_.back().at - begin_) + kGrowth - 1) / kGrowth * kGrowth;
      char* const end = (std::min)(begin_ + kept, end_);
      if (::mmap(end, size_t(end_ - end), PROT_NONE, kMapping | MAP_FIXED, -1, 0) == end) {
        free_.back().bytes -= size_t(end_ - end);
        end_ = end;
        if (free_.back().bytes == 0) free_.pop_back();
      }
    }
    for (const Range& r : free_) (void)::madvise(r.at, r.bytes, MADV_DONTNEED);
#endif
  }

 private:
  struct Range {
    char* at;
    size_t bytes;
    char* end() const { return at + bytes; }
  };

  bool last_is_free() const {
    return !free_.empty() && free_.back().end() == end_;
  }

  /// Makes the last free range hold `bytes`.
  bool grow(size_t bytes) {
#if defined(__linux__)
    if (begin_ == nullptr && !reserve()) return false;
    const size_t there = last_is_free() ? free_.back().bytes : 0;
    const size_t more = (bytes - there + kGrowth - 1) / kGrowth * kGrowth;
    if (more > size_t(limit_ - end_) || ::mprotect(end_, more, PROT_READ | PROT_WRITE) != 0) return false;
#if defined(MADV_HUGEPAGE)
    (void)::madvise(end_, more, MADV_HUGEPAGE);
#endif
    if (last_is_free()) free_.back().bytes += more;
    else free_.push_back({end_, more});
    end_ += more;
    ++growths_;
    return true;
#else
    (void)bytes;
    return false;
#endif
  }

#if defined(__linux__)
  // Not MAP_NORESERVE: addresses without access count as nothing, and what is made usable is refused where the system
  // has no such amount, which would end the program later otherwise.
  static constexpr int kMapping = MAP_PRIVATE | MAP_ANONYMOUS;

  /// Twice the machine's memory, so that addresses never are what runs out.
  bool reserve() {
    const size_t bytes = 2 * size_t(::sysconf(_SC_PHYS_PAGES)) * size_t(::sysconf(_SC_PAGESIZE)) / kGrowth * kGrowth;
    void* const p = ::mmap(nullptr, bytes + kGrowth, PROT_NONE, kMapping, -1, 0);
    if (p == MAP_FAILED) return false;
    // From the border of a huge page on; what lies before it stays reserved for nothing.
    begin_ = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(p) + kGrowth - 1) / kGrowth * kGrowth);
    end_ = begin_;
    limit_ = begin_ + bytes;
    free_.reserve(256);
    return true;
  }
#endif

  std::vector<Range> free_;  // by address; no two touch each other
  char* begin_ = nullptr;
  char* end_ = nullptr;
  char* limit_ = nullptr;
  int64_t growths_ = 0;
};

}  // namespace clearsky::detail

#pragma once
// What the lens knows of each word of memory: who wrote it and who read it last, and when.
//
// Time is counted twice. Epochs are numbered through a program's run: a new one starts with each block and after each
// barrier of a block, so that two accesses of one block race only within an epoch, and the numbers tell whether they
// belong to one block or to one launch. Within an epoch, meetings of warps (__syncwarp) are numbered; a thread's clock
// is the number of its last meeting.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace clearsky::simt::lens {

using SiteNumber = uint16_t;

inline constexpr uint16_t kNobody = 0xffff;

/// Threads that did the same to a word within an epoch: lanes of one warp, and one thread of any other warp.
struct Threads {
  uint32_t epoch = 0, clock = 0, mask = 0;
  SiteNumber site = 0, other_site = 0;
  uint16_t warp = 0, other = kNobody;

  void add(uint32_t now, uint32_t its_clock, uint16_t thread, SiteNumber at) {
    const uint32_t bit = 1u << thread % 32;
    if (epoch != now || (mask == 0 && other == kNobody)) {
      *this = {now, its_clock, bit, at, 0, uint16_t(thread / 32), kNobody};
    } else if (warp != thread / 32) {
      other = thread, other_site = at;
    } else {
      mask |= bit;
      clock = (std::max)(clock, its_clock);
      site = at;
    }
  }
};

struct Cell {
  uint32_t write_epoch = 0, write_clock = 0;
  Threads readers;
  uint32_t first_read_epoch = 0;    // in this launch
  uint32_t first_atomic_epoch = 0;  // in this launch
  uint32_t atomics = 0;             // index of the Threads that did atomic accesses, if there were any in this launch
  uint32_t flight_epoch = 0;        // of an asynchronous copy to here that was not waited for
  uint32_t parts = 0;               // 1 + index of the four cells of its bytes, when they differ
  uint16_t writer = 0, first_reader = 0;
  SiteNumber write_site = 0, first_read_site = 0, flight_site = 0;
  bool initialized = false;
};

/// When a sector was last read and written, by a block; and when it was last used, by the model of a cache.
struct Sector {
  uint32_t read_epoch = 0, write_epoch = 0;
  int64_t used = 0;
  bool dirty = false;
};

/// A piece of memory that kernels may use.
class Shadow {
 public:
  Shadow() = default;
  Shadow(uintptr_t base_, size_t bytes_, bool initialized) : base(base_), bytes(bytes_) {
    grow(bytes_);
    if (initialized)
      for (Cell& c : words_) c.initialized = true;
  }
  void grow(size_t bytes_) {
    if ((bytes_ + 3) / 4 > words_.size()) words_.resize((bytes_ + 3) / 4);
    if ((bytes_ + 31) / 32 > sectors.size()) sectors.resize((bytes_ + 31) / 32);
  }
  bool contains(uintptr_t at, size_t size) const { return at >= base && at + size <= base + bytes; }

  /// Calls visit(cell, its bytes) for each word, or byte where a word's bytes differ.
  template <class Visit>
  void each(size_t offset, size_t size, Visit&& visit) {
    while (size != 0) {
      Cell& word = words_[offset / 4];
      const size_t first = offset % 4, part = (std::min)(4 - first, size);
      if (part == 4 && word.parts == 0) {
        visit(word, 4);
      } else {
        if (word.parts == 0) {
          parts_.push_back({word, word, word, word});
          word.parts = uint32_t(parts_.size());
        }
        for (size_t i = 0; i < part; ++i) visit(parts_[word.parts - 1][first + i], 1);
      }
      offset += part;
      size -= part;
    }
  }
  void set_initialized(size_t offset, size_t size, bool to) {
    each(offset, size, [to](Cell& c, int) { c.initialized = to; });
  }

  uintptr_t base = 0;
  size_t bytes = 0;
  std::vector<Sector> sectors;

 private:
  std::vector<Cell> words_;
  std::vector<std::array<Cell, 4>> parts_;
};

}  // namespace clearsky::simt::lens

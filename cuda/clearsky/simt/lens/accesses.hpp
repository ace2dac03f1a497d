#pragma once
// How the lens judges one access. Included by clearsky/simt/lens/implementation.hpp.

#include "clearsky/simt/lens/tracker.hpp"

namespace clearsky::simt {

inline lens::SiteNumber LensTracker::site_of(const void* pc) {
  Recent& r = recent_pcs_[reinterpret_cast<uintptr_t>(pc) % std::size(recent_pcs_)];
  if (r.pc == pc) return r.number;
  const auto [found, added] = numbers_.try_emplace(pc, lens::SiteNumber(pcs_.size()));
  if (added) {
    CLEARSKY_CHECK(ValueError, pcs_.size() < 0xffff, "Lens: kernels with more than ", pcs_.size(),
                   " accesses; use one lens for fewer launches");
    pcs_.push_back(static_cast<const char*>(pc) - 1);  // in the call, which the return address is behind
  }
  r = {pc, found->second};
  return found->second;
}

inline void LensTracker::access(const void* p, size_t bytes, AccessKind kind, const void* pc) {
  const auto at = reinterpret_cast<uintptr_t>(p);
  if (at - stack_ < Stack::kBytes) return;
  // What the compiler reads for threadIdx and its like.
  const auto is = [at](const auto& v) { return at - reinterpret_cast<uintptr_t>(&v) < sizeof v; };
  if (is(cuda::threadIdx) || is(cuda::blockIdx) || is(cuda::blockDim) || is(cuda::gridDim)) return;
  ++accesses_;
  const lens::SiteNumber site = site_of(pc);
  if (at - shared_.base < SharedMemory::kCapacity) return shared_access(at, bytes, kind, site, Count::yes);
  if (memory_.in_arena(p)) return global_access(at, bytes, kind, site, Count::yes);
  foreign_access(at, bytes, kind, site);
}

inline void LensTracker::shared_access(uintptr_t at, size_t bytes, AccessKind kind, lens::SiteNumber site,
                                       Count count) {
  const auto inside = [&](const Array& a) { return at >= a.base && at + bytes <= a.base + a.bytes; };
  if (std::none_of(arrays_.begin(), arrays_.end(), inside)) {
    if (FoundError* e = report(LensErrorKind::shared_bounds, site, 0)) {
      e->before = here() + (kind == AccessKind::read ? " reads " : " writes ") + std::to_string(bytes) + " bytes at ";
      e->middle = " outside of its shared arrays: " + place(true, at) + "; check the index and the array's size";
    }
    return;
  }
  if (count == Count::yes && options_.statistics) requests_.add(site, true, kind, me_, at - shared_.base, bytes);
  touch_cells<true>(shared_, at, bytes, kind, site);
}

inline lens::Shadow* LensTracker::global_shadow(uintptr_t at, size_t bytes, lens::SiteNumber site) {
  lens::Shadow*& recent = recent_[site % std::size(recent_)];
  if (recent != nullptr && recent->contains(at, bytes)) return recent;
  lens::Shadow* shadow = nullptr;
  {
    std::lock_guard lock(mutex_);
    shadow = find_shadow(at, bytes);
  }
  if (shadow == nullptr) {
    // Memory that is older than the lens counts as written. Asked without the lock, which the memory takes in its own.
    const auto [start, size] = memory_.allocation_of(reinterpret_cast<const void*>(at));
    if (start == nullptr || at + bytes > reinterpret_cast<uintptr_t>(start) + size) return nullptr;
    const auto base = reinterpret_cast<uintptr_t>(start);
    std::lock_guard lock(mutex_);
    shadow = &global_.insert_or_assign(base, lens::Shadow(base, size, true)).first->second;
  }
  recent = shadow;
  return shadow;
}

inline void LensTracker::global_access(uintptr_t at, size_t bytes, AccessKind kind, lens::SiteNumber site,
                                       Count count) {
  if (count == Count::yes && options_.statistics) requests_.add(site, false, kind, me_, at, bytes);
  lens::Shadow* shadow = global_shadow(at, bytes, site);
  if (shadow == nullptr) {
    if (FoundError* e = report(LensErrorKind::global_bounds, site, 0)) {
      e->before = here() + (kind == AccessKind::read ? " reads " : " writes ") + std::to_string(bytes) + " bytes at ";
      e->middle = " outside of every allocation: " + place(false, at) + "; check the index and the sizes";
    }
    // Between allocations there is memory, behind them there is none.
    const auto* first = reinterpret_cast<const void*>(at);
    const auto* last = reinterpret_cast<const void*>(at + bytes - 1);
    if (!memory_.handed_out(first) || !memory_.handed_out(last)) foreign_access(at, bytes, kind, site);
    return;
  }
  if (count == Count::yes && options_.statistics) {
    if (kind != AccessKind::write) sums_.read_bytes += int64_t(bytes);
    if (kind != AccessKind::read) sums_.written_bytes += int64_t(bytes);
    count_sectors(*shadow, at - shadow->base, bytes, kind);
  }
  touch_cells<false>(*shadow, at, bytes, kind, site);
}

/// Memory of the host; constants of the program are the kernel's own. What no one can touch ends the launch.
inline void LensTracker::foreign_access(uintptr_t at, size_t bytes, AccessKind kind, lens::SiteNumber site) {
  if (kind == AccessKind::read && at >= reinterpret_cast<uintptr_t>(&__executable_start) &&
      at < reinterpret_cast<uintptr_t>(&__data_start))
    return;
  const bool in_arena = memory_.in_arena(reinterpret_cast<const void*>(at));
  if (!in_arena)
    if (FoundError* e = report(LensErrorKind::not_device_memory, site, 0)) {
      e->before = here() + (kind == AccessKind::read ? " reads " : " writes ") + std::to_string(bytes) + " bytes at ";
      e->middle = std::string(" that are no device memory: ") +
                  (at < 65536 ? "a null pointer" : "a pointer of the host") +
                  "; copy the data to the device, and give the kernel that pointer";
    }
  if (in_arena || at < 65536 || at >> 47 != 0) {
    // Looks the lines up now: nothing else tells which access ended the launch.
    const std::vector<LensError> all = errors();
    Block& block = *thread_->block;
    block.stop(std::make_exception_ptr(ValueError(all.empty() ? "lens: stopped" : all.back().text)));
  }
}

inline void LensTracker::copy_asked(const AsyncCopy& copy) {
  const lens::SiteNumber site = site_of(copy.pc);
  const auto to = reinterpret_cast<uintptr_t>(copy.to), from = reinterpret_cast<uintptr_t>(copy.from);
  const auto read = [&](size_t bytes) {
    if (memory_.in_arena(copy.from)) global_access(from, bytes, AccessKind::read, site, Count::yes);
    else foreign_access(from, bytes, AccessKind::read, site);
  };
  accesses_ += 2;
  if (copy.valid != 0) read(size_t(copy.valid));
  shared_access(to, size_t(copy.bytes), AccessKind::write, site, Count::yes);
  shared_.each(to - shared_.base, size_t(copy.bytes), [&](lens::Cell& c, int) {
    c.flight_epoch = epoch_;
    c.flight_site = site;
  });
}

/// The copy may have happened at any time since it was asked for: what others did meanwhile races with it.
inline void LensTracker::copy_waited(const AsyncCopy& copy) {
  const lens::SiteNumber site = site_of(copy.pc);
  const auto to = reinterpret_cast<uintptr_t>(copy.to), from = reinterpret_cast<uintptr_t>(copy.from);
  shared_.each(to - shared_.base, size_t(copy.bytes), [&](lens::Cell& c, int) { c.flight_epoch = 0; });
  if (copy.valid != 0 && memory_.in_arena(copy.from))
    global_access(from, size_t(copy.valid), AccessKind::read, site, Count::no);
  shared_access(to, size_t(copy.bytes), AccessKind::write, site, Count::no);
}

template <bool Shared>
void LensTracker::touch_cells(lens::Shadow& shadow, uintptr_t at, size_t bytes, AccessKind kind,
                              lens::SiteNumber site) {
  uintptr_t now = at;
  shadow.each(at - shadow.base, bytes, [&](lens::Cell& c, int n) {
    touch<Shared>(c, n, kind, site, now);
    now += uintptr_t(n);
  });
}

template <bool Shared>
void LensTracker::touch(lens::Cell& c, int bytes, AccessKind kind, lens::SiteNumber site, uintptr_t at) {
  // Shared memory is new in each block.
  const uint32_t first = Shared ? block_first_ : launch_first_;
  const bool reads = kind != AccessKind::write, writes = kind != AccessKind::read;
  // Who comes to a copy that others just asked for races with it; below.
  if (Shared && c.flight_epoch >= block_first_ && (c.flight_epoch < epoch_ || ordered(c.writer, c.write_clock))) {
    if (FoundError* e = report(LensErrorKind::copy_under_way, site, c.flight_site)) {
      e->before = here() + (writes ? " writes at " : " reads at ");
      e->middle = " what cp.async copies since ";
      e->after = " and was not waited for: " + place(true, at) + "; call cp_wait, and then a barrier, before";
    }
    return;
  }
  // Against writes.
  if (c.write_epoch >= first) {
    if (!Shared && c.write_epoch < block_first_)
      race_of_blocks(kind, site, c.write_epoch, c.writer, "wrote", c.write_site, at);
    else if (c.write_epoch == epoch_ && !ordered(c.writer, c.write_clock))
      race(Shared, kind, site, c.writer, "wrote", c.write_site, at);
  }
  // Against atomic accesses, unless this is one.
  if (kind != AccessKind::atomic && c.first_atomic_epoch >= first) {
    const lens::Threads& atomics = atomics_[c.atomics];
    if (!Shared && c.first_atomic_epoch < block_first_)
      race_of_blocks(kind, site, c.first_atomic_epoch, lens::kNobody, "changed atomically", atomics.site, at);
    else if (atomics.epoch == epoch_)
      if (const uint16_t other = unordered_of(atomics); other != lens::kNobody)
        race(Shared, kind, site, other, "changed atomically",
             other == atomics.other ? atomics.other_site : atomics.site, at);
  }
  // Against reads.
  if (writes && c.first_read_epoch >= first) {
    if (!Shared && c.first_read_epoch < block_first_)
      race_of_blocks(kind, site, c.first_read_epoch, c.first_reader, "read", c.first_read_site, at);
    else if (c.readers.epoch == epoch_)
      if (const uint16_t other = unordered_of(c.readers); other != lens::kNobody)
        race(Shared, kind, site, other, "read", other == c.readers.other ? c.readers.other_site : c.readers.site, at);
  }
  const bool new_to_launch = c.write_epoch < first && c.first_atomic_epoch < first;
  if (reads) {
    if (!c.initialized) {
      if (FoundError* e = report(LensErrorKind::uninitialized, site, 0)) {
        e->before = here() + " reads at ";
        e->middle = std::string(Shared ? " shared" : " global") + " memory that nobody wrote: " + place(Shared, at) +
                    "; write it first, or do not read it";
      }
      c.initialized = true;  // said once
    }
    if (kind == AccessKind::read) {
      if (c.first_read_epoch < first) {
        c.first_read_epoch = epoch_, c.first_reader = me_, c.first_read_site = site;
        if (!Shared && new_to_launch) sums_.compulsory_read_bytes += bytes;
      }
      add_to(c.readers, site);
    }
  }
  if (!writes) return;
  if (!Shared && new_to_launch) {
    sums_.compulsory_written_bytes += bytes;
    if (kind == AccessKind::atomic && c.first_read_epoch < first) sums_.compulsory_read_bytes += bytes;
  }
  c.initialized = true;
  if (kind == AccessKind::atomic) {
    if (c.first_atomic_epoch < first) {
      c.first_atomic_epoch = epoch_;
      c.atomics = uint32_t(atomics_.size());
      atomics_.emplace_back();
    }
    add_to(atomics_[c.atomics], site);
    return;
  }
  c.write_epoch = epoch_;
  c.writer = me_;
  c.write_clock = known_[me_][me_ % 32];
  c.write_site = site;
}

/// How many sectors come and go, if everything is kept for the launch, for the block, or in a cache. The cache forgets
/// a sector when as many others were used since as it has room for; a use counts once per block, and twice where two
/// blocks share a sector, so that this is never too good.
inline void LensTracker::count_sectors(lens::Shadow& shadow, size_t offset, size_t bytes, AccessKind kind) {
  for (size_t i = offset / 32; i <= (offset + bytes - 1) / 32; ++i) {
    lens::Sector& s = shadow.sectors[i];
    if (kind != AccessKind::write && s.read_epoch < block_first_) {
      if (s.write_epoch < block_first_) {
        ++sums_.block_read_sectors;
        if (!use_cached(s)) ++sums_.cached_read_sectors;
      }
      if (s.read_epoch < launch_first_ && s.write_epoch < launch_first_) ++sums_.compulsory_read_sectors;
      s.read_epoch = epoch_;
    }
    if (kind != AccessKind::read && s.write_epoch < block_first_) {
      ++sums_.block_written_sectors;
      const bool kept = use_cached(s);
      if (!kept || !s.dirty) ++sums_.cached_written_sectors;  // goes to memory when it leaves the cache
      s.dirty = true;
      if (s.write_epoch < launch_first_) ++sums_.compulsory_written_sectors;
      s.write_epoch = epoch_;
    }
  }
}

}  // namespace clearsky::simt

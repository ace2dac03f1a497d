#pragma once
// The lens from launch to launch: epochs, clocks, and what is reported of them. Included by
// clearsky/simt/lens/implementation.hpp.

#include "clearsky/simt/lens/tracker.hpp"

namespace clearsky::simt {

inline void LensTracker::launch_begins(AnyKernel kernel, const cuda::dim3& grid, const cuda::dim3& block) {
  kernel_ = kernel;
  shape_ = block;
  launch_first_ = epoch_ + 1;
  cache_start_ = cache_uses_;
  blocks_.clear();
  atomics_.clear();
  error_at_.clear();
  sums_ = {};
  sums_.grid[0] = grid.x, sums_.grid[1] = grid.y, sums_.grid[2] = grid.z;
  sums_.block[0] = block.x, sums_.block[1] = block.y, sums_.block[2] = block.z;
  if (options_.statistics) requests_.start_launch(int(block.x * block.y * block.z));
}

inline void LensTracker::launch_ends() {
  thread_ = nullptr;
  // A launch with nothing to do is no error; one after the other is a program without instrumentation.
  if (accesses_ == 0)
    if (FoundError* e = report(LensErrorKind::nothing_seen, 0, 0))
      e->before = ": no access was seen; compile the kernel with -fsanitize=thread, and let it touch memory";
  if (!options_.statistics) return;
  Launched l{kernel_, std::move(sums_), {}};
  for (const auto& site : requests_.sites()) l.sites.emplace_back(site->number, site->sums);
  launched_.push_back(std::move(l));
  sums_ = {};
}

inline void LensTracker::block_begins(const cuda::uint3& index, const SharedMemory& shared) {
  block_first_ = ++epoch_;
  block_ = index;
  blocks_.emplace_back(epoch_, index);
  arrays_.clear();
  shared_.base = reinterpret_cast<uintptr_t>(shared.base());
}

inline void LensTracker::block_ends() {
  if (options_.statistics) requests_.all_met();
}

inline void LensTracker::warp_met(unsigned warp, uint32_t mask, bool orders_memory) {
  if (options_.statistics) requests_.met(warp);
  if (!orders_memory) return;
  ++meetings_;
  uint32_t heard[32] = {};
  for (uint32_t left = mask; left != 0; left &= left - 1) {
    const uint32_t* lane = known_[warp * 32 + unsigned(std::countr_zero(left))];
    for (int i = 0; i < 32; ++i) heard[i] = (std::max)(heard[i], lane[i]);
  }
  for (uint32_t left = mask; left != 0; left &= left - 1) heard[std::countr_zero(left)] = meetings_;
  for (uint32_t left = mask; left != 0; left &= left - 1)
    std::copy(heard, heard + 32, known_[warp * 32 + unsigned(std::countr_zero(left))]);
}

/// Null when this was said before; then it is counted only.
inline FoundError* LensTracker::report(LensErrorKind kind, lens::SiteNumber site, lens::SiteNumber other_site) {
  constexpr size_t kMost = 100;
  const auto [found, added] = error_at_.try_emplace({kernel_, kind, site, other_site}, errors_.size());
  if (!added) {
    ++errors_[found->second].times;
    return nullptr;
  }
  if (errors_.size() >= kMost) {
    error_at_.erase(found);
    return nullptr;
  }
  errors_.push_back({kind, site, other_site, kernel_, "", "", "", 1});
  return &errors_.back();
}

inline std::string LensTracker::place(bool shared, uintptr_t at) const {
  if (shared) {
    // The array that it is in, or behind whose end it lies.
    const Array* nearest = nullptr;
    for (const Array& a : arrays_)
      if (a.base <= at && (nearest == nullptr || a.base > nearest->base)) nearest = &a;
    if (nearest == nullptr) return "no shared array";
    return "byte " + std::to_string(at - nearest->base) + " of a shared array of " + std::to_string(nearest->bytes) +
           " bytes";
  }
  auto found = global_.upper_bound(at);
  const lens::Shadow* s = found == global_.begin() ? nullptr : &std::prev(found)->second;
  if (s == nullptr) return "no allocation";
  return "byte " + std::to_string(at - s->base) + " of an allocation of " + std::to_string(s->bytes) + " bytes";
}

namespace lens {
inline const char* verb(AccessKind kind) {
  return kind == AccessKind::read    ? " reads at "
         : kind == AccessKind::write ? " writes at "
                                     : " changes atomically at ";
}
}  // namespace lens

inline void LensTracker::race(bool shared, AccessKind mine, lens::SiteNumber site, uint16_t other, const char* did,
                              lens::SiteNumber other_site, uintptr_t at) {
  FoundError* e = report(shared ? LensErrorKind::shared_race : LensErrorKind::global_race, site, other_site);
  if (e == nullptr) return;
  const bool same_warp = other / 32 == me_ / 32;
  e->before = here() + lens::verb(mine);
  e->middle = std::string(" the ") + (shared ? "shared" : "global") + " memory that thread " + thread_text(other) +
              " " + did + " at ";
  e->after = ", with no barrier between: " + place(shared, at) + "; put " +
             (same_warp ? "__syncwarp() or __syncthreads()" : "__syncthreads()") + " between the two";
}

inline void LensTracker::race_of_blocks(AccessKind mine, lens::SiteNumber site, uint32_t other_epoch, uint16_t other,
                                        const char* did, lens::SiteNumber other_site, uintptr_t at) {
  FoundError* e = report(LensErrorKind::block_race, site, other_site);
  if (e == nullptr) return;
  e->before = here() + lens::verb(mine);
  e->middle = " the global memory that block " + block_text(other_epoch) +
              (other == lens::kNobody ? "" : ", thread " + thread_text(other)) + " " + did + " at ";
  e->after = ": " + place(false, at) + "; blocks of one launch have no order: use atomics, or two launches";
}

inline std::vector<LensError> LensTracker::errors() {
  std::vector<const void*> pcs;
  for (const FoundError& e : errors_)
    for (const void* pc : {pcs_[e.site], pcs_[e.other_site], reinterpret_cast<const void*>(e.kernel)})
      if (pc != nullptr) pcs.push_back(pc);
  symbols_.look_up(pcs);
  // A line may have several accesses, the compiler may have made several of one, and kernels run many times.
  std::vector<std::pair<const FoundError*, LensError>> all;
  for (const FoundError& e : errors_) {
    LensError error{e.kind, line_of(e.site), line_of(e.other_site), kernel_name(e.kernel), "", e.times};
    const bool race = e.kind == LensErrorKind::shared_race || e.kind == LensErrorKind::global_race ||
                      e.kind == LensErrorKind::block_race;  // seen from both sides
    const auto same = [&](const auto& known) {
      const LensError& k = known.second;
      const std::string a = to_text(k.line), b = to_text(k.other), c = to_text(error.line), d = to_text(error.other);
      return k.kind == error.kind && k.kernel == error.kernel && ((a == c && b == d) || (race && a == d && b == c));
    };
    const auto known = std::find_if(all.begin(), all.end(), same);
    if (known != all.end()) known->second.times += e.times;
    else all.emplace_back(&e, std::move(error));
  }
  std::vector<LensError> errors;
  for (auto& [e, error] : all) {
    error.text = "lens: " + error.kernel + e->before;
    if (e->site != 0) error.text += to_text(error.line);
    error.text += e->middle;
    if (e->other_site != 0) error.text += to_text(error.other);
    error.text += e->after;
    if (error.times > 1) error.text += " (" + std::to_string(error.times) + " times)";
    errors.push_back(std::move(error));
  }
  return errors;
}

inline std::vector<LensLaunch> LensTracker::launches() {
  std::vector<const void*> pcs;
  for (const Launched& l : launched_) {
    pcs.push_back(reinterpret_cast<const void*>(l.kernel));
    for (const auto& [site, sums] : l.sites) pcs.push_back(pcs_[site]);
  }
  symbols_.look_up(pcs);
  std::vector<LensLaunch> all;
  for (const Launched& l : launched_) {
    LensLaunch launch = l.sums;
    launch.kernel = kernel_name(l.kernel);
    // A line may have several accesses, and the compiler may have made several of one.
    std::map<std::tuple<std::string, int, bool, AccessKind, uintptr_t>, LensLine> lines;
    for (const auto& [site, sums] : l.sites) {
      const SourceLine line = line_of(site);
      LensLine& sum = lines[{line.file, line.line, sums.shared, sums.access, line.file.empty() ? line.address : 0}];
      sum.line = line, sum.shared = sums.shared, sum.access = sums.access;
      sum.requests += sums.requests, sum.lanes += sums.lanes, sum.bytes += sums.bytes;
      sum.sectors += sums.sectors, sum.ideal_sectors += sums.ideal_sectors;
      sum.wavefronts += sums.wavefronts, sum.ideal_wavefronts += sums.ideal_wavefronts;
      sum.worst_ways = (std::max)(sum.worst_ways, sums.worst_ways);
    }
    for (auto& [key, line] : lines) launch.lines.push_back(std::move(line));
    all.push_back(std::move(launch));
  }
  return all;
}

}  // namespace clearsky::simt

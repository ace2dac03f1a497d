#pragma once
// Barriers of a block, and the functions of a warp: shuffles and votes.
//
// Each function takes its caller's file and line as default arguments, for the reports.

#include "clearsky/simt/block.hpp"

#define CLEARSKY_SIMT_CALLER const char *file = __builtin_FILE(), int line = __builtin_LINE()

namespace clearsky::simt {

enum class Shuffle { from_lane, up, down, exclusive_or };

/// One lane's part in a shuffle.
template <class T>
struct ShufflePart {
  T value, result;
  int source;  // lane of the warp
};

template <class T>
void complete_shuffle(Thread* const* lanes, uint32_t mask) {
  for (int i = 0; i < kWarp; ++i) {
    if ((mask >> i & 1) == 0) continue;
    auto& part = *static_cast<ShufflePart<T>*>(lanes[i]->part);
    CLEARSKY_CHECK(ValueError, (mask >> part.source & 1) != 0, "simt: lane ", i, " of warp ", lanes[i]->number / kWarp,
                   " reads lane ", part.source, " at ", to_text(lanes[i]->site), ", but only the lanes ",
                   mask_text(mask),
                   " take part; give the mask all lanes that are read, and let none of them return early");
    part.result = static_cast<ShufflePart<T>*>(lanes[part.source]->part)->value;
  }
}

/// The lane that `lane` reads. Tiles of `width` lanes shuffle on their own; a lane that would read beyond its tile
/// reads itself.
/// @source  PTX ISA 8.0, sec. 9.7.8.6, shfl.sync
inline int shuffle_source(Shuffle kind, int lane, int argument, int width) {
  const int first = lane & ~(width - 1), last = first + width - 1;
  switch (kind) {
    case Shuffle::from_lane:
      return first + (argument & (width - 1));
    case Shuffle::up:
      return lane - argument >= first ? lane - argument : lane;
    case Shuffle::down:
      return lane + argument <= last ? lane + argument : lane;
    case Shuffle::exclusive_or:
      return (lane ^ argument) <= last ? lane ^ argument : lane;
  }
  return lane;
}

template <class T>
T shuffle(Shuffle kind, uint32_t mask, T value, int argument, int width, const Site& site) {
  [[maybe_unused]] const Quiet quiet;
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 2, "a shuffle moves 2, 4 or 8 bytes");
  CLEARSKY_CHECK(ValueError, 1 <= width && width <= kWarp && (width & (width - 1)) == 0, "simt: ", to_text(site),
                 " has width ", width, "; use a power of two up to 32");
  // More than a warp is not undefined, but never meant: up and down would return each lane's own value.
  CLEARSKY_CHECK(ValueError, kind == Shuffle::from_lane || (0 <= argument && argument < kWarp), "simt: ", to_text(site),
                 " has offset ", argument, "; use 0 to 31");
  ShufflePart<T> part{value, value, shuffle_source(kind, Block::current->number % kWarp, argument, width)};
  Block::current->block->rendezvous(site, mask, &complete_shuffle<T>, &part);
  return part.result;
}

struct VotePart {
  bool predicate;
  uint32_t result;
};

inline void complete_vote(Thread* const* lanes, uint32_t mask) {
  uint32_t votes = 0;
  for (int i = 0; i < kWarp; ++i)
    if ((mask >> i & 1) != 0 && static_cast<VotePart*>(lanes[i]->part)->predicate) votes |= 1u << i;
  for (int i = 0; i < kWarp; ++i)
    if ((mask >> i & 1) != 0) static_cast<VotePart*>(lanes[i]->part)->result = votes;
}

inline uint32_t vote(uint32_t mask, bool predicate, const Site& site) {
  [[maybe_unused]] const Quiet quiet;
  VotePart part{predicate, 0};
  Block::current->block->rendezvous(site, mask, &complete_vote, &part);
  return part.result;
}

inline int barrier(const Site& site, bool predicate) {
  [[maybe_unused]] const Quiet quiet;
  return Block::current->block->barrier(site, predicate);
}

inline void warp_barrier(const Site& site, uint32_t mask) {
  [[maybe_unused]] const Quiet quiet;
  Block::current->block->rendezvous(
      site, mask, [](Thread* const*, uint32_t) {}, nullptr, true);
}

inline uint32_t live_lanes() {
  [[maybe_unused]] const Quiet quiet;
  return Block::current->block->live_lanes();
}

}  // namespace clearsky::simt

namespace clearsky::cuda::inline CLEARSKY_MEANING {

inline void __syncthreads(CLEARSKY_SIMT_CALLER) {
  simt::barrier({"__syncthreads", file, line}, false);
}
inline int __syncthreads_count(int predicate, CLEARSKY_SIMT_CALLER) {
  return simt::barrier({"__syncthreads_count", file, line}, predicate != 0);
}
inline int __syncthreads_or(int predicate, CLEARSKY_SIMT_CALLER) {
  return simt::barrier({"__syncthreads_or", file, line}, predicate != 0) != 0;
}
inline int __syncthreads_and(int predicate, CLEARSKY_SIMT_CALLER) {
  return simt::barrier({"__syncthreads_and", file, line}, predicate == 0) == 0;
}

inline void __syncwarp(unsigned mask = 0xffffffffu, CLEARSKY_SIMT_CALLER) {
  simt::warp_barrier({"__syncwarp", file, line}, mask);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = warpSize, CLEARSKY_SIMT_CALLER) {
  return simt::shuffle(simt::Shuffle::from_lane, mask, value, lane, width, {"__shfl_sync", file, line});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned offset, int width = warpSize, CLEARSKY_SIMT_CALLER) {
  return simt::shuffle(simt::Shuffle::up, mask, value, int(offset), width, {"__shfl_up_sync", file, line});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned offset, int width = warpSize, CLEARSKY_SIMT_CALLER) {
  return simt::shuffle(simt::Shuffle::down, mask, value, int(offset), width, {"__shfl_down_sync", file, line});
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize, CLEARSKY_SIMT_CALLER) {
  return simt::shuffle(simt::Shuffle::exclusive_or, mask, value, lanes, width, {"__shfl_xor_sync", file, line});
}

inline unsigned __ballot_sync(unsigned mask, int predicate, CLEARSKY_SIMT_CALLER) {
  return simt::vote(mask, predicate != 0, {"__ballot_sync", file, line});
}
inline int __any_sync(unsigned mask, int predicate, CLEARSKY_SIMT_CALLER) {
  return simt::vote(mask, predicate != 0, {"__any_sync", file, line}) != 0;
}
inline int __all_sync(unsigned mask, int predicate, CLEARSKY_SIMT_CALLER) {
  return simt::vote(mask, predicate == 0, {"__all_sync", file, line}) == 0;
}

/// The lanes that have not ended. A device gives those that happen to run together, which is no mask to rely on: a
/// kernel that takes its masks from here inside a branch is reported as stuck.
inline unsigned __activemask() {
  return simt::live_lanes();
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

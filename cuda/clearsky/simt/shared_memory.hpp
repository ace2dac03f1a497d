#pragma once
// The shared memory of one block: full of NaN when the block starts, with guarded gaps behind each array.

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "clearsky/simt/fiber.hpp"
#include "clearsky/simt/watch.hpp"

namespace clearsky::simt {

inline constexpr size_t kSharedWithoutAttribute = size_t(48) << 10;
/// What an sm_80 gives one block that asks for it.
inline constexpr size_t kSharedLimit = size_t(163) << 10;

class SharedMemory {
 public:
  SharedMemory() : memory_(kCapacity + kAlign) {
    const size_t past = reinterpret_cast<uintptr_t>(memory_.data()) % kAlign;
    base_ = memory_.data() + (past == 0 ? 0 : kAlign - past);
  }
#if CLEARSKY_SIMT_ASAN
  ~SharedMemory() {
    ASAN_UNPOISON_MEMORY_REGION(memory_.data(), memory_.size());
  }
#endif
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  /// Forgets what the last block had.
  void start_block(size_t dynamic_bytes) {
    arrays_.clear();
    used_ = static_bytes_ = 0;
    dynamic_bytes_ = dynamic_bytes;
#if CLEARSKY_SIMT_ASAN
    ASAN_POISON_MEMORY_REGION(base_, kCapacity);
#endif
    add(nullptr, dynamic_bytes);
  }

  static constexpr size_t kCapacity = size_t(512) << 10;  // room for the gaps of a few hundred arrays
  const std::byte* base() const {
    return base_;
  }

  std::byte* dynamic_array() const {
    return base_;
  }

  /// The array that the declaration `site` names, made by the first thread that comes to it.
  std::byte* static_array(const void* site, size_t bytes) {
    for (const Array& a : arrays_)
      if (a.site == site) return base_ + a.offset;
    static_bytes_ += bytes;
    CLEARSKY_CHECK(ValueError, static_bytes_ <= kSharedWithoutAttribute, "simt: the kernel declares ", static_bytes_,
                   " bytes of static shared memory, a block can have ", kSharedWithoutAttribute,
                   "; use dynamic shared memory and allow_shared()");
    CLEARSKY_CHECK(ValueError, static_bytes_ + dynamic_bytes_ <= kSharedLimit, "simt: the kernel uses ", static_bytes_,
                   " bytes of static and ", dynamic_bytes_, " of dynamic shared memory, a block can have ",
                   kSharedLimit, "; use smaller tiles");
    std::byte* array = add(site, bytes);
    if constexpr (kLens)
      if (watcher != nullptr) watcher->shared_array(array, bytes);
    return array;
  }

  bool contains(const void* p, size_t bytes) const {
    const auto at = reinterpret_cast<uintptr_t>(p), base = reinterpret_cast<uintptr_t>(base_);
    for (const Array& a : arrays_)
      if (at >= base + a.offset && at + bytes <= base + a.offset + a.bytes) return true;
    return false;
  }

  /// Throws when the block wrote behind the end of an array, as far as the gap reaches.
  void check_gaps() const {
    for (const Array& a : arrays_) {
      const std::byte* gap = base_ + a.offset + a.bytes;
      const size_t bytes = gap_bytes(a.bytes);
#if CLEARSKY_SIMT_ASAN
      ASAN_UNPOISON_MEMORY_REGION(gap, bytes);
#endif
      for (size_t i = 0; i < bytes; ++i)
        CLEARSKY_CHECK(ValueError, gap[i] == kGapByte, "simt: the kernel wrote ", i, " bytes behind the end of a ",
                       a.site == nullptr ? "dynamic" : "static", " shared array of ", a.bytes,
                       " bytes; check its size and its indices");
    }
  }

 private:
  struct Array {
    const void* site;  // null for the dynamic array
    size_t offset, bytes;
  };

  static constexpr size_t kAlign = 128;
  static constexpr size_t kGap = 128;
  static constexpr std::byte kGapByte{0xfd};

  /// Up to the next multiple of kAlign, and kGap more.
  static size_t gap_bytes(size_t bytes) {
    return (kAlign - bytes % kAlign) % kAlign + kGap;
  }

  std::byte* add(const void* site, size_t bytes) {
    const size_t offset = used_;
    used_ += bytes + gap_bytes(bytes);
    CLEARSKY_CHECK(ValueError, used_ <= kCapacity, "simt: ", arrays_.size(),
                   " shared arrays in one kernel; declare fewer and larger ones");
    arrays_.push_back({site, offset, bytes});
#if CLEARSKY_SIMT_ASAN
    ASAN_UNPOISON_MEMORY_REGION(base_ + offset, bytes + gap_bytes(bytes));
#endif
    // All bits set is a NaN as float, double, half and bfloat16, and -1 as an integer.
    std::memset(base_ + offset, 0xff, bytes);
    std::memset(base_ + offset + bytes, int(kGapByte), gap_bytes(bytes));
#if CLEARSKY_SIMT_ASAN
    ASAN_POISON_MEMORY_REGION(base_ + offset + bytes, gap_bytes(bytes));
#endif
    return base_ + offset;
  }

  std::vector<std::byte> memory_;
  std::byte* base_;
  std::vector<Array> arrays_;
  size_t used_ = 0, static_bytes_ = 0, dynamic_bytes_ = 0;
};

}  // namespace clearsky::simt

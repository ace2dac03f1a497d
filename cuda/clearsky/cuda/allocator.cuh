#pragma once
// Device memory for tensors: freed blocks are kept for the next tensor. On a device, asking the driver would wait for
// all work.
//
// Blocks are stream-ordered: a block is given out again as soon as it comes back, while kernels that use it may still
// be queued, because whatever the next owner does is queued behind them on the same stream. Work on another stream must
// wait for an event first (clearsky/cuda/stream.cuh).

#include <algorithm>
#include <bit>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "clearsky/core/device.hpp"
#include "clearsky/cuda/memory.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

class CachingAllocator {
 public:
  /// Blocks that only one captured graph uses: its replays write to the addresses that were seen at the capture, so
  /// that no other tensor may have them as long as it lives.
  struct PrivatePool {
    std::multimap<size_t, void*> free;
    std::vector<std::pair<void*, size_t>> all;
  };

  /// Never destroyed: tensors in static storage may outlive any order of destruction.
  static CachingAllocator& global() {
    static CachingAllocator* const allocator = new CachingAllocator;
    return *allocator;
  }

  /// @throws MemoryError when the device has not enough left, even after giving back what is kept
  void* allocate(size_t bytes) {
    std::lock_guard lock(mutex_);
    const size_t size = block_bytes(bytes);
    auto& free = private_ != nullptr ? private_->free : free_;
    void* p = nullptr;
    if (const auto found = free.find(size); found != free.end()) {
      p = found->second;
      free.erase(found);
      forget_device(p, size);
    } else {
      p = from_device(size);
      if (private_ != nullptr) private_->all.emplace_back(p, size);
    }
    owners_[p] = private_;
    stats_.live_bytes += int64_t(size);
    stats_.peak_bytes = (std::max)(stats_.peak_bytes, stats_.live_bytes);
    return p;
  }

  void release(void* p, size_t bytes) {
    std::lock_guard lock(mutex_);
    const size_t size = block_bytes(bytes);
    const auto owner = owners_.find(p);
    if (owner == owners_.end()) return;  // of a graph that is gone
    (owner->second != nullptr ? owner->second->free : free_).emplace(size, p);
    owners_.erase(owner);
    stats_.live_bytes -= int64_t(size);
  }

  /// Gives what nobody holds back to the device.
  void trim() {
    std::lock_guard lock(mutex_);
    trim_locked();
  }

  MemoryStats stats() const {
    std::lock_guard lock(mutex_);
    return stats_;
  }
  void reset_peak() {
    std::lock_guard lock(mutex_);
    stats_.peak_bytes = stats_.live_bytes;
  }

  /// While set, blocks come from and go to this pool.
  void use_private(PrivatePool* pool) {
    std::lock_guard lock(mutex_);
    private_ = pool;
  }
  /// Gives a graph's blocks back to the device; tensors that still hold some must not be used any more.
  void drop_private(PrivatePool& pool) {
    std::lock_guard lock(mutex_);
    for (const auto& [p, size] : pool.all) {
      if (const auto owner = owners_.find(p); owner != owners_.end()) {
        owners_.erase(owner);
        stats_.live_bytes -= int64_t(size);
      }
      device_release(p);
      stats_.reserved_bytes -= int64_t(size);
    }
    pool.all.clear();
    pool.free.clear();
  }

 private:
  /// 8 sizes per power of two, so at most an eighth of a block is unused; 512 bytes at least.
  static size_t block_bytes(size_t bytes) {
    constexpr size_t kLeast = 512;
    if (bytes <= kLeast) return kLeast;
    const size_t step = (std::max)(kLeast, std::bit_floor(bytes - 1) / 8);
    return (bytes + step - 1) / step * step;
  }

  void* from_device(size_t size) {
    void* p = nullptr;
    try {
      p = device_allocate(size);
    } catch (const MemoryError&) {  // what is kept, in blocks of other sizes, may be what is missing
      if (private_ != nullptr) throw;
      trim_locked();
      p = device_allocate(size);
    }
    stats_.reserved_bytes += int64_t(size);
    ++stats_.system_allocations;
    return p;
  }

  void trim_locked() {
    for (const auto& [size, p] : free_) {
      device_release(p);
      stats_.reserved_bytes -= int64_t(size);
    }
    free_.clear();
  }

  mutable std::mutex mutex_;
  std::multimap<size_t, void*> free_;
  std::unordered_map<void*, PrivatePool*> owners_;
  PrivatePool* private_ = nullptr;
  MemoryStats stats_;
};

/// Memory for one kernel's scratch space.
class DeviceScratch {
 public:
  explicit DeviceScratch(int64_t floats)
      : bytes_(size_t(floats) * sizeof(float)),
        data_(floats == 0 ? nullptr : CachingAllocator::global().allocate(bytes_)) {}
  ~DeviceScratch() {
    if (data_ != nullptr) CachingAllocator::global().release(data_, bytes_);
  }
  DeviceScratch(const DeviceScratch&) = delete;
  DeviceScratch& operator=(const DeviceScratch&) = delete;
  float* data() const { return static_cast<float*>(data_); }

 private:
  size_t bytes_;
  void* data_;
};

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

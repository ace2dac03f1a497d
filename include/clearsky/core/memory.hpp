#pragma once
// A caching pool of 64-byte-aligned memory. Blocks go back to the pool, not to the system: memory given back and
// taken again costs a page fault per 4 KiB, which makes a large copy several times slower.

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CLEARSKY_ADDRESS_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define CLEARSKY_ADDRESS_SANITIZER
#endif
#if defined(CLEARSKY_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#endif

#include "clearsky/core/arena.hpp"
#include "clearsky/core/device.hpp"
#include "clearsky/core/error.hpp"

namespace clearsky {

namespace detail {

inline constexpr size_t kAlignment = 64;

/// For tests: while on, fresh memory holds 0xff bytes (NaN for floating point), and 64 bytes behind each block are
/// checked when it comes back. Set it before the first allocation, and leave it.
inline bool guard_memory = false;
inline std::atomic<int64_t> memory_overruns{0};  ///< blocks that were written behind their end

// A pool hides from the address sanitizer that memory was given back, and where it ends: tell it. Nothing otherwise.
#if defined(CLEARSKY_ADDRESS_SANITIZER)
inline void forbid_access(const void* p, size_t bytes) {
  __asan_poison_memory_region(p, bytes);
}
inline void permit_access(const void* p, size_t bytes) {
  __asan_unpoison_memory_region(p, bytes);
}
#else
inline void forbid_access(const void*, size_t) {}
inline void permit_access(const void*, size_t) {}
#endif

/// Large blocks come from an arena. Small ones are kept by size class, 8 classes per power of two: no block is more
/// than an eighth larger than what was asked for.
class MemoryPool {
 public:
  /// The pool of the program's own threads. Never destroyed: tensors in static storage may outlive any order of
  /// destruction.
  static MemoryPool& global() {
    static MemoryPool* const pool = &number(0);
    return *pool;
  }

  /// Pool `i` of the process, made when first asked for. Threads that run beside the program's own ones have pools of
  /// their own (PoolOfThread): what each takes then depends on its own work alone and not on what happens at the same
  /// time elsewhere, so that in a steady state not even an unlucky coincidence asks the system for more.
  static MemoryPool& number(size_t i) {
    Registry& r = registry();
    std::lock_guard lock(r.mutex);
    for (const auto& [number, pool] : r.pools)
      if (number == i) return *pool;
    return *r.pools.emplace_back(i, new MemoryPool).second;
  }

  /// The pool of this thread.
  static MemoryPool& current() { return thread_pool_ != nullptr ? *thread_pool_ : global(); }

  template <class Visit>
  static void each(Visit&& visit) {
    Registry& r = registry();
    std::lock_guard lock(r.mutex);
    for (const auto& [number, pool] : r.pools) visit(*pool);
  }

  void* allocate(size_t bytes) {
    if (!guard_memory) [[likely]]
      return take(bytes);
    auto* p = static_cast<unsigned char*>(take(bytes + kAlignment));
    std::memset(p, 0xff, bytes);
    std::memset(p + bytes, kCanary, kAlignment);
    forbid_access(p + bytes, kAlignment);
    return p;
  }

  void release(void* p, size_t bytes) noexcept {
    if (!guard_memory) [[likely]]
      return put_back(p, bytes);
    const auto* behind = static_cast<unsigned char*>(p) + bytes;
    permit_access(behind, kAlignment);
    if (std::any_of(behind, behind + kAlignment, [](unsigned char c) { return c != kCanary; })) ++memory_overruns;
    put_back(p, bytes + kAlignment);
  }

 private:
  static constexpr unsigned char kCanary = 0xa5;

  void* take(size_t bytes) {
    std::lock_guard lock(mutex_);
    if (bytes > kMostBytes) fail_allocation(bytes);
    size_t block = Arena::block_bytes(bytes);
    void* p = bytes >= kLargeBytes ? from_arena(block) : nullptr;
    if (p == nullptr) {
      const int index = class_of(bytes);
      block = class_bytes(index);
      auto& list = free_[index];
      if (!list.empty()) {
        p = list.back();
        list.pop_back();
      } else {
        p = from_system(block);
      }
    }
    stats_.live_bytes += int64_t(block);
    if (stats_.live_bytes > stats_.peak_bytes) stats_.peak_bytes = stats_.live_bytes;
    permit_access(p, bytes);
    return p;
  }

  void put_back(void* p, size_t bytes) noexcept {
    std::lock_guard lock(mutex_);
    const bool large = arena_.owns(p);
    const size_t block = large ? Arena::block_bytes(bytes) : class_bytes(class_of(bytes));
    forbid_access(p, block);
    stats_.live_bytes -= int64_t(block);
    if (large) arena_.put_back(p, block);
    else free_[class_of(bytes)].push_back(p);
  }

  /// Null where the arena has no room, which the system's own allocation may have.
  void* from_arena(size_t block) {
    const size_t extent = arena_.extent();
    void* const p = arena_.take(block);
    if (arena_.extent() != extent) {
      stats_.reserved_bytes += int64_t(arena_.extent() - extent);
      ++stats_.system_allocations;
    }
    return p;
  }

  void trim_locked() {
    const size_t extent = arena_.extent();
    arena_.trim();
    stats_.reserved_bytes -= int64_t(extent - arena_.extent());
    for (int i = 0; i < kClasses; ++i) {
      for (void* p : free_[i]) {
        permit_access(p, class_bytes(i));
        std::free(p);
      }
      stats_.reserved_bytes -= int64_t(class_bytes(i) * free_[i].size());
      free_[i].clear();
    }
  }

 public:
  /// Gives every block that nobody holds back to the system.
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

 private:
  static constexpr int kClasses = 8 * 48;
  static constexpr size_t kLargeBytes = 32768;           ///< from here on blocks come from the arena
  static constexpr size_t kMostBytes = size_t(1) << 55;  ///< beyond any address space, and within the classes

  /// The smallest class that holds `bytes`. Class 8 e + m has (8 + m) * 2^(e + 3) bytes: 64, 72 -> rounded to 128 ...
  static int class_of(size_t bytes) {
    const size_t units = bytes <= kAlignment ? 1 : (bytes + kAlignment - 1) / kAlignment;  // of 64 bytes
    if (units <= 8) return int(units) - 1;
    const int exponent = int(std::bit_width(units - 1)) - 4;  // units - 1 in [2^(e+3), 2^(e+4))
    const size_t step = size_t(1) << exponent;
    const size_t rounded = (units + step - 1) / step;  // 9 .. 16
    return 8 + exponent * 8 + int(rounded) - 9;
  }
  static size_t class_bytes(int index) {
    if (index < 8) return size_t(index + 1) * kAlignment;
    const int exponent = (index - 8) / 8, m = (index - 8) % 8 + 9;
    return (size_t(m) << exponent) * kAlignment;
  }

  void* from_system(size_t block) {
    constexpr size_t kHugePage = size_t(2) << 20;
    const size_t alignment = block >= 2 * kHugePage ? kHugePage : kAlignment;
    const size_t rounded = (block + alignment - 1) / alignment * alignment;
    void* p = std::aligned_alloc(alignment, rounded);
    if (p == nullptr) {  // the pool itself may hold what is missing, in blocks of other sizes
      trim_locked();
      p = std::aligned_alloc(alignment, rounded);
    }
    if (p == nullptr) fail_allocation(block);
    forbid_access(p, block);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (alignment == kHugePage) (void)::madvise(p, block, MADV_HUGEPAGE);
#endif
    stats_.reserved_bytes += int64_t(block);
    ++stats_.system_allocations;
    return p;
  }

  [[noreturn]] void fail_allocation(size_t bytes) const {
    CLEARSKY_FAIL(MemoryError, "allocate: the system has no ", bytes, " bytes left (", stats_.live_bytes,
                  " are in use); use a smaller batch or tile");
  }

  struct Registry {
    std::mutex mutex;
    std::vector<std::pair<size_t, MemoryPool*>> pools;  // those that somebody asked for
  };
  static Registry& registry() {
    static Registry* const r = new Registry;
    return *r;
  }

  friend class PoolOfThread;
  static inline thread_local MemoryPool* thread_pool_ = nullptr;

  mutable std::mutex mutex_;
  Arena arena_;
  std::vector<void*> free_[kClasses];
  MemoryStats stats_;
};

/// While alive, this thread takes its memory from pool `i`. Pool 0 is the program's own, the threads of parallel_for
/// have 1 and up, and threads that prepare data kDataPool.
class [[nodiscard]] PoolOfThread {
 public:
  static constexpr size_t kDataPool = 1024;
  explicit PoolOfThread(size_t i) : before_(std::exchange(MemoryPool::thread_pool_, &MemoryPool::number(i))) {}
  ~PoolOfThread() { MemoryPool::thread_pool_ = before_; }
  PoolOfThread(const PoolOfThread&) = delete;
  PoolOfThread& operator=(const PoolOfThread&) = delete;

 private:
  MemoryPool* before_;
};

/// For standard containers that should not touch the system's heap in a steady state.
template <class T>
struct PoolAllocator {
  using value_type = T;
  PoolAllocator() = default;
  template <class U>
  PoolAllocator(const PoolAllocator<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(MemoryPool::current().allocate(n * sizeof(T))); }
  void deallocate(T* p, size_t n) noexcept { MemoryPool::current().release(p, n * sizeof(T)); }
  template <class U>
  friend bool operator==(const PoolAllocator&, const PoolAllocator<U>&) {
    return true;
  }
};

}  // namespace detail

/// A vector whose memory comes from the pool: 64-byte aligned, kept for the next one. For kernels' scratch space.
template <class T>
using Workspace = std::vector<T, detail::PoolAllocator<T>>;

/// Memory from the pool, not initialised; for a kernel's scratch space.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : bytes_(size_t(count) * sizeof(T)),
        pool_(&detail::MemoryPool::current()),
        data_(static_cast<T*>(pool_->allocate(bytes_))) {}
  Scratch(Scratch&& other) noexcept
      : bytes_(other.bytes_), pool_(std::exchange(other.pool_, nullptr)), data_(std::exchange(other.data_, nullptr)) {}
  ~Scratch() {
    if (pool_ != nullptr) pool_->release(data_, bytes_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* data() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }

 private:
  size_t bytes_;
  detail::MemoryPool* pool_;
  T* data_;
};

/// Over the pools of all threads. The peak is the sum of the pools' own peaks.
inline MemoryStats memory_stats(Device device = Device::cpu) {
  if (device != Device::cpu) return device_runtime(device).memory();
  MemoryStats total;
  detail::MemoryPool::each([&](const detail::MemoryPool& pool) {
    const MemoryStats s = pool.stats();
    total.live_bytes += s.live_bytes;
    total.peak_bytes += s.peak_bytes;
    total.reserved_bytes += s.reserved_bytes;
    total.system_allocations += s.system_allocations;
  });
  return total;
}
inline void reset_peak_memory(Device device = Device::cpu) {
  if (device != Device::cpu) return device_runtime(device).reset_peak();
  detail::MemoryPool::each([](detail::MemoryPool& pool) { pool.reset_peak(); });
}
/// Gives cached memory that nobody holds back to the system.
inline void release_cached_memory(Device device = Device::cpu) {
  if (device != Device::cpu) return device_runtime(device).release_cached();
  detail::MemoryPool::each([](detail::MemoryPool& pool) { pool.trim(); });
}

}  // namespace clearsky

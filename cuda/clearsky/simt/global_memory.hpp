#pragma once
// The memory of the emulated device. Kernels and copies may touch it and nobody else, as on a device: while neither
// runs, the system protects it, so that host code which forgot to copy ends with a message and not with a right answer.

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "clearsky/core/error.hpp"
#include "clearsky/simt/fiber.hpp"

namespace clearsky::simt {

/// What happens to global memory, for who wants to know (clearsky/simt/lens.hpp).
struct MemoryObserver {
  virtual ~MemoryObserver() = default;
  virtual void allocated(const void* p, size_t bytes) = 0;  ///< holds nothing yet
  virtual void released(const void* p) = 0;
  virtual void written(const void* p, size_t bytes) = 0;    ///< by a copy or a fill
  virtual void forgotten(const void* p, size_t bytes) = 0;  ///< holds nothing again
};

class GlobalMemory {
 public:
  /// Never destroyed: tensors in static storage may outlive any order of destruction.
  static GlobalMemory& global() {
    static GlobalMemory* const memory = new GlobalMemory;
    return *memory;
  }

  /// Memory of exactly this size as far as checks go: full of NaN, with guarded bytes behind it.
  /// @throws MemoryError when the arena is full
  void* allocate(size_t bytes) {
    std::lock_guard lock(mutex_);
    const size_t room = (bytes + kGuard + kAlign - 1) / kAlign * kAlign;
    std::byte* p = nullptr;
    // The smallest free part that fits, unless most of it would lie idle.
    if (const auto found = free_.lower_bound(room); found != free_.end() && found->first <= room + room / 4) {
      p = found->second;
      live_[p] = {bytes, found->first};
      free_.erase(found);
    } else {
      CLEARSKY_CHECK(MemoryError, room <= size_t(base_ + kArena - top_), "simt: no ", bytes,
                     " bytes left of the emulated device's ", kArena, "; use smaller tensors");
      p = top_;
      top_ += room;
      live_[p] = {bytes, room};
      if (open_ > 0 || !closed_) protect(PROT_READ | PROT_WRITE);
    }
    open();
    prepare(p, live_[p].room, bytes);
    close();
    if (observer_ != nullptr) observer_->allocated(p, bytes);
    return p;
  }

  /// Counts in overruns() what was written behind the end. @throws ValueError when p is no allocation
  void release(void* p) {
    std::lock_guard lock(mutex_);
    const auto found = live_.find(static_cast<std::byte*>(p));
    CLEARSKY_CHECK(ValueError, found != live_.end(), "simt: memory is given back that was not allocated, or twice");
    const Allocation a = found->second;
    if (observer_ != nullptr) observer_->released(p);
    open();
    const auto* guard = static_cast<unsigned char*>(p) + a.bytes;
    allow(guard, kGuard);
    if (std::any_of(guard, guard + kGuard, [](unsigned char c) { return c != kGuardByte; })) {
      ++overruns_;
      std::fprintf(stderr, "simt: a kernel wrote behind the end of %zu bytes of global memory\n", a.bytes);
    }
    forbid(p, a.room);
    close();
    free_.emplace(a.room, found->first);
    live_.erase(found);
  }
  /// How many allocations had bytes behind their end written. No destructor may throw, so that tests ask for this.
  int overruns() const {
    std::lock_guard lock(mutex_);
    return overruns_;
  }

  /// The start and size of the allocation that p points into; {nullptr, 0} when there is none.
  std::pair<const void*, size_t> allocation_of(const void* p) const {
    std::lock_guard lock(mutex_);
    auto at = live_.upper_bound(const_cast<std::byte*>(static_cast<const std::byte*>(p)));
    if (at == live_.begin()) return {nullptr, 0};
    --at;
    if (static_cast<const std::byte*>(p) >= at->first + at->second.bytes) return {nullptr, 0};
    return {at->first, at->second.bytes};
  }
  /// Whether p was part of an allocation at some time, or between two.
  bool handed_out(const void* p) const { return base_ <= p && p < top_; }
  bool in_arena(const void* p) const { return base_ <= p && p < base_ + kArena; }
  size_t live_bytes() const {
    std::lock_guard lock(mutex_);
    size_t bytes = 0;
    for (const auto& [p, a] : live_) bytes += a.bytes;
    return bytes;
  }

  void copy(void* to, const void* from, size_t bytes) {
    const Access access;
    if (bytes != 0) std::memmove(to, from, bytes);
    if (observer_ != nullptr && in_arena(to)) observer_->written(to, bytes);
  }
  void fill(void* p, int byte, size_t bytes) {
    const Access access;
    std::memset(p, byte, bytes);
    if (observer_ != nullptr) observer_->written(p, bytes);
  }
  /// Makes memory that somebody keeps for later look as if it were fresh.
  void forget(void* p, size_t bytes) {
    const Access access;
    std::memset(p, 0xff, bytes);
    if (observer_ != nullptr) observer_->forgotten(p, bytes);
  }

  /// Whether the memory is closed while no kernel and no copy runs: two system calls per launch, which cost more than
  /// small kernels do. On at first.
  void set_closed_to_host(bool on) {
    std::lock_guard lock(mutex_);
    if (open_ == 0 && on != closed_) protect(on ? PROT_NONE : PROT_READ | PROT_WRITE);
    closed_ = on;
  }

  void observe(MemoryObserver* observer) { observer_ = observer; }

  /// While one is alive, the memory can be read and written.
  class [[nodiscard]] Access {
   public:
    Access() {
      std::lock_guard lock(global().mutex_);
      global().open();
    }
    ~Access() {
      std::lock_guard lock(global().mutex_);
      global().close();
    }
    Access(const Access&) = delete;
    Access& operator=(const Access&) = delete;
  };

 private:
  struct Allocation {
    size_t bytes, room;
  };
  static constexpr size_t kArena = size_t(64) << 30;  // of addresses; memory is taken as it is touched
  static constexpr size_t kAlign = 256;               // as cudaMalloc
  static constexpr size_t kGuard = 64;
  static constexpr unsigned char kGuardByte = 0xfd;

  GlobalMemory() {
    void* p = ::mmap(nullptr, kArena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CLEARSKY_CHECK(MemoryError, p != MAP_FAILED, "simt: the system gives no ", kArena,
                   " bytes of addresses for the emulated device; raise the limit of virtual memory");
    base_ = top_ = static_cast<std::byte*>(p);
    arena_begin = base_, arena_end = base_ + kArena;
    struct sigaction action {};
    action.sa_sigaction = &explain;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGSEGV, &action, &before);
  }

  void open() {
    if (open_++ == 0 && closed_) protect(PROT_READ | PROT_WRITE);
  }
  void close() {
    if (--open_ == 0 && closed_) protect(PROT_NONE);
  }
  void protect(int how) {
    const auto page = size_t(::sysconf(_SC_PAGESIZE));
    const size_t used = (size_t(top_ - base_) + page - 1) / page * page;
    if (used != 0) (void)::mprotect(base_, used, how);
  }

  /// NaN as float, double, half and bfloat16, -1 as an integer; guarded behind.
  static void prepare(std::byte* p, size_t room, size_t bytes) {
    allow(p, room);
    std::memset(p, 0xff, bytes);
    std::memset(p + bytes, kGuardByte, room - bytes);
    forbid(p + bytes, room - bytes);
  }
#if CLEARSKY_SIMT_ASAN
  static void allow(const void* p, size_t bytes) {
    ASAN_UNPOISON_MEMORY_REGION(p, bytes);
  }
  static void forbid(const void* p, size_t bytes) {
    ASAN_POISON_MEMORY_REGION(p, bytes);
  }
#else
  static void allow(const void*, size_t) {}
  static void forbid(const void*, size_t) {}
#endif

  /// Says why, then lets the program end as it would have without us.
  static void explain(int, siginfo_t* info, void*) {
    static constexpr char kText[] =
        "clearsky: host code touched the memory of the simt device; copy the tensor with to(Device::cpu) first\n";
    if (arena_begin <= info->si_addr && info->si_addr < arena_end)
      (void)!::write(STDERR_FILENO, kText, sizeof kText - 1);
    ::sigaction(SIGSEGV, &before, nullptr);
  }
  static inline const void *arena_begin = nullptr, *arena_end = nullptr;
  static inline struct sigaction before {};

  mutable std::mutex mutex_;
  std::byte *base_ = nullptr, *top_ = nullptr;
  int open_ = 0, overruns_ = 0;
  bool closed_ = true;
  std::map<std::byte*, Allocation> live_;
  std::multimap<size_t, std::byte*> free_;
  MemoryObserver* observer_ = nullptr;
};

}  // namespace clearsky::simt

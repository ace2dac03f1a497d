#pragma once
// What simt tells the lens (clearsky/simt/lens.hpp), in programs that are compiled with CLEARSKY_SIMT_LENS=1. In all
// others nothing here does anything.

#include <cstddef>
#include <cstdint>

#ifndef CLEARSKY_SIMT_LENS
#define CLEARSKY_SIMT_LENS 0
#endif

// The lens names the line that a call returns to. Functions that pass a kernel's access on must be part of the kernel.
#if CLEARSKY_SIMT_LENS
#define CLEARSKY_SIMT_INLINE [[gnu::always_inline]] inline
#else
#define CLEARSKY_SIMT_INLINE inline
#endif

namespace clearsky::cuda::inline on_cpu {
struct uint3;
struct dim3;
}  // namespace clearsky::cuda::inline on_cpu

namespace clearsky::simt {

inline constexpr bool kLens = CLEARSKY_SIMT_LENS;

struct Thread;
class SharedMemory;

using AnyKernel = void (*)();

enum class AccessKind : uint8_t { read, write, atomic };

struct AsyncCopy {
  void* to;
  const void* from;
  int bytes, valid;  // zeros are written behind the valid ones
  const void* pc;    // where it was asked for
};

struct Watcher {
  virtual ~Watcher() = default;
  virtual void launch_begins(AnyKernel kernel, const cuda::dim3& grid, const cuda::dim3& block) = 0;
  virtual void launch_ends() = 0;
  virtual void block_begins(const cuda::uint3& index, const SharedMemory& shared) = 0;
  virtual void block_ends() = 0;
  virtual void shared_array(const void* p, size_t bytes) = 0;
  virtual void thread_runs(const Thread& t) = 0;
  /// Every thread of the block came to a barrier, and goes on.
  virtual void block_synchronized() = 0;
  /// Lanes of a warp met. Only __syncwarp orders what they do to memory; shuffles and votes do not
  /// (CUDA C++ Programming Guide, "Warp Shuffle Functions").
  virtual void warp_met(unsigned warp, uint32_t mask, bool orders_memory) = 0;
  virtual void access(const void* p, size_t bytes, AccessKind kind, const void* pc) = 0;
  virtual void copy_asked(const AsyncCopy& copy) = 0;
  virtual void copy_waited(const AsyncCopy& copy) = 0;
};

/// Null while this thread has no lens. With one, the blocks of its launches run on this thread.
inline constinit thread_local Watcher* watcher = nullptr;

#if CLEARSKY_SIMT_LENS

// Defined in the one unit that includes clearsky/simt/lens/implementation.hpp, which is not instrumented: here even
// switching the lens off would be an access that it sees.
bool set_watching(bool on);
[[gnu::noinline]] const void* return_address();
void note_access(const void* p, size_t bytes, AccessKind kind);

/// While alive, what runs is simt's own work, and not the kernel's.
class [[nodiscard]] Quiet {
 public:
  Quiet() : before_(set_watching(false)) {}
  ~Quiet() { set_watching(before_); }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  bool before_;
};
/// While alive, what runs is a kernel.
class [[nodiscard]] Kernel {
 public:
  Kernel() { set_watching(watcher != nullptr); }
  ~Kernel() { set_watching(false); }
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;
};

#else

inline const void* return_address() {
  return nullptr;
}
inline void note_access(const void*, size_t, AccessKind) {}
struct Quiet {
  Quiet() {}
};
struct Kernel {
  Kernel() {}
};

#endif

}  // namespace clearsky::simt

#pragma once
// How a thread waits for another one that is nearly done, and where it runs.

#include <chrono>
#include <thread>
#if defined(__linux__)
#include <sched.h>
#endif

namespace clearsky::detail {

/// The processor that this thread runs on, or -1 where the system does not say.
inline int current_processor() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

/// Moves this thread to another processor than `taken`, if it may run on another one; it is bound to none afterwards
/// that it was not bound to before. False where the system has no such call or no other processor.
inline bool leave_processor(int taken) {
#if defined(__linux__)
  cpu_set_t allowed;
  if (taken < 0 || taken >= CPU_SETSIZE || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return false;
  cpu_set_t others = allowed;
  CPU_CLR(taken, &others);
  if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others) != 0) return false;
  return sched_setaffinity(0, sizeof allowed, &allowed) == 0;
#else
  (void)taken;
  return false;
#endif
}

/// Waits without sleeping, since to sleep and to be woken takes longer than most operations: first on the processor
/// alone, then handing it to whoever else wants it.
class SpinWait {
 public:
  /// @param alone  whether each waiting thread has a processor of its own; without one, to spin holds up the others
  explicit SpinWait(bool alone) : pausing_(alone) {}

  /// False once it is time to sleep.
  bool step() {
    if (pausing_) {
      for (int i = 0; i < kPausesPerLook; ++i) pause();
      pausing_ = since() < kPauseFor;
      return true;
    }
    std::this_thread::yield();
    return since() < kYieldFor;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int kPausesPerLook = 8;
  static constexpr std::chrono::microseconds kPauseFor{100}, kYieldFor{2000};

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }
  Clock::duration since() const {
    return Clock::now() - began_;
  }

  Clock::time_point began_ = Clock::now();
  bool pausing_;
};

}  // namespace clearsky::detail

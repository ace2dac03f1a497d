#pragma once
// How a thread waits for another one that is nearly done, and where it runs.

#include <chrono>
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
/// that it was not bound to before. Nothing happens where the system has no such call or no other processor.
inline void leave_processor([[maybe_unused]] int taken) {
#if defined(__linux__)
  cpu_set_t allowed;
  if (taken < 0 || taken >= CPU_SETSIZE || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  cpu_set_t others = allowed;
  CPU_CLR(taken, &others);
  if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others) != 0) return;
  (void)sched_setaffinity(0, sizeof allowed, &allowed);
#endif
}

/// Waits on the processor for a while, since to sleep and to be woken takes longer than most operations. Never with
/// yield(): where other programs want the processor, that hands it to them for milliseconds, while a thread that sleeps
/// gets it back as soon as it is woken.
class SpinWait {
 public:
  /// False once it is time to sleep.
  bool step() {
    for (int i = 0; i < kPausesPerLook; ++i) pause();
    return Clock::now() - began_ < kLongest;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int kPausesPerLook = 8;
  static constexpr std::chrono::microseconds kLongest{200};

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }

  Clock::time_point began_ = Clock::now();
};

}  // namespace clearsky::detail

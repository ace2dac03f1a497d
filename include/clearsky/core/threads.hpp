#pragma once
// A thread pool with a static partition. Work is cut into blocks whose borders do not depend on the number of threads,
// so that every result has the same bits whatever that number is.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

#include "clearsky/core/error.hpp"
#include "clearsky/core/memory.hpp"
#include "clearsky/core/processor.hpp"

namespace clearsky {
namespace detail {

inline thread_local bool inside_parallel_region = false;

class ThreadPool {
 public:
  using Body = void (*)(void* context, int64_t thread, int64_t threads);

  static ThreadPool& global() {
    static ThreadPool pool;
    return pool;
  }

  int64_t threads() const { return threads_.load(std::memory_order_relaxed); }

  void resize(int64_t threads) {
    CLEARSKY_CHECK(ValueError, 1 <= threads && threads <= 1024, "set_threads: ", threads, " threads; use 1 to 1024");
    CLEARSKY_CHECK(ValueError, !inside_parallel_region,
                   "set_threads: called by a body of parallel_for; call it before the loop");
    std::lock_guard busy(busy_);
    if (threads == this->threads()) return;
    stop();
    start(threads - 1);
  }

  /// Runs body(context, t, threads()) once for each t, the caller being thread 0. Runs everything on the caller when
  /// it is inside a parallel region already, or when another thread has the pool.
  void run(Body body, void* context) {
    if (threads() == 1 || inside_parallel_region || !busy_.try_lock()) {
      body(context, 0, 1);
      return;
    }
    std::lock_guard busy(busy_, std::adopt_lock);
    body_ = body;
    context_ = context;
    caller_processor_.store(current_processor(), std::memory_order_relaxed);
    error_ = nullptr;
    pending_.store(int64_t(workers_.size()), std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    inside_parallel_region = true;
    guarded(0);
    inside_parallel_region = false;
    // The others have as much to do as the caller had: they are nearly done.
    await([&] { return pending_.load(std::memory_order_acquire) == 0; },
          [&] {
            const int64_t left = pending_.load(std::memory_order_acquire);
            if (left != 0) pending_.wait(left, std::memory_order_acquire);
          });
    if (error_) std::rethrow_exception(error_);
  }

 private:
  ThreadPool() { start(hardware_threads() - 1); }
  ~ThreadPool() { stop(); }

  static int64_t hardware_threads() { return int64_t((std::max)(1u, std::thread::hardware_concurrency())); }

  template <class Done, class Sleep>
  void await(Done&& done, Sleep&& sleep) const {
    SpinWait spin;
    while (!done())
      if (!one_each_ || !spin.step()) sleep();  // without a processor of its own, a waiting thread holds up the others
  }

  void start(int64_t count) {
    stopping_ = false;
    one_each_ = count < hardware_threads();
    const uint64_t seen = generation_.load();
    try {
      for (int64_t t = 1; t <= count; ++t) workers_.emplace_back([this, t, seen] { work(t, seen); });
    } catch (const std::system_error&) {
      const int64_t started = int64_t(workers_.size());
      stop();
      CLEARSKY_FAIL(ValueError, "set_threads: the system starts ", started, " of ", count, " threads; use fewer");
    }
    threads_.store(count + 1);
  }

  void stop() {
    stopping_ = true;
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    for (auto& w : workers_) w.join();
    workers_.clear();
    threads_.store(1);
  }

  void work(int64_t thread, uint64_t seen) {
    const PoolOfThread memory{size_t(thread)};
    inside_parallel_region = true;
    while (true) {
      await([&] { return generation_.load(std::memory_order_acquire) != seen; },
            [&] { generation_.wait(seen, std::memory_order_acquire); });
      // A thread that was woken may find itself on the processor of the one that woke it, where each then waits for the
      // other's turn, for good: the system sees one thread running at any time, and no reason to part them.
      const int here = one_each_ ? current_processor() : -1;
      if (here >= 0 && here == caller_processor_.load(std::memory_order_relaxed)) leave_processor(here);
      ++seen;
      if (stopping_) return;
      guarded(thread);
      if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_all();
    }
  }

  void guarded(int64_t thread) {
    try {
      body_(context_, thread, threads());
    } catch (...) {
      std::lock_guard lock(error_mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }

  bool one_each_ = false;  // a processor for each thread; changes only while there are no workers
  std::atomic<int> caller_processor_{-1};
  std::vector<std::thread> workers_;
  std::mutex busy_;
  std::mutex error_mutex_;
  std::exception_ptr error_;
  Body body_ = nullptr;
  void* context_ = nullptr;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int64_t> pending_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<int64_t> threads_{1};
};

}  // namespace detail

/// The number of threads that parallel_for uses; at start, one per hardware thread.
inline int64_t threads() {
  return detail::ThreadPool::global().threads();
}

/// Sets the number of threads. No result depends on it, only the time taken.
/// @throws ValueError when outside 1 to 1024
inline void set_threads(int64_t count) {
  detail::ThreadPool::global().resize(count);
}

namespace detail {

/// parallel_for without the type of its body: compiled once, and not for each body.
[[gnu::noinline]] inline void run_blocks(int64_t count, int64_t grain, void* body,
                                         void (*run)(void* body, int64_t begin, int64_t end)) {
  if (count <= 0) return;
  const int64_t blocks = (count + grain - 1) / grain;
  if (blocks == 1) return run(body, 0, count);
  struct Context {
    void* body;
    void (*run)(void*, int64_t, int64_t);
    int64_t count, grain, blocks;
  } context{body, run, count, grain, blocks};
  ThreadPool::global().run(
      [](void* raw, int64_t thread, int64_t threads) {
        const Context& c = *static_cast<Context*>(raw);
        const int64_t first = c.blocks * thread / threads, last = c.blocks * (thread + 1) / threads;
        for (int64_t b = first; b < last; ++b) c.run(c.body, b * c.grain, (std::min)(c.count, (b + 1) * c.grain));
      },
      &context);
}

}  // namespace detail

/// Calls body(begin, end) for the blocks [0, grain), [grain, 2 grain), ... of [0, count), spread over the threads.
///
/// The borders depend on count and grain alone, each block runs on one thread, and each thread takes a contiguous run
/// of blocks: a body that writes only to its own block gives the same bits for any number of threads.
/// Nested calls run on their caller. An exception in a body reaches the caller after all threads are done.
///
/// @param grain  elements per block, at least 1
template <class Body>
void parallel_for(int64_t count, int64_t grain, Body&& body) {
  using Loop = std::remove_reference_t<Body>;
  detail::run_blocks(count, grain, const_cast<std::remove_const_t<Loop>*>(&body),
                     [](void* loop, int64_t begin, int64_t end) { (*static_cast<Loop*>(loop))(begin, end); });
}

/// Calls body(first, last) on each thread that gets work, with a contiguous run of the items 0 .. count - 1: for work
/// in which an item can go on from what the one before left behind. What an item writes must have the same bits
/// wherever a run begins, since that depends on the number of threads.
template <class Body>
void parallel_runs(int64_t count, Body&& body) {
  if (count <= 0) return;
  struct Context {
    Body& body;
    int64_t count;
  } context{body, count};
  detail::ThreadPool::global().run(
      [](void* raw, int64_t thread, int64_t threads) {
        const Context& c = *static_cast<Context*>(raw);
        const int64_t first = c.count * thread / threads, last = c.count * (thread + 1) / threads;
        if (first < last) c.body(first, last);
      },
      &context);
}

/// The sum of part(begin, end) over the blocks of parallel_for, added in the order of the blocks.
/// @param part  returns the sum over its block, as Sum
template <class Sum, class Part>
Sum parallel_sum(int64_t count, int64_t grain, Part&& part) {
  if (count <= 0) return Sum{};
  const int64_t blocks = (count + grain - 1) / grain;
  if (blocks == 1) return part(int64_t(0), count);
  Workspace<Sum> parts(static_cast<size_t>(blocks));
  parallel_for(count, grain, [&](int64_t begin, int64_t end) { parts[size_t(begin / grain)] = part(begin, end); });
  Sum total{};
  for (const Sum& p : parts) total += p;
  return total;
}

}  // namespace clearsky

#include "clearsky/core/threads.hpp"

#include <doctest/doctest.h>

#include <sched.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>

namespace clearsky {
namespace {

/// Sets the number of threads, and sets it back at the end of the scope.
class WithThreads {
 public:
  explicit WithThreads(int64_t count) : before_(threads()) { set_threads(count); }
  ~WithThreads() { set_threads(before_); }
  WithThreads(const WithThreads&) = delete;
  WithThreads& operator=(const WithThreads&) = delete;

 private:
  int64_t before_;
};

TEST_CASE("parallel_for: each element once, in blocks whose borders depend on count and grain alone") {
  for (int64_t n : {1, 2, 3, 5, 8}) {
    const WithThreads guard(n);
    CHECK(threads() == n);
    for (int64_t count : {1, 7, 64, 1000})
      for (int64_t grain : {1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
        std::atomic<int> bad_borders{0};
        parallel_for(count, grain, [&](int64_t begin, int64_t end) {
          if (begin % grain != 0 || end != std::min(count, begin + grain)) ++bad_borders;
          for (int64_t i = begin; i < end; ++i) ++seen[size_t(i)];
        });
        CHECK(bad_borders == 0);
        CHECK(std::all_of(seen.begin(), seen.end(), [](const auto& s) { return s == 1; }));
      }
  }
}

TEST_CASE("parallel_for: each thread takes one contiguous run of blocks") {
  const WithThreads guard(3);
  std::vector<std::thread::id> owner(30);
  parallel_for(30, 1, [&](int64_t begin, int64_t) { owner[size_t(begin)] = std::this_thread::get_id(); });
  int changes = 0;
  for (size_t i = 1; i < owner.size(); ++i) changes += owner[i] != owner[i - 1];
  CHECK(changes == 2);
  for (size_t i = 0; i < 10; ++i) CHECK(owner[i] == std::this_thread::get_id());  // the caller is thread 0
}

TEST_CASE("parallel_for: nothing to do, and one block, stay on the caller") {
  const WithThreads guard(3);
  int calls = 0;
  parallel_for(0, 10, [&](int64_t, int64_t) { ++calls; });
  parallel_for(-5, 10, [&](int64_t, int64_t) { ++calls; });
  CHECK(calls == 0);
  parallel_for(10, 10, [&](int64_t begin, int64_t end) {
    ++calls;
    CHECK(begin == 0);
    CHECK(end == 10);
  });
  CHECK(calls == 1);
}

TEST_CASE("parallel_for: an exception on any thread reaches the caller, and the pool works on") {
  for (int64_t n : {1, 2, 4}) {
    const WithThreads guard(n);
    for (int64_t culprit : {0, 3, 7}) {
      std::atomic<int> blocks{0};
      const auto run = [&] {
        parallel_for(8, 1, [&](int64_t begin, int64_t) {
          ++blocks;
          if (begin == culprit) throw std::runtime_error("block " + std::to_string(begin));
        });
      };
      CHECK_THROWS_WITH_AS(run(), ("block " + std::to_string(culprit)).c_str(), std::runtime_error);
    }
    std::atomic<int64_t> sum{0};
    parallel_for(100, 1, [&](int64_t begin, int64_t) { sum += begin; });
    CHECK(sum == 4950);
  }
}

TEST_CASE("parallel_for: nested calls run on their caller") {
  const WithThreads guard(4);
  std::atomic<int> inner{0}, elsewhere{0};
  parallel_for(4, 1, [&](int64_t, int64_t) {
    const auto me = std::this_thread::get_id();
    parallel_for(10, 1, [&](int64_t, int64_t) {
      ++inner;
      elsewhere += std::this_thread::get_id() != me;
    });
  });
  CHECK(inner == 40);
  CHECK(elsewhere == 0);
}

TEST_CASE("parallel_for: two callers at once both finish") {
  const WithThreads guard(3);
  std::atomic<int64_t> total{0};
  const auto work = [&] {
    for (int round = 0; round < 200; ++round) parallel_for(64, 4, [&](int64_t b, int64_t e) { total += e - b; });
  };
  std::thread other(work);
  work();
  other.join();
  CHECK(total == 2 * 200 * 64);
}

TEST_CASE("parallel_sum: the same bits for any number of threads") {
  const auto sum = [] {
    return parallel_sum<float>(100000, 1000, [](int64_t begin, int64_t end) {
      float s = 0;
      for (int64_t i = begin; i < end; ++i) s += 1.0f / float(i + 1);
      return s;
    });
  };
  const float one = [&] {
    const WithThreads guard(1);
    return sum();
  }();
  for (int64_t n : {2, 3, 7}) {
    const WithThreads guard(n);
    CHECK(sum() == one);
  }
  CHECK(parallel_sum<int>(0, 10, [](int64_t, int64_t) { return 1; }) == 0);
}

TEST_CASE("parallel_for: a worker does not stay on its caller's processor") {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) {
    MESSAGE("skipped: there is one processor only");
    return;
  }
  const WithThreads guard(2);
  int together = 0;
  for (int round = 0; round < 20; ++round) {
    // Asleep by now, so that waking it is up to the system, which likes to wake where it was woken from.
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    int processor[2];
    parallel_for(2, 1, [&](int64_t i, int64_t) { processor[i] = sched_getcpu(); });
    // Either may be moved by the system in between: so once in a while, but not for good.
    together += processor[0] == processor[1];
  }
  CHECK(together <= 10);
  cpu_set_t after;
  std::thread::id worker;
  bool bound = false;
  parallel_for(2, 1, [&](int64_t i, int64_t) {
    if (i == 0) return;
    worker = std::this_thread::get_id();
    bound = sched_getaffinity(0, sizeof after, &after) != 0 || !CPU_EQUAL(&after, &allowed);
  });
  CHECK(worker != std::this_thread::get_id());
  CHECK_FALSE(bound);
}

TEST_CASE("set_threads refuses what cannot be") {
  CHECK_THROWS_WITH_AS(set_threads(0), doctest::Contains("set_threads: 0 threads; use 1 to 1024"), ValueError);
  CHECK_THROWS_AS(set_threads(-2), ValueError);
  CHECK_THROWS_AS(set_threads(1025), ValueError);
  const WithThreads guard(2);
  const auto inside = [] { parallel_for(2, 1, [](int64_t, int64_t) { set_threads(3); }); };
  CHECK_THROWS_WITH_AS(inside(), doctest::Contains("set_threads: called by a body of parallel_for"), ValueError);
  CHECK(threads() == 2);
}

}  // namespace
}  // namespace clearsky

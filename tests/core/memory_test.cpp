#include "clearsky/core/memory.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "clearsky/core/pointer.hpp"
#include "clearsky/core/tensor.hpp"

namespace clearsky {
namespace {

// The test program keeps 64 guard bytes behind each block (tests/main.cpp).
int64_t guard_bytes() {
  return detail::guard_memory ? int64_t(detail::kAlignment) : 0;
}

TEST_CASE("pool: blocks are aligned, large enough, and at most an eighth too large") {
  detail::MemoryPool pool;
  for (size_t bytes = 0; bytes < 20000; bytes += bytes < 1300 ? 1 : 37) {
    void* p = pool.allocate(bytes);
    const int64_t block = pool.stats().live_bytes, wanted = int64_t(bytes) + guard_bytes();
    REQUIRE(reinterpret_cast<uintptr_t>(p) % 64 == 0);
    REQUIRE(block >= wanted);
    REQUIRE(block % 64 == 0);
    REQUIRE(block < wanted * 9 / 8 + 64);
    pool.release(p, bytes);
    REQUIRE(pool.stats().live_bytes == 0);
  }
  for (int64_t bytes = 1; bytes < (1 << 23); bytes = bytes * 21 / 16 + 1) {
    for (int64_t near : {bytes - 1, bytes, bytes + 1}) {
      void* p = pool.allocate(size_t(near));
      const int64_t block = pool.stats().live_bytes, wanted = near + guard_bytes();
      CHECK(block >= wanted);
      CHECK(block < wanted * 9 / 8 + 64);
      if (near > 0) static_cast<char*>(p)[near - 1] = 1;
      pool.release(p, size_t(near));
    }
  }
  pool.trim();
}

TEST_CASE("pool: a block that comes back is given out again, and counters follow") {
  detail::MemoryPool pool;
  void* a = pool.allocate(1000);
  const MemoryStats one = pool.stats();
  CHECK(one.system_allocations == 1);
  CHECK(one.peak_bytes == one.live_bytes);
  CHECK(one.reserved_bytes == one.live_bytes);
  void* b = pool.allocate(1000);
  CHECK(a != b);
  CHECK(pool.stats().live_bytes == 2 * one.live_bytes);
  pool.release(a, 1000);
  pool.release(b, 1000);
  const MemoryStats idle = pool.stats();
  CHECK(idle.live_bytes == 0);
  CHECK(idle.peak_bytes == 2 * one.live_bytes);
  CHECK(idle.reserved_bytes == 2 * one.live_bytes);

  void* again = pool.allocate(990);  // another size of the same class
  CHECK((again == a || again == b));
  CHECK(pool.stats().system_allocations == 2);
  pool.reset_peak();
  CHECK(pool.stats().peak_bytes == one.live_bytes);
  pool.release(again, 990);

  pool.trim();
  CHECK(pool.stats().reserved_bytes == 0);
  CHECK(pool.stats().live_bytes == 0);
}

TEST_CASE("pool: what cannot be had is refused, and nothing is counted") {
  detail::MemoryPool pool;
  for (const size_t bytes : {size_t(1) << 54, size_t(1) << 62, ~size_t(0) - 4096}) {
    CHECK_THROWS_WITH_AS((void)pool.allocate(bytes), doctest::Contains("use a smaller batch or tile"), MemoryError);
    CHECK(pool.stats().live_bytes == 0);
    CHECK(pool.stats().peak_bytes == 0);
    CHECK(pool.stats().system_allocations == 0);
  }
}

TEST_CASE("pool: with the guard on, fresh memory is NaN") {
  REQUIRE(detail::guard_memory);
  const Scratch<float> scratch(100);
  for (int64_t i = 0; i < 100; ++i) CHECK(std::isnan(scratch[i]));
  CHECK(std::isnan(Tensor<double>({3}).data()[2]));
}

// Under the address sanitizer the write itself ends the program.
#if !defined(CLEARSKY_ADDRESS_SANITIZER)
TEST_CASE("pool: with the guard on, a write behind a block is counted") {
  REQUIRE(detail::guard_memory);
  const int64_t before = detail::memory_overruns.load();
  {
    const Scratch<float> scratch(5);
    scratch.data()[5] = 1;
  }
  CHECK(detail::memory_overruns.load() == before + 1);
  detail::memory_overruns = before;  // it was meant: main.cpp must not fail the program for it
}
#endif

TEST_CASE("Workspace and Tensor take their memory from the pool and settle") {
  const int64_t live = memory_stats().live_bytes;
  const auto round = [] {
    Workspace<double> w(1000, 1.0);
    Tensor<float> t({17, 31});
    t.mutable_data()[0] = float(w[999]);
  };
  round();
  const int64_t asked = memory_stats().system_allocations;
  for (int i = 0; i < 100; ++i) round();
  CHECK(memory_stats().system_allocations == asked);
  CHECK(memory_stats().live_bytes == live);
}

TEST_CASE("peak memory is that since the last reset") {
  reset_peak_memory();
  const int64_t live = memory_stats().live_bytes;
  CHECK(memory_stats().peak_bytes == live);
  { const Tensor<float> t({1 << 20}); }
  CHECK(memory_stats().peak_bytes >= live + (int64_t(4) << 20));
  CHECK(memory_stats().peak_bytes <= live + (int64_t(5) << 20));
  reset_peak_memory();
  CHECK(memory_stats().peak_bytes == live);
  const int64_t reserved = memory_stats().reserved_bytes;
  release_cached_memory();
  CHECK(memory_stats().reserved_bytes <= reserved - (int64_t(4) << 20));
}

TEST_CASE("Pointer counts its references") {
  struct Counted : detail::RefCounted {
    explicit Counted(int& gone) : gone_(gone) {}
    ~Counted() override { ++gone_; }
    int& gone_;
  };
  int gone = 0;
  {
    detail::Pointer<Counted> a(new Counted(gone));
    CHECK(a->references() == 1);
    detail::Pointer<Counted> b = a, c = std::move(a);
    CHECK_FALSE(bool(a));  // NOLINT(bugprone-use-after-move)
    CHECK(b == c);
    CHECK(b->references() == 2);
    const auto& itself = c;
    c = itself;
    b = {};
    CHECK(c->references() == 1);
    CHECK(gone == 0);
    c.reset();
    CHECK(gone == 1);
    c.reset();
  }
  CHECK(gone == 1);
}

}  // namespace
}  // namespace clearsky

#include "clearsky/core/arena.hpp"

#include <doctest/doctest.h>
#include <sys/sysinfo.h>

#include <cstring>
#include <fstream>
#include <map>

#include "clearsky/core/philox.hpp"

namespace clearsky::detail {
namespace {

constexpr size_t kGranule = Arena::kGranule;

TEST_CASE("arena: neighbours that came back are one range again") {
  Arena arena;
  char* const a = static_cast<char*>(arena.take(4 * kGranule));
  char* const b = static_cast<char*>(arena.take(4 * kGranule));
  char* const c = static_cast<char*>(arena.take(4 * kGranule));
  char* const last = static_cast<char*>(arena.take(kGranule));
  REQUIRE(a != nullptr);
  CHECK(b == a + 4 * kGranule);
  CHECK(c == b + 4 * kGranule);
  for (const auto& order : {std::vector<char*>{a, b, c}, {c, b, a}, {a, c, b}, {b, a, c}, {b, c, a}}) {
    for (char* p : order) arena.put_back(p, 4 * kGranule);
    CHECK(arena.take(12 * kGranule) == a);
    arena.put_back(a, 12 * kGranule);
    for (char* p : {a, b, c}) CHECK(arena.take(4 * kGranule) == p);
  }
  CHECK(arena.growths() == 1);
  CHECK(arena.owns(a));
  CHECK(arena.owns(last));
  CHECK_FALSE(arena.owns(&arena));
}

TEST_CASE("arena: the range that fits best is taken, the first of equals") {
  Arena arena;
  std::vector<void*> blocks;
  const size_t sizes[] = {8, 1, 3, 1, 5, 1, 3, 1};  // granules
  for (size_t s : sizes) blocks.push_back(arena.take(s * kGranule));
  for (size_t i : {0u, 2u, 4u, 6u}) arena.put_back(blocks[i], sizes[i] * kGranule);
  CHECK(arena.take(3 * kGranule) == blocks[2]);
  CHECK(arena.take(3 * kGranule) == blocks[6]);
  CHECK(arena.take(3 * kGranule) == blocks[4]);
  CHECK(arena.take(3 * kGranule) == blocks[0]);
}

TEST_CASE("arena: blocks never overlap, keep what is written, and a repeated step asks the system no more") {
  Arena arena;
  int64_t growths = 0;
  size_t extent = 0;
  for (int step = 0; step < 4; ++step) {
    std::map<char*, size_t> live;
    const Key key{7};  // the same sizes in the same order in every step
    for (uint64_t i = 0; i < 400; ++i) {
      if (live.size() > 40 || (!live.empty() && key.integer(2 * i, 3) == 0)) {
        auto at = live.begin();
        std::advance(at, key.integer(1000 + i, int64_t(live.size())));
        bool kept = true;
        for (size_t k = 0; k < at->second; k += kGranule) kept &= at->first[k] == char(at->second / kGranule);
        REQUIRE(kept);
        arena.put_back(at->first, at->second);
        live.erase(at);
        continue;
      }
      const size_t bytes = size_t(1 + key.integer(2 * i + 1, 300)) * kGranule;
      char* const p = static_cast<char*>(arena.take(bytes));
      REQUIRE(p != nullptr);
      const auto next = live.lower_bound(p);
      if (next != live.end()) REQUIRE(p + bytes <= next->first);
      if (next != live.begin()) REQUIRE(std::prev(next)->first + std::prev(next)->second <= p);
      std::memset(p, int(bytes / kGranule), bytes);
      live[p] = bytes;
    }
    for (const auto& [p, bytes] : live) arena.put_back(p, bytes);
    if (step == 0) {
      growths = arena.growths();
      extent = arena.extent();
    }
    CHECK(arena.growths() == growths);
    CHECK(arena.extent() == extent);
  }
}

TEST_CASE("arena: trim gives back what lies behind the last block, and what is left can be used") {
  Arena arena;
  char* const a = static_cast<char*>(arena.take(10 * Arena::kGrowth));
  char* const b = static_cast<char*>(arena.take(kGranule));
  char* const c = static_cast<char*>(arena.take(10 * Arena::kGrowth));
  std::memset(a, 1, 10 * Arena::kGrowth);
  *b = 2;
  std::memset(c, 3, 10 * Arena::kGrowth);
  arena.put_back(c, 10 * Arena::kGrowth);
  arena.put_back(a, 10 * Arena::kGrowth);
  arena.trim();
  CHECK(arena.extent() == 11 * Arena::kGrowth);
  CHECK(*b == 2);
  CHECK(arena.take(10 * Arena::kGrowth) == a);
  CHECK(a[12345] == 0);  // the system had it in between
  std::memset(a, 1, 10 * Arena::kGrowth);
  char* const again = static_cast<char*>(arena.take(10 * Arena::kGrowth));
  CHECK(again == c);
  std::memset(again, 3, 10 * Arena::kGrowth);
  for (const auto& [p, bytes] : {std::pair(a, 10 * Arena::kGrowth), {b, kGranule}, {c, 10 * Arena::kGrowth}})
    arena.put_back(p, bytes);
  arena.trim();
  CHECK(arena.extent() == 0);
  CHECK(arena.take(kGranule) == a);
}

TEST_CASE("arena: more than the machine has is refused, and changes nothing") {
  Arena arena;
  CHECK(arena.take(size_t(1) << 50) == nullptr);
  CHECK(arena.extent() == 0);
  CHECK(arena.growths() == 0);
  CHECK(arena.take(kGranule) != nullptr);
}

TEST_CASE("arena: more than memory and swap is refused when it is asked for, not when it is written") {
  std::ifstream setting("/proc/sys/vm/overcommit_memory");
  int overcommit = 1;
  struct sysinfo machine {};
  if (!(setting >> overcommit) || overcommit == 1 || ::sysinfo(&machine) != 0) {
    MESSAGE("skipped: this system refuses nothing");
    return;
  }
  Arena arena;
  const size_t all = (machine.totalram + machine.totalswap) * machine.mem_unit;
  CHECK(arena.take(Arena::block_bytes(all + Arena::kGrowth)) == nullptr);
  CHECK(arena.extent() == 0);
}

}  // namespace
}  // namespace clearsky::detail

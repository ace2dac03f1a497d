#include "clearsky/cpu/stream.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "clearsky/core/memory.hpp"

namespace clearsky::test::stream_test {
namespace {

template <class T>
void check_copies() {
  constexpr int64_t kAround = 40;
  for (const int64_t count : {0, 1, 3, 7, 15, 16, 17, 31, 64, 100, 1000})
    for (int64_t from = 0; from < 18; from += 5)
      for (int64_t to = 0; to < 34; ++to) {
        Workspace<T> source(size_t(count + from)), target(size_t(count + to + kAround), T(-1));
        for (size_t i = 0; i < source.size(); ++i) source[i] = T(i + 1);
        cpu::copy_past_caches(source.data() + from, count, target.data() + to);
        for (int64_t i = 0; i < int64_t(target.size()); ++i) {
          const bool inside = to <= i && i < to + count;
          REQUIRE(target[size_t(i)] == (inside ? source[size_t(i - to + from)] : T(-1)));
        }
      }
}

TEST_CASE("copy_past_caches: every alignment and length, and nothing around it") {
  check_copies<float>();
  check_copies<double>();
}

}  // namespace
}  // namespace clearsky::test::stream_test

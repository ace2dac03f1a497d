#include "clearsky/core/philox.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <set>

namespace clearsky {
namespace {

using Words = std::array<uint32_t, 4>;

// The known answers that the authors of the paper publish with their code (Random123, kat_vectors).
TEST_CASE("philox4x32-10 gives the published answers") {
  CHECK(detail::philox4x32({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const uint32_t f = 0xffffffff;
  CHECK(detail::philox4x32({f, f, f, f}, {f, f}) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  // The digits of pi.
  CHECK(detail::philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("Key: a number depends on seed, stream and index alone") {
  static_assert(Key{1, 2}.bits(3) == Key{1, 2}.bits(3));
  const Words a = Key{1, 2}.bits(3);
  CHECK(a != Key{2, 2}.bits(3));
  CHECK(a != Key{1, 3}.bits(3));
  CHECK(a != Key{1, 2}.bits(4));
  CHECK(a != Key{1, 2}.bits(3 + (uint64_t(1) << 32)));  // the upper half of the index counts
  CHECK(Key{uint64_t(1) << 32}.bits(0) != Key{0}.bits(0));
}

TEST_CASE("Key::at gives streams that do not meet") {
  const Key key{7};
  std::set<uint64_t> streams;
  for (uint64_t a = 0; a < 100; ++a)
    for (uint64_t b = 0; b < 100; ++b) {
      const Key k = key.at(a, b);
      CHECK(k.seed == key.seed);
      streams.insert(k.stream);
    }
  CHECK(streams.size() == 100 * 100);
  CHECK(key.at(1).at(2).stream != key.at(2).at(1).stream);
  CHECK(key.at(1).at(2).stream != key.at(3).stream);
}

TEST_CASE("Key::uniform and normal have the moments of their distributions") {
  const int n = 100000;
  double sum = 0, squares = 0, normal = 0, normal2 = 0, normal4 = 0, neighbours = 0, before = 0;
  for (int i = 0; i < n; ++i) {
    const double u = Key{3}.uniform(uint64_t(i));
    REQUIRE(0 <= u);
    REQUIRE(u < 1);
    sum += u;
    squares += u * u;
    const double z = Key{4}.normal(uint64_t(i));
    normal += z;
    normal2 += z * z;
    normal4 += z * z * z * z;
    neighbours += z * before;
    before = z;
  }
  // Each bound is four standard deviations of the estimate: sqrt(variance of one term / n).
  const double root = std::sqrt(double(n));
  CHECK(std::abs(sum / n - 0.5) < 4 * std::sqrt(1.0 / 12) / root);
  CHECK(std::abs(squares / n - 1.0 / 3) < 4 * std::sqrt(1.0 / 5 - 1.0 / 9) / root);
  CHECK(std::abs(normal / n) < 4 / root);
  CHECK(std::abs(normal2 / n - 1) < 4 * std::sqrt(2.0) / root);
  CHECK(std::abs(normal4 / n - 3) < 4 * std::sqrt(96.0) / root);
  CHECK(std::abs(neighbours / n) < 4 / root);
  CHECK(Key{5}.uniform(0, -3, -2) >= -3);
  CHECK(Key{5}.uniform(0, -3, -2) < -2);
}

TEST_CASE("Key::integer reaches each value about equally often, and no other") {
  int counts[6] = {};
  const int n = 60000;
  for (int i = 0; i < n; ++i) {
    const int64_t v = Key{9}.integer(uint64_t(i), 6);
    REQUIRE(0 <= v);
    REQUIRE(v < 6);
    ++counts[v];
  }
  for (int c : counts) CHECK(std::abs(c - n / 6) < 4 * std::sqrt(n * (1.0 / 6) * (5.0 / 6)));
  CHECK(Key{9}.integer(0, 1) == 0);
  const int64_t large = int64_t(1) << 31;
  for (uint64_t i = 0; i < 100; ++i) CHECK(Key{9}.integer(i, large) < large);
}

}  // namespace
}  // namespace clearsky

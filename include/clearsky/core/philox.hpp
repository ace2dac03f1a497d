#pragma once
// Counter-based random numbers: a number is a pure function of (key, index), so it does not matter who draws it, when,
// or on which thread.

#include <array>
#include <cmath>
#include <cstdint>

namespace clearsky {

namespace detail {

/// Philox4x32 with 10 rounds: 128 random bits from a 128-bit counter and a 64-bit key.
/// @source  Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011
constexpr std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p = uint64_t(0xD2511F53u) * c[0], q = uint64_t(0xCD9E8D57u) * c[2];
    c = {uint32_t(q >> 32) ^ c[1] ^ k[0], uint32_t(q), uint32_t(p >> 32) ^ c[3] ^ k[1], uint32_t(p)};
    k = {k[0] + 0x9E3779B9u, k[1] + 0xBB67AE85u};
  }
  return c;
}

}  // namespace detail

/// Names one sequence of random numbers. Two draws with the same key and index are equal; different streams of one
/// seed are independent.
///
///     Key key{seed};                       // a run
///     Key dropout = key.at(kDropout, step) // a purpose, a step: never the same mask twice
struct Key {
  uint64_t seed = 0;
  uint64_t stream = 0;

  /// A key of its own for each (a, b); mixes, so that nested calls do not collide by addition.
  constexpr Key at(uint64_t a, uint64_t b = 0) const {
    const auto r = detail::philox4x32({uint32_t(a), uint32_t(a >> 32), uint32_t(b), uint32_t(b >> 32)},
                                      {uint32_t(stream ^ 0x5bd1e995u), uint32_t(stream >> 32)});
    return {seed, (uint64_t(r[0]) << 32) | r[1]};
  }

  /// Four 32-bit words: number `index` of the sequence.
  constexpr std::array<uint32_t, 4> bits(uint64_t index) const {
    return detail::philox4x32({uint32_t(index), uint32_t(index >> 32), uint32_t(stream), uint32_t(stream >> 32)},
                              {uint32_t(seed), uint32_t(seed >> 32)});
  }

  /// Uniform in [0, 1), in steps of 2^-53.
  constexpr double uniform(uint64_t index) const {
    const auto r = bits(index);
    return double(((uint64_t(r[0]) << 32) | r[1]) >> 11) * 0x1p-53;
  }
  constexpr double uniform(uint64_t index, double low, double high) const {
    return low + (high - low) * uniform(index);
  }

  /// Uniform integer in [0, bound), bound from 1 to 2^31. Bias below bound / 2^64.
  constexpr int64_t integer(uint64_t index, int64_t bound) const {
    const auto r = bits(index);
    const uint64_t word = (uint64_t(r[0]) << 32) | r[1];
    // The high 64 bits of word * bound, in 32-bit halves: ISO C++ has no 128-bit integer.
    const uint64_t n = uint64_t(bound), low = (word & 0xffffffffu) * n;
    return int64_t(((word >> 32) * n + (low >> 32)) >> 32);
  }

  /// Standard normal, by Box and Muller.
  double normal(uint64_t index) const {
    const auto r = bits(index);
    const double u = (double(r[0]) + 1) * 0x1p-32;  // in (0, 1]: the logarithm stays finite
    const double v = double(r[1]) * 0x1p-32;
    return std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586476925 * v);
  }
};

}  // namespace clearsky

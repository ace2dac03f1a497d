#pragma once
// Random numbers of a Key, drawn on the device: element i is number i of the key's sequence, as in clearsky/core.
//
// Uniform numbers, integers and dropout's masks are the CPU's bits: 32-bit products, and arithmetic in double that is
// exact or rounded once. Normal numbers are those of another library's logarithm and cosine in double, then rounded.
//
// One thread per element. A number costs some 100 instructions of 32 bits and 4 bytes, so that it is the arithmetic
// that takes the time, and wider stores would win nothing.

#include <cmath>

#include "clearsky/core/draws.hpp"
#include "clearsky/cpu/dropout.hpp"
#include "clearsky/cuda/portable.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

/// The first 64 of the 128 bits of number `index`: all that a Key's numbers are made of.
/// @source  Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox4x32-10)
struct PhiloxWords {
  uint32_t first, second;
};
__device__ __forceinline__ PhiloxWords philox_words(const Key& key, uint64_t index) {
  uint32_t c0 = uint32_t(index), c1 = uint32_t(index >> 32), c2 = uint32_t(key.stream), c3 = uint32_t(key.stream >> 32);
  uint32_t k0 = uint32_t(key.seed), k1 = uint32_t(key.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p = uint64_t(0xD2511F53u) * c0, q = uint64_t(0xCD9E8D57u) * c2;
    c0 = uint32_t(q >> 32) ^ c1 ^ k0;
    c1 = uint32_t(q);
    c2 = uint32_t(p >> 32) ^ c3 ^ k1;
    c3 = uint32_t(p);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1};
}
/// In [0, 1), in steps of 2^-53: every step is exact.
__device__ __forceinline__ double unit_number(const PhiloxWords& w) {
  return double(((uint64_t(w.first) << 32) | w.second) >> 11) * 0x1p-53;
}

using UniformDraw = clearsky::detail::UniformDraw<float>;
using NormalDraw = clearsky::detail::NormalDraw<float>;
template <class T>
using IntegerDraw = clearsky::detail::IntegerDraw<T>;
using DropoutMask = cpu::DropoutMask<float>;

/// @param top   high as a float; what a double just below it may round up to
/// @param last  what is taken then; top itself when the range is empty
/// grid (ceil(count / Threads)), block Threads, as for all of these
template <int Threads>
__global__ void __launch_bounds__(Threads) draw_uniform(const UniformDraw d, const float top, const float last) {
  const int64_t i = int64_t(blockIdx.x) * Threads + threadIdx.x;
  if (i >= d.count) return;
  // Rounded once, as compilers for processors with fused products make of the CPU's expression.
  const float v = float(fma(d.high - d.low, unit_number(philox_words(d.key, uint64_t(i))), d.low));
  d.y[i] = !(v < top) && d.low < d.high ? last : v;
}

/// By Box and Muller, from 32 bits each for the radius and the angle.
template <int Threads>
__global__ void __launch_bounds__(Threads) draw_normal(const NormalDraw d) {
  const int64_t i = int64_t(blockIdx.x) * Threads + threadIdx.x;
  if (i >= d.count) return;
  const PhiloxWords w = philox_words(d.key, uint64_t(i));
  const double u = (double(w.first) + 1) * 0x1p-32;  // in (0, 1]: the logarithm stays finite
  const double turns = double(w.second) * 0x1p-32;
#ifdef __CUDACC__
  const double cosine = cospi(2 * turns);  // cos() would carry code for arguments of any size
#else
  const double cosine = std::cos(6.283185307179586476925 * turns);
#endif
  d.y[i] = float(std::sqrt(-2 * std::log(u)) * cosine);
}

template <int Threads, class T>
__global__ void __launch_bounds__(Threads) draw_integers(const IntegerDraw<T> d) {
  const int64_t i = int64_t(blockIdx.x) * Threads + threadIdx.x;
  if (i >= d.count) return;
  const PhiloxWords w = philox_words(d.key, uint64_t(i));
  // The high 64 bits of the product of a 64-bit word and the bound, of which no part overflows.
  const uint64_t bound = uint64_t(d.high - d.low), low = uint64_t(w.second) * bound;
  d.y[i] = T(d.low + int64_t((uint64_t(w.first) * bound + (low >> 32)) >> 32));
}

/// @param kept  1 / (1 - p)
template <int Threads>
__global__ void __launch_bounds__(Threads) draw_dropout_mask(const DropoutMask d, const float kept) {
  const int64_t i = int64_t(blockIdx.x) * Threads + threadIdx.x;
  if (i >= d.count) return;
  d.y[i] = unit_number(philox_words(d.key, uint64_t(i))) < d.p ? 0.0f : kept;
}

// All return without waiting. An empty tensor is not an error, an empty grid is.

inline void rand_uniform(const UniformDraw& d, Stream stream) {
  const float top = float(d.high), last = std::nextafter(top, float(d.low));
  if (d.count != 0) launch(draw_uniform<256>, blocks_of(d.count, 256), 256, 0, stream, d, top, last);
}
inline void rand_normal(const NormalDraw& d, Stream stream) {
  if (d.count != 0) launch(draw_normal<256>, blocks_of(d.count, 256), 256, 0, stream, d);
}
/// @throws ValueError when the range is empty or wider than 2^31
template <class T>
void rand_integers(const IntegerDraw<T>& d, Stream stream) {
  CLEARSKY_CHECK(ValueError, d.low < d.high && d.high - d.low <= (int64_t(1) << 31), "rand_integers: the range [",
                 d.low, ", ", d.high, ") is empty or has more than 2147483648 numbers; use a range of 1 to that many");
  if (d.count != 0) launch(draw_integers<256, T>, blocks_of(d.count, 256), 256, 0, stream, d);
}
/// @throws ValueError when p is outside 0 to 1
inline void dropout_mask(const DropoutMask& d, Stream stream) {
  CLEARSKY_CHECK(ValueError, 0 <= d.p && d.p <= 1, "dropout_mask: drop probability ", d.p, "; use 0 to 1");
  const float kept = d.p < 1 ? float(1 / (1 - d.p)) : 0.0f;
  if (d.count != 0) launch(draw_dropout_mask<256>, blocks_of(d.count, 256), 256, 0, stream, d, kept);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

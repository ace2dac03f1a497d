#pragma once
// Copies that leave the caches to others: for what is written now and read long after, as forward keeps for backward.
// A plain store reads the line first that it overwrites, and puts it in place of one that is still wanted.

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "clearsky/cpu/simd.hpp"

namespace clearsky::cpu {

namespace detail {

/// A whole, aligned vector of floats.
inline void store_past_caches(float* to, Vec<float> v) {
#if defined(__clang__)
  __builtin_nontemporal_store(v, reinterpret_cast<Vec<float>*>(to));
#elif defined(__AVX512F__)
  _mm512_stream_ps(to, v);
#elif defined(__AVX2__)
  __builtin_ia32_movntps256(to, v);
#elif defined(__SSE__)
  __builtin_ia32_movntps(to, v);
#else
  store(to, v);
#endif
}

}  // namespace detail

/// Copies `count` elements, past the caches.
template <class T>
void copy_past_caches(const T* from, int64_t count, T* to) {
  if (count == 0) return;
  const auto* source = reinterpret_cast<const char*>(from);
  auto* target = reinterpret_cast<char*>(to);
  int64_t left = count * int64_t(sizeof(T));
  const auto take = [&](int64_t bytes) {
    std::memcpy(target, source, size_t(bytes));
    source += bytes, target += bytes, left -= bytes;
  };
  constexpr int64_t kBytes = kVectorBytes;
  take((std::min)(left, int64_t(-reinterpret_cast<uintptr_t>(target) % kBytes)));
  for (; left >= kBytes; source += kBytes, target += kBytes, left -= kBytes)
    detail::store_past_caches(reinterpret_cast<float*>(target), load(reinterpret_cast<const float*>(source)));
  take(left);
#if defined(__SSE__)
  __builtin_ia32_sfence();  // such stores are not ordered with what another thread is told afterwards
#endif
}

}  // namespace clearsky::cpu

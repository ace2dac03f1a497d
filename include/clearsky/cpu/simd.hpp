#pragma once
// Vectors of the widest kind that the compiler may use, through the vector extensions of g++ and clang: plain
// arithmetic operators on them, and the few operations here. Any target works; one without vectors gets 16-byte
// vectors made of scalars.
//
// A row's last, partial vector is computed with the same instructions as the others (load_partial, store_partial), so
// that an element's bits do not depend on where in a row it stands.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

/// In front of a loop of constant length over an array of vectors: an array whose index is not known when compiling
/// lies in memory and not in registers.
#if defined(__clang__)
#define CLEARSKY_UNROLL _Pragma("unroll")
#elif defined(__CUDACC__)
#define CLEARSKY_UNROLL  // nvcc reads these headers for their structs, and does not know the pragma below
#else
#define CLEARSKY_UNROLL _Pragma("GCC unroll 16")
#endif

namespace clearsky::cpu {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

/// Elements of T in one vector: 16 floats with AVX-512, 8 with AVX2, 4 otherwise.
template <class T>
inline constexpr int64_t kLanes = kVectorBytes / int64_t(sizeof(T));

namespace detail {
template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
  typedef T unaligned __attribute__((vector_size(kVectorBytes), aligned(alignof(T)), may_alias));
};
template <class T>
using IntOf = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
}  // namespace detail

/// kLanes<T> values; + - * / and comparisons work lane by lane.
template <class T>
using Vec = typename detail::VectorOf<T>::type;
/// Integers as wide as T; what a comparison gives: -1 where it holds, 0 elsewhere.
template <class T>
using VecInt = typename detail::VectorOf<detail::IntOf<T>>::type;

template <class T>
inline Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename detail::VectorOf<T>::unaligned*>(p);
}
template <class T>
inline void store(T* p, Vec<T> v) {
  *reinterpret_cast<typename detail::VectorOf<T>::unaligned*>(p) = v;
}
/// The same value in each lane.
template <class T>
inline Vec<T> splat(T value) {
  return value - Vec<T>{};  // 0 + value would cost an addition, and turn -0 into 0
}
namespace detail {
// A part of a vector where there are no masks. Not inlined: kernels load and store in hundreds of places.
template <class T>
[[gnu::noinline]] Vec<T> load_lanes(const T* p, int64_t count) {
  Vec<T> v{};
  std::memcpy(&v, p, size_t(count) * sizeof(T));
  return v;
}
template <class T>
[[gnu::noinline]] void store_lanes(T* p, Vec<T> v, int64_t count) {
  std::memcpy(p, &v, size_t(count) * sizeof(T));
}
}  // namespace detail

/// The first `count` lanes from p, the others 0. Reads nothing behind p + count.
template <class T>
inline Vec<T> load_partial(const T* p, int64_t count) {
  if (count >= kLanes<T>) return load(p);
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) return _mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), p);
  if constexpr (std::is_same_v<T, double>) return _mm512_maskz_loadu_pd(__mmask8((1u << count) - 1), p);
#endif
  return detail::load_lanes(p, count);
}
/// Writes the first `count` lanes.
template <class T>
inline void store_partial(T* p, Vec<T> v, int64_t count) {
  if (count >= kLanes<T>) return store(p, v);
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) return _mm512_mask_storeu_ps(p, __mmask16((1u << count) - 1), v);
  if constexpr (std::is_same_v<T, double>) return _mm512_mask_storeu_pd(p, __mmask8((1u << count) - 1), v);
#endif
  detail::store_lanes(p, v, count);
}

/// mask ? a : b, lane by lane; mask from a comparison.
template <class T>
inline Vec<T> select(VecInt<T> mask, Vec<T> a, Vec<T> b) {
  return mask ? a : b;
}
/// a > b ? a : b: b where either is NaN.
template <class T>
inline Vec<T> vec_max(Vec<T> a, Vec<T> b) {
#if defined(__AVX512F__)  // one instruction, which g++ does not find; the form with a mask, of whose plain one it warns
  if constexpr (std::is_same_v<T, float>) return _mm512_maskz_max_ps(__mmask16(-1), a, b);
  if constexpr (std::is_same_v<T, double>) return _mm512_maskz_max_pd(__mmask8(-1), a, b);
#endif
  return a > b ? a : b;
}
/// a < b ? a : b: b where either is NaN.
template <class T>
inline Vec<T> vec_min(Vec<T> a, Vec<T> b) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) return _mm512_maskz_min_ps(__mmask16(-1), a, b);
  if constexpr (std::is_same_v<T, double>) return _mm512_maskz_min_pd(__mmask8(-1), a, b);
#endif
  return a < b ? a : b;
}
/// The square root of each lane, correctly rounded.
template <class T>
inline Vec<T> vec_sqrt(Vec<T> v) {
#if defined(__AVX512F__)
  // The forms with a mask: g++ 12 warns of an uninitialised value inside the plain ones.
  if constexpr (std::is_same_v<T, float>) return _mm512_maskz_sqrt_ps(__mmask16(-1), v);
  else return _mm512_maskz_sqrt_pd(__mmask8(-1), v);
#else
  T lanes[kLanes<T>];
  std::memcpy(lanes, &v, sizeof lanes);
  for (T& lane : lanes) lane = std::sqrt(lane);
  std::memcpy(&v, lanes, sizeof lanes);
  return v;
#endif
}

/// Lane k of the result is lane I_k of a and b side by side.
template <class T, int64_t... I>
inline Vec<T> shuffle(Vec<T> a, Vec<T> b) {
// nvcc's front end loses the expansion of the pack on its way to the host's compiler.
#if defined(__has_builtin) && __has_builtin(__builtin_shufflevector) && !defined(__CUDACC__)
  return __builtin_shufflevector(a, b, I...);
#else
  return Vec<T>{(I < kLanes<T> ? a[I % kLanes<T>] : b[I % kLanes<T>])...};
#endif
}

/// The sum of the lanes, halves first: (l0 + l8) + ... in a fixed order.
template <class T>
inline T sum_lanes(Vec<T> v) {
  if constexpr (kLanes<T> == 16) {
    const auto a = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                   __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    const auto b = __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
    return (b[0] + b[2]) + (b[1] + b[3]);
  } else if constexpr (kLanes<T> == 8) {
    const auto b = __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
    return (b[0] + b[2]) + (b[1] + b[3]);
  } else if constexpr (kLanes<T> == 4) {
    return (v[0] + v[2]) + (v[1] + v[3]);
  } else {
    static_assert(kLanes<T> == 2);
    return v[0] + v[1];
  }
}
template <class T>
inline T max_lanes(Vec<T> v) {
  T lanes[kLanes<T>];
  std::memcpy(lanes, &v, sizeof lanes);
  T m = lanes[0];
  for (int64_t i = 1; i < kLanes<T>; ++i) m = lanes[i] > m ? lanes[i] : m;
  return m;
}

}  // namespace clearsky::cpu

#pragma once
// exp, log, erf, tanh and sigmoid on vectors of float or double: a few units in the last place, right for NaN,
// infinities and every finite argument, and the same bits in every lane.
//
// Polynomials marked "fit" interpolate the function at Chebyshev points; their relative error is below the type's
// rounding. tests/cpu/simd_math_test.cpp measures all of them against the standard library.

#include <cstdint>
#include <cstring>
#include <limits>

#include "clearsky/cpu/simd.hpp"

namespace clearsky::cpu {
namespace detail {

inline constexpr double kLog2E = 1.44269504088896340736, kLn2 = 0.69314718055994530942;

template <class To, class From>
inline To reinterpret_lanes(From v) {
  static_assert(sizeof(To) == sizeof(From));
  To out;
  std::memcpy(&out, &v, sizeof out);
  return out;
}

/// c[0] + c[1] x + ... by Horner's rule. Written as a recursion, since g++ unrolls no loop at -O2 and would keep the
/// coefficients in memory.
template <size_t I = 0, class V, class T, size_t N>
inline V polynomial(V x, const T (&c)[N]) {
  if constexpr (I + 1 == N) return V{} + c[I];
  else return polynomial<I + 1>(x, c) * x + c[I];
}

template <class T>
struct Float;
template <>
struct Float<float> {
  using Int = int32_t;
  static constexpr int kMantissa = 23, kBias = 127;
  static constexpr float kRoundMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  static constexpr float kExpLow = -104, kExpHigh = 89;
  // log 2 in two parts; the first has 9 zero bits at the end, so that its products with exponents are exact.
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
};
template <>
struct Float<double> {
  using Int = int64_t;
  static constexpr int kMantissa = 52, kBias = 1023;
  static constexpr double kRoundMagic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double kExpLow = -746, kExpHigh = 710;
  static constexpr double kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;
};

/// 2^n for integer n in the range of normal exponents.
template <class T>
inline Vec<T> power_of_two(VecInt<T> n) {
  return reinterpret_lanes<Vec<T>>((n + Float<T>::kBias) << Float<T>::kMantissa);
}

}  // namespace detail

/// e^x = 2^n e^r, |r| <= log(2) / 2; e^r is a fit in float and its Taylor series in double.
template <class T>
inline Vec<T> vec_exp(Vec<T> x) {
  using F = detail::Float<T>;
  // Beyond these the result is 0 or infinity anyway. NaN fails both comparisons.
  x = vec_min<T>(splat(F::kExpHigh), vec_max<T>(splat(F::kExpLow), x));
  const Vec<T> shifted = x * T(detail::kLog2E) + F::kRoundMagic;
  const Vec<T> whole = shifted - F::kRoundMagic;
  const Vec<T> r = (x - whole * F::kLn2High) - whole * F::kLn2Low;
  Vec<T> y;
  if constexpr (sizeof(T) == 4) {
    y = detail::polynomial(
        r, {1.0f, 1.0f, 0.499999920798f, 0.166664201701f, 0.0416682255827f, 0.00837481579073f, 0.00138368451303f});
  } else {
    y = detail::polynomial(r, {1.0, 1.0, 1 / 2.0, 1 / 6.0, 1 / 24.0, 1 / 120.0, 1 / 720.0, 1 / 5040.0, 1 / 40320.0,
                               1 / 362880.0, 1 / 3628800.0, 1 / 39916800.0, 1 / 479001600.0, 1 / 6227020800.0});
  }
#if defined(__AVX512F__)
  // The forms with a mask: g++ 12 warns of an uninitialised value inside the plain ones.
  if constexpr (sizeof(T) == 4) return _mm512_maskz_scalef_ps(__mmask16(-1), y, whole);
  else return _mm512_maskz_scalef_pd(__mmask8(-1), y, whole);
#else
  // In two steps: 2^n itself may be too small or too large for a normal number where the result is not.
  const VecInt<T> n =
      detail::reinterpret_lanes<VecInt<T>>(shifted) - detail::reinterpret_lanes<VecInt<T>>(splat(F::kRoundMagic));
  const VecInt<T> half = n >> 1;
  return y * detail::power_of_two<T>(half) * detail::power_of_two<T>(n - half);
#endif
}

/// 2^x for x up to 1, 0 where that is below the normal numbers: for weights of a softmax, of which many are that small,
/// and numbers below the normal range are slow.
template <class T>
inline Vec<T> vec_exp2_flushed(Vec<T> x) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
  if constexpr (sizeof(T) == 4) {
    // 2^floor(x) is exact, and the fit on [0, 1) is 1 at 0. NaN stays.
    const __mmask16 normal = _mm512_cmp_ps_mask(x, splat(-126.0f), _CMP_NLT_UQ);
    const Vec<T> r = _mm512_maskz_reduce_ps(__mmask16(-1), x, _MM_FROUND_TO_NEG_INF);
    const Vec<T> y = detail::polynomial(r, {1.0f, 0.693147044442f, 0.240229305563f, 0.0554852805788f, 0.00967545163512f,
                                            0.00124678459058f, 0.000216129165725f});
    return _mm512_maskz_scalef_ps(normal, y, x);
  }
#endif
  constexpr T kLowest = sizeof(T) == 4 ? T(-126) : T(-1022);
  const Vec<T> y = vec_exp<T>(x * T(0.69314718055994530942));
  return x < splat(kLowest) ? Vec<T>{} : y;
}

/// log x = n log 2 + log(1 + f), sqrt(1/2) <= 1 + f < sqrt(2), through s = f / (2 + f):
///     log(1 + f) = f - f^2/2 + s (f^2/2 + R),   R = s^2 (2/3 + 2/5 s^2 + 2/7 s^4 + ...)
/// @source  the arrangement of fdlibm's e_log.c, which keeps f exact
template <class T>
inline Vec<T> vec_log(Vec<T> x) {
  using F = detail::Float<T>;
  constexpr T kSmallest = (std::numeric_limits<T>::min)(), kInfinity = std::numeric_limits<T>::infinity();
  const Vec<T> given = x;
  const auto subnormal = x < splat(kSmallest);
  x = subnormal ? x * T(sizeof(T) == 4 ? 0x1p25 : 0x1p54) : x;
  const VecInt<T> bits = detail::reinterpret_lanes<VecInt<T>>(x);
  // Take the exponent so that the mantissa lies in [sqrt(1/2), sqrt(2)).
  const typename F::Int root = sizeof(T) == 4 ? typename F::Int(0x3f3504f3) : typename F::Int(0x3fe6a09e667f3bcdLL);
  const VecInt<T> offset = bits - root;
  const VecInt<T> exponent = offset >> F::kMantissa;
  const Vec<T> m = detail::reinterpret_lanes<Vec<T>>(bits - (exponent << F::kMantissa));
  Vec<T> n = __builtin_convertvector(exponent, Vec<T>);
  n = subnormal ? n - T(sizeof(T) == 4 ? 25 : 54) : n;
  const Vec<T> f = m - T(1), s = f / (f + T(2)), z = s * s, half = T(0.5) * f * f;
  Vec<T> r;
  if constexpr (sizeof(T) == 4) {
    r = z * detail::polynomial(z, {2 / 3.0f, 2 / 5.0f, 2 / 7.0f, 2 / 9.0f, 2 / 11.0f});
  } else {
    r = z * detail::polynomial(z, {2 / 3.0, 2 / 5.0, 2 / 7.0, 2 / 9.0, 2 / 11.0, 2 / 13.0, 2 / 15.0, 2 / 17.0, 2 / 19.0,
                                   2 / 21.0, 2 / 23.0});
  }
  Vec<T> y = n * F::kLn2High - ((half - (s * (half + r) + n * F::kLn2Low)) - f);
  y = given == splat(kInfinity) ? given : y;
  y = given == Vec<T>{} ? splat(-kInfinity) : y;
  y = given < Vec<T>{} ? splat(std::numeric_limits<T>::quiet_NaN()) : y;
  return given != given ? given : y;
}

#if defined(__AVX512F__)
namespace detail {

inline constexpr float kErfStep = 17 / 64.0f;
/// erf(a) / a about a = 17/64 i for i = 0 .. 15, up to the fifth power: fits, relative error 4e-9 before rounding.
alignas(64) inline constexpr float kErfFits[6][16] = {
    {1.12837917f, 1.10239339f, 1.03064179f, 0.928924859f, 0.816054821f, 0.707503676f, 0.612265229f, 0.533216953f,
     0.469339281f, 0.417998374f, 0.376405716f, 0.342233688f, 0.313723445f, 0.289592445f, 0.268907517f, 0.250980377f},
    {0, -0.191567406f, -0.338311285f, -0.415325522f, -0.424613595f, -0.387110084f, -0.328330994f, -0.26764667f,
     -0.215058103f, -0.173293352f, -0.141339287f, -0.117052414f, -0.0984093472f, -0.0838617161f, -0.0723109692f,
     -0.0629911199f},
    {-0.3761217f, -0.330310315f, -0.214093044f, -0.0767723173f, 0.0347306542f, 0.0980967581f, 0.117024027f,
     0.108383708f, 0.0888636261f, 0.0687700734f, 0.0522369556f, 0.0398395546f, 0.0308298506f, 0.0242782421f,
     0.0194438361f, 0.0158093814f},
    {0, 0.110195808f, 0.170454711f, 0.16387704f, 0.111303806f, 0.0488217771f, 0.00251145847f, -0.0205837004f,
     -0.026271008f, -0.023358006f, -0.0180644114f, -0.0132293636f, -0.00958393607f, -0.00701430952f, -0.00522593595f,
     -0.00396747468f},
    {0.112129807f, 0.0857039914f, 0.0246089734f, -0.0328172594f, -0.059197221f, -0.0535786226f, -0.0324496105f,
     -0.0122415824f, -0.000138341595f, 0.00449468195f, 0.0049818242f, 0.00400801422f, 0.00288421102f, 0.00200875336f,
     0.00140319334f, 0.00099669327f},
    {0, -0.0373662598f, -0.0495716408f, -0.033407297f, -0.0063549066f, 0.0125804972f, 0.017147338f, 0.0124552157f,
     0.00592198363f, 0.00149605167f, -0.00043413823f, -0.000882714812f, -0.000768875238f, -0.000550213677f,
     -0.000371184229f, -0.000249134871f},
};

/// erf x = x P_i(|x| - 17/64 i): no exponential, no division, the coefficients by permutation of a register.
inline Vec<float> vec_erf_by_table(Vec<float> x) {
  const VecInt<float> sign = reinterpret_lanes<VecInt<float>>(x) & (-2147483647 - 1);
  const Vec<float> a = reinterpret_lanes<Vec<float>>(reinterpret_lanes<VecInt<float>>(x) ^ sign);
  const Vec<float> b = vec_min<float>(splat(4.0f), a);  // erf 4 rounds to 1; NaN stays
  const Vec<float> shifted = b * (1 / kErfStep) + Float<float>::kRoundMagic;
  const auto index = reinterpret_lanes<__m512i>(shifted);
  const Vec<float> t = b - (shifted - Float<float>::kRoundMagic) * kErfStep;
  const auto coefficient = [&](int k) -> Vec<float> {
    return _mm512_maskz_permutexvar_ps(__mmask16(-1), index, load(kErfFits[k]));
  };
  Vec<float> y = coefficient(5);
  y = y * t + coefficient(4);
  y = y * t + coefficient(3);
  y = y * t + coefficient(2);
  y = y * t + coefficient(1);
  y = y * t + coefficient(0);
  y = vec_min<float>(splat(1.0f), y * a);
  return reinterpret_lanes<Vec<float>>(reinterpret_lanes<VecInt<float>>(y) | sign);
}

}  // namespace detail
#endif

#if defined(__AVX512F__)
inline constexpr bool kErfByTable = true;
#else
inline constexpr bool kErfByTable = false;
#endif

/// erf x: for |x| < 1 x P(x^2), else 1 - e^(-x^2) Q(t) / (1 + 2 |x|), t = (|x| - 2) / (|x| + 2); P and Q are fits.
/// @source  the mapping of the second range: Shepherd, Laframboise, Math. Comp. 36 (1981), 249-253
///
/// @param exponential  e^(-x^2), which a caller may need as well
template <class T>
inline Vec<T> vec_erf(Vec<T> x, Vec<T>& exponential) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    exponential = vec_exp<T>(-x * x);
    return detail::vec_erf_by_table(x);
  }
#endif
  const Vec<T> a = x < Vec<T>{} ? -x : x, one = splat(T(1)), z = x * x;
  exponential = vec_exp<T>(-z);
  // Q is a fit up to these; beyond them 1 - erf is below the rounding of 1.
  const Vec<T> b = a > splat(T(sizeof(T) == 4 ? 4.1 : 6.1)) ? splat(T(sizeof(T) == 4 ? 4.1 : 6.1)) : a;
  const Vec<T> t = (b - T(2)) / (b + T(2));
  Vec<T> small, large;
  if constexpr (sizeof(T) == 4) {
    small = detail::polynomial(
        z, {1.12837916584835095f, -0.37612626666720331f, 0.112835947151602177f, -0.0268542120106264124f,
            0.00518908742343397399f, -0.000801686428716586953f, 0.0000787587506268548834f});
    large = detail::polynomial(
        t, {1.27697838347221592f, -0.0927638201492004906f, -0.166030931661229961f, 0.164050611707471167f,
            -0.0541967088873008787f, -0.00801641439367921578f, 0.00839584571208412673f, 0.001110796886052002f});
  } else {
    small =
        detail::polynomial(z, {1.12837916709551257, -0.376126389031837481, 0.112837916709548787, -0.0268661706450767932,
                               0.00522397762481801447, -0.000854832698083378991, 0.000120553311116427109,
                               -0.0000149255952668311816, 1.6461000484121368e-6, -1.6350312701054695e-7,
                               1.46597752740474358e-8, -1.13728488567916737e-9, 5.9571761477489114e-11});
    large = detail::polynomial(
        t, {1.27697838155252872, -0.092763826585746274, -0.166030397615291947, 0.164051280033515781,
            -0.0542200009916602089, -0.00803401508850843121, 0.00872265385647091604, 0.00127133919716406592,
            -0.00145681351481832028, -0.000454345568952421447, 0.000206362935582784249, 0.000151094314598423759,
            -1.50036231941233526e-6, -0.0000367809646674434458, -0.0000133677462288724581, 4.87833066667588827e-6,
            4.47829768531826303e-6});
  }
  const Vec<T> tail = one - exponential * large / (one + T(2) * b);
  return a < one ? x * small : (x < Vec<T>{} ? -tail : (x != x ? x : tail));
}
template <class T>
inline Vec<T> vec_erf(Vec<T> x) {
  Vec<T> unused;
  return vec_erf<T>(x, unused);
}

/// The normal distribution's function Phi(x) and density phi(x), which gelu and its derivative are made of.
///
/// In float, where there is no erf by table, by Phi(-b) = e^(-b^2 / 2) R(s) / 2 for b = |x| and s = 1 / (1 + 0.3 b) -
/// 3/4, R a fit up to b = 6, behind which Phi(-b) is below 1e-9: one exponential and one division, where erf needs two
/// divisions and two polynomials. The difference in s is taken before the division, which keeps it exact to a relative
/// rounding.
/// @source  the form: Abramowitz, Stegun, "Handbook of Mathematical Functions", 1964, eq. 7.1.26
template <class T>
inline void vec_normal(Vec<T> x, Vec<T>& distribution, Vec<T>& density) {
  if constexpr (sizeof(T) == 4 && !kErfByTable) {
    const Vec<T> b = x < Vec<T>{} ? -x : x, y = T(-0.5) * x * x;
    // e^y; one power of two is enough, since what would be below 2^-125 is taken as 0.
    const Vec<T> shifted = y * T(detail::kLog2E) + detail::Float<T>::kRoundMagic;
    const Vec<T> whole = shifted - detail::Float<T>::kRoundMagic;
    const Vec<T> r = (y - whole * detail::Float<T>::kLn2High) - whole * detail::Float<T>::kLn2Low;
    const Vec<T> fraction = detail::polynomial(
        r, {1.0f, 1.00000004f, 0.49999992f, 0.166664192f, 0.0416682335f, 0.00837489869f, 0.0013836731f});
    const VecInt<T> n = detail::reinterpret_lanes<VecInt<T>>(shifted) << detail::Float<T>::kMantissa;
    Vec<T> e = detail::reinterpret_lanes<Vec<T>>(detail::reinterpret_lanes<VecInt<T>>(fraction) + n);
    e = y < splat(T(-86)) ? Vec<T>{} : e;
    const Vec<T> near = b > splat(T(6)) ? splat(T(6)) : b;
    const Vec<T> s = (T(0.25) - T(0.225) * near) / (T(1) + T(0.3) * near);
    const Vec<T> tail = T(0.5) * e *
                        detail::polynomial(s, {0.494098661f, 1.47488009f, 1.85345042f, 1.31573801f, 0.27447715f,
                                               -0.276845637f, -0.110918075f, 0.108565778f, 0.0595140771f});
    distribution = x > Vec<T>{} ? T(1) - tail : tail;
    density = T(0.39894228040143267794) * (x != x ? x : e);
  } else {
    Vec<T> exponential;
    distribution = T(0.5) * (T(1) + vec_erf<T>(x * T(0.70710678118654752440), exponential));
    density = T(0.39894228040143267794) * exponential;
  }
}

/// tanh x: for |x| < 5/8 x P(x^2) (a fit), else 1 - 2 / (e^(2|x|) + 1).
template <class T>
inline Vec<T> vec_tanh(Vec<T> x) {
  const Vec<T> a = x < Vec<T>{} ? -x : x, one = splat(T(1)), z = x * x;
  Vec<T> small;
  if constexpr (sizeof(T) == 4) {
    small = detail::polynomial(z, {0.999999996022721743f, -0.333332598629475277f, 0.133311140556897688f,
                                   -0.053720107656628939f, 0.020588191454586372f, -0.00565713518438039149f});
  } else {
    small = detail::polynomial(
        z, {0.99999999999999999, -0.333333333333326135, 0.133333333332452529, -0.0539682539259456956,
            0.0218694874834105958, -0.00886322002125609513, 0.00359198252158392496, -0.00145492938585439026,
            0.000586231431605061178, -0.000228410185295128504, 0.0000769856319904542287, -0.0000160014995130010411});
  }
  const Vec<T> large = one - T(2) / (vec_exp<T>(T(2) * a) + one);
  return a < splat(T(0.625)) ? x * small : (x < Vec<T>{} ? -large : (x != x ? x : large));
}

/// 1 / (1 + e^-x), from e^-|x| so that nothing overflows.
template <class T>
inline Vec<T> vec_sigmoid(Vec<T> x) {
  const Vec<T> e = vec_exp<T>(x < Vec<T>{} ? x : -x);
  const Vec<T> s = T(1) / (e + T(1));
  return x < Vec<T>{} ? e * s : s;
}

}  // namespace clearsky::cpu

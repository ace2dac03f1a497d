#pragma once
// Element types, and the two 16-bit storage types with their conversions.

#include <bit>
#include <cstdint>
#include <string>
#include <type_traits>

namespace clearsky {

namespace detail {

/// float -> IEEE binary16 bits, rounded to nearest even; overflow gives infinity, NaN stays NaN.
constexpr uint16_t half_bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return uint16_t(sign | 0x7e00u | ((magnitude >> 13) & 0x1ffu));  // NaN, payload kept
  if (magnitude >= 0x477ff000u) return uint16_t(sign | 0x7c00u);  // from 65520 on, nearest is infinity
  if (magnitude < 0x38800000u) {                                  // below 2^-14: subnormal, in steps of 2^-24
    const uint32_t exponent = magnitude >> 23;
    if (exponent < 102) return uint16_t(sign);  // below 2^-25, nearest is zero
    const uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    const uint32_t shift = 126 - exponent;
    const uint32_t kept = mantissa >> shift;
    const uint32_t rest = mantissa & ((1u << shift) - 1);
    const uint32_t tie = 1u << (shift - 1);
    return uint16_t(sign | (kept + (rest > tie || (rest == tie && (kept & 1u)))));
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return uint16_t(sign | ((rounded - 0x38000000u) >> 13));
}

constexpr float half_value(uint16_t bits) {
  const uint32_t sign = uint32_t(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24 is exact in float
    const float magnitude = float(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

/// float -> bfloat16 bits, rounded to nearest even; NaN stays NaN.
constexpr uint16_t bfloat16_bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t((bits >> 16) | 0x40u);
  return uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

}  // namespace detail

/// IEEE 754 binary16, a storage type: arithmetic happens in float.
struct Half {
  uint16_t bits = 0;
  constexpr Half() = default;
  constexpr explicit Half(float value) : bits(detail::half_bits(value)) {}
  constexpr explicit operator float() const { return detail::half_value(bits); }
  friend constexpr bool operator==(Half a, Half b) { return float(a) == float(b); }
};

/// The upper half of an IEEE binary32, a storage type: arithmetic happens in float.
struct BFloat16 {
  uint16_t bits = 0;
  constexpr BFloat16() = default;
  constexpr explicit BFloat16(float value) : bits(detail::bfloat16_bits(value)) {}
  constexpr explicit operator float() const { return std::bit_cast<float>(uint32_t(bits) << 16); }
  friend constexpr bool operator==(BFloat16 a, BFloat16 b) { return float(a) == float(b); }
};

enum class DType : uint8_t { f32, f64, f16, bf16, i64, i32, u8, boolean };

inline std::string to_text(DType t) {
  constexpr const char* kNames[] = {"float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool"};
  return kNames[size_t(t)];
}

constexpr int64_t element_bytes(DType t) {
  constexpr int64_t kBytes[] = {4, 8, 2, 2, 8, 4, 1, 1};
  return kBytes[size_t(t)];
}

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<Half> {
  static constexpr DType value = DType::f16;
};
template <>
struct DTypeOf<BFloat16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::i64;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::u8;
};
template <>
struct DTypeOf<bool> {
  static constexpr DType value = DType::boolean;
};

template <class T>
inline constexpr DType kDType = DTypeOf<T>::value;

/// The types a gradient can have.
template <class T>
inline constexpr bool kDifferentiable = std::is_same_v<T, float> || std::is_same_v<T, double>;

/// static_cast that also goes through float for the two 16-bit types. Out-of-range values to an integer type are
/// the caller's to exclude.
template <class To, class From>
constexpr To convert_element(From v) {
  constexpr bool from16 = std::is_same_v<From, Half> || std::is_same_v<From, BFloat16>;
  constexpr bool to16 = std::is_same_v<To, Half> || std::is_same_v<To, BFloat16>;
  if constexpr (std::is_same_v<To, From>) return v;
  else if constexpr (from16) return convert_element<To>(float(v));
  else if constexpr (to16) return To(float(v));
  else if constexpr (std::is_same_v<To, bool>) return v != From(0);
  // By way of int64_t: a float outside a small unsigned type's range has no defined value there, and wraps this way.
  else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) return To(static_cast<int64_t>(v));
  else return static_cast<To>(v);
}

}  // namespace clearsky

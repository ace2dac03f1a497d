#include "clearsky/core/dtype.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

namespace clearsky {
namespace {

/// The value of a small IEEE format from its definition: sign, exponent, fraction; infinities and NaNs left out.
double defined_value(uint16_t bits, int fraction_bits, int bias) {
  const int exponent = (bits & 0x7fff) >> fraction_bits;
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
  return sign * std::ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

struct Format {
  int fraction_bits, bias;
  uint16_t infinity;
  uint16_t (*bits_of)(float);
  float (*value_of)(uint16_t);
};
const Format kFormats[] = {
    {10, 15, 0x7c00, [](float v) { return Half(v).bits; },
     [](uint16_t b) {
       Half h;
       h.bits = b;
       return float(h);
     }},
    {7, 127, 0x7f80, [](float v) { return BFloat16(v).bits; },
     [](uint16_t b) {
       BFloat16 h;
       h.bits = b;
       return float(h);
     }},
};

TEST_CASE("half and bfloat16: every pattern has the value of its definition and comes back from float") {
  for (const Format& f : kFormats) {
    int wrong = 0;
    for (uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
      const uint16_t bits = uint16_t(pattern), magnitude = bits & 0x7fff;
      const float value = f.value_of(bits);
      if (magnitude > f.infinity) {
        // A NaN stays one, with its sign; its payload keeps the upper bits.
        const uint16_t back = f.bits_of(value);
        wrong += !(std::isnan(value) && (back & 0x7fff) > f.infinity && (back & 0x8000) == (bits & 0x8000));
        continue;
      }
      const double want = magnitude == f.infinity ? (bits & 0x8000 ? -1.0 : 1.0) * INFINITY
                                                  : defined_value(bits, f.fraction_bits, f.bias);
      wrong += !(double(value) == want && std::signbit(value) == ((bits & 0x8000) != 0) && f.bits_of(value) == bits);
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("half and bfloat16: floats round to the nearest, ties to the even one") {
  for (const Format& f : kFormats) {
    int wrong = 0;
    // Between each finite value and the next one lies one tie; what follows the largest finite value counts as
    // infinity, as IEEE 754 has it.
    for (uint16_t bits = 0; bits < f.infinity; ++bits) {
      const double low = defined_value(bits, f.fraction_bits, f.bias);
      const double high = defined_value(uint16_t(bits + 1), f.fraction_bits, f.bias);
      const float tie = float((low + high) / 2);
      if (double(tie) != (low + high) / 2) continue;  // bfloat16 subnormals: halves of the last float do not exist
      const uint16_t even = bits % 2 == 0 ? bits : uint16_t(bits + 1), up = uint16_t(bits + 1);
      for (const float sign : {1.0f, -1.0f}) {
        const uint16_t s = sign < 0 ? 0x8000 : 0;
        wrong += f.bits_of(sign * tie) != (s | even);
        wrong += f.bits_of(sign * std::nextafter(tie, 0.0f)) != (s | bits);
        wrong += f.bits_of(sign * std::nextafter(tie, INFINITY)) != (s | up);
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("half: the ends of the range") {
  CHECK(Half(65504.0f).bits == 0x7bff);
  CHECK(Half(65519.99f).bits == 0x7bff);
  CHECK(Half(65520.0f).bits == 0x7c00);  // the tie between the largest value and what would follow it
  CHECK(Half(-1e30f).bits == 0xfc00);
  CHECK(Half(0x1p-24f).bits == 1);
  CHECK(Half(0x1p-25f).bits == 0);  // a tie, to even
  CHECK(Half(std::nextafter(0x1p-25f, 1.0f)).bits == 1);
  CHECK(Half(std::numeric_limits<float>::denorm_min()).bits == 0);
  CHECK(Half(-0.0f).bits == 0x8000);
  CHECK(Half(-0.0f) == Half(0.0f));
  CHECK_FALSE(Half(NAN) == Half(NAN));
}

TEST_CASE("bfloat16: the ends of the range") {
  CHECK(BFloat16(std::numeric_limits<float>::max()).bits == 0x7f80);  // nearer to 2^128 than to the largest value
  CHECK(BFloat16(0x1.fep127f).bits == 0x7f7f);
  CHECK(BFloat16(1.00390625f).bits == 0x3f80);  // 1 + 2^-8, a tie, to even
  CHECK(BFloat16(1.01171875f).bits == 0x3f82);  // 1 + 3 * 2^-8, a tie, to even
  // A NaN whose payload lies in the lower half only must not become infinity.
  CHECK(std::isnan(float(BFloat16(std::bit_cast<float>(0x7f800001u)))));
}

TEST_CASE("convert_element goes through float for the 16-bit types") {
  CHECK(convert_element<int64_t>(Half(3.5f)) == 3);
  CHECK(convert_element<double>(BFloat16(-2.0f)) == -2.0);
  CHECK(convert_element<Half>(int32_t(7)) == Half(7.0f));
  CHECK(convert_element<BFloat16>(Half(0.5f)) == BFloat16(0.5f));
  CHECK(convert_element<bool>(0.25) == true);
  CHECK(convert_element<bool>(Half(0.0f)) == false);
  CHECK(convert_element<uint8_t>(200.7f) == 200);
}

TEST_CASE("dtypes have names and sizes") {
  const auto check = [](DType t, const char* name, int64_t bytes) {
    CHECK(to_text(t) == name);
    CHECK(element_bytes(t) == bytes);
  };
  check(kDType<float>, "float32", sizeof(float));
  check(kDType<double>, "float64", sizeof(double));
  check(kDType<Half>, "float16", sizeof(Half));
  check(kDType<BFloat16>, "bfloat16", sizeof(BFloat16));
  check(kDType<int64_t>, "int64", sizeof(int64_t));
  check(kDType<int32_t>, "int32", sizeof(int32_t));
  check(kDType<uint8_t>, "uint8", sizeof(uint8_t));
  check(kDType<bool>, "bool", sizeof(bool));
}

}  // namespace
}  // namespace clearsky

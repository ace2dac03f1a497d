#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "clearsky/cpu/simd_math.hpp"

namespace clearsky::cpu::simd_math_test {
namespace {

/// The largest error over a dense range, in units in the last place of the result.
template <class T, class F, class Exact>
double worst_ulp(F f, Exact exact, double low, double high) {
  constexpr int64_t kSteps = 400000;
  double worst = 0;
  for (int64_t i = 0; i < kSteps; i += kLanes<T>) {
    T x[kLanes<T>], y[kLanes<T>];
    for (int64_t k = 0; k < kLanes<T>; ++k) x[k] = T(low + (high - low) * double(i + k) / double(kSteps));
    store(y, Vec<T>(f(load(x))));
    for (int64_t k = 0; k < kLanes<T>; ++k) {
      const long double want = exact((long double)(x[k]));
      const T size = std::fmax(std::fabs(T(want)), (std::numeric_limits<T>::min)());
      const T ulp = std::nextafter(size, std::numeric_limits<T>::infinity()) - size;
      worst = std::fmax(worst, double(std::fabs((long double)(y[k]) - want) / (long double)(ulp)));
    }
  }
  return worst;
}

template <class T>
T one(Vec<T> (*f)(Vec<T>), double x) {
  const Vec<T> y = f(splat(T(x)));
  for (int64_t i = 1; i < kLanes<T>; ++i) CHECK((y[i] == y[0] || y[0] != y[0]));
  return y[0];
}

template <class T>
Vec<T> erf_only(Vec<T> x) {
  return vec_erf<T>(x);
}

template <class T>
void check_all() {
  // Measured: exp 1, 2^x 1.5, log 1, erf 2, tanh 2, sigmoid 2.5; the limits leave room for other compilers'
  // contractions.
  CHECK(worst_ulp<T>(vec_exp<T>, expl, sizeof(T) == 4 ? -87 : -708, sizeof(T) == 4 ? 88 : 709) <= 2);
  CHECK(worst_ulp<T>(vec_exp<T>, expl, -1, 1) <= 2);
  CHECK(worst_ulp<T>(vec_exp2_flushed<T>, exp2l, -3, 1) <= 2);
  // Where it is e^(x log 2), the rounding of the product counts in proportion to it.
  CHECK(worst_ulp<T>(vec_exp2_flushed<T>, exp2l, -90, -3) <= (sizeof(T) == 4 && kVectorBytes == 64 ? 2 : 90));
  CHECK(worst_ulp<T>(vec_log<T>, logl, 1e-6, 10) <= 2);
  CHECK(worst_ulp<T>(vec_log<T>, logl, 0.9, 1.1) <= 2);
  CHECK(worst_ulp<T>(vec_log<T>, logl, 1, 1e30) <= 2);
  CHECK(worst_ulp<T>(erf_only<T>, erfl, -7, 7) <= 3);
  CHECK(worst_ulp<T>(erf_only<T>, erfl, -0.3, 0.3) <= 3);
  CHECK(worst_ulp<T>(vec_tanh<T>, tanhl, -20, 20) <= 3);
  CHECK(worst_ulp<T>(vec_tanh<T>, tanhl, -1, 1) <= 3);
  CHECK(worst_ulp<T>(
            vec_sigmoid<T>, [](long double x) { return 1 / (1 + expl(-x)); }, -80, 80) <= 4);

  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const T infinity = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
  CHECK(one<T>(vec_exp<T>, -kInfinity) == 0);
  CHECK(one<T>(vec_exp<T>, kInfinity) == infinity);
  CHECK(one<T>(vec_exp<T>, sizeof(T) == 4 ? 89 : 710) == infinity);
  CHECK(one<T>(vec_exp<T>, 0) == 1);
  CHECK(one<T>(vec_exp<T>, sizeof(T) == 4 ? -100 : -740) == doctest::Approx(std::exp(T(sizeof(T) == 4 ? -100 : -740))));
  CHECK(one<T>(vec_exp2_flushed<T>, 0) == 1);
  CHECK(one<T>(vec_exp2_flushed<T>, -kInfinity) == 0);
  CHECK(one<T>(vec_exp2_flushed<T>, sizeof(T) == 4 ? -126.5 : -1022.5) == 0);  // a subnormal number would be right
  CHECK(one<T>(vec_log<T>, 0) == -infinity);
  CHECK(one<T>(vec_log<T>, kInfinity) == infinity);
  CHECK(one<T>(vec_log<T>, 1) == 0);
  CHECK(std::isnan(one<T>(vec_log<T>, -1)));
  CHECK(one<T>(vec_log<T>, double(std::numeric_limits<T>::denorm_min())) ==
        doctest::Approx(std::log(double(std::numeric_limits<T>::denorm_min()))));
  for (const double sign : {-1.0, 1.0}) {
    CHECK(one<T>(erf_only<T>, sign * kInfinity) == T(sign));
    CHECK(one<T>(vec_tanh<T>, sign * kInfinity) == T(sign));
    CHECK(one<T>(erf_only<T>, sign * 30) == T(sign));
    CHECK(one<T>(vec_tanh<T>, sign * 1000) == T(sign));
    CHECK(one<T>(erf_only<T>, sign * 1e-30) == doctest::Approx(sign * 1.12837916709551257e-30));
    CHECK(one<T>(vec_tanh<T>, sign * 1e-30) == doctest::Approx(sign * 1e-30));
  }
  CHECK(one<T>(vec_sigmoid<T>, -kInfinity) == 0);
  CHECK(one<T>(vec_sigmoid<T>, kInfinity) == 1);
  CHECK(one<T>(vec_sigmoid<T>, 0) == T(0.5));
  for (auto f : {vec_exp<T>, vec_exp2_flushed<T>, vec_log<T>, erf_only<T>, vec_tanh<T>, vec_sigmoid<T>})
    CHECK(std::isnan(one<T>(f, double(nan))));
}

TEST_CASE("vector functions are right to a few units in the last place, and at the ends of their ranges") {
  check_all<float>();
  check_all<double>();
}

}  // namespace
}  // namespace clearsky::cpu::simd_math_test

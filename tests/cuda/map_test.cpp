#include "clearsky/cuda/kernels/map.cuh"

#include <array>

#include "kernels.hpp"

namespace clearsky::test::map_test {
namespace {

using cuda::DeviceMap, cuda::MapFunction;

double phi(double x) {
  return std::exp(-x * x / 2) / std::sqrt(2 * 3.14159265358979323846);
}
double cumulative(double x) {
  return 0.5 * std::erfc(-x / std::sqrt(2.0));
}
double logistic(double x) {
  return 1 / (1 + std::exp(-x));
}

/// The functions as their definitions read, in double.
double exact(MapFunction f, double a, double b, double c, double s, double t) {
  using enum MapFunction;
  // The tanh form of GELU and its derivatives: u the argument of tanh, w its value.
  const double k = std::sqrt(2 / 3.14159265358979323846), z = f == gelu_tanh ? a : b;
  const double w = std::tanh(k * (z + 0.044715 * z * z * z)), du = k * (1 + 3 * 0.044715 * z * z),
               ddu = 6 * k * 0.044715 * z, dw = 1 - w * w;
  switch (f) {
    case add:
      return a + b;
    case sub:
      return a - b;
    case mul:
      return a * b;
    case div:
      return a / b;
    case minimum:
      return std::fmin(a, b);
    case maximum:
      return std::fmax(a, b);
    case less_share:
      return a < b ? 1 : a == b ? 0.5 : 0;
    case add_scalar:
      return a + s;
    case mul_scalar:
      return a * s;
    case scalar_sub:
      return s - a;
    case scalar_div:
      return s / a;
    case pow:
      return std::pow(a, s);
    case clamp:
      return std::fmin(std::fmax(a, s), t);
    case inside_mask:
      return s <= a && a <= t;
    case leaky_relu:
      return a > 0 ? a : s * a;
    case leaky_relu_backward:
      return b > 0 ? a : s * a;
    case neg:
      return -a;
    case exp:
      return std::exp(a);
    case log:
      return std::log(a);
    case tanh:
      return std::tanh(a);
    case sigmoid:
      return logistic(a);
    case sqrt:
      return std::sqrt(a);
    case rsqrt:
      return 1 / std::sqrt(a);
    case abs:
      return std::abs(a);
    case sign:
      return double(a > 0) - double(a < 0);
    case relu:
      return std::fmax(a, 0);
    case softplus:
      return std::log1p(std::exp(a));
    case gelu:
      return a * cumulative(a);
    case gelu_tanh:
      return 0.5 * a * (1 + w);
    case silu:
      return a * logistic(a);
    case times_gelu_1:
      return a * (cumulative(b) + b * phi(b));
    case times_gelu_2:
      return a * phi(b) * (2 - b * b);
    case times_gelu_tanh_1:
      return a * (0.5 * (1 + w) + 0.5 * b * dw * du);
    case times_gelu_tanh_2:
      return a * dw * (du + 0.5 * b * ddu - b * w * du * du);
    case times_silu_1:
      return a * logistic(b) * (1 + b * (1 - logistic(b)));
    case times_silu_2:
      return a * logistic(b) * (1 - logistic(b)) * (2 + b * (1 - 2 * logistic(b)));
    case choose:
      return a != 0 ? b : c;
  }
  return 0;
}

struct Inputs {
  std::vector<Values<float>> x;
  float s, t;
};

/// Values where each function is defined and interesting; zeros, equal pairs and both signs among them.
Inputs inputs_for(MapFunction f, const std::vector<int64_t>& counts) {
  using enum MapFunction;
  const bool positive = f == log || f == sqrt || f == rsqrt || f == pow || f == div || f == scalar_div;
  Inputs in{{}, f == pow ? 2.5f : f == clamp || f == inside_mask ? -0.75f : 0.3f, 1.25f};
  for (size_t i = 0; i < counts.size(); ++i) {
    std::vector<float> v = draw(counts[i], 10 + i, positive ? 0.05 : -4, 4).vector();
    for (size_t e = 0; e < v.size() && !positive; e += 5) v[e] = float(int(e) % 3) - 1;  // -1, 0, 1: also equal pairs
    in.x.emplace_back(std::move(v));
  }
  return in;
}

/// How far one value may lie off: each input's rounding moves the result by its derivative, and the function's own
/// steps (a handful, each a share of a value no larger than this) round as well.
double allowed(MapFunction f, double a, double b, double c, double s, double t, double y) {
  const auto moved = [&](double da, double db) {
    const double h = 1e-6;
    const double d = (exact(f, a + h * da, b + h * db, c, s, t) - exact(f, a - h * da, b - h * db, c, s, t)) / (2 * h);
    return std::isfinite(d) && std::abs(d) < 1e3 ? std::abs(d) : 0;
  };
  double own = 0;
  using enum MapFunction;
  // 1 - w^2 and 1 - s cancel: their errors are shares of 1.
  if (f == times_gelu_tanh_1 || f == times_gelu_tanh_2 || f == times_silu_1 || f == times_silu_2)
    own = std::abs(a) * (1 + b * b);
  if (f == gelu || f == gelu_tanh || f == times_gelu_1 || f == times_gelu_2)
    own = std::abs(f == gelu || f == gelu_tanh ? a : a * (1 + b * b)) * 1;
  const double scale = std::abs(y) + moved(1, 0) * std::abs(a) + moved(0, 1) * std::abs(b) + own;
  return 2 * allowed_error(kRoundFloat, kRoundFloat, 1, scale);
}

/// Runs f on inputs with strides in the shape; `shift` floats behind aligned addresses.
void check(MapFunction f, const Shape& shape, const std::vector<Shape>& strides, int64_t shift) {
  CAPTURE(int(f));
  CAPTURE(shift);
  const int n = cuda::map_inputs(f);
  std::vector<int64_t> counts;
  for (const Shape& step : strides) {
    int64_t last = 0;
    for (size_t d = 0; d < shape.size(); ++d) last += (shape[d] - 1) * step[d];
    counts.push_back(shape.numel() == 0 ? 0 : last + 1);
  }
  const Inputs in = inputs_for(f, counts);
  DeviceMap call{};
  call.f = f, call.s = in.s, call.t = in.t;
  if (n == 1) call.set_shape<1>(shape, {strides[0]});
  if (n == 2) call.set_shape<2>(shape, {strides[0], strides[1]});
  if (n == 3) call.set_shape<3>(shape, {strides[0], strides[1], strides[2]});
  const auto y = in_every_order([&] {
    std::vector<Output> out{Output(shape.numel())};
    for (int k = 0; k < n; ++k) call.x[k] = in.x[size_t(k)].device(shift);
    call.y = out[0].data();
    cuda::map(call, nullptr);
    return out;
  });
  Worst worst;
  for (int64_t i = 0; i < shape.numel(); ++i) {
    double v[3] = {0, 0, 0};
    for (int k = 0; k < n; ++k) {
      int64_t rest = i, at = 0;
      for (size_t d = shape.size(); d-- > 0; rest /= shape[d]) at += rest % shape[d] * strides[size_t(k)][d];
      v[k] = in.x[size_t(k)][size_t(at)];
    }
    const double want = exact(f, v[0], v[1], v[2], in.s, in.t);
    worst.add(y[0][i], want, allowed(f, v[0], v[1], v[2], in.s, in.t, want));
  }
  CHECK(worst.share() <= 1);
}

TEST_CASE("map: every function, dense, unaligned, repeated and in other orders, as in double") {
  for (int f = 0; f < cuda::kMapFunctions; ++f) {
    const auto function = MapFunction(f);
    const auto all = [](const Shape& s) { return std::vector<Shape>(3, s); };
    check(function, {1037}, all({1}), 0);
    check(function, {1037}, all({1}), 1);
    check(function, {7}, all({1}), 0);  // three behind the last four
    check(function, {0}, all({1}), 0);
    check(function, {}, all({}), 0);
    // The second input is repeated along the rows, the third is one number; the first is transposed.
    check(function, {3, 5, 7}, {Shape{35, 1, 5}, Shape{0, 0, 1}, Shape{0, 0, 0}}, 0);
    check(function, {4, 1, 6}, {Shape{6, 6, 1}, Shape{0, 0, 0}, Shape{6, 0, 1}}, 0);
    // More than a block, with a single number as the first input.
    check(function, {2, 520}, {Shape{0, 0}, Shape{520, 1}, Shape{520, 1}}, 0);
  }
}

TEST_CASE("map: what is no number is passed on, and infinities are kept") {
  using enum MapFunction;
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  const auto value = [](MapFunction f, float a, float b = 0, float s = 0, float t = 0, float c = 0) {
    const Values<float> x(std::vector<float>{a}), y(std::vector<float>{b}), z(std::vector<float>{c});
    Output out(1);
    DeviceMap call{};
    call.f = f, call.s = s, call.t = t;
    call.x[0] = x.device(), call.x[1] = y.device(), call.x[2] = z.device();
    call.inputs = cuda::map_inputs(f), call.y = out.data(), call.count = 1;
    cuda::map(call, nullptr);
    return out[0];
  };
  for (MapFunction f : {minimum, maximum}) {
    CHECK(std::isnan(value(f, nan, 1)));
    CHECK(std::isnan(value(f, 1, nan)));
  }
  for (MapFunction f : {clamp, relu, leaky_relu, softplus, sign, gelu, sigmoid, abs})
    CHECK(std::isnan(value(f, nan, 0, -1, 1)));
  CHECK(value(softplus, 200) == 200);
  CHECK(value(softplus, -inf) == 0);
  CHECK(value(sigmoid, -inf) == 0);
  CHECK(value(sigmoid, 200) == 1);
  CHECK(value(choose, 0, nan, 0, 0, 3) == 3);  // what is not chosen does not matter
  CHECK(value(choose, 1, 2, 0, 0, inf) == 2);
  CHECK(std::isnan(value(log, -1)));
  CHECK(value(log, 0) == -inf);
  CHECK(std::isnan(value(pow, -8, 0, 1.0f / 3)));
}

}  // namespace
}  // namespace clearsky::test::map_test

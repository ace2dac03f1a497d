#include "../op_spec.hpp"

namespace clearsky::test::elementwise_test {
namespace {

/// The index in an input of element i of the output, where the input was broadcast.
int64_t source_index(int64_t i, const Shape& out, const Shape& in) {
  int64_t index = 0, step = 1;
  for (int64_t d = 1; d <= out.rank(); ++d) {
    const int64_t n = out[size_t(out.rank() - d)], at = i % n;
    i /= n;
    if (d > in.rank()) continue;
    const int64_t m = in[size_t(in.rank() - d)];
    index += (m == 1 ? 0 : at) * step;
    step *= m;
  }
  return index;
}

using Reference = std::function<Expected(const Inputs&, const Attrs&)>;

Reference binary(double (*f)(double, double)) {
  return [f](const Inputs& in, const Attrs&) -> Expected {
    const Shape shape = clearsky::detail::broadcast_shape("test", in[0].shape(), in[1].shape());
    std::vector<double> y, scale;
    for (int64_t i = 0; i < shape.numel(); ++i) {
      const double a = in[0].data()[source_index(i, shape, in[0].shape())];
      const double b = in[1].data()[source_index(i, shape, in[1].shape())];
      y.push_back(f(a, b));
      scale.push_back(std::fabs(y.back()));
    }
    return {y, scale, 1};
  };
}

const std::vector<Sample> kPairs = {
    {.inputs = {{3, 4}, {3, 4}}},       {.inputs = {{2, 3, 4}, {4}}},    {.inputs = {{3, 1}, {1, 5}}},
    {.inputs = {{}, {2, 3}}},           {.inputs = {{2, 1, 3}, {4, 1}}}, {.inputs = {{0, 3}, {1, 3}}},
    {.inputs = {{37}, {37}}},           {.inputs = {{1}, {1}}},          {.inputs = {{2, 3, 1, 17}, {2, 1, 1, 17}}},
    {.inputs = {{3, 5, 2}, {3, 1, 2}}},
};

std::vector<Sample> pairs(double low, double high) {
  std::vector<Sample> samples = kPairs;
  for (auto& s : samples) {
    s.low = low;
    s.high = high;
  }
  // Long enough for several blocks of the parallel walk; gradcheck would take 40,000 calls.
  samples.push_back({.inputs = {{300, 67}, {67}}, .low = low, .high = high, .gradcheck = false});
  return samples;
}

TEST_CASE("add, sub, mul, div") {
  const std::vector<Reject> rejects{
      {{.inputs = {{2, 3}, {2, 4}}}, "shapes (2, 3) and (2, 4) do not broadcast: sizes 3 and 4 at dim 1"}};
  run({.name = "add",
       .reference = binary([](double a, double b) { return a + b; }),
       .samples = pairs(-1, 1),
       .rejects = rejects},
      [](const auto& in, const Attrs&) { return in[0] + in[1]; });
  run({.name = "sub",
       .reference = binary([](double a, double b) { return a - b; }),
       .samples = pairs(-1, 1),
       .rejects = rejects},
      [](const auto& in, const Attrs&) { return in[0] - in[1]; });
  run({.name = "mul",
       .reference = binary([](double a, double b) { return a * b; }),
       .samples = pairs(-1, 1),
       .rejects = rejects},
      [](const auto& in, const Attrs&) { return in[0] * in[1]; });
  run({.name = "div",
       .reference = binary([](double a, double b) { return a / b; }),
       .samples = pairs(0.5, 2),
       .rejects = rejects},
      [](const auto& in, const Attrs&) { return in[0] / in[1]; });
}

TEST_CASE("minimum, maximum") {
  run({.name = "minimum",
       .reference = binary([](double a, double b) { return a < b ? a : b; }),
       .samples = pairs(-1, 1)},
      [](const auto& in, const Attrs&) { return minimum(in[0], in[1]); });
  run({.name = "maximum",
       .reference = binary([](double a, double b) { return a > b ? a : b; }),
       .samples = pairs(-1, 1)},
      [](const auto& in, const Attrs&) { return maximum(in[0], in[1]); });
  Tensor<> a({1}, {2}), b({1}, {2});
  a.set_requires_grad();
  b.set_requires_grad();
  maximum(a, b).backward();
  CHECK(a.grad().item() == 0.5f);  // equal values share the gradient
  CHECK(b.grad().item() == 0.5f);
  CHECK(std::isnan(minimum(Tensor<>({1}, {NAN}), b).item()));
  CHECK(std::isnan(minimum(b, Tensor<>({1}, {NAN})).item()));
}

TEST_CASE("where") {
  run({.name = "where",
       .reference = binary([](double a, double b) { return a + b > 0 ? a : b; }),
       .samples = pairs(-1, 1)},
      [](const auto& in, const Attrs&) {
        const auto total = in[0].detach() + in[1].detach();
        return where(total > zeros<typename std::decay_t<decltype(total)>::value_type>({}), in[0], in[1]);
      });
  // What is not chosen must not matter, not even in the gradient.
  Tensor<> x({2}, {1, INFINITY}), y = zeros({2});
  x.set_requires_grad();
  sum(where(x < full({}, 2), x, y)).backward();
  CHECK(x.grad().to_vector() == std::vector<float>{1, 0});
}

/// f of one value; condition(x) = |x f'(x) / f(x)| where above 1, since the tolerance rule asks for it.
Reference unary(double (*f)(double), double (*condition)(double)) {
  return [f, condition](const Inputs& in, const Attrs&) -> Expected {
    std::vector<double> y, scale;
    for (double x : in[0].to_vector()) {
      y.push_back(f(x));
      scale.push_back(std::fabs(y.back()) * std::fmax(1.0, condition(x)));
    }
    return {y, scale, 1};
  };
}
double one(double) {
  return 1;
}
double magnitude(double x) {
  return std::fabs(x);
}

std::vector<Sample> singles(double low, double high) {
  return {{.inputs = {{3, 4}}, .low = low, .high = high},
          {.inputs = {{}}, .low = low, .high = high},
          {.inputs = {{0, 3}}, .low = low, .high = high},
          {.inputs = {{2, 3, 5}}, .low = low, .high = high},
          {.inputs = {{67}}, .low = low, .high = high},
          {.inputs = {{1}}, .low = low, .high = high},
          {.inputs = {{40000}}, .low = low, .high = high, .gradcheck = false}};
}

#define UNARY(op, expression, condition, low, high)                                  \
  TEST_CASE(#op) {                                                                   \
    run({.name = #op,                                                                \
         .reference = unary([](double x) { return double(expression); }, condition), \
         .samples = singles(low, high)},                                             \
        [](const auto& in, const Attrs&) { return op(in[0]); });                     \
  }

UNARY(exp, std::exp(x), magnitude, -3, 3)
UNARY(
    log, std::log(x), [](double x) { return 1 / std::fabs(std::log(x)); }, 0.1, 4)
UNARY(sqrt, std::sqrt(x), one, 0.1, 4)
UNARY(rsqrt, 1 / std::sqrt(x), one, 0.1, 4)
UNARY(sigmoid, 1 / (1 + std::exp(-x)), magnitude, -6, 6)
UNARY(softplus, (x > 0 ? x : 0) + std::log1p(std::exp(-std::fabs(x))), magnitude, -20, 20)
UNARY(abs, std::fabs(x), one, 0.1, 2)
UNARY(square, x* x, one, -2, 2)
UNARY(relu, (x > 0 ? x : 0), one, -1, 1)
UNARY(leaky_relu, (x > 0 ? x : 0.01 * x), one, -1, 1)
// x Phi(x) for x < 0 comes from 1 + erf, which cancels: the scale is that of |x|, not of the small result.
UNARY(
    gelu, 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))),
    [](double x) { return x < 0 ? 1 / std::erfc(-x / std::sqrt(2.0)) * 2 : 1.0; }, -3, 3)
UNARY(
    gelu_tanh, 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))),
    [](double x) { return x < 0 ? 4 / (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))) : 1.0; }, -2, 2)
// The product rounds once more than sigmoid does.
UNARY(
    silu, x / (1 + std::exp(-x)), [](double x) { return 1.5 + std::fabs(x); }, -6, 6)

#undef UNARY

TEST_CASE("abs and sign at and below 0") {
  Tensor<> x({3}, {-2, 0, 2});
  x.set_requires_grad();
  sum(abs(x)).backward();
  CHECK(x.grad().to_vector() == std::vector<float>{-1, 0, 1});
}

TEST_CASE("tanh") {
  // dy = 1 - y^2 cancels: relative to it, a rounding of y counts 2 y^2 / (1 - y^2) times, 2.8 at the border x = 1.
  run({.name = "tanh",
       .reference = unary([](double x) { return std::tanh(x); }, one),
       .samples = singles(-1, 1),
       .gradient_condition = 3},
      [](const auto& in, const Attrs&) { return tanh(in[0]); });
}

TEST_CASE("pow") {
  run({.name = "pow",
       .reference = [](const Inputs& in, const Attrs& a) -> Expected {
         std::vector<double> y, scale;
         for (double x : in[0].to_vector()) {
           y.push_back(std::pow(x, a.at("p")));
           scale.push_back(std::fabs(y.back()) * std::fmax(1.0, std::fabs(a.at("p"))));
         }
         return {y, scale, 1};
       },
       .samples = {{.inputs = {{3, 4}}, .attrs = {{"p", 2}}, .low = 0.5, .high = 2},
                   {.inputs = {{3, 4}}, .attrs = {{"p", 3}}, .low = -2, .high = 2},
                   {.inputs = {{5}}, .attrs = {{"p", 0.5}}, .low = 0.5, .high = 2},
                   {.inputs = {{5}}, .attrs = {{"p", -1.5}}, .low = 0.5, .high = 2},
                   {.inputs = {{5}}, .attrs = {{"p", 1}}, .low = -2, .high = 2},
                   {.inputs = {{5}}, .attrs = {{"p", 0}}, .low = 0.5, .high = 2}}},
      [](const auto& in, const Attrs& a) { return pow(in[0], a.at("p")); });
}

TEST_CASE("clamp") {
  run({.name = "clamp",
       .reference = unary([](double x) { return x < -0.5   ? -0.5
                                                : x > 0.25 ? 0.25
                                                           : x; }, one),
       .samples = singles(-1, 1)},
      [](const auto& in, const Attrs&) { return clamp(in[0], -0.5, 0.25); });
  CHECK_THROWS_WITH_AS(clamp(ones({2}), 2, 1), doctest::Contains("clamp: low 2 is above high 1"), ValueError);
  CHECK(std::isnan(clamp(full({1}, NAN), 0, 1).item()));
}

TEST_CASE("scalars on either side") {
  run({.name = "scalar",
       .reference = unary([](double x) { return (2 / x - 1) * 3 + (4 - x) / 2; },
                          [](double x) { return (6 / x + 9) / std::fabs((2 / x - 1) * 3 + (4 - x) / 2) * 3; }),
       .samples = singles(0.5, 2)},
      [](const auto& in, const Attrs&) { return (2 / in[0] - 1) * 3 + (4 - in[0]) / 2; });
}

}  // namespace
}  // namespace clearsky::test::elementwise_test

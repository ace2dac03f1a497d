#include "clearsky/ops/gate.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::gate_test {
namespace {

/// gate(a, b, scale) for each pair of the two halves.
template <class Gate>
Expected gated(const Tensor<double>& x, const Gate& gate) {
  const int64_t half = x.shape().back() / 2;
  Expected e;
  for (int64_t i = 0; half > 0 && i < x.numel() / 2; ++i) {
    const double* pair = x.data() + i / half * 2 * half + i % half;
    double scale = 0;
    e.values.push_back(gate(pair[0], pair[half], scale));
    e.scale.push_back(scale);
  }
  return e;
}

const std::vector<Sample> kSamples = {
    {.inputs = {{2, 3, 2, 6}}},
    {.inputs = {{1, 2, 2, 34}}},
    {.inputs = {{3, 32}}},
    {.inputs = {{5, 2}}},
    {.inputs = {{10}}},
    {.inputs = {{4, 10}},
     .low = -6,
     .high = 6,
     .gradcheck = false,
     .direction = true},  // both tails of the normal distribution
    {.inputs = {{4, 10}}, .low = -300, .high = 300, .gradcheck = false, .direction = true},
    {.inputs = {{0, 4}}},
    {.inputs = {{3, 0}}},
    {.inputs = {{2, 0, 3, 4}}},
    {.inputs = {{2, 21, 23, 66}}, .gradcheck = false, .direction = true},  // several blocks
    {.inputs = {{2, 20002}}, .gradcheck = false, .direction = true},       // a row longer than a block
};

TEST_CASE("gelu_gate") {
  run({.name = "gelu_gate",
       .reference =
           [](const Inputs& in, const Attrs&) {
             return gated(in[0], [](double a, double b, double& scale) {
               const double e = std::erf(a / std::sqrt(2.0));
               // 1 + erf cancels for negative a: the rounding of both counts. The 2: a / sqrt(2) and a further product.
               scale = 2 * std::fabs(a * b) * 0.5 * (1 + std::fabs(e));
               return a * 0.5 * std::erfc(-a / std::sqrt(2.0)) * b;
             });
           },
       .samples = kSamples,
       .rejects = {{{.inputs = {{2, 5}}}, "gelu_gate: the last dimension of (2, 5) does not split in two halves"},
                   {{.inputs = {{}}}, "gelu_gate: the last dimension of () does not split in two halves"}},
       .twice_differentiable = false},
      [](const auto& in, const Attrs&) { return gelu_gate(in[0]); });
}

TEST_CASE("simple_gate") {
  run({.name = "simple_gate",
       .reference =
           [](const Inputs& in, const Attrs&) {
             return gated(in[0], [](double a, double b, double& scale) {
               scale = std::fabs(a * b);
               return a * b;
             });
           },
       .samples = kSamples,
       .rejects = {{{.inputs = {{2, 5}}}, "simple_gate: the last dimension of (2, 5) does not split in two halves"}},
       .twice_differentiable = false},
      [](const auto& in, const Attrs&) { return simple_gate(in[0]); });
}

TEST_CASE("gelu_gate of huge and of NaN values") {
  const std::vector<float> y = gelu_gate(Tensor<>({1, 10}, {1e30f, -1e30f, NAN, 2, 0, 3, 3, 1, NAN, 7})).to_vector();
  CHECK(y[0] == 3 * 1e30f);
  CHECK(y[1] == 0);
  CHECK(std::isnan(y[2]));
  CHECK(std::isnan(y[3]));
  CHECK(y[4] == 0);
}

}  // namespace
}  // namespace clearsky::test::gate_test

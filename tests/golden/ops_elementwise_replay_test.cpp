#include "clearsky/ops/matmul.hpp"
#include "clearsky/ops/reduce.hpp"
#include "replay.hpp"

namespace clearsky::test::ops_elementwise_replay_test {
namespace {

template <class T>
GoldenCalls<T> calls() {
  using C = GoldenCase<T>;
  const auto keep = [](const C& c) { return c.flag("keepdim") ? KeepDim::yes : KeepDim::no; };
  return {
      {"add", [](C& c) { return c.in[0] + c.in[1]; }},
      {"sub", [](C& c) { return c.in[0] - c.in[1]; }},
      {"mul", [](C& c) { return c.in[0] * c.in[1]; }},
      {"div", [](C& c) { return c.in[0] / c.in[1]; }},
      {"minimum", [](C& c) { return minimum(c.in[0], c.in[1]); }},
      {"maximum", [](C& c) { return maximum(c.in[0], c.in[1]); }},
      {"where", [](C& c) { return where(c.masks[0], c.in[0], c.in[1]); }},
      {"exp", [](C& c) { return exp(c.in[0]); }},
      {"log", [](C& c) { return log(c.in[0]); }},
      {"sqrt", [](C& c) { return sqrt(c.in[0]); }},
      {"rsqrt", [](C& c) { return rsqrt(c.in[0]); }},
      {"abs", [](C& c) { return abs(c.in[0]); }},
      {"relu", [](C& c) { return relu(c.in[0]); }},
      {"gelu", [](C& c) { return gelu(c.in[0]); }},
      {"gelu_tanh", [](C& c) { return gelu_tanh(c.in[0]); }},
      {"silu", [](C& c) { return silu(c.in[0]); }},
      {"sigmoid", [](C& c) { return sigmoid(c.in[0]); }},
      {"tanh", [](C& c) { return tanh(c.in[0]); }},
      {"softplus", [](C& c) { return softplus(c.in[0]); }},
      {"leaky_relu", [](C& c) { return leaky_relu(c.in[0], c.number("slope")); }},
      {"pow", [](C& c) { return pow(c.in[0], c.number("exponent")); }},
      {"clamp", [](C& c) { return clamp(c.in[0], T(c.number("low")), T(c.number("high"))); }},
      {"sum", [keep](C& c) { return sum(c.in[0], c.dims("dims"), keep(c)); }},
      {"mean", [keep](C& c) { return mean(c.in[0], c.dims("dims"), keep(c)); }},
      {"logsumexp", [keep](C& c) { return logsumexp(c.in[0], c.dims("dims"), keep(c)); }},
      {"var", [keep](C& c) { return var(c.in[0], c.dims("dims"), keep(c), c.integer("correction")); }},
      {"norm", [keep](C& c) { return norm(c.in[0], c.number("p"), c.dims("dims"), keep(c)); }},
      {"max", [keep](C& c) { return max(c.in[0], c.integer("dim"), keep(c)); }},
      {"min", [keep](C& c) { return min(c.in[0], c.integer("dim"), keep(c)); }},
      {"argmax", [keep](C& c) { return cast<T>(argmax(c.in[0], c.integer("dim"), keep(c))); }},
      {"matmul",
       [](C& c) {
         return matmul(c.flag("transpose_a") ? transpose(c.in[0], -2, -1) : c.in[0],
                       c.flag("transpose_b") ? transpose(c.in[1], -2, -1) : c.in[1]);
       }},
      {"linear", [](C& c) { return linear(c.in[0], c.in[1], c.optional(2)); }},
  };
}
const Replays kRegistered(calls<float>());

TEST_CASE("golden values: arithmetic, functions, reductions, products") {
  replay(calls<float>(), calls<double>());
}

}  // namespace
}  // namespace clearsky::test::ops_elementwise_replay_test

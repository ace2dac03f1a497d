#include "clearsky/cuda/kernels/gemm.cuh"

#include "clearsky/core/dtype.hpp"
#include "kernels.hpp"

namespace clearsky::test {
namespace {

struct Size {
  int64_t batch, m, n, k;
};
// One element, odd sizes below and above a tile, whole tiles (16-byte copies), k on both sides of a depth, so many
// depths that a tile is fetched into a second time, and nothing.
const Size kSizes[] = {{1, 1, 1, 1},     {2, 5, 7, 3},    {1, 65, 70, 17}, {1, 64, 64, 32},
                       {2, 68, 132, 20}, {1, 33, 66, 50}, {1, 64, 8, 64},  {3, 4, 8, 16},
                       {1, 3, 5, 0},     {0, 3, 4, 5},    {2, 0, 4, 5},    {2, 4, 0, 5}};

struct Problem {
  Size size;
  Values<float> a, b, bias;
  cuda::Gemm call{};

  Problem(const Size& s, bool transpose_a, bool transpose_b, bool with_bias)
      : size(s), a(draw(s.batch * s.m * s.k, 1)), b(draw(s.batch * s.k * s.n, 2)), bias(draw(s.n, 3)) {
    call = {.a = a.data(),
            .b = b.data(),
            .bias = with_bias ? bias.data() : nullptr,
            .c = nullptr,
            .batch = s.batch,
            .m = s.m,
            .n = s.n,
            .k = s.k,
            .a_batch = s.m * s.k,
            .a_row = transpose_a ? 1 : s.k,
            .a_column = transpose_a ? s.m : 1,
            .b_batch = s.k * s.n,
            .b_row = transpose_b ? 1 : s.n,
            .b_column = transpose_b ? s.k : 1};
  }
  cuda::Gemm on_host(float* c) const {
    cuda::Gemm p = call;
    p.c = c;
    return p;
  }
  cuda::Gemm on_device(float* c, int64_t shift = 0) const {
    cuda::Gemm p = on_host(c);
    p.a = a.device(shift), p.b = b.device(shift), p.bias = p.bias == nullptr ? nullptr : bias.device();
    return p;
  }
};

/// The largest error of c as a share of what a sum of k products may have, after `round` was applied to the factors.
template <class Round>
double share(const Problem& p, const std::vector<float>& c, Round&& round) {
  Worst worst;
  const cuda::Gemm& g = p.call;
  for (int64_t i = 0; i < int64_t(c.size()); ++i) {
    const int64_t batch = i / (g.m * g.n), m = i / g.n % g.m, n = i % g.n;
    double sum = g.bias == nullptr ? 0 : g.bias[n], scale = std::abs(sum);
    for (int64_t k = 0; k < g.k; ++k) {
      const double product = round(g.a[batch * g.a_batch + m * g.a_row + k * g.a_column]) *
                             round(g.b[batch * g.b_batch + k * g.b_row + n * g.b_column]);
      sum += product, scale += std::abs(product);
    }
    worst.add(c[size_t(i)], sum, allowed_error(kRoundFloat, kRoundFloat, double(g.k + 1), scale));
  }
  return worst.share();
}

template <class Check>
void each_problem(Check&& check) {
  for (const Size& s : kSizes)
    for (int kind = 0; kind < 4; ++kind) {
      CAPTURE(s.batch);
      CAPTURE(s.m);
      CAPTURE(s.n);
      CAPTURE(s.k);
      CAPTURE(kind);
      check(Problem(s, kind % 2 == 1, kind / 2 == 1, kind != 1));
    }
}

TEST_CASE("gemm: as in double and on the CPU, for every way in which the factors lie") {
  each_problem([](const Problem& p) {
    const auto c = in_every_order([&] {
      std::vector<Output> out{Output(p.size.batch * p.size.m * p.size.n)};
      cuda::gemm(p.on_device(out[0].data()), nullptr);
      return out;
    });
    CHECK(share(p, c[0].vector(), [](float v) { return double(v); }) <= 1);
    std::vector<float> on_cpu(size_t(c[0].size()));
    cpu::gemm(p.on_host(on_cpu.data()));
    CHECK(share(p, on_cpu, [](float v) { return double(v); }) <= 1);
  });
}

TEST_CASE("gemm: a column of a wider matrix, and factors that start at any float") {
  // Strides that are neither 1 nor the row's length, and a start that is not aligned to 16 bytes.
  for (int64_t shift : {0, 1}) {
    Problem p({1, 8, 12, 9}, false, false, false);
    p.a = draw(2000, 1), p.b = draw(2000, 2);
    p.call.a = p.a.data(), p.call.b = p.b.data();
    p.call.a_row = 30, p.call.a_column = 2, p.call.b_row = 100, p.call.b_column = 1;
    Output c(96);
    cuda::gemm(p.on_device(c.data(), shift), nullptr);
    CHECK(share(p, c.vector(), [](float v) { return double(v); }) <= 1);
    CHECK(c.sentinels_intact());
  }
  // Rows of 10 that stand 12 apart, the last one ending the memory: AddressSanitizer sees 16 bytes read behind it.
  Problem p({1, 8, 10, 9}, false, false, false);
  p.b = draw(8 * 12 + 10, 2);
  p.call.b = p.b.data(), p.call.b_row = 12, p.call.b_batch = 0;
  Output c(80);
  cuda::gemm(p.on_device(c.data()), nullptr);
  CHECK(share(p, c.vector(), [](float v) { return double(v); }) <= 1);
}

TEST_CASE("gemm in bfloat16: exact products of the rounded factors, added in float") {
  each_problem([](const Problem& p) {
    const auto c = in_every_order([&] {
      std::vector<Output> out{Output(p.size.batch * p.size.m * p.size.n)};
      cuda::gemm_bfloat16(p.on_device(out[0].data()), nullptr);
      return out;
    });
    CHECK(share(p, c[0].vector(), [](float v) { return double(float(BFloat16(v))); }) <= 1);
  });
}

}  // namespace
}  // namespace clearsky::test

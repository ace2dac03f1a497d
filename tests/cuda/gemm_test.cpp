#include "clearsky/cuda/kernels/gemm.cuh"

#include "kernels.hpp"
#include "precision.hpp"

namespace clearsky::test::gemm_test {
namespace {

struct Size {
  int64_t batch, m, n, k;
};
// One element, odd sizes below and above a tile of 64 or 128, whole tiles (16-byte copies), k on both sides of a depth,
// so many depths that a tile is fetched into a second time, and nothing.
const Size kSizes[] = {{1, 1, 1, 1},    {2, 5, 7, 3},   {1, 65, 70, 17}, {1, 64, 64, 32}, {2, 68, 132, 20},
                       {1, 33, 66, 50}, {1, 64, 8, 64}, {3, 4, 8, 16},   {1, 130, 4, 18}, {1, 3, 5, 0},
                       {0, 3, 4, 5},    {2, 0, 4, 5},   {2, 4, 0, 5}};
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

/// The largest error of c as a share of what a sum of k exact products of the rounded factors may have; and of its
/// difference from the CPU's values, where these are given, as a share of twice that.
double share(const Problem& p, const std::vector<float>& c, Precision precision = Precision::float32,
             const std::vector<float>* on_cpu = nullptr) {
  const auto round = [&](float v) { return rounded(precision, v); };
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
    const double allowed = allowed_error(kRoundFloat, kRoundFloat, double(g.k + 1), scale);
    worst.add(c[size_t(i)], sum, allowed);
    if (on_cpu != nullptr) worst.add(c[size_t(i)], (*on_cpu)[size_t(i)], 2 * allowed);
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

TEST_CASE("gemm: in each precision, for every way in which the factors lie") {
  each_problem([](const Problem& p) {
    std::vector<float> on_cpu(size_t(p.size.batch * p.size.m * p.size.n));
    cpu::gemm(p.on_host(on_cpu.data()));
    CHECK(share(p, on_cpu) <= 1);
    for (const Precision precision : kPrecisions) {
      CAPTURE(to_text(precision));
      const auto c = in_every_order([&] {
        std::vector<Output> out{Output(p.size.batch * p.size.m * p.size.n)};
        cuda::gemm(p.on_device(out[0].data()), precision, nullptr, nullptr);
        return out;
      });
      CHECK(share(p, c[0].vector(), precision, precision == Precision::float32 ? &on_cpu : nullptr) <= 1);
    }
  });
}

TEST_CASE("gemm: a long sum for a small result is cut into slots, and with no workspace it is not") {
  struct Case {
    Size size;
    Precision precision;
  };
  for (const Case& one : {Case{{1, 5, 7, 4100}, Precision::float32}, Case{{2, 9, 4, 4096}, Precision::bfloat16}}) {
    const Size s = one.size;
    const Precision precision = one.precision;
    CAPTURE(to_text(precision));
    const Problem p(s, s.batch == 2, false, true);
    const int64_t count = s.batch * s.m * s.n, floats = cuda::gemm_workspace(p.call);
    CHECK(floats == 8 * count);  // 512 steps or more in each slot
    const auto c = in_every_order([&] {
      std::vector<Output> out{Output(count), Output(floats)};
      cuda::gemm(p.on_device(out[0].data()), precision, out[1].data(), nullptr);
      return out;
    });
    CHECK(share(p, c[0].vector(), precision) <= 1);
    CHECK(!std::isnan(c[1][floats - 1]));  // else this tests sums in one piece
    Output whole(count);
    cuda::gemm(p.on_device(whole.data()), precision, nullptr, nullptr);
    CHECK(share(p, whole.vector(), precision) <= 1);
  }
  CHECK(cuda::gemm_workspace(Problem({1, 64, 64, 4095}, false, false, false).call) == 0);
  CHECK(cuda::gemm_workspace(Problem({0, 4, 4, 4096}, false, false, false).call) == 0);
}

TEST_CASE("gemm: activation(sum + bias) + residual, in fours and one by one") {
  // 12 columns come in fours if c is aligned; the shift of 1 takes that away.
  for (int64_t shift : {0, 1})
    for (const cuda::Activation kind : {cuda::Activation::none, cuda::Activation::relu, cuda::Activation::gelu}) {
      CAPTURE(shift);
      CAPTURE(int(kind));
      const Problem p({2, 5, 12, 3}, false, false, true);
      const Values<float> residual = draw(120, 9);
      Output plain(120), c(120 + shift);
      cuda::gemm(p.on_device(plain.data()), nullptr);
      cuda::gemm(p.on_device(c.data() + shift), {p.on_device(nullptr).bias, kind, residual.device()},
                 Precision::float32, nullptr, nullptr);
      Worst worst;
      for (int64_t i = 0; i < 120; ++i) {
        const double v = plain[i], r = residual[size_t(i)];
        const double phi = 0.5 * std::erfc(-v / std::sqrt(2.0));
        const double want = kind == cuda::Activation::none   ? v
                            : kind == cuda::Activation::relu ? std::max(v, 0.0)
                                                             : v * phi;
        // The condition of v Phi(v) is at most 1 + v^2, and here |v| < 4.
        worst.add(c[i + shift], want + r,
                  allowed_error(kRoundFloat, kRoundFloat, 1, (1 + v * v) * std::abs(want) + std::abs(r)));
      }
      CHECK(worst.share() <= 1);
      CHECK(c.sentinels_intact());
      if (shift == 1) CHECK(std::isnan(c[0]));
    }
}

TEST_CASE("gemm: a NaN comes through every activation and the slots") {
  std::vector<float> ones(4096, 1.0f), broken = ones;
  broken[20] = std::numeric_limits<float>::quiet_NaN();
  Problem p({1, 1, 1, 24}, false, false, false);
  p.a = broken, p.b = ones;
  for (const cuda::Activation kind : {cuda::Activation::none, cuda::Activation::relu, cuda::Activation::gelu})
    for (const Precision precision : kPrecisions) {
      Output c(1, 0.0f);
      cuda::gemm(p.on_device(c.data()), {nullptr, kind, nullptr}, precision, nullptr, nullptr);
      CHECK(std::isnan(c[0]));
    }
  p.call.k = 4096;
  Output c(1, 0.0f), workspace(cuda::gemm_workspace(p.call));
  cuda::gemm(p.on_device(c.data()), {nullptr, cuda::Activation::relu, nullptr}, Precision::float32, workspace.data(),
             nullptr);
  CHECK(std::isnan(c[0]));
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
    CHECK(share(p, c.vector()) <= 1);
    CHECK(c.sentinels_intact());
  }
  // Rows of 10 that stand 12 apart, the last one ending the memory: AddressSanitizer sees 16 bytes read behind it.
  Problem p({1, 8, 10, 9}, false, false, false);
  p.b = draw(8 * 12 + 10, 2);
  p.call.b = p.b.data(), p.call.b_row = 12, p.call.b_batch = 0;
  Output c(80);
  cuda::gemm(p.on_device(c.data()), nullptr);
  CHECK(share(p, c.vector()) <= 1);
}

TEST_CASE("gemm: sizes in fours, but rows, columns or matrices that do not start aligned to 16 bytes") {
  for (const bool transpose : {false, true})
    for (int which = 0; which < 4; ++which) {
      CAPTURE(transpose);
      CAPTURE(which);
      Problem p({2, 8, 12, 16}, transpose, transpose, false);
      p.a = draw(2000, 1), p.b = draw(2000, 2);
      p.call.a = p.a.data(), p.call.b = p.b.data();
      if (which == 0) (transpose ? p.call.a_column : p.call.a_row) += 1;
      if (which == 1) (transpose ? p.call.b_column : p.call.b_row) += 2;
      p.call.a_batch = which == 2 ? 601 : 600;
      p.call.b_batch = which == 3 ? 602 : 600;
      Output c(2 * 8 * 12);
      cuda::gemm(p.on_device(c.data()), nullptr);
      CHECK(share(p, c.vector()) <= 1);
    }
}

TEST_CASE("gemm: one b for all of a's matrices") {
  // Where a's rows follow one another it is a single product of more rows; else it is not.
  for (const bool transpose_a : {false, true}) {
    Problem p({30, 5, 8, 12}, transpose_a, false, true);
    p.call.b_batch = 0;
    Output c(30 * 5 * 8);
    cuda::gemm(p.on_device(c.data()), nullptr);
    CHECK(share(p, c.vector()) <= 1);
    CHECK(c.sentinels_intact());
    p.call.k = 4096;  // as long sums they would share the slots' workspace
    CHECK(cuda::gemm_workspace(p.call) == 8 * c.size());
  }
}

TEST_CASE("gemm: the short forms give what the long one gives") {
  const Problem p({2, 9, 8, 20}, true, false, true);
  Output full(144), rounded_full(144), c(144), rounded_c(144);
  cuda::gemm(p.on_device(full.data()), Precision::float32, nullptr, nullptr);
  cuda::gemm(p.on_device(rounded_full.data()), Precision::bfloat16, nullptr, nullptr);
  cuda::gemm(p.on_device(c.data()), nullptr);
  cuda::gemm_bfloat16(p.on_device(rounded_c.data()), nullptr);
  CHECK(c.same_bits(full));
  CHECK(rounded_c.same_bits(rounded_full));
}

TEST_CASE("gemm: more blocks than a grid can have are an error, not a wrong result") {
  cuda::Gemm p{};
  p.batch = 1, p.m = int64_t(1) << 40, p.n = 64, p.k = 1;
  CHECK_THROWS_WITH_AS(cuda::gemm(p, nullptr), doctest::Contains("blocks, a grid can have 2147483647"), ShapeError);
}

}  // namespace
}  // namespace clearsky::test::gemm_test

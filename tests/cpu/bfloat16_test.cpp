// Products under Autocast(Precision::bfloat16): factors rounded, sums in float.
//
// The reference rounds the factors and adds up in double, so that only the adding up is left of what may differ: the
// tolerances are those of float. BFloat16 (core/dtype.hpp) rounds by another way than the kernels do.

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "../tolerance.hpp"
#include "clearsky/core/tensor.hpp"
#include "clearsky/cpu/expansion.hpp"
#include "clearsky/cpu/gemm.hpp"

namespace clearsky::test {
namespace {

double rounded(float v) {
  return float(BFloat16(v));
}

/// The largest share of what is allowed that an element of c (m, n) takes: sums of k terms a(i, r) b(r, j) from start.
/// 2 k roundings, since both factors' products of a pair are added one after the other; NaN counts as infinite.
double worst_share(const float* c, int64_t c_step, int64_t m, int64_t n, int64_t k,
                   const std::function<double(int64_t, int64_t)>& a, const std::function<double(int64_t, int64_t)>& b,
                   const std::function<double(int64_t, int64_t)>& start) {
  double worst = 0;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double want = start(i, j), scale = std::fabs(want);
      for (int64_t r = 0; r < k; ++r) {
        const double term = a(i, r) * b(r, j);
        want += term;
        scale += std::fabs(term);
      }
      const double error = std::fabs(double(c[i * c_step + j]) - want);
      const double allowed = allowed_error(kRoundFloat, kRoundFloat, double(k + 2), scale);
      worst = std::fmax(worst, error <= allowed ? error / allowed : std::isnan(error) ? INFINITY : error / allowed);
    }
  return worst;
}

/// Values in a (rows, columns) matrix between `margin` others that no product may see.
struct Matrix {
  int64_t rows, columns, step;
  Tensor<float> values;

  Matrix(int64_t r, int64_t c, int64_t s, uint64_t key)
      : rows(r), columns(c), step(s), values(rand<float>({r, s}, Key{key}, -1, 1)) {}
  float* data() { return values.mutable_data(); }
  double operator()(int64_t i, int64_t j) const { return rounded(values.data()[i * step + j]); }
};

TEST_CASE("pairs round as BFloat16 does, NaN and infinity included") {
  std::vector<float> values = {
      0.0f,     -0.0f,    1.0f,      -1.0f, 1 + 0x1p-8f, 1 + 0x1.8p-7f, 1 + 0x1.000002p-8f, 3.4e38f,
      -3.4e38f, INFINITY, -INFINITY, NAN,   -NAN,        0x1.fep+127f,  0x1.ffp+127f,       1e-30f};
  const Tensor<float> draws = rand<float>({4096}, Key{1}, -4, 4);
  for (int64_t i = 0; i < draws.numel(); ++i) values.push_back(draws.data()[i]);
  const auto same = [](uint32_t bits, float v) {
    const float got = std::bit_cast<float>(bits << 16), want = float(BFloat16(v));
    return std::isnan(want) ? std::isnan(got) : std::bit_cast<uint32_t>(got) == std::bit_cast<uint32_t>(want);
  };
  const int64_t count = int64_t(values.size()), odd = count - 1;
  std::vector<cpu::detail::Pair> along(size_t(cpu::detail::pair_lanes(count)), 7), across(size_t(count + 64), 7);
  cpu::detail::pair_row(values.data(), odd, along.data());
  int64_t wrong = 0;
  for (int64_t i = 0; i < count; ++i)
    wrong += !same(i % 2 == 0 ? along[size_t(i / 2)] & 0xffff : along[size_t(i / 2)] >> 16,
                   i < odd ? values[size_t(i)] : 0.0f);
  CHECK(wrong == 0);
  cpu::detail::pair_across_rows(values.data(), count / 2, 2, count / 2, across.data(), count);
  for (int64_t i = 0; i < count / 2; ++i)
    wrong += !same(across[size_t(i)] & 0xffff, values[size_t(i)]) +
             !same(across[size_t(i)] >> 16, values[size_t(count / 2 + i)]);
  CHECK(wrong == 0);
}

TEST_CASE("gemm under Autocast multiplies rounded factors, for every remainder and both orders of A and B") {
  const Autocast guard(Precision::bfloat16);
  double worst = 0;
  const auto compare = [&](int64_t m, int64_t n, int64_t k) {
    for (const int order : {0, 1, 2, 3}) {
      const bool a_turned = order & 1, b_turned = order & 2;
      Matrix a(a_turned ? k : m, a_turned ? m : k, (a_turned ? m : k) + 3, 1),
          b(b_turned ? n : k, b_turned ? k : n, (b_turned ? k : n) + 5, 2);
      const Tensor<float> bias = rand<float>({n}, Key{3}, -1, 1);
      Tensor<float> c({m, n});
      cpu::gemm<float>({a.data(), b.data(), bias.data(), c.mutable_data(), 1, m, n, k, 0, a_turned ? 1 : a.step,
                        a_turned ? a.step : 1, 0, b_turned ? 1 : b.step, b_turned ? b.step : 1});
      const double share = worst_share(
          c.data(), n, m, n, k, [&](int64_t i, int64_t r) { return a_turned ? a(r, i) : a(i, r); },
          [&](int64_t r, int64_t j) { return b_turned ? b(j, r) : b(r, j); },
          [&](int64_t, int64_t j) { return double(bias.data()[j]); });
      INFO(m, " x ", n, " x ", k, ", order ", order);
      CHECK(share <= 1);
      worst = std::fmax(worst, share);
    }
  };
  for (int64_t m : {1, 2, 3, 7, 8, 13})
    for (int64_t n : {1, 7, 16, 17, 32, 45})
      for (int64_t k : {0, 1, 2, 3, 13, 32, 33, 64}) compare(m, n, k);
  compare(1100, 40, 41);    // several blocks of rows
  compare(40, 300, 71);     // blocks of columns
  compare(9, 50, 2101);     // several passes over the sum, and as a long sum
  compare(300, 260, 2101);  // several passes, too large for a long sum
  CHECK(worst > 0.01);      // the bound is not far away
}

TEST_CASE("gemm under Autocast: batches, and threads that see no precision of their own") {
  const Autocast guard(Precision::bfloat16);
  const int64_t before = threads();
  for (const int64_t batch : {3, 70}) {
    const Tensor<float> a = rand<float>({batch, 9, 7}, Key{1}, -1, 1), b = rand<float>({batch, 7, 5}, Key{2}, -1, 1);
    for (const int64_t count : {1, 3}) {
      set_threads(count);
      Tensor<float> c({batch, 9, 5});
      cpu::gemm<float>({a.data(), b.data(), nullptr, c.mutable_data(), batch, 9, 5, 7, 63, 7, 1, 35, 5, 1});
      for (int64_t i = 0; i < batch; ++i)
        CHECK(worst_share(
                  c.data() + i * 45, 5, 9, 5, 7,
                  [&](int64_t r, int64_t s) {
                    return rounded(a.at({i, r, s}));
                  },
                  [&](int64_t s, int64_t j) {
                    return rounded(b.at({i, s, j}));
                  },
                  [](int64_t, int64_t) { return 0.0; }) <= 1);
    }
  }
  set_threads(before);
}

TEST_CASE("gemm under Autocast gives the same bits for any number of threads, and hands on NaN where it belongs") {
  const Autocast guard(Precision::bfloat16);
  const int64_t before = threads();
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{1100, 40, 41}, {40, 300, 71}, {48, 20, 9001}}) {
    Tensor<float> a = rand<float>({k, m}, Key{1}, -1, 1);
    const Tensor<float> b = rand<float>({k, n}, Key{2}, -1, 1);
    a.mutable_data()[(k - 1) * m + 4] = NAN;  // the last step, which has no partner
    a.mutable_data()[3 * m + 7] = INFINITY;
    std::vector<float> first;
    for (const int64_t count : {1, 2, 3}) {
      set_threads(count);
      Tensor<float> c({m, n});
      cpu::gemm<float>({a.data(), b.data(), nullptr, c.mutable_data(), 1, m, n, k, 0, 1, m, 0, n, 1});
      const std::vector<float> got = c.to_vector();
      if (first.empty()) first = got;
      CHECK(std::memcmp(first.data(), got.data(), got.size() * sizeof(float)) == 0);
    }
    int64_t wrong = 0;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        const float v = first[size_t(i * n + j)];
        wrong += i == 4 ? !std::isnan(v) : i == 7 ? !std::isinf(v) : !std::isfinite(v);
      }
    CHECK(wrong == 0);
  }
  set_threads(before);
}

TEST_CASE("double, and products in tf32, are not rounded on the CPU") {
  const auto product = [](auto one, Precision precision) {
    using T = decltype(one);
    const Autocast guard(precision);
    const Tensor<T> a = rand<T>({20, 30}, Key{1}, -1, 1), b = rand<T>({30, 40}, Key{2}, -1, 1);
    Tensor<T> c({20, 40});
    cpu::gemm<T>({a.data(), b.data(), nullptr, c.mutable_data(), 1, 20, 40, 30, 0, 30, 1, 0, 40, 1});
    return c.to_vector();
  };
  CHECK(product(1.0, Precision::bfloat16) == product(1.0, Precision::float32));
  CHECK(product(1.0f, Precision::tf32) == product(1.0f, Precision::float32));
  CHECK(product(1.0f, Precision::bfloat16) != product(1.0f, Precision::float32));
}

TEST_CASE("PackedWeight of pairs: x B + plus + start, rows apart or side by side") {
  double worst = 0;
  for (const int64_t k : {1, 2, 15, 32, 33, 85, 170, 5000})
    for (const int64_t n : {1, 16, 20, 33, 85})
      for (const int64_t gap : {0, 3}) {
        const int64_t rows = k == 5000 ? 19 : 301;
        Matrix x(rows, k, k + gap, 1), b(k, n, n, 2), plus(rows, n, n, 3);
        const Tensor<float> start = rand<float>({n}, Key{4}, 3, 4);  // nothing cancels
        const cpu::detail::PackedWeight<float> weight(b.data(), b.step, 1, k, n, true);
        Tensor<float> y({rows, n});
        weight.multiply(x.data(), x.step, rows, y.mutable_data(), n, plus.data(), n, start.data());
        const double share = worst_share(y.data(), n, rows, n, k, x, b, [&](int64_t i, int64_t j) {
          return double(plus.values.data()[i * n + j]) + double(start.data()[j]);
        });
        INFO(k, " ", n, " ", gap);
        CHECK(share <= 1);
        worst = std::fmax(worst, share);
      }
  CHECK(worst > 0.01);
}

TEST_CASE("outer products of pairs of pixels") {
  double worst = 0;
  for (const int64_t pixels : {1, 2, 127, 128, 129, 301})
    for (const int64_t m : {1, 8, 19})
      for (const int64_t n : {1, 16, 33}) {
        Matrix a(pixels, m, m + 2, 1), b(pixels, n, n + 40, 2);
        const Tensor<float> start = rand<float>({m, n}, Key{3}, -1, 1);
        Tensor<float> c = start.clone();
        cpu::detail::add_outer_products<float>(a.data(), a.step, m, b.data(), b.step, n, pixels, c.mutable_data(),
                                               true);
        const double share = worst_share(
            c.data(), n, m, n, pixels, [&](int64_t i, int64_t r) { return a(r, i); }, b,
            [&](int64_t i, int64_t j) {
              return double(start.at({i, j}));
            });
        INFO(pixels, " ", m, " ", n);
        CHECK(share <= 1);
        worst = std::fmax(worst, share);
      }
  CHECK(worst > 0.01);
}

}  // namespace
}  // namespace clearsky::test

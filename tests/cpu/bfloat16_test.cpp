// Products under Autocast(Precision::bfloat16): factors rounded, sums in float.
//
// The reference rounds the factors and adds up in double, so that only the adding up is left of what may differ: the
// tolerances are those of float. BFloat16 (core/dtype.hpp) rounds by another way than the kernels do.

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "../tolerance.hpp"
#include "clearsky/core/tensor.hpp"
#include "clearsky/cpu/conv.hpp"
#include "clearsky/cpu/expansion.hpp"
#include "clearsky/cpu/gemm.hpp"

namespace clearsky::test::bfloat16_test {
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
  std::vector<float> values = {0.0f,
                               -0.0f,
                               1.0f,
                               -1.0f,
                               1 + 0x1p-8f,
                               1 + 0x1.8p-7f,
                               1 + 0x1.000002p-8f,
                               3.4e38f,
                               std::bit_cast<float>(0x7f800001u),
                               std::bit_cast<float>(0xffffffffu),
                               -3.4e38f,
                               INFINITY,
                               -INFINITY,
                               NAN,
                               -NAN,
                               0x1.fep+127f,
                               0x1.ffp+127f,
                               1e-30f};
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
  for (const int64_t batch : {3, 700}) {
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

TEST_CASE("outer products of pairs of pixels, and of segments of them") {
  double worst = 0;
  for (const bool add : {true, false})
    for (const int64_t segments : {1, 2, 5, 131})
      for (const int64_t pixels : {1, 2, 31, 127, 128, 129, 301})
        for (const int64_t m : {1, 8, 19})
          for (const int64_t n : {1, 16, 33}) {
            if (segments * pixels > 1600 || (segments > 1 && m * n == 19 * 33 && pixels > 31)) continue;
            // A pixel behind each segment that no sum may see.
            Matrix a(segments * (pixels + 1), m, m + 2, 1), b(segments * (pixels + 1), n, n + 40, 2);
            const Tensor<float> start = rand<float>({m, n}, Key{3}, -1, 1);
            Tensor<float> c = start.clone();
            cpu::detail::add_outer_products<float>({a.data(), a.step, m, b.data(), b.step, n, pixels, c.mutable_data(),
                                                    add, segments, (pixels + 1) * a.step, (pixels + 1) * b.step},
                                                   true);
            const auto row = [&](int64_t r) { return r / pixels * (pixels + 1) + r % pixels; };
            const double share = worst_share(
                c.data(), n, m, n, segments * pixels, [&](int64_t i, int64_t r) { return a(row(r), i); },
                [&](int64_t r, int64_t j) { return b(row(r), j); },
                [&](int64_t i, int64_t j) {
                  return add ? double(start.at({i, j})) : 0.0;
                });
            INFO(add, " ", segments, " ", pixels, " ", m, " ", n);
            CHECK(share <= 1);
            worst = std::fmax(worst, share);
          }
  CHECK(worst > 0.01);
}

/// Windows under Autocast against the definition: forward, and the gradient of the image as the transpose of forward.
void compare_windows(const cpu::ConvShape& s) {
  const Autocast guard(Precision::bfloat16);
  const int64_t in = s.channels / s.groups, out = s.outputs / s.groups;
  const Tensor<float> x = rand<float>({s.batch, s.height, s.width, s.channels}, Key{1}, -1, 1),
                      dy = rand<float>({s.batch, s.out_height, s.out_width, s.outputs}, Key{2}, -1, 1),
                      w = rand<float>({s.outputs, s.window_height, s.window_width, in}, Key{3}, -1, 1);
  Tensor<float> y(dy.shape()), dx(x.shape());
  cpu::conv2d_forward<float>({x.data(), w.data(), nullptr, y.mutable_data(), s});
  cpu::conv2d_data_gradient<float>({dy.data(), w.data(), dx.mutable_data(), s});
  std::vector<double> want_y(size_t(y.numel()), 0), size_y = want_y, want_dx(size_t(dx.numel()), 0), size_dx = want_dx;
  for (int64_t n = 0; n < s.batch; ++n)
    for (int64_t i = 0; i < s.out_height; ++i)
      for (int64_t j = 0; j < s.out_width; ++j)
        for (int64_t o = 0; o < s.outputs; ++o)
          for (int64_t a = 0; a < s.window_height; ++a)
            for (int64_t b = 0; b < s.window_width; ++b)
              for (int64_t c = 0; c < in; ++c) {
                const int64_t h = i * s.stride_height + a * s.dilation - s.padding_height,
                              v = j * s.stride_width + b * s.dilation - s.padding_width;
                if (h < 0 || h >= s.height || v < 0 || v >= s.width) continue;
                const size_t at_y = size_t(((n * s.out_height + i) * s.out_width + j) * s.outputs + o),
                             at_x = size_t(((n * s.height + h) * s.width + v) * s.channels + o / out * in + c);
                const double weight = rounded(w.at({o, a, b, c}));
                const double forward = weight * rounded(x.data()[at_x]), back = weight * rounded(dy.data()[at_y]);
                want_y[at_y] += forward, size_y[at_y] += std::fabs(forward);
                want_dx[at_x] += back, size_dx[at_x] += std::fabs(back);
              }
  const auto wrong = [](const Tensor<float>& got, const std::vector<double>& want, const std::vector<double>& size,
                        double terms) {
    int64_t count = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      const double error = std::fabs(double(got.data()[i]) - want[i]);
      count += !(error <= allowed_error(kRoundFloat, kRoundFloat, terms, size[i]));
    }
    return count;
  };
  const double taps = double(s.window_height * s.window_width);
  CHECK(wrong(y, want_y, size_y, taps * double(in)) == 0);
  CHECK(wrong(dx, want_dx, size_dx, taps * double(out)) == 0);
}

TEST_CASE("direct windows under Autocast: odd channels, groups, strides, dilation, borders") {
  const auto shape = [](int64_t h, int64_t w, int64_t c, int64_t o, int64_t window, int64_t groups, int64_t stride,
                        int64_t padding, int64_t dilation) {
    const auto size = [&](int64_t n) { return (n + 2 * padding - dilation * (window - 1) - 1) / stride + 1; };
    return cpu::ConvShape{2,       h,       w,      c,      o,       window,  window,  groups,
                          size(h), size(w), stride, stride, padding, padding, dilation};
  };
  compare_windows(shape(9, 11, 13, 32, 3, 1, 1, 1, 1));
  compare_windows(shape(9, 11, 2, 20, 3, 1, 1, 1, 1));
  compare_windows(shape(30, 37, 23, 13, 3, 1, 1, 1, 1));  // several bands
  compare_windows(shape(9, 11, 15, 6, 3, 3, 1, 1, 1));    // groups of 5
  compare_windows(shape(9, 12, 5, 7, 3, 1, 2, 1, 1));     // the gradient's phases have few taps
  compare_windows(shape(9, 12, 3, 7, 3, 1, 1, 2, 2));
  compare_windows(shape(8, 12, 7, 9, 4, 1, 4, 0, 1));
  compare_windows(shape(8, 12, 7, 9, 1, 1, 2, 0, 1));
}

TEST_CASE("direct windows under Autocast: the same bits for any number of threads, NaN where windows see it") {
  const Autocast guard(Precision::bfloat16);
  const cpu::ConvShape s{1, 40, 37, 13, 20, 3, 3, 1, 40, 37, 1, 1, 1, 1, 1};
  Tensor<float> x = rand<float>({1, 40, 37, 13}, Key{1}, -1, 1);
  const Tensor<float> w = rand<float>({20, 3, 3, 13}, Key{2}, -1, 1);
  x.mutable_data()[(11 * 37 + 20) * 13] = NAN;  // its channel 0 lies behind pixel 19's last, which has no partner
  const int64_t before = threads();
  std::vector<float> first;
  for (const int64_t count : {1, 2, 3}) {
    set_threads(count);
    Tensor<float> y({1, 40, 37, 20});
    cpu::conv2d_forward<float>({x.data(), w.data(), nullptr, y.mutable_data(), s});
    const std::vector<float> got = y.to_vector();
    if (first.empty()) first = got;
    CHECK(std::memcmp(first.data(), got.data(), got.size() * sizeof(float)) == 0);
  }
  set_threads(before);
  int64_t wrong = 0;
  for (int64_t i = 0; i < int64_t(first.size()); ++i) {
    const int64_t h = i / 20 / 37, v = i / 20 % 37;
    wrong += std::isnan(first[size_t(i)]) != (std::abs(h - 11) <= 1 && std::abs(v - 20) <= 1);
  }
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace clearsky::test::bfloat16_test

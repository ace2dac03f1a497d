#include "clearsky/cpu/gemm.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "../tolerance.hpp"
#include "clearsky/core/tensor.hpp"

namespace clearsky::test::gemm_test {
namespace {

enum class Order { rows, columns };  ///< which dimension of a matrix lies side by side

struct Problem {
  int64_t batch, m, n, k;
  Order a = Order::rows, b = Order::rows;
  bool bias = false, shared_b = false;

  std::string text() const {
    return std::to_string(batch) + " x (" + std::to_string(m) + ", " + std::to_string(n) + ", " + std::to_string(k) +
           ")" + (a == Order::rows ? "" : ", A transposed") + (b == Order::rows ? "" : ", B transposed") +
           (bias ? ", bias" : "") + (shared_b ? ", one B" : "");
  }
};

template <class T>
struct Buffers {
  Tensor<T> a, b, bias, c;
  cpu::Gemm<T> gemm;

  explicit Buffers(const Problem& p)
      : a(rand<T>({p.batch, p.m, p.k}, Key{1}, -1, 1)),
        b(rand<T>({p.shared_b ? 1 : p.batch, p.k, p.n}, Key{2}, -1, 1)),
        bias(rand<T>({p.n}, Key{3}, -1, 1)),
        c({p.batch, p.m, p.n}) {
    const bool a_rows = p.a == Order::rows, b_rows = p.b == Order::rows;
    gemm = {a.data(),
            b.data(),
            p.bias ? bias.data() : nullptr,
            c.mutable_data(),
            p.batch,
            p.m,
            p.n,
            p.k,
            p.m * p.k,
            a_rows ? p.k : 1,
            a_rows ? 1 : p.m,
            p.shared_b ? 0 : p.k * p.n,
            b_rows ? p.n : 1,
            b_rows ? 1 : p.k};
  }
};

/// Fresh memory holds NaN here and is watched behind its end, so an element that is not written, and one that is
/// written outside C, show up too.
template <class T>
void compare_with_definition(const Problem& p) {
  INFO(p.text());
  const Buffers<T> buffers(p);
  const cpu::Gemm<T>& g = buffers.gemm;
  cpu::gemm(g);
  double worst = 0;  // as a share of what is allowed
  for (int64_t q = 0; q < p.batch; ++q)
    for (int64_t i = 0; i < p.m; ++i)
      for (int64_t j = 0; j < p.n; ++j) {
        double want = p.bias ? double(g.bias[j]) : 0, scale = std::fabs(want);
        for (int64_t r = 0; r < p.k; ++r) {
          const double term = double(g.a[q * g.a_batch + i * g.a_row + r * g.a_column]) *
                              double(g.b[q * g.b_batch + r * g.b_row + j * g.b_column]);
          want += term;
          scale += std::fabs(term);
        }
        const double error = std::fabs(double(g.c[(q * p.m + i) * p.n + j]) - want);
        const double allowed = allowed_error(kRound<T>, kRound<T>, double(p.k + 1), scale);
        if (!(error <= allowed)) worst = std::fmax(worst, std::isnan(error) ? INFINITY : error / allowed);
      }
  CHECK(worst == 0);
}

TEST_CASE_TEMPLATE("gemm is the product for every remainder of a tile", T, float, double) {
  for (int64_t m : {1, 2, 3, 7, 8, 13})
    for (int64_t n : {1, 7, 16, 17, 32, 45})
      for (int64_t k : {1, 2, 13}) {
        compare_with_definition<T>({1, m, n, k, Order::rows, Order::rows, true});
        compare_with_definition<T>({1, m, n, k, Order::columns, Order::rows});
        compare_with_definition<T>({1, m, n, k, Order::rows, Order::columns, true});
        compare_with_definition<T>({1, m, n, k, Order::columns, Order::columns});
      }
}

TEST_CASE_TEMPLATE("gemm is the product across its blocks", T, float, double) {
  for (Order a : {Order::rows, Order::columns})
    for (Order b : {Order::rows, Order::columns}) {
      compare_with_definition<T>({1, 1100, 40, 40, a, b, true});    // several blocks of rows
      compare_with_definition<T>({1, 40, 300, 70, a, b, true});     // blocks of columns, the last panel narrow
      compare_with_definition<T>({1, 9, 50, 2100, a, b, true});     // several passes over the sum; as a long sum, too
      compare_with_definition<T>({1, 300, 260, 2100, a, b, true});  // several passes and too large for a long sum
      compare_with_definition<T>({3, 20, 33, 17, a, b, true});      // a few products
      compare_with_definition<T>({70, 9, 5, 6, a, b});              // many
      compare_with_definition<T>({5, 30, 20, 10, a, b, true, true});
    }
}

TEST_CASE_TEMPLATE("gemm is the product for long sums that are read in place", T, float, double) {
  for (int64_t m : {1, 11, 64})
    for (int64_t n : {16, 32, 48}) {
      compare_with_definition<T>({1, m, n, 2100, Order::columns, Order::rows, true});
      compare_with_definition<T>({1, m, n, 2048 + 1024 + 1, Order::columns, Order::rows});
    }
}

TEST_CASE("gemm with a size of zero") {
  compare_with_definition<float>({1, 3, 5, 0, Order::rows, Order::rows, true});  // an empty sum is 0 or the bias
  compare_with_definition<float>({1, 3, 50, 0});
  compare_with_definition<float>({4, 3, 5, 0});
  for (const Problem& p : {Problem{1, 0, 5, 3}, Problem{1, 3, 0, 5}, Problem{0, 3, 4, 5}}) {
    const Buffers<float> buffers(p);
    CHECK_NOTHROW(cpu::gemm(buffers.gemm));
  }
}

TEST_CASE("gemm gives the same bits for any number of threads") {
  const int64_t before = threads();
  for (const Problem& p : {Problem{1, 1100, 40, 40}, Problem{1, 40, 300, 70, Order::columns}, Problem{70, 9, 5, 6},
                           Problem{1, 48, 20, 9000, Order::columns}, Problem{1, 48, 32, 9000, Order::columns}}) {
    INFO(p.text());
    std::vector<float> first;
    for (int64_t count : {1, 2, 3, 5}) {
      set_threads(count);
      const Buffers<float> buffers(p);
      cpu::gemm(buffers.gemm);
      const std::vector<float> c = buffers.c.to_vector();
      if (first.empty()) first = c;
      CHECK(std::memcmp(first.data(), c.data(), c.size() * sizeof(float)) == 0);
    }
  }
  set_threads(before);
}

TEST_CASE("gemm hands on NaN, and only where it belongs") {
  const Problem p{1, 10, 20, 6};
  Buffers<float> buffers(p);
  buffers.a.mutable_data()[4 * p.k + 2] = NAN;
  cpu::gemm(buffers.gemm);
  int64_t wrong = 0;
  for (int64_t i = 0; i < p.m; ++i)
    for (int64_t j = 0; j < p.n; ++j) wrong += std::isnan(buffers.c.at({0, i, j})) != (i == 4);
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace clearsky::test::gemm_test

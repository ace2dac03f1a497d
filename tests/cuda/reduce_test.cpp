#include "clearsky/cuda/kernels/reduce.cuh"

#include "kernels.hpp"

namespace clearsky::test::reduce_test {
namespace {

struct Size {
  int64_t outer, n, inner;
};
// Rows and columns; one slot and several, whose borders do not divide; more than a warp of columns; empty ones.
const Size kSizes[] = {{1, 1, 1},   {3, 7, 1},    {5, 100, 1}, {1, 5001, 1}, {2, 3000, 1}, {600, 9, 1}, {1, 1300, 5},
                       {3, 70, 33}, {2, 1100, 3}, {70, 3, 2},  {0, 3, 4},    {2, 0, 1},    {2, 0, 3},   {2, 3, 0}};

template <class Check>
void each_size(Check&& check) {
  for (const Size& s : kSizes) {
    CAPTURE(s.outer);
    CAPTURE(s.n);
    CAPTURE(s.inner);
    check(s);
  }
}

TEST_CASE("sum: rows and columns, in slots and without, as in double and on the CPU") {
  each_size([](const Size& s) {
    const Values<float> x = draw(s.outer * s.n * s.inner, 1);
    const auto y = in_every_order([&] {
      std::vector<Output> out{Output(s.outer * s.inner)};
      const cuda::Sum p{x.device(), out[0].data(), s.outer, s.n, s.inner};
      Output workspace(cuda::sum_workspace(p));
      cuda::sum(p, workspace.data(), nullptr);
      CHECK(workspace.sentinels_intact());
      return out;
    });
    std::vector<float> on_cpu(size_t(s.outer * s.inner));
    cpu::sum<float>({x.data(), on_cpu.data(), s.outer, s.n, s.inner});
    Worst worst, cpu;
    for (int64_t k = 0; k < s.outer * s.inner; ++k) {
      double total = 0, scale = 0;
      for (int64_t i = 0; i < s.n; ++i) {
        const double v = x[size_t((k / s.inner * s.n + i) * s.inner + k % s.inner)];
        total += v, scale += std::abs(v);
      }
      const double allowed = allowed_error(kRoundFloat, kRoundFloat, double(s.n), scale);
      worst.add(y[0][k], total, allowed);
      cpu.add(y[0][k], on_cpu[size_t(k)], 2 * allowed);
    }
    CHECK(worst.share() <= 1);
    CHECK(cpu.share() <= 1);
  });
}

TEST_CASE("extremum: the first of equal ones, a NaN before every number; put and take along its index") {
  each_size([](const Size& s) {
    if (s.n == 0) return;
    std::vector<float> values = draw(s.outer * s.n * s.inner, 2).vector();
    for (float& v : values) v = std::round(v * 8) / 8;  // many equal ones
    if (s.outer > 1)
      for (int64_t i : {int64_t(2), int64_t(1)})
        if (i < s.n && s.inner > 0) values[size_t(i * s.inner)] = std::numeric_limits<float>::quiet_NaN();
    const Values<float> x(values);
    for (bool largest : {false, true}) {
      OutputOf<int64_t> index(s.outer * s.inner);
      const auto y = in_every_order([&] {
        std::vector<Output> out{Output(s.outer * s.inner)};
        cuda::extremum({x.device(), out[0].data(), index.data(), s.outer, s.n, s.inner, largest}, nullptr);
        CHECK(index.sentinels_intact());
        return out;
      });
      std::vector<float> want(size_t(s.outer * s.inner));
      std::vector<int64_t> want_index(want.size());
      cpu::extremum<float>({x.data(), want.data(), want_index.data(), s.outer, s.n, s.inner, largest});
      CHECK(index.vector() == want_index);
      for (size_t k = 0; k < want.size(); ++k) CHECK(std::memcmp(&want[k], &y[0].vector()[k], sizeof(float)) == 0);

      const Values<int64_t> positions(want_index);
      const Values<float> small = draw(s.outer * s.inner, 3);
      const auto moved = in_every_order([&] {
        std::vector<Output> out{Output(s.outer * s.n * s.inner), Output(s.outer * s.inner)};
        cuda::put_along_index({small.device(), positions.device(), out[0].data(), s.outer, s.n, s.inner}, nullptr);
        cuda::take_along_index({x.device(), positions.device(), out[1].data(), s.outer, s.n, s.inner}, nullptr);
        return out;
      });
      std::vector<float> put(size_t(s.outer * s.n * s.inner)), taken(want.size());
      cpu::put_along_index<float>({small.data(), want_index.data(), put.data(), s.outer, s.n, s.inner});
      cpu::take_along_index<float>({x.data(), want_index.data(), taken.data(), s.outer, s.n, s.inner});
      CHECK(moved[0].vector() == put);
      for (size_t k = 0; k < taken.size(); ++k)
        CHECK(std::memcmp(&taken[k], &moved[1].vector()[k], sizeof(float)) == 0);
    }
  });
}

}  // namespace
}  // namespace clearsky::test::reduce_test

#include "clearsky/cuda/kernels/gather.cuh"

#include "kernels.hpp"

namespace clearsky::test::gather_test {
namespace {

struct Size {
  int64_t outer, n, m, inner;
};
const Size kSizes[] = {{1, 1, 1, 1}, {3, 5, 7, 2}, {2, 40, 9, 33}, {1, 6, 300, 5},
                       {0, 3, 2, 4}, {2, 3, 0, 4}, {2, 3, 2, 0}};

TEST_CASE("gather and its transpose: positions for each element and for all rows, as in double") {
  for (const Size& s : kSizes)
    for (bool one_for_all : {false, true}) {
      CAPTURE(s.outer);
      CAPTURE(s.m);
      CAPTURE(one_for_all);
      const int64_t whole = s.outer * s.n * s.inner, taken = s.outer * s.m * s.inner;
      std::vector<int64_t> positions(size_t(one_for_all ? s.m : taken));
      for (size_t i = 0; i < positions.size(); ++i) positions[i] = Key{5}.integer(i, s.n);
      const Values<int64_t> index(positions);
      const Values<float> x = draw(whole, 1), g = draw(taken, 2);
      const auto of = [&](const float* from, float* to) {
        return cuda::Gather{from,
                            index.device(),
                            to,
                            s.outer,
                            s.n,
                            s.m,
                            s.inner,
                            one_for_all ? 0 : s.m * s.inner,
                            one_for_all ? 1 : s.inner,
                            one_for_all ? 0 : 1};
      };
      const auto y = in_every_order([&] {
        std::vector<Output> out{Output(taken), Output(whole)};
        cuda::gather(of(x.device(), out[0].data()), nullptr);
        cuda::scatter_add(of(g.device(), out[1].data()), nullptr);
        return out;
      });
      std::vector<double> sums(size_t(whole), 0.), scale(size_t(whole), 0.);
      for (int64_t i = 0; i < taken; ++i) {
        const int64_t c = i % s.inner, j = i / s.inner % s.m, o = i / s.inner / s.m;
        const int64_t from = positions[size_t(one_for_all ? j : i)];
        const auto at = size_t((o * s.n + from) * s.inner + c);
        CHECK(y[0][i] == x[at]);
        sums[at] += g[size_t(i)], scale[at] += std::abs(double(g[size_t(i)]));
      }
      Worst worst;
      for (int64_t i = 0; i < whole; ++i)
        worst.add(y[1][i], sums[size_t(i)], allowed_error(kRoundFloat, kRoundFloat, double(s.m), scale[size_t(i)]));
      CHECK(worst.share() <= 1);
    }
}

}  // namespace
}  // namespace clearsky::test::gather_test

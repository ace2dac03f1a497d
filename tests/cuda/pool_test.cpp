#include "clearsky/cuda/kernels/pool.cuh"

#include "kernels.hpp"

namespace clearsky::test::pool_test {
namespace {

cuda::PoolSizes sizes(int64_t batch, int64_t height, int64_t width, int64_t channels, int64_t window, int64_t stride,
                      int64_t padding) {
  return {batch,
          height,
          width,
          channels,
          (height + 2 * padding - window) / stride + 1,
          (width + 2 * padding - window) / stride + 1,
          window,
          stride,
          padding};
}
// One window, windows side by side, overlapping, with gaps, with padding, rows of several blocks, nothing.
const cuda::PoolSizes kSizes[] = {sizes(1, 1, 1, 1, 1, 1, 0), sizes(2, 6, 8, 4, 2, 2, 0), sizes(1, 7, 5, 3, 3, 2, 1),
                                  sizes(2, 5, 6, 8, 3, 1, 1), sizes(1, 9, 7, 5, 2, 3, 0), sizes(1, 3, 70, 9, 3, 1, 1),
                                  sizes(1, 4, 4, 4, 4, 1, 2), sizes(0, 4, 4, 2, 2, 2, 0), sizes(1, 4, 4, 0, 2, 2, 0)};

using Indices = OutputOf<int64_t>;

/// Few different values, so that several of a window are the largest, some NaN, and windows of nothing but -infinity.
Values<float> draw_with_ties(int64_t count, uint64_t seed) {
  std::vector<float> v = draw(count, seed, -2, 2).vector();
  for (size_t i = 0; i < v.size(); ++i) {
    v[i] = std::round(v[i]);
    if (i % 37 == 5) v[i] = std::numeric_limits<float>::quiet_NaN();
    if (i % 11 == 3 || i >= v.size() * 2 / 3) v[i] = -std::numeric_limits<float>::infinity();
  }
  return v;
}

TEST_CASE("max_pool: values and indices of the CPU, ties, NaN and infinities included; and its routes") {
  for (const cuda::PoolSizes& s : kSizes)
    for (int64_t shift : {0, 1}) {
      CAPTURE(s.width);
      CAPTURE(s.channels);
      CAPTURE(s.window);
      CAPTURE(shift);
      const int64_t in_count = s.batch * s.height * s.width * s.channels;
      const int64_t out_count = s.batch * s.out_height * s.out_width * s.channels;
      const Values<float> x = draw_with_ties(in_count, 1), g = draw(out_count, 2), t = draw(in_count, 3);
      Indices first(0);
      const auto y = in_every_order([&] {
        std::vector<Output> o{Output(out_count)};
        Indices index(out_count);
        cuda::max_pool({x.device(shift), o[0].data(), index.data(), s}, nullptr);
        CHECK(index.sentinels_intact());
        if (first.size() != 0) CHECK(index.same_bits(first));
        first = index;
        return o;
      });
      std::vector<float> cpu_y(g.size());
      std::vector<int64_t> cpu_index(g.size());
      cpu::max_pool<float>({x.data(), cpu_y.data(), cpu_index.data(), s});
      CHECK(first.vector() == cpu_index);
      for (int64_t i = 0; i < out_count; ++i) {
        const bool same = y[0][i] == cpu_y[size_t(i)] || (std::isnan(y[0][i]) && std::isnan(cpu_y[size_t(i)]));
        CHECK(same);
      }

      const Values<int64_t> index(cpu_index);
      const auto routes = in_every_order([&] {
        std::vector<Output> o{Output(in_count), Output(out_count)};
        cuda::max_pool_scatter({g.device(shift), index.device(), o[0].data(), s}, nullptr);
        cuda::max_pool_take({t.device(shift), index.device(), o[1].data(), s}, nullptr);
        return o;
      });
      std::vector<double> dx(size_t(in_count), 0.), scale(size_t(in_count), 0.), terms(size_t(in_count), 0.);
      Worst worst;
      for (int64_t i = 0; i < out_count; ++i) {
        const int64_t n = i / s.channels / s.out_width / s.out_height;
        const auto at = size_t((n * s.height * s.width + index[size_t(i)]) * s.channels + i % s.channels);
        dx[at] += g[size_t(i)], scale[at] += std::abs(g[size_t(i)]), terms[at] += 1;
        worst.add(routes[1][i], t[at], 0);
      }
      for (int64_t i = 0; i < in_count; ++i)
        worst.add(routes[0][i], dx[size_t(i)],
                  allowed_error(kRoundFloat, kRoundFloat, terms[size_t(i)], scale[size_t(i)]));
      CHECK(worst.share() <= 1);
    }
}

TEST_CASE("avg_pool and its transpose: as in double and on the CPU") {
  for (const cuda::PoolSizes& s : kSizes)
    for (int64_t shift : {0, 1}) {
      CAPTURE(s.width);
      CAPTURE(s.channels);
      CAPTURE(s.window);
      CAPTURE(shift);
      const int64_t in_count = s.batch * s.height * s.width * s.channels;
      const int64_t out_count = s.batch * s.out_height * s.out_width * s.channels;
      const Values<float> x = draw(in_count, 1), g = draw(out_count, 2);
      const auto out = in_every_order([&] {
        std::vector<Output> o{Output(out_count), Output(in_count)};
        cuda::avg_pool({x.device(shift), o[0].data(), s}, nullptr);
        cuda::avg_pool_transpose({g.device(shift), o[1].data(), s}, nullptr);
        return o;
      });
      std::vector<float> cpu_y(g.size()), cpu_dx(x.size());
      cpu::avg_pool<float>({x.data(), cpu_y.data(), s});
      cpu::avg_pool_transpose<float>({g.data(), cpu_dx.data(), s});
      std::vector<double> dx(x.size(), 0.), dx_scale(x.size(), 0.);
      const double share = 1 / double(s.window * s.window);
      Worst worst, cpu;
      const double terms = double(s.window * s.window) + 1;  // and the product with the share
      for (int64_t i = 0; i < out_count; ++i) {
        const int64_t c = i % s.channels, ow = i / s.channels % s.out_width;
        const int64_t oh = i / s.channels / s.out_width % s.out_height, n = i / s.channels / s.out_width / s.out_height;
        double sum = 0, scale = 0;
        for (int64_t h = oh * s.stride - s.padding; h < oh * s.stride - s.padding + s.window; ++h)
          for (int64_t w = ow * s.stride - s.padding; w < ow * s.stride - s.padding + s.window; ++w) {
            if (h < 0 || h >= s.height || w < 0 || w >= s.width) continue;
            const auto at = size_t(((n * s.height + h) * s.width + w) * s.channels + c);
            sum += x[at] * share, scale += std::abs(x[at]) * share;
            dx[at] += g[size_t(i)] * share, dx_scale[at] += std::abs(g[size_t(i)]) * share;
          }
        const double allowed = allowed_error(kRoundFloat, kRoundFloat, terms, scale);
        worst.add(out[0][i], sum, allowed);
        cpu.add(out[0][i], cpu_y[size_t(i)], 2 * allowed);
      }
      for (int64_t i = 0; i < in_count; ++i) {
        const double allowed = allowed_error(kRoundFloat, kRoundFloat, terms, dx_scale[size_t(i)]);
        worst.add(out[1][i], dx[size_t(i)], allowed);
        cpu.add(out[1][i], cpu_dx[size_t(i)], 2 * allowed);
      }
      CHECK(worst.share() <= 1);
      CHECK(cpu.share() <= 1);
    }
}

}  // namespace
}  // namespace clearsky::test::pool_test

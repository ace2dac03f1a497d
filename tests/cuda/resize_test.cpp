#include "clearsky/cuda/kernels/resize.cuh"

#include "kernels.hpp"

namespace clearsky::test::resize_test {
namespace {

struct Size {
  int64_t batch, height, width, out_height, out_width, channels;
};
// Up, down, by whole and by broken factors, one pixel to many and many to one, rows of several blocks, four channels
// at a time and not, nothing.
const Size kSizes[] = {{1, 1, 1, 1, 1, 1}, {1, 3, 5, 6, 10, 4}, {2, 4, 3, 9, 7, 3},   {1, 9, 7, 4, 3, 8},
                       {1, 1, 2, 7, 5, 5}, {1, 8, 11, 1, 2, 4}, {2, 5, 40, 5, 80, 4}, {1, 12, 20, 3, 2, 1},
                       {0, 2, 2, 3, 3, 4}, {1, 2, 2, 3, 3, 0},  {1, 30, 2, 7, 31, 2}};
const Interpolation kModes[] = {Interpolation::nearest, Interpolation::bilinear, Interpolation::bicubic,
                                Interpolation::nearest_exact};

/// The matrix of one axis, (out, size), from the definition: w(s - k) for every pixel k, those outside being clamped.
std::vector<double> axis_matrix(int64_t size, int64_t out, Interpolation mode) {
  std::vector<double> m(size_t(size * out), 0.);
  for (int64_t i = 0; i < out; ++i) {
    const auto add = [&](int64_t k, double w) { m[size_t(i * size + std::clamp<int64_t>(k, 0, size - 1))] += w; };
    if (mode == Interpolation::nearest) add(i * size / out, 1);
    else if (mode == Interpolation::nearest_exact) add((2 * i + 1) * size / (2 * out), 1);
    if (mode == Interpolation::nearest || mode == Interpolation::nearest_exact) continue;
    const double s = (double(i) + 0.5) * double(size) / double(out) - 0.5;
    const auto below = int64_t(std::floor(s));
    for (int64_t k = below - 1; k <= below + 2; ++k) {
      const double d = std::abs(s - double(k)), a = -0.75;
      if (mode == Interpolation::bilinear) add(k, d < 1 ? 1 - d : 0);
      // Keys, 1981, eq. 4.
      else add(k, d < 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : d < 2 ? a * (((d - 5) * d + 8) * d - 4) : 0);
    }
  }
  return m;
}

/// sum over rows and columns of a[row] b[column] x, and the same of absolute values.
struct Sum {
  double value = 0, scale = 0;
};

TEST_CASE("resize and its transpose: as the matrices of both axes in double, and as on the CPU") {
  for (const Size& s : kSizes)
    for (Interpolation mode : kModes)
      for (int64_t shift : {0, 1}) {
        CAPTURE(int(mode));
        CAPTURE(s.height);
        CAPTURE(s.out_height);
        CAPTURE(s.width);
        CAPTURE(s.out_width);
        CAPTURE(shift);
        const int64_t in_count = s.batch * s.height * s.width * s.channels;
        const int64_t out_count = s.batch * s.out_height * s.out_width * s.channels;
        const Values<float> x = draw(in_count, 1), g = draw(out_count, 2);
        const auto arguments = [&](const float* from, float* to) {
          return cuda::Resize{from, to, s.batch, s.height, s.width, s.out_height, s.out_width, s.channels, mode};
        };
        const auto out = in_every_order([&] {
          std::vector<Output> o{Output(out_count), Output(in_count)};
          cuda::resize(arguments(x.device(shift), o[0].data()), nullptr);
          cuda::resize_transpose(arguments(g.device(shift), o[1].data()), nullptr);
          return o;
        });
        if (in_count == 0) continue;
        std::vector<float> cpu_y(g.size()), cpu_dx(x.size());
        cpu::resize(arguments(x.data(), cpu_y.data()));
        cpu::resize_transpose(arguments(g.data(), cpu_dx.data()));

        const std::vector<double> rows = axis_matrix(s.height, s.out_height, mode),
                                  columns = axis_matrix(s.width, s.out_width, mode);
        const auto weight = [&](int64_t oh, int64_t ow, int64_t h, int64_t w) {
          return rows[size_t(oh * s.height + h)] * columns[size_t(ow * s.width + w)];
        };
        // A bilinear weight is rounded once, a cubic one up to 7 times, on either axis: as that many more terms.
        const double roundings = mode == Interpolation::bicubic ? 14 : 2;
        Worst worst, cpu;
        for (int64_t i = 0; i < out_count; ++i) {
          const int64_t c = i % s.channels, ow = i / s.channels % s.out_width;
          const int64_t oh = i / s.channels / s.out_width % s.out_height,
                        n = i / s.channels / s.out_width / s.out_height;
          Sum sum;
          for (int64_t h = 0; h < s.height; ++h)
            for (int64_t w = 0; w < s.width; ++w) {
              const double term = weight(oh, ow, h, w) * x[size_t(((n * s.height + h) * s.width + w) * s.channels + c)];
              sum.value += term, sum.scale += std::abs(term);
            }
          const double allowed = allowed_error(kRoundFloat, kRoundFloat, 16 + roundings, sum.scale);
          worst.add(out[0][i], sum.value, allowed);
          cpu.add(out[0][i], cpu_y[size_t(i)], 2 * allowed);
        }
        for (int64_t i = 0; i < in_count; ++i) {
          const int64_t c = i % s.channels, w = i / s.channels % s.width;
          const int64_t h = i / s.channels / s.width % s.height, n = i / s.channels / s.width / s.height;
          Sum sum;
          int64_t terms = 0;
          for (int64_t oh = 0; oh < s.out_height; ++oh)
            for (int64_t ow = 0; ow < s.out_width; ++ow) {
              const double term =
                  weight(oh, ow, h, w) * g[size_t(((n * s.out_height + oh) * s.out_width + ow) * s.channels + c)];
              sum.value += term, sum.scale += std::abs(term), terms += term != 0;
            }
          const double allowed = allowed_error(kRoundFloat, kRoundFloat, double(terms) + roundings, sum.scale);
          worst.add(out[1][i], sum.value, allowed);
          cpu.add(out[1][i], cpu_dx[size_t(i)], 2 * allowed);
        }
        CHECK(worst.share() <= 1);
        CHECK(cpu.share() <= 1);
      }
}

TEST_CASE("resize: a pixel that counts nothing may be NaN") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Values<float> x(std::vector<float>{1, nan, 2});
  for (Interpolation mode : {Interpolation::bilinear, Interpolation::bicubic}) {
    Output y(9);  // outputs 1, 4 and 7 lie on pixels: the others' weights are 0
    cuda::resize({x.device(), y.data(), 1, 1, 3, 1, 9, 1, mode}, nullptr);
    CHECK(y[1] == 1);
    CHECK(std::isnan(y[4]));
    CHECK(y[7] == 2);
  }
}

TEST_CASE("resize: sizes beyond 32 bits are refused") {
  CHECK_THROWS_WITH_AS(
      cuda::resize({nullptr, nullptr, 1, 40000, 1, 30000, 1, 1, Interpolation::bilinear}, nullptr),
      doctest::Contains("resize: between 40000 x 1 and 30000 x 1 pixels, a side's old and new size multiply to 2^30 or "
                        "more; cut the image in tiles"),
      ShapeError);
  CHECK_THROWS_WITH_AS(
      cuda::resize_transpose({nullptr, nullptr, 1, 1, 40000, 1, 30000, 1, Interpolation::nearest}, nullptr),
      doctest::Contains("resize_transpose: between 1 x 40000"), ShapeError);
}

}  // namespace
}  // namespace clearsky::test::resize_test

#include "clearsky/cuda/kernels/pad.cuh"

#include "kernels.hpp"

namespace clearsky::test::pad_test {
namespace {

struct Size {
  int64_t batch, height, width, channels, top, bottom, left, right;
};
const Size kSizes[] = {{1, 1, 1, 1, 0, 0, 0, 0}, {2, 5, 7, 3, 2, 1, 0, 4}, {1, 4, 9, 8, 3, 3, 3, 8},
                       {3, 6, 2, 4, 0, 5, 1, 0}, {0, 3, 4, 2, 1, 1, 1, 1}, {1, 3, 4, 0, 1, 1, 1, 1}};

TEST_CASE("pad: every source, as on the CPU; the transpose as in double") {
  for (const Size& s : kSizes)
    for (cpu::PadSource source : {cpu::PadSource::value, cpu::PadSource::mirror, cpu::PadSource::border})
      for (int64_t shift : {0, 1}) {
        CAPTURE(s.height);
        CAPTURE(int(source));
        CAPTURE(shift);
        const int64_t height = s.height + s.top + s.bottom, width = s.width + s.left + s.right;
        const int64_t inside = s.batch * s.height * s.width * s.channels,
                      outside = s.batch * height * width * s.channels;
        const Values<float> x = draw(inside, 1), dy = draw(outside, 2);
        const auto of = [&](const float* from, float* to) {
          return cuda::Pad{from,  to,       s.batch, s.height, s.width, s.channels,
                           s.top, s.bottom, s.left,  s.right,  source,  0.25f};
        };
        const auto y = in_every_order([&] {
          std::vector<Output> out{Output(outside), Output(inside)};
          cuda::pad(of(x.device(shift), out[0].data()), nullptr);
          cuda::pad_transpose(of(dy.device(shift), out[1].data()), nullptr);
          return out;
        });
        std::vector<float> want(static_cast<size_t>(outside));
        cpu::pad(of(x.data(), want.data()));
        CHECK(y[0].vector() == want);
        // The transpose by its definition: what pad copies from a pixel, its gradient gathers.
        std::vector<double> sums(size_t(inside), 0.), scale(size_t(inside), 0.);
        for (int64_t i = 0; i < outside; ++i) {
          const int64_t pixel = i / s.channels, row = pixel / width;
          const int64_t h = cpu::detail::padded_from(row % height - s.top, s.height, source);
          const int64_t w = cpu::detail::padded_from(pixel % width - s.left, s.width, source);
          if (h < 0 || w < 0) continue;
          const auto at = size_t(((row / height * s.height + h) * s.width + w) * s.channels + i % s.channels);
          sums[at] += dy[size_t(i)], scale[at] += std::abs(double(dy[size_t(i)]));
        }
        Worst worst;
        for (int64_t i = 0; i < inside; ++i)
          worst.add(y[1][i], sums[size_t(i)], allowed_error(kRoundFloat, kRoundFloat, 16, scale[size_t(i)]));
        CHECK(worst.share() <= 1);
      }
}

}  // namespace
}  // namespace clearsky::test::pad_test

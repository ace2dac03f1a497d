#include "clearsky/cuda/kernels/pixel_shuffle.cuh"

#include "kernels.hpp"

namespace clearsky::test::pixel_shuffle_test {
namespace {

struct Size {
  int64_t batch, height, width, channels, factor;
};
// One value; each factor; a row of several blocks; nothing.
const Size kSizes[] = {{1, 1, 1, 1, 1},  {2, 3, 5, 7, 2},  {1, 2, 3, 32, 2}, {2, 2, 3, 5, 3}, {1, 3, 1, 2, 4},
                       {1, 2, 9, 33, 2}, {1, 2, 65, 2, 3}, {0, 2, 2, 3, 2},  {2, 2, 0, 3, 2}, {1, 2, 2, 0, 2}};

TEST_CASE("pixel shuffle and its inverse: the values of the CPU, aligned or not") {
  for (const Size& s : kSizes)
    for (int64_t shift : {0, 1}) {
      CAPTURE(s.factor);
      CAPTURE(s.width);
      CAPTURE(s.channels);
      CAPTURE(shift);
      const int64_t count = s.batch * s.height * s.width * s.channels * s.factor * s.factor;
      const Values<float> x = draw(count, 1);
      const auto arguments = [&](const float* from, float* to) {
        return cuda::PixelShuffle{from, to, s.batch, s.height, s.width, s.channels, s.factor};
      };
      const auto out = in_every_order([&] {
        std::vector<Output> o{Output(count), Output(count + shift)};
        cuda::pixel_shuffle(arguments(x.device(shift), o[0].data()), nullptr);
        cuda::pixel_unshuffle(arguments(x.device(), o[1].data() + shift), nullptr);
        return o;
      });
      const int64_t r = s.factor;
      Worst worst;  // moved values are exact: any difference counts as infinite
      for (int64_t i = 0; i < count; ++i) {
        const int64_t j = i % r, k = i / r % r, c = i / r / r % s.channels, w = i / r / r / s.channels % s.width;
        const int64_t h = i / r / r / s.channels / s.width;  // of all images
        const int64_t high = ((h * r + k) * s.width * r + w * r + j) * s.channels + c;
        worst.add(out[0][high], x[size_t(i)], 0);
        worst.add(out[1][i + shift], x[size_t(high)], 0);
      }
      CHECK(worst.share() == 0);
      if (shift == 1 && count > 0) CHECK(std::isnan(out[1][0]));
    }
}

TEST_CASE("pixel shuffle: a row too long for a grid is refused") {
  CHECK_THROWS_WITH_AS(cuda::pixel_shuffle({nullptr, nullptr, 1, 1, 8388481, 1, 2}, nullptr),
                       doctest::Contains("pixel_shuffle: a row of 8388481 items takes 65536 blocks, a grid can have "
                                         "65535 of them; cut the image in tiles"),
                       ShapeError);
}

}  // namespace
}  // namespace clearsky::test::pixel_shuffle_test

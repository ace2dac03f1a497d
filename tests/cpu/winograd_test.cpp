#include "clearsky/cpu/winograd.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "../tolerance.hpp"
#include "clearsky/core/tensor.hpp"
#include "clearsky/cpu/conv.hpp"

namespace clearsky::test::winograd_test {
namespace {

/// A 3x3 convolution with stride 1, and its gradient with respect to x, on values of one's own making.
struct Problem {
  int64_t height = 19, width = 18, channels = 32, outputs = 33, padding_height = 1, padding_width = 1, batch = 1;

  cpu::ConvShape shape() const {
    const int64_t out_height = height + 2 * padding_height - 2, out_width = width + 2 * padding_width - 2;
    return {batch,     height, width, channels,       outputs,       3, 3, 1, out_height,
            out_width, 1,      1,     padding_height, padding_width, 1};
  }
  std::string text() const {
    return "(" + std::to_string(batch) + ", " + std::to_string(height) + ", " + std::to_string(width) + ", " +
           std::to_string(channels) + ") to " + std::to_string(outputs) + ", padding " +
           std::to_string(padding_height) + ", " + std::to_string(padding_width);
  }
  Tensor<float> x(Key key = Key{1}) const { return rand<float>({batch, height, width, channels}, key, -1, 1); }
  Tensor<float> weight(Key key = Key{2}) const { return rand<float>({outputs, 3, 3, channels}, key, -1, 1); }
  Tensor<float> bias() const { return rand<float>({outputs}, Key{3}, -1, 1); }
};

Tensor<float> forward(const Problem& p, const Tensor<float>& x, const Tensor<float>& w,
                      const Tensor<float>& bias = {}) {
  const cpu::ConvShape s = p.shape();
  Tensor<float> y = full<float>({s.batch, s.out_height, s.out_width, s.outputs}, NAN);
  cpu::conv2d_forward<float>({x.data(), w.data(), bias.defined() ? bias.data() : nullptr, y.mutable_data(), s});
  return y;
}

/// The share of allowed_error that the worst output takes; at least 1e9 where an output is wrong altogether.
double worst_share(const Problem& p, const Tensor<float>& x, const Tensor<float>& w, const Tensor<float>& bias = {}) {
  const cpu::ConvShape s = p.shape();
  const Tensor<float> y = forward(p, x, w, bias);
  double worst = 0;
  for (int64_t i = 0; i < y.numel(); ++i) {
    const int64_t o = i % s.outputs, column = i / s.outputs % s.out_width;
    const int64_t row = i / s.outputs / s.out_width % s.out_height, n = i / s.outputs / s.out_width / s.out_height;
    double value = bias.defined() ? double(bias.data()[o]) : 0, scale = std::fabs(value);
    for (int64_t tap = 0; tap < 9; ++tap) {
      const int64_t h = row + tap / 3 - s.padding_height, v = column + tap % 3 - s.padding_width;
      if (h < 0 || h >= s.height || v < 0 || v >= s.width) continue;
      const float* pixel = x.data() + ((n * s.height + h) * s.width + v) * s.channels;
      const float* taps = w.data() + (o * 9 + tap) * s.channels;
      for (int64_t c = 0; c < s.channels; ++c) {
        value += double(pixel[c]) * double(taps[c]);
        scale += std::fabs(double(pixel[c]) * double(taps[c]));
      }
    }
    const double error = std::fabs(double(y.data()[i]) - value);
    const double allowed = allowed_error(kRoundFloat, kRoundFloat, double(9 * s.channels + 1), scale);
    worst = std::fmax(worst, !(error <= 1e9 * allowed) ? 1e9 : error == 0 ? 0 : error / allowed);
  }
  return worst;
}

/// Whether winograd_product takes a weight.
bool takes(const Problem& p, const Tensor<float>& w) {
  const Tensor<float> x = p.x();
  const cpu::ConvShape s = p.shape();
  Tensor<float> y({s.batch, s.out_height, s.out_width, s.outputs});
  return cpu::detail::winograd_forward<float>({x.data(), w.data(), nullptr, y.mutable_data(), s});
}

TEST_CASE("winograd: shapes, paddings and tiles that end beyond the image") {
  for (const Problem& p : {
           Problem{},
           Problem{.height = 16, .width = 16, .channels = 24, .outputs = 16},  // the fewest of everything
           Problem{.height = 17, .width = 21, .channels = 40, .outputs = 65},  // parts of vectors
           Problem{.height = 18, .width = 19, .padding_height = 0, .padding_width = 0},
           Problem{.height = 15, .width = 18, .padding_height = 2, .padding_width = 2},
           Problem{.height = 21, .width = 14, .padding_height = 0, .padding_width = 2},
           Problem{.height = 1, .width = 260},
           Problem{.height = 300, .width = 3, .padding_width = 0},
           Problem{.height = 5, .width = 6, .channels = 64, .outputs = 32, .batch = 9},
       }) {
    INFO(p.text());
    const Tensor<float> w = p.weight();
    CHECK(takes(p, w));
    CHECK(worst_share(p, p.x(), w, p.bias()) <= 1);
  }
}

TEST_CASE("winograd: the rule of accuracy on both sides of its limits") {
  // Taps and pixels that differ, up to far beyond what the transforms are trusted with. Values of one sign, and values
  // over two decades, bring the worst errors.
  for (const int64_t channels : {32, 96})
    for (const double taps : {1.0, 2.0, 3.0, 3.9, 8.0, 1000.0})
      for (const double pixels : {1.0, 3.0, 9.0, 100.0})
        for (const int family : {0, 1, 2}) {
          const Problem p{.height = 16, .width = 17, .channels = channels, .outputs = 16};
          INFO(channels, " channels, taps to 1/", taps, ", pixels to 1/", pixels, ", family ", family);
          Tensor<float> x = p.x(Key{uint64_t(10 + family)}), w = p.weight();
          const Tensor<float> draws = rand<float>({p.height * p.width}, Key{4}, 0, 1);
          for (int64_t i = 0; i < x.numel(); ++i) {
            float& value = x.mutable_data()[i];
            if (family == 1) value = std::fabs(value);
            if (family == 2) value = std::pow(10.F, -2 * std::fabs(value));
            const double draw = double(draws.data()[i / channels]);
            value *= float(std::pow(pixels, draw < 0.5 ? -1 : draw - 1));  // half of them as dark as can be
          }
          for (int64_t i = 0; i < w.numel(); ++i)
            if (i / channels % 9 != i / channels / 9 % 9) w.mutable_data()[i] /= float(taps);
          CHECK(worst_share(p, x, w) <= 1);
        }
}

TEST_CASE("winograd: a weight that looks at one corner takes the direct sum") {
  const Problem p{};
  Tensor<float> w = p.weight();
  for (int64_t i = 0; i < w.numel(); ++i)
    if (i / p.channels / 9 == 5 && i / p.channels % 9 != 8) w.mutable_data()[i] = 0;
  CHECK(!takes(p, w));
  CHECK(worst_share(p, p.x(), w) <= 1);  // outputs whose only tap is outside the image are exactly 0

  Tensor<float> silent = p.weight();  // an output without weights does not spoil the others
  for (int64_t i = 0; i < 9 * p.channels; ++i) silent.mutable_data()[i] = 0;
  CHECK(takes(p, silent));
  CHECK(worst_share(p, p.x(), silent) <= 0.5);
}

TEST_CASE("winograd: one bright pixel, dark areas, huge and tiny values") {
  const Problem p{.height = 24, .width = 24};
  const Tensor<float> w = p.weight();
  Tensor<float> bright = p.x();
  for (int64_t c = 0; c < p.channels; ++c) bright.mutable_data()[(9 * 24 + 10) * p.channels + c] *= 1e6F;
  CHECK(worst_share(p, bright, w) <= 1);

  Tensor<float> half = p.x();  // nothing in its left half: 0, and not merely little
  for (int64_t i = 0; i < half.numel(); ++i)
    if (i / p.channels % 24 < 13) half.mutable_data()[i] = 0;
  CHECK(worst_share(p, half, w) <= 1);

  for (const float scale : {1e30F, 1e-30F}) {
    Tensor<float> x = p.x(), small = p.weight();
    for (int64_t i = 0; i < x.numel(); ++i) x.mutable_data()[i] *= scale;
    for (int64_t i = 0; i < w.numel(); ++i) small.mutable_data()[i] /= scale;
    CHECK(worst_share(p, x, w) <= 1);
    CHECK(!takes(p, small));
    CHECK(worst_share(p, x, small) <= 1);
  }
}

TEST_CASE("winograd: NaN and infinity reach exactly the windows that see them") {
  const Problem p{.height = 21, .width = 22};
  const Tensor<float> w = p.weight();
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    Tensor<float> x = p.x();
    x.mutable_data()[(7 * p.width + 12) * p.channels + 3] = bad;
    x.mutable_data()[(20 * p.width + 21) * p.channels] = bad;  // a corner
    const Tensor<float> y = forward(p, x, w);
    int64_t wrong = 0;
    for (int64_t i = 0; i < p.height; ++i)
      for (int64_t j = 0; j < p.width; ++j)
        for (int64_t o = 0; o < p.outputs; ++o) {
          const float got = y.at({0, i, j, o});
          const bool first = std::abs(i - 7) <= 1 && std::abs(j - 12) <= 1, last = i >= 19 && j >= 20;
          if (!first && !last) {
            wrong += !std::isfinite(got);
          } else if (std::isnan(bad)) {
            wrong += !std::isnan(got);
          } else {
            const int64_t tap = first ? (7 - i + 1) * 3 + 12 - j + 1 : (20 - i + 1) * 3 + 21 - j + 1;
            wrong += got != bad * w.at({o, tap / 3, tap % 3, first ? 3 : 0});
          }
        }
    CHECK(wrong == 0);
  }
  Tensor<float> broken = p.weight();
  broken.mutable_data()[100] = NAN;
  CHECK(!takes(p, broken));
}

TEST_CASE("winograd: the same bits for any number of threads, also where tiles take the direct sum") {
  const Problem p{.height = 33, .width = 30, .batch = 2};
  Tensor<float> x = p.x();
  for (const int64_t pixel : {0, 500, 1500})
    for (int64_t c = 0; c < p.channels; ++c) x.mutable_data()[pixel * p.channels + c] *= 100;
  Tensor<float> first;
  const int64_t before = threads();
  for (const int count : {1, 2, 3}) {
    set_threads(count);
    const Tensor<float> y = forward(p, x, p.weight(), p.bias());
    if (!first.defined()) first = y;
    CHECK(std::memcmp(y.data(), first.data(), size_t(y.numel()) * sizeof(float)) == 0);
  }
  set_threads(before);
  CHECK(worst_share(p, x, p.weight(), p.bias()) <= 1);
}

TEST_CASE("winograd: the gradient of x is the product with the mirrored taps") {
  for (const int64_t padding : {0, 1, 2}) {
    const Problem p{
        .height = 20, .width = 18, .channels = 33, .outputs = 32, .padding_height = padding, .padding_width = 1};
    const cpu::ConvShape s = p.shape();
    Tensor<float> dy = rand<float>({1, s.out_height, s.out_width, s.outputs}, Key{5}, -1, 1);
    for (int64_t o = 0; o < s.outputs; ++o) dy.mutable_data()[9 * s.outputs + o] *= 1e4F;  // tiles of the direct sum
    const Tensor<float> w = p.weight();
    Tensor<float> dx({1, s.height, s.width, s.channels});
    CHECK(cpu::detail::winograd_data_gradient<float>({dy.data(), w.data(), dx.mutable_data(), s}));
    int64_t wrong = 0;
    for (int64_t i = 0; i < dx.numel(); ++i) {
      const int64_t c = i % s.channels, column = i / s.channels % s.width, row = i / s.channels / s.width;
      double value = 0, scale = 0;
      for (int64_t tap = 0; tap < 9; ++tap) {
        const int64_t h = row - tap / 3 + s.padding_height, v = column - tap % 3 + s.padding_width;
        if (h < 0 || h >= s.out_height || v < 0 || v >= s.out_width) continue;
        for (int64_t o = 0; o < s.outputs; ++o) {
          const double product = double(dy.data()[(h * s.out_width + v) * s.outputs + o]) *
                                 double(w.data()[(o * 9 + tap) * s.channels + c]);
          value += product;
          scale += std::fabs(product);
        }
      }
      const double allowed = allowed_error(kRoundFloat, kRoundFloat, double(9 * s.outputs), scale);
      wrong += !(std::fabs(double(dx.data()[i]) - value) <= allowed);
    }
    CHECK_MESSAGE(wrong == 0, wrong, " wrong with padding ", padding);
  }
}

}  // namespace
}  // namespace clearsky::test::winograd_test

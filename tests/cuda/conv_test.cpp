#include "clearsky/cuda/kernels/conv.cuh"

#include "conv_reference.hpp"

namespace clearsky::test::conv_test {
namespace {

const ConvSize kSizes[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},       // one element amid padding
    {2, 7, 9, 13, 5, 3, 3, 1, 1, 1, 1, 1},      // channels that do not come in fours
    {1, 12, 11, 8, 68, 3, 3, 1, 1, 1, 1, 1},    // in fours, several tiles of rows and of columns
    {2, 9, 8, 4, 8, 3, 3, 1, 2, 2, 1, 1},       // a stride, whose phases meet different taps
    {1, 11, 10, 6, 9, 3, 3, 3, 1, 1, 2, 2, 2},  // groups and dilation
    {1, 8, 7, 8, 24, 3, 3, 2, 1, 1, 1, 1},      // groups in fours
    {1, 6, 7, 8, 12, 3, 3, 2, 1, 1, 0, 1},      // groups of which only the inputs come in fours
    {2, 8, 8, 2, 4, 4, 4, 1, 4, 4},             // patches that do not overlap
    {1, 9, 7, 3, 4, 1, 5, 1, 3, 2, 0, 2},       // all different along H and W
    {1, 9, 9, 4, 4, 3, 3, 1, 2, 2, 2, 2, 2},    // phases that no tap reaches
    {1, 10, 9, 4, 4, 3, 2, 1, 2, 4, 1, 2, 3},   // dilation and stride without, and strides with, a common factor
    {1, 7, 6, 3, 2, 2, 2, 1, 3, 3},             // pixels between the windows
    {2, 5, 7, 12, 8, 1, 1},                     // a matrix product
    {1, 5, 6, 8, 8, 1, 1, 2},                   // 1x1, but in groups
    {1, 5, 6, 8, 4, 1, 1, 1, 2, 1},             // 1x1, but with a stride
    {1, 4, 5, 36, 4, 3, 3, 1, 1, 1, 1, 1},      // more channels than a tile is deep, and not a multiple
    {1, 3, 3, 15, 2, 3, 3, 1, 1, 1, 1, 1},      // as an optical image's
    {0, 4, 4, 4, 4, 3, 3},                      // nothing: no images, no outputs, no inputs
    {1, 4, 4, 4, 0, 3, 3},
    {2, 4, 4, 0, 4, 3, 3},
};

template <class Check>
void each_size(Check&& check) {
  for (const ConvSize& s : kSizes) {
    const ConvProblem p(s);
    CAPTURE(s.batch);
    CAPTURE(s.height);
    CAPTURE(s.width);
    CAPTURE(s.channels);
    CAPTURE(s.outputs);
    CAPTURE(s.window_height);
    CAPTURE(s.window_width);
    CAPTURE(s.stride_width);
    CAPTURE(s.groups);
    for (const Precision precision : kPrecisions) {
      CAPTURE(to_text(precision));
      check(p, precision);
    }
  }
}

TEST_CASE("conv2d_forward: in each precision, for every window") {
  each_size([](const ConvProblem& p, Precision precision) {
    const bool with_bias = p.shape.channels != 8;
    const auto y = in_every_order([&] {
      std::vector<Output> out{Output(int64_t(p.dy.size()))};
      cuda::conv2d_forward(p.forward(out[0].data(), OnDevice(), with_bias), precision, nullptr);
      return out;
    });
    const ConvReference want(p.shape, p.x, p.weight, with_bias ? p.bias.data() : nullptr, p.dy, precision);
    CHECK(share(want.y, y[0]) <= 1);
    if (precision != Precision::float32) return;
    std::vector<float> on_cpu(p.dy.size());
    cpu::conv2d_forward(p.forward(on_cpu.data(), OnHost(), with_bias));
    CHECK(share(want.y, on_cpu) <= 1);
    CHECK(apart(want.y, y[0], on_cpu) <= 1);
  });
}

TEST_CASE("conv2d_data_gradient: in each precision, for every window") {
  each_size([](const ConvProblem& p, Precision precision) {
    const auto dx = in_every_order([&] {
      std::vector<Output> out{Output(int64_t(p.x.size()))};
      cuda::conv2d_data_gradient(p.data_gradient(out[0].data(), OnDevice()), precision, nullptr);
      return out;
    });
    const ConvReference want(p.shape, p.x, p.weight, nullptr, p.dy, precision);
    CHECK(share(want.dx, dx[0]) <= 1);
    if (precision != Precision::float32) return;
    std::vector<float> on_cpu(p.x.size());
    cpu::conv2d_data_gradient(p.data_gradient(on_cpu.data(), OnHost()));
    CHECK(share(want.dx, on_cpu) <= 1);
    CHECK(apart(want.dx, dx[0], on_cpu) <= 1);
  });
}

TEST_CASE("conv2d_weight_gradient: in each precision, for every window") {
  each_size([](const ConvProblem& p, Precision precision) {
    const auto dweight = in_every_order([&] {
      std::vector<Output> out{Output(int64_t(p.weight.size()))};
      cuda::conv2d_weight_gradient(p.weight_gradient(out[0].data(), OnDevice()), precision, nullptr, nullptr);
      return out;
    });
    const ConvReference want(p.shape, p.x, p.weight, nullptr, p.dy, precision);
    CHECK(share(want.dweight, dweight[0]) <= 1);
    if (precision != Precision::float32) return;
    std::vector<float> on_cpu(p.weight.size());
    cpu::conv2d_weight_gradient(p.weight_gradient(on_cpu.data(), OnHost()));
    CHECK(share(want.dweight, on_cpu) <= 1);
    CHECK(apart(want.dweight, dweight[0], on_cpu) <= 1);
  });
}

TEST_CASE("conv2d_weight_gradient: the pixels of many images are cut into slots") {
  // 3 images of 20 x 18 are 1080 pixels: two slots, which do not meet between images.
  const ConvProblem p({3, 20, 18, 4, 8, 3, 3, 1, 1, 1, 1, 1});
  const int64_t floats = cuda::conv2d_weight_gradient_workspace(p.weight_gradient(nullptr, OnHost()));
  CHECK(floats == 2 * int64_t(p.weight.size()));
  for (const Precision precision : {Precision::float32, Precision::bfloat16}) {
    CAPTURE(to_text(precision));
    const auto dweight = in_every_order([&] {
      std::vector<Output> out{Output(int64_t(p.weight.size())), Output(floats)};
      cuda::conv2d_weight_gradient(p.weight_gradient(out[0].data(), OnDevice()), precision, out[1].data(), nullptr);
      return out;
    });
    const ConvReference want(p.shape, p.x, p.weight, nullptr, p.dy, precision);
    CHECK(share(want.dweight, dweight[0]) <= 1);
    CHECK(!std::isnan(dweight[1][floats - 1]));
  }
  // With groups, and by the matrix product of a 1x1 window.
  const ConvProblem grouped({1, 33, 33, 4, 2, 1, 2, 2}), pointwise({1, 64, 65, 3, 2, 1, 1});
  for (const ConvProblem* q : {&grouped, &pointwise}) {
    Output out(int64_t(q->weight.size()));
    Output workspace(cuda::conv2d_weight_gradient_workspace(q->weight_gradient(nullptr, OnHost())));
    CHECK(workspace.size() >= 2 * out.size());
    cuda::conv2d_weight_gradient(q->weight_gradient(out.data(), OnDevice()), Precision::float32, workspace.data(),
                                 nullptr);
    CHECK(share(ConvReference(q->shape, q->x, q->weight, nullptr, q->dy, Precision::float32).dweight, out) <= 1);
    CHECK(workspace.sentinels_intact());
  }
}

TEST_CASE("conv2d: images that start at any float") {
  const ConvProblem p({1, 5, 6, 4, 8, 3, 3, 1, 1, 1, 1, 1});
  const auto shifted = [](const Values<float>& v) { return v.device(1); };
  const ConvReference want(p.shape, p.x, p.weight, p.bias.data(), p.dy, Precision::float32);
  Output y(int64_t(p.dy.size()) + 1), dx(int64_t(p.x.size()) + 1), dweight(int64_t(p.weight.size()) + 1);
  cuda::conv2d_forward(p.forward(y.data() + 1, shifted), Precision::float32, nullptr);
  cuda::conv2d_data_gradient(p.data_gradient(dx.data() + 1, shifted), Precision::float32, nullptr);
  cuda::conv2d_weight_gradient(p.weight_gradient(dweight.data() + 1, shifted), Precision::float32, nullptr, nullptr);
  const auto behind_first = [](const Output& o) {
    CHECK(std::isnan(o[0]));
    CHECK(o.sentinels_intact());
    const std::vector<float> all = o.vector();
    return std::vector<float>(all.begin() + 1, all.end());
  };
  CHECK(share(want.y, behind_first(y)) <= 1);
  CHECK(share(want.dx, behind_first(dx)) <= 1);
  CHECK(share(want.dweight, behind_first(dweight)) <= 1);
}

TEST_CASE("conv2d_forward: activation(conv + bias) + residual, in the same pass") {
  for (const ConvSize& size : {ConvSize{1, 4, 5, 4, 8, 3, 3, 2, 1, 1, 1, 1}, ConvSize{1, 4, 5, 4, 6, 1, 1}})
    for (const cuda::Activation kind : {cuda::Activation::none, cuda::Activation::relu, cuda::Activation::gelu}) {
      CAPTURE(int(kind));
      const ConvProblem p(size);
      const Values<float> residual = draw(int64_t(p.dy.size()), 9);
      Output plain(int64_t(p.dy.size())), y(int64_t(p.dy.size()));
      cuda::conv2d_forward(p.forward(plain.data(), OnDevice()), Precision::float32, nullptr);
      cuda::conv2d_forward(p.forward(y.data(), OnDevice()), {kind, residual.device()}, Precision::float32, nullptr);
      Worst worst;
      for (int64_t i = 0; i < y.size(); ++i) {
        const double v = plain[i], r = residual[size_t(i)], phi = 0.5 * std::erfc(-v / std::sqrt(2.0));
        const double a = kind == cuda::Activation::none   ? v
                         : kind == cuda::Activation::relu ? (v > 0 ? v : 0)
                                                          : v * phi;
        // The condition of v Phi(v) is at most 1 + v^2.
        worst.add(y[i], a + r, allowed_error(kRoundFloat, kRoundFloat, 1, (1 + v * v) * std::abs(a) + std::abs(r)));
      }
      CHECK(worst.share() <= 1);
    }
}

TEST_CASE("conv2d: what the kernels' integers cannot count is an error") {
  cuda::Conv2dForward p{};
  p.shape = ConvSize{1, int64_t(1) << 16, int64_t(1) << 15, 1, 1, 3, 3}.shape();
  CHECK_THROWS_WITH_AS(cuda::conv2d_forward(p, Precision::float32, nullptr),
                       doctest::Contains("conv2d: 1 images of 65539 x 32771 with padding and window, 1 channels, 1 "
                                         "outputs; on a GPU use at most 1073741823 pixels; cut the tensor in parts"),
                       ShapeError);
}

}  // namespace
}  // namespace clearsky::test::conv_test

#include "clearsky/cuda/kernels/conv_depthwise.cuh"

#include "conv_reference.hpp"

namespace clearsky::test::conv_depthwise_test {
namespace {

ConvSize depthwise(int64_t batch, int64_t height, int64_t width, int64_t channels, int64_t window_height,
                   int64_t window_width, int64_t stride_height = 1, int64_t stride_width = 1,
                   int64_t padding_height = 0, int64_t padding_width = 0, int64_t dilation = 1) {
  return {batch,    height,        width,        channels,       channels,      window_height, window_width,
          channels, stride_height, stride_width, padding_height, padding_width, dilation};
}
ConvSize same3x3(int64_t batch, int64_t height, int64_t width, int64_t channels) {
  return depthwise(batch, height, width, channels, 3, 3, 1, 1, 1, 1);
}

const ConvSize kSizes[] = {
    same3x3(1, 1, 1, 1),    // padding all around
    same3x3(2, 5, 7, 13),   // channels that do not come in fours
    same3x3(2, 6, 5, 8),    // in fours
    same3x3(1, 19, 34, 4),  // several strips and tiles of columns
    same3x3(1, 9, 33, 35),  // several chunks of channels
    same3x3(1, 8, 32, 36),  // whole strips and tiles; a chunk that ends early
    same3x3(0, 4, 4, 8),    // nothing
    same3x3(2, 4, 4, 0),
    depthwise(1, 9, 8, 6, 3, 3, 2, 2, 1, 1),      // a stride
    depthwise(2, 7, 6, 8, 5, 5, 1, 1, 2, 2),      // more taps than a thread sums at once
    depthwise(1, 12, 11, 4, 7, 11, 1, 1, 3, 5),   // more taps than lie in shared memory
    depthwise(1, 9, 9, 35, 3, 3, 1, 1, 2, 2, 2),  // dilation
    depthwise(1, 10, 9, 4, 3, 2, 2, 4, 1, 2, 3),  // all of it
    depthwise(1, 7, 6, 3, 2, 2, 3, 3),            // pixels between the windows
    depthwise(1, 8, 9, 36, 1, 5, 1, 1, 0, 2),
    depthwise(1, 6, 7, 2, 3, 3),  // 3x3, but without padding
    depthwise(0, 6, 7, 2, 3, 2),
};

template <class Check>
void each_size(Check&& check) {
  for (const ConvSize& s : kSizes) {
    CAPTURE(s.batch);
    CAPTURE(s.height);
    CAPTURE(s.width);
    CAPTURE(s.channels);
    CAPTURE(s.window_height);
    CAPTURE(s.window_width);
    CAPTURE(s.stride_width);
    if (s.channels != 0) {
      check(ConvProblem(s));
      continue;
    }
    ConvSize none = s;  // 0 groups: a window's channels are 0 / 1
    none.groups = 1;
    check(ConvProblem(none));
  }
}

TEST_CASE("conv2d_depthwise_forward: as in double and on the CPU") {
  each_size([](const ConvProblem& p) {
    const bool with_bias = p.shape.channels != 4;
    const auto y = in_every_order([&] {
      std::vector<Output> out{Output(int64_t(p.dy.size()))};
      cuda::conv2d_depthwise_forward(p.forward(out[0].data(), OnDevice(), with_bias), nullptr);
      return out;
    });
    const ConvReference want(p.shape, p.x, p.weight, with_bias ? p.bias.data() : nullptr, p.dy, Precision::float32);
    CHECK(share(want.y, y[0]) <= 1);
    std::vector<float> on_cpu(p.dy.size());
    cpu::conv2d_depthwise_forward(p.forward(on_cpu.data(), OnHost(), with_bias));
    CHECK(share(want.y, on_cpu) <= 1);
    CHECK(apart(want.y, y[0], on_cpu) <= 1);
  });
}

TEST_CASE("conv2d_depthwise_data_gradient: as in double and on the CPU") {
  each_size([](const ConvProblem& p) {
    const auto dx = in_every_order([&] {
      std::vector<Output> out{Output(int64_t(p.x.size()))};
      cuda::conv2d_depthwise_data_gradient(p.data_gradient(out[0].data(), OnDevice()), nullptr);
      return out;
    });
    const ConvReference want(p.shape, p.x, p.weight, nullptr, p.dy, Precision::float32);
    CHECK(share(want.dx, dx[0]) <= 1);
    std::vector<float> on_cpu(p.x.size());
    cpu::conv2d_depthwise_data_gradient(p.data_gradient(on_cpu.data(), OnHost()));
    CHECK(share(want.dx, on_cpu) <= 1);
    CHECK(apart(want.dx, dx[0], on_cpu) <= 1);
  });
}

TEST_CASE("conv2d_depthwise_weight_gradient: as in double and on the CPU") {
  each_size([](const ConvProblem& p) {
    const auto dweight = in_every_order([&] {
      std::vector<Output> out{
          Output(int64_t(p.weight.size())),
          Output(cuda::conv2d_depthwise_weight_gradient_workspace(p.weight_gradient(nullptr, OnHost())))};
      cuda::conv2d_depthwise_weight_gradient(p.weight_gradient(out[0].data(), OnDevice()), out[1].data(), nullptr);
      return out;
    });
    const ConvReference want(p.shape, p.x, p.weight, nullptr, p.dy, Precision::float32);
    CHECK(share(want.dweight, dweight[0]) <= 1);
    for (const float part : dweight[1].vector()) CHECK(!std::isnan(part));  // each slot is written
    std::vector<float> on_cpu(p.weight.size());
    cpu::conv2d_depthwise_weight_gradient(p.weight_gradient(on_cpu.data(), OnHost()));
    CHECK(share(want.dweight, on_cpu) <= 1);
    CHECK(apart(want.dweight, dweight[0], on_cpu) <= 1);
  });
}

TEST_CASE("conv2d_depthwise: a slot that sums several strips, and images that start at any float") {
  // 520 images of one strip each are more units than there are slots.
  const ConvProblem many(same3x3(520, 2, 1, 4)), p(same3x3(1, 5, 6, 4)), strided(depthwise(1, 5, 6, 4, 3, 3, 2, 2));
  const auto shifted = [](const Values<float>& v) { return v.device(1); };
  for (const ConvProblem* q : {&many, &p, &strided}) {
    const ConvReference want(q->shape, q->x, q->weight, q->bias.data(), q->dy, Precision::float32);
    Output y(int64_t(q->dy.size()) + 1), dx(int64_t(q->x.size()) + 1), dweight(int64_t(q->weight.size()) + 1);
    Output workspace(cuda::conv2d_depthwise_weight_gradient_workspace(q->weight_gradient(nullptr, OnHost())));
    cuda::conv2d_depthwise_forward(q->forward(y.data() + 1, shifted), nullptr);
    cuda::conv2d_depthwise_data_gradient(q->data_gradient(dx.data() + 1, shifted), nullptr);
    cuda::conv2d_depthwise_weight_gradient(q->weight_gradient(dweight.data() + 1, shifted), workspace.data(), nullptr);
    const auto behind_first = [](const Output& o) {
      CHECK(std::isnan(o[0]));
      CHECK(o.sentinels_intact());
      const std::vector<float> all = o.vector();
      return std::vector<float>(all.begin() + 1, all.end());
    };
    CHECK(share(want.y, behind_first(y)) <= 1);
    CHECK(share(want.dx, behind_first(dx)) <= 1);
    CHECK(share(want.dweight, behind_first(dweight)) <= 1);
    CHECK(workspace.sentinels_intact());
  }
  const cuda::Strips strips = cuda::strips_of(many.shape);
  CHECK(strips.units() > cuda::strip_slots(strips));
}

}  // namespace
}  // namespace clearsky::test::conv_depthwise_test

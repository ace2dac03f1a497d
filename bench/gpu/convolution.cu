// Convolutions: 3x3, 1x1 (their peer is cuBLAS), with a stride, with an epilogue, depthwise.

#include "clearsky/cpu/conv.hpp"
#include "clearsky/cpu/conv_depthwise.hpp"
#include "clearsky/cuda/kernels/conv.cuh"
#include "clearsky/cuda/kernels/conv_depthwise.cuh"
#include "peers.hpp"

namespace clearsky::cuda::bench {
namespace {

cpu::ConvShape conv_shape(int64_t side, int64_t channels, int64_t outputs, int64_t window, int64_t groups = 1,
                          int64_t stride = 1) {
  const int64_t padding = window / 2, out = (side + 2 * padding - window) / stride + 1;
  return {.batch = 1,
          .height = side,
          .width = side,
          .channels = channels,
          .outputs = outputs,
          .window_height = window,
          .window_width = window,
          .groups = groups,
          .out_height = out,
          .out_width = out,
          .stride_height = stride,
          .stride_width = stride,
          .padding_height = padding,
          .padding_width = padding,
          .dilation = 1};
}

/// Image, weight and result of a convolution, each with a gradient of its own.
struct Layer {
  cpu::ConvShape s;
  int64_t pixels, out_pixels, taps;  // taps: products of one sum
  Numbers x, w, y, dx, dw, dy;
  std::string shape;
  double flops, bytes;

  explicit Layer(const cpu::ConvShape& size)
      : s(size),
        pixels(s.batch * s.height * s.width),
        out_pixels(s.batch * s.out_height * s.out_width),
        taps(s.window_height * s.window_width * (s.channels / s.groups)),
        x(draw(pixels * s.channels, 1)),
        w(draw(s.outputs * taps, 2)),
        y(out_pixels * s.outputs),
        dx(pixels * s.channels),
        dw(s.outputs * taps),
        dy(draw(out_pixels * s.outputs, 3)),
        shape(times({s.height, s.width, s.channels}) + " to " + std::to_string(s.outputs) + ", " +
              times({s.window_height, s.window_width})),
        flops(2 * double(out_pixels * s.outputs) * double(taps)),
        bytes(4 * double(x.size() + w.size() + y.size())) {  // the same for all three
    if (s.stride_height > 1) shape += ", stride " + std::to_string(s.stride_height);
  }
  Conv2dForward forward(Side at) { return {at(x), at(w), nullptr, at(y), s}; }
  Conv2dDataGradient data_gradient(Side at) { return {at(dy), at(w), at(dx), s}; }
  Conv2dWeightGradient weight_gradient(Side at) { return {at(x), at(dy), at(dw), s}; }
  /// Products of one element of dx.
  double back_taps() const { return double(s.window_height * s.window_width * s.outputs) / double(s.groups); }

  // The same products as of matrices, for windows of one pixel.
  Gemm forward_product() { return product(x, w, y, pixels, s.outputs, s.channels, s.channels, 1, 1, s.channels); }
  Gemm data_product() { return product(dy, w, dx, pixels, s.channels, s.outputs, s.outputs, 1, s.channels, 1); }
  Gemm weight_product() { return product(dy, x, dw, s.outputs, s.channels, pixels, 1, s.outputs, s.channels, 1); }

 private:
  static Gemm product(Numbers& a, Numbers& b, Numbers& c, int64_t m, int64_t n, int64_t k, int64_t a_row,
                      int64_t a_column, int64_t b_row, int64_t b_column) {
    return {a.device(), b.device(), nullptr, c.device(), 1, m, n, k, m * k, a_row, a_column, k * n, b_row, b_column};
  }
};

void measure_dense(Harness& h, Layer l) {
  const DeviceArray<float> room(conv2d_weight_gradient_workspace(l.weight_gradient(kDevice)));
  const bool pointwise = l.s.pointwise();
  for (const Precision p : h.precisions()) {
    const auto row = [&](const char* operation, double terms) {
      return Row{operation, l.shape, l.bytes, l.flops, bound(p, terms), p};
    };
    h.measure(
        row("conv2d_forward", double(l.taps)), {l.y}, [&](Stream t) { conv2d_forward(l.forward(kDevice), p, t); },
        shared_reference(p, [&] { cpu::conv2d_forward(l.forward(kHost)); }),
        pointwise ? cublas_peer(l.forward_product(), p) : cudnn_peer(l.forward(kDevice), p));
    h.measure(
        row("conv2d_data_gradient", l.back_taps()), {l.dx},
        [&](Stream t) { conv2d_data_gradient(l.data_gradient(kDevice), p, t); },
        shared_reference(p, [&] { cpu::conv2d_data_gradient(l.data_gradient(kHost)); }),
        pointwise ? cublas_peer(l.data_product(), p) : cudnn_peer(l.data_gradient(kDevice), p));
    h.measure(
        row("conv2d_weight_gradient", double(l.out_pixels)), {l.dw},
        [&](Stream t) { conv2d_weight_gradient(l.weight_gradient(kDevice), p, room.data(), t); },
        shared_reference(p, [&] { cpu::conv2d_weight_gradient(l.weight_gradient(kHost)); }),
        pointwise ? cublas_peer(l.weight_product(), p) : cudnn_peer(l.weight_gradient(kDevice), p));
  }
}

void measure_depthwise(Harness& h, Layer l) {
  const DeviceArray<float> room(conv2d_depthwise_weight_gradient_workspace(l.weight_gradient(kDevice)));
  const Precision p = Precision::float32;
  h.measure(
      {"conv2d_depthwise_forward", l.shape, l.bytes, l.flops, bound(9)}, {l.y},
      [&](Stream t) { conv2d_depthwise_forward(l.forward(kDevice), t); },
      [&] { cpu::conv2d_depthwise_forward(l.forward(kHost)); }, cudnn_peer(l.forward(kDevice), p));
  h.measure(
      {"conv2d_depthwise_data_gradient", l.shape, l.bytes, l.flops, bound(9)}, {l.dx},
      [&](Stream t) { conv2d_depthwise_data_gradient(l.data_gradient(kDevice), t); },
      [&] { cpu::conv2d_depthwise_data_gradient(l.data_gradient(kHost)); }, cudnn_peer(l.data_gradient(kDevice), p));
  h.measure(
      {"conv2d_depthwise_weight_gradient", l.shape, l.bytes, l.flops, bound(double(l.out_pixels))}, {l.dw},
      [&](Stream t) { conv2d_depthwise_weight_gradient(l.weight_gradient(kDevice), room.data(), t); },
      [&] { cpu::conv2d_depthwise_weight_gradient(l.weight_gradient(kHost)); },
      cudnn_peer(l.weight_gradient(kDevice), p));
}

/// y = gelu(conv(x) + bias) + residual
void measure_epilogue(Harness& h, Layer l) {
  Numbers bias = draw(l.s.outputs, 4), residual = draw(l.y.size(), 5);
  const auto biased = [&](Side at) {
    Conv2dForward f = l.forward(at);
    f.bias = at(bias);
    return f;
  };
  for (const Precision p : {Precision::float32, Precision::bfloat16})
    h.measure(
        {"conv2d_forward, gelu, residual", l.shape, l.bytes + 4 * double(l.y.size() + bias.size()), l.flops,
         bound(p, double(l.taps)), p},
        {l.y},
        [&](Stream t) {
          conv2d_forward(biased(kDevice), {Activation::gelu, residual.device()}, p, t);
        },
        [&] {
          cpu::conv2d_forward(biased(kHost));
          for (int64_t i = 0; i < l.y.size(); ++i) {
            float& y = l.y.host()[i];
            y = float(double(y) * 0.5 * std::erfc(-double(y) * 0.70710678118654752)) + residual.host()[i];
          }
        });
}

}  // namespace

void measure_convolutions(Harness& h) {
  for (const Level& l : h.levels()) {
    measure_dense(h, Layer(conv_shape(l.side, l.width, l.width, 3)));
    measure_dense(h, Layer(conv_shape(l.side, l.width, 3 * l.width, 1)));
    measure_depthwise(h, Layer(conv_shape(l.side, 3 * l.width, 3 * l.width, 3, 3 * l.width)));
  }
  const Level l = h.first_level();
  measure_dense(h, Layer(conv_shape(l.side, 15, l.width, 3)));  // 13 bands and 2: not in fours
  measure_dense(h, Layer(conv_shape(l.side, l.width, 2 * l.width, 3, 1, 2)));
  measure_depthwise(h, Layer(conv_shape(l.side, l.width, l.width, 5, l.width)));
  measure_epilogue(h, Layer(conv_shape(l.side, l.width, l.width, 3)));
}

}  // namespace clearsky::cuda::bench

#pragma once
// Convolutions and attention.

#include "shapes.hpp"

namespace clearsky::cuda {

struct ConvLayer {
  int64_t side, channels, outputs, window, stride = 1;
};

inline void look_at_convolution(const ConvLayer& l, Precision precision) {
  const cpu::ConvShape s = conv_shape(l.side, l.channels, l.outputs, l.window, 1, l.stride);
  const int64_t taps = l.window * l.window * l.channels, pixels = l.side * l.side, results = s.out_height * s.out_width;
  const auto x = numbers(pixels * l.channels, 1), w = numbers(l.outputs * taps, 2), b = numbers(l.outputs, 3),
             dy = numbers(results * l.outputs, 4);
  const DeviceArray<float> y(results * l.outputs), dx(pixels * l.channels), dw(l.outputs * taps);
  const double flops = 2.0 * double(results) * double(l.outputs) * double(taps);
  const std::string shape = text("%lldx%lldx%lld", l.side, l.side, l.channels) +
                            text(" -> %lld, window %lld", l.outputs, l.window) +
                            (l.stride == 1 ? "" : text(", stride %lld", l.stride)) + ", " + to_text(precision);
  look_at("conv2d_forward", shape, flops, "tile_product", [&] {
    conv2d_forward(Conv2dForward{x.data(), w.data(), b.data(), y.data(), s}, precision, nullptr);
  });
  // Of a convolution with a stride, each of the stride's squared launches has its share.
  look_at("conv2d_data_gradient", shape, flops / double(l.stride * l.stride), "tile_product", [&] {
    conv2d_data_gradient({dy.data(), w.data(), dx.data(), s}, precision, nullptr);
  });
  const Conv2dWeightGradient g{x.data(), dy.data(), dw.data(), s};
  const DeviceArray<float> workspace(conv2d_weight_gradient_workspace(g));
  look_at("conv2d_weight_gradient", shape, flops, "tile_product",
          [&] { conv2d_weight_gradient(g, precision, workspace.data(), nullptr); });
}

inline void convolutions() {
  for (const Precision precision : {Precision::float32, Precision::tf32, Precision::bfloat16})
    for (const ConvLayer& l : {ConvLayer{64, 15, 32, 3}, ConvLayer{64, 32, 32, 3}, ConvLayer{64, 32, 96, 1},
                               ConvLayer{64, 32, 170, 1}, ConvLayer{64, 85, 32, 1}})
      look_at_convolution(l, precision);
  for (const Precision precision : {Precision::float32, Precision::bfloat16})
    for (const ConvLayer& l : {ConvLayer{64, 16, 32, 3, 2}, ConvLayer{32, 64, 32, 3}, ConvLayer{32, 64, 192, 1},
                               ConvLayer{16, 128, 384, 1}, ConvLayer{8, 256, 768, 1}})
      look_at_convolution(l, precision);
}

inline void look_at_depthwise(int64_t side, int64_t c) {
  const int64_t pixels = side * side;
  const cpu::ConvShape s = conv_shape(side, c, c, 3, c);
  const auto x = numbers(pixels * c, 1), w = numbers(9 * c, 2), b = numbers(c, 3), dy = numbers(pixels * c, 4);
  const DeviceArray<float> y(pixels * c), dw(9 * c);
  const std::string shape = text("%lldx%lldx%lld, window 3", side, side, c);
  const double flops = 18.0 * double(pixels * c);
  look_at("conv2d_depthwise_forward", shape, flops, "depthwise", [&] {
    conv2d_depthwise_forward({x.data(), w.data(), b.data(), y.data(), s}, nullptr);
  });
  look_at("conv2d_depthwise_data_gradient", shape, flops, "depthwise", [&] {
    conv2d_depthwise_data_gradient({dy.data(), w.data(), y.data(), s}, nullptr);
  });
  const Conv2dWeightGradient g{x.data(), dy.data(), dw.data(), s};
  const DeviceArray<float> workspace(conv2d_depthwise_weight_gradient_workspace(g));
  look_at("conv2d_depthwise_weight_gradient", shape, flops, "depthwise",
          [&] { conv2d_depthwise_weight_gradient(g, workspace.data(), nullptr); });
}

inline void look_at_channel_attention(int64_t side, int64_t width, int64_t heads, Precision precision) {
  const int64_t pixels = side * side, d = width / heads;
  const auto qkv = numbers(pixels * 3 * width, 1), temperature = numbers(heads, 2), dy = numbers(pixels * width, 3);
  const DeviceArray<float> y(pixels * width), state(heads * (2 * d * d + 2 * d)), dqkv(pixels * 3 * width), dt(heads);
  const ChannelAttentionForward f{qkv.data(), temperature.data(), y.data(), state.data(), kBatch, pixels, width, heads};
  const DeviceArray<float> workspace(channel_attention_forward_workspace(f));
  const std::string shape = text("%lldx%lldx%lld", side, side, width) +
                            text(heads == 1 ? ", %lld head, " : ", %lld heads, ", heads) + to_text(precision);
  const double flops = 2.0 * double(pixels * width * d);
  look_at("channel_attention_forward", shape, flops, "tile_product",
          [&] { channel_attention_forward(f, precision, workspace.data(), nullptr); });
  const ChannelAttentionBackward b{
      qkv.data(), temperature.data(), state.data(), dy.data(), dqkv.data(), dt.data(), kBatch, pixels, width, heads};
  const DeviceArray<float> backward_workspace(channel_attention_backward_workspace(b));
  look_at("channel_attention_backward", shape, flops, "tile_product",
          [&] { channel_attention_backward(b, precision, backward_workspace.data(), nullptr); });
}

inline void attention() {
  look_at_channel_attention(64, 32, 1, Precision::float32);
  look_at_channel_attention(64, 32, 1, Precision::bfloat16);
  look_at_channel_attention(32, 64, 2, Precision::float32);
  look_at_channel_attention(16, 128, 4, Precision::float32);
  look_at_channel_attention(8, 256, 8, Precision::float32);

  const int64_t tokens = 256, heads = 4, width = 32, count = heads * tokens * width;
  const auto q = numbers(count, 4), k = numbers(count, 5), v = numbers(count, 6), g = numbers(count, 7);
  const DeviceArray<float> out(count), lse(heads * tokens), dq(count), dk(count), dv(count);
  const cpu::AttentionShape s{1, heads, tokens, tokens, width, 0.18, false};
  const double products = 4.0 * double(heads * tokens * tokens * width);
  const DeviceArray<float> delta(heads * tokens);
  for (const Precision precision : {Precision::float32, Precision::tf32, Precision::bfloat16}) {
    const std::string in = std::string(", ") + to_text(precision);
    const std::string shape = text("%lld heads of %lld, %lld tokens", heads, width, tokens) + in;
    look_at("attention_forward", shape, products, "attention_forward", [&] {
      attention_forward({q.data(), k.data(), v.data(), out.data(), lse.data(), {}, s}, precision, nullptr);
    });
    look_at("attention_backward", shape, 1.25 * products, "attention_backward", [&] {
      attention_backward(
          {q.data(), k.data(), v.data(), out.data(), lse.data(), g.data(), dq.data(), dk.data(), dv.data(), {}, s},
          precision, delta.data(), nullptr);
    });
    const cpu::WindowShape w{1, 32, 32, width, 1, 8, 0.18};
    const std::string windows = text("32x32x%lld, windows of 8 x 8", width) + in;
    const double of_windows = 4.0 * double(32 * 32 * 64 * width);
    look_at("window_attention_forward", windows, of_windows, "attention_forward", [&] {
      window_attention_forward({q.data(), k.data(), v.data(), out.data(), lse.data(), w}, precision, nullptr);
    });
    look_at("window_attention_backward", windows, 1.25 * of_windows, "attention_backward", [&] {
      window_attention_backward(
          {q.data(), k.data(), v.data(), out.data(), lse.data(), g.data(), dq.data(), dk.data(), dv.data(), w},
          precision, delta.data(), nullptr);
    });
  }
}

}  // namespace clearsky::cuda

#pragma once
// Convolutions in double precision, straight from the equation, for the tests of kernels; and their sizes.

#include "clearsky/cpu/conv.hpp"
#include "kernels.hpp"
#include "precision.hpp"

namespace clearsky::test {

struct ConvSize {
  int64_t batch, height, width, channels, outputs, window_height, window_width;
  int64_t groups = 1, stride_height = 1, stride_width = 1, padding_height = 0, padding_width = 0, dilation = 1;

  cpu::ConvShape shape() const {
    const auto out = [&](int64_t size, int64_t window, int64_t padding, int64_t stride) {
      return (size + 2 * padding - dilation * (window - 1) - 1) / stride + 1;
    };
    return {batch,
            height,
            width,
            channels,
            outputs,
            window_height,
            window_width,
            groups,
            out(height, window_height, padding_height, stride_height),
            out(width, window_width, padding_width, stride_width),
            stride_height,
            stride_width,
            padding_height,
            padding_width,
            dilation};
  }
};

/// A sum of products, and what bounds its error.
struct Sum {
  double value = 0, scale = 0;
  int64_t terms = 0;
  void add(double product) { value += product, scale += std::abs(product), ++terms; }
  double allowed() const { return allowed_error(kRoundFloat, kRoundFloat, double(terms + 1), scale); }
};

/// The three products of a convolution. Each pair of a pixel and a tap meets once, so that one loop serves them all.
struct ConvReference {
  std::vector<Sum> y, dx, dweight;

  ConvReference(const cpu::ConvShape& s, const Values<float>& x, const Values<float>& weight, const float* bias,
                const Values<float>& dy, Precision precision)
      : y(dy.size()), dx(x.size()), dweight(weight.size()) {
    const int64_t inputs = s.channels / s.groups, outputs = s.outputs / s.groups;
    std::vector<double> rx(x.size()), rw(weight.size()), rdy(dy.size());
    for (size_t i = 0; i < rx.size(); ++i) rx[i] = rounded(precision, x[i]);
    for (size_t i = 0; i < rw.size(); ++i) rw[i] = rounded(precision, weight[i]);
    for (size_t i = 0; i < rdy.size(); ++i) rdy[i] = rounded(precision, dy[i]);
    for (int64_t at = 0; at < int64_t(dy.size()); ++at) {
      const int64_t o = at % s.outputs, w = at / s.outputs % s.out_width;
      const int64_t h = at / s.outputs / s.out_width % s.out_height, n = at / s.outputs / s.out_width / s.out_height;
      if (bias != nullptr) y[size_t(at)].add(bias[o]);
      for (int64_t i = 0; i < s.window_height; ++i)
        for (int64_t j = 0; j < s.window_width; ++j) {
          const int64_t row = h * s.stride_height + i * s.dilation - s.padding_height;
          const int64_t column = w * s.stride_width + j * s.dilation - s.padding_width;
          if (row < 0 || row >= s.height || column < 0 || column >= s.width) continue;
          for (int64_t c = 0; c < inputs; ++c) {
            const size_t from =
                size_t(((n * s.height + row) * s.width + column) * s.channels + o / outputs * inputs + c);
            const size_t tap = size_t(((o * s.window_height + i) * s.window_width + j) * inputs + c);
            y[size_t(at)].add(rx[from] * rw[tap]);
            dx[from].add(rdy[size_t(at)] * rw[tap]);
            dweight[tap].add(rx[from] * rdy[size_t(at)]);
          }
        }
    }
  }
};

/// The largest error as a share of what is allowed.
template <class Array>
double share(const std::vector<Sum>& want, const Array& got) {
  Worst worst;
  for (size_t i = 0; i < want.size(); ++i) worst.add(got[int64_t(i)], want[i].value, want[i].allowed());
  return worst.share();
}
inline double share(const std::vector<Sum>& want, const std::vector<float>& got) {
  Worst worst;
  for (size_t i = 0; i < want.size(); ++i) worst.add(got[i], want[i].value, want[i].allowed());
  return worst.share();
}
/// The largest difference from the CPU's kernel, value by value, as a share of what both together are allowed.
template <class Array>
double apart(const std::vector<Sum>& want, const Array& got, const std::vector<float>& on_cpu) {
  Worst worst;
  for (size_t i = 0; i < want.size(); ++i) worst.add(got[int64_t(i)], on_cpu[i], 2 * want[i].allowed());
  return worst.share();
}

/// Inputs of one convolution, and the kernels' argument structs for a place (OnHost, OnDevice).
struct ConvProblem {
  cpu::ConvShape shape;
  Values<float> x, weight, bias, dy;

  explicit ConvProblem(const ConvSize& size)
      : shape(size.shape()),
        x(draw(pixels_in() * shape.channels, 1)),
        weight(draw(taps(), 2)),
        bias(draw(shape.outputs, 3)),
        dy(draw(pixels_out() * shape.outputs, 4)) {}

  int64_t pixels_in() const { return shape.batch * shape.height * shape.width; }
  int64_t pixels_out() const { return shape.batch * shape.out_height * shape.out_width; }
  int64_t taps() const {
    return shape.outputs * shape.window_height * shape.window_width * (shape.channels / shape.groups);
  }
  template <class At>
  cpu::Conv2dForward<float> forward(float* y, At at, bool with_bias = true) const {
    return {at(x), at(weight), with_bias ? at(bias) : nullptr, y, shape};
  }
  template <class At>
  cpu::Conv2dDataGradient<float> data_gradient(float* dx, At at) const {
    return {at(dy), at(weight), dx, shape};
  }
  template <class At>
  cpu::Conv2dWeightGradient<float> weight_gradient(float* dweight, At at) const {
    return {at(x), at(dy), dweight, shape};
  }
};

}  // namespace clearsky::test

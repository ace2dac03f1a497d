#include "clearsky/ops/conv_transpose2d.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::conv_transpose2d_test {
namespace {

ConvTranspose2dOptions options_of(const Attrs& a) {
  return {.stride = a.integer("stride", 1),
          .padding = a.integer("padding", 0),
          .output_padding = a.integer("output_padding", 0),
          .dilation = a.integer("dilation", 1),
          .groups = a.integer("groups", 1)};
}

/// Each input pixel adds its window to the output:
///     y(n, h s + i d - p, v s + j d - p, o) += x(n, h, v, c) w(c, i, j, o)
Expected conv_transpose2d_reference(const Inputs& in, const Attrs& a) {
  const Tensor<double>&x = in[0], &w = in[1];
  const ConvTranspose2dOptions opt = options_of(a);
  const Shape y = conv_transpose2d_shape(x.shape(), w.shape(), opt);
  const int64_t group_inputs = w.size(0) / opt.groups;
  Expected want;
  want.terms = double(w.numel()) / std::fmax(1, double(w.size(3))) + 1;
  for (int64_t i = 0; i < y.numel(); ++i) want.values.push_back(in.size() > 2 ? in[2].data()[i % y[3]] : 0);
  for (double v : want.values) want.scale.push_back(std::fabs(v));
  for (int64_t n = 0; n < x.size(0); ++n)
    for (int64_t h = 0; h < x.size(1); ++h)
      for (int64_t v = 0; v < x.size(2); ++v)
        for (int64_t c = 0; c < x.size(3); ++c)
          for (int64_t i = 0; i < w.size(1); ++i)
            for (int64_t j = 0; j < w.size(2); ++j) {
              const int64_t row = h * opt.stride + i * opt.dilation - opt.padding;
              const int64_t column = v * opt.stride + j * opt.dilation - opt.padding;
              if (row < 0 || row >= y[1] || column < 0 || column >= y[2]) continue;
              for (int64_t o = 0; o < w.size(3); ++o) {
                const size_t to = size_t(((n * y[1] + row) * y[2] + column) * y[3] + c / group_inputs * w.size(3) + o);
                const double product = x.at({n, h, v, c}) * w.at({c, i, j, o});
                want.values[to] += product;
                want.scale[to] += std::fabs(product);
              }
            }
  return want;
}

TEST_CASE("conv_transpose2d") {
  const auto sample = [](Shape x, Shape w, Attrs attrs = {}, bool check = true) -> Sample {
    return {.inputs = {x, w}, .attrs = std::move(attrs), .gradcheck = check};
  };
  const auto with_bias = [](Sample s, int64_t outputs) {
    s.inputs.push_back({outputs});
    return s;
  };
  run({.name = "conv_transpose2d",
       .reference = conv_transpose2d_reference,
       .samples =
           {
               with_bias(sample({2, 3, 4, 2}, {2, 2, 2, 3}, {{"stride", 2}}), 3),  // doubles the size
               sample({1, 3, 3, 2}, {2, 3, 3, 2}, {{"padding", 1}}),
               sample({1, 3, 4, 2}, {2, 3, 3, 2}, {{"stride", 2}, {"padding", 1}, {"output_padding", 1}}),
               sample({1, 3, 3, 1}, {1, 2, 2, 2},
                      {{"stride", 3}, {"output_padding", 2}}),                     // pixels that nothing reaches
               with_bias(sample({1, 2, 3, 1}, {1, 1, 1, 2}, {{"stride", 2}}), 2),  // most of them
               sample({1, 3, 3, 2}, {2, 3, 3, 1}, {{"dilation", 2}}),
               sample({1, 3, 3, 4}, {4, 3, 3, 3}, {{"groups", 2}, {"stride", 2}, {"padding", 1}}),
               sample({1, 3, 3, 3}, {3, 3, 3, 1}, {{"groups", 3}, {"padding", 1}}),  // depthwise
               sample({1, 3, 4, 2}, {2, 1, 1, 3}),
               sample({0, 3, 4, 2}, {2, 3, 3, 3}, {{"stride", 2}}),
               sample({1, 20, 33, 36}, {36, 3, 3, 18}, {{"stride", 2}, {"padding", 1}}, false),
           },
       .rejects = {{sample({1, 3, 3, 2}, {3, 3, 3, 2}), "has 2 channels but weight (3, 3, 3, 2) reads 3"},
                   {sample({1, 3, 3, 2}, {2, 3, 3, 2}, {{"output_padding", 1}}), "output_padding 1 with stride 1"},
                   {with_bias(sample({1, 3, 3, 2}, {2, 3, 3, 2}), 3), "conv_transpose2d: bias (3) for weight"}}},
      [](const auto& in, const Attrs& a) {
        using Tensors = std::decay_t<decltype(in)>;
        return conv_transpose2d(in[0], in[1], in.size() > 2 ? in[2] : typename Tensors::value_type(), options_of(a));
      });
}

}  // namespace
}  // namespace clearsky::test::conv_transpose2d_test

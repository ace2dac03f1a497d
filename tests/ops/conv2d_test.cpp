#include "clearsky/ops/conv2d.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::conv2d_test {
namespace {

Conv2dOptions options_of(const Attrs& a) {
  return {.stride = a.integer("stride", 1),
          .padding = a.integer("padding", 0),
          .dilation = a.integer("dilation", 1),
          .groups = a.integer("groups", 1),
          .padding_mode = Padding(a.integer("padding_mode", int64_t(Padding::zeros))),
          .stride_w = a.integer("stride_w", -1),
          .padding_w = a.integer("padding_w", -1)};
}

/// Calls visit(y, x, w) with the places of the three factors of every product in the definition
///     y(n, i, j, o) = sum_{a, b, c} x(n, i s + a d - p, j s + b d - p, c) w(o, a, b, c)
/// where the input pixel is one of the image, or stands for one outside it by the padding mode.
template <class Visit>
void each_product(const Shape& x, const Shape& w, const Attrs& attrs, const Visit& visit) {
  const Conv2dOptions opt = options_of(attrs);
  const Shape y = conv2d_shape(x, w, opt);
  const int64_t group_outputs = w[0] / opt.groups;
  const auto source = [&](int64_t at, int64_t size) -> int64_t {
    if (0 <= at && at < size) return at;
    switch (opt.padding_mode) {
      case Padding::reflect:
        return at < 0 ? -at : 2 * (size - 1) - at;
      case Padding::replicate:
        return at < 0 ? 0 : size - 1;
      default:
        return -1;
    }
  };
  for (int64_t n = 0; n < y[0]; ++n)
    for (int64_t i = 0; i < y[1]; ++i)
      for (int64_t j = 0; j < y[2]; ++j)
        for (int64_t o = 0; o < y[3]; ++o)
          for (int64_t a = 0; a < w[1]; ++a)
            for (int64_t b = 0; b < w[2]; ++b) {
              const int64_t h = source(i * opt.stride + a * opt.dilation - opt.padding, x[1]);
              const int64_t v = source(j * opt.stride_along_w() + b * opt.dilation - opt.padding_along_w(), x[2]);
              if (h < 0 || v < 0) continue;
              for (int64_t c = 0; c < w[3]; ++c)
                visit(size_t(((n * y[1] + i) * y[2] + j) * y[3] + o),
                      size_t(((n * x[1] + h) * x[2] + v) * x[3] + o / group_outputs * w[3] + c),
                      size_t(((o * w[1] + a) * w[2] + b) * w[3] + c));
            }
}

Expected conv2d_reference(const Inputs& in, const Attrs& a) {
  const Shape y = conv2d_shape(in[0].shape(), in[1].shape(), options_of(a));
  Expected want;
  want.terms = double(in[1].numel()) / std::fmax(1, double(y[3])) + 1;
  for (int64_t i = 0; i < y.numel(); ++i) want.values.push_back(in.size() > 2 ? in[2].data()[i % y[3]] : 0);
  for (double v : want.values) want.scale.push_back(std::fabs(v));
  each_product(in[0].shape(), in[1].shape(), a, [&](size_t to, size_t x, size_t w) {
    const double product = in[0].data()[x] * in[1].data()[w];
    want.values[to] += product;
    want.scale[to] += std::fabs(product);
  });
  return want;
}

Sample sample(Shape x, Shape w, Attrs attrs = {}, bool check = true) {
  return {.inputs = {x, w}, .attrs = std::move(attrs), .gradcheck = check, .direction = !check};
}
Sample with_bias(Sample s) {
  s.inputs.push_back({s.inputs[1][0]});
  return s;
}

const auto kCall = [](const auto& in, const Attrs& a) {
  using Tensors = std::decay_t<decltype(in)>;
  return conv2d(in[0], in[1], in.size() > 2 ? in[2] : typename Tensors::value_type(), options_of(a));
};

TEST_CASE("conv2d: windows, strides, dilation, groups") {
  run({.name = "conv2d",
       .reference = conv2d_reference,
       .samples =
           {
               with_bias(sample({2, 4, 5, 3}, {2, 3, 3, 3}, {{"padding", 1}})),
               sample({1, 4, 4, 2}, {3, 3, 3, 2}),                    // no padding: windows are read in place
               with_bias(sample({1, 3, 4, 2}, {3, 1, 1, 2})),         // a matrix product
               sample({1, 4, 5, 2}, {3, 1, 1, 2}, {{"stride", 2}}),   // 1x1 that is none
               sample({1, 3, 3, 2}, {2, 1, 1, 2}, {{"padding", 1}}),  // 1x1 whose border sees zeros only
               sample({1, 2, 5, 2}, {2, 1, 3, 2}, {{"padding", 0}, {"padding_w", 1}}),
               sample({1, 5, 2, 2}, {2, 3, 1, 2}, {{"padding", 1}, {"padding_w", 0}}),
               sample({1, 5, 6, 2}, {2, 3, 3, 2}, {{"padding", 1}, {"stride", 2}}),
               sample({1, 7, 8, 1}, {2, 2, 2, 1}, {{"stride", 3}}),  // pixels that no window sees
               sample({1, 6, 7, 1}, {2, 3, 3, 1}, {{"stride", 2}, {"stride_w", 3}, {"padding", 2}, {"padding_w", 1}}),
               sample({1, 6, 6, 2}, {2, 3, 3, 2}, {{"padding", 2}, {"dilation", 2}}),
               sample({1, 9, 8, 1}, {2, 3, 2, 1}, {{"padding", 1}, {"dilation", 3}, {"stride", 2}}),
               sample({1, 4, 4, 4}, {6, 3, 3, 2}, {{"padding", 1}, {"groups", 2}}),
               sample({1, 5, 5, 4}, {4, 3, 3, 2}, {{"padding", 1}, {"groups", 2}, {"stride", 2}, {"dilation", 2}}),
               sample({1, 3, 4, 2}, {4, 3, 3, 1}, {{"padding", 1}, {"groups", 2}}),  // two outputs per channel
               sample({1, 1, 1, 2}, {2, 3, 3, 2}, {{"padding", 1}}),  // the window is larger than the image
               sample({1, 2, 2, 1}, {1, 2, 2, 1}, {{"padding", 3}}),  // outputs that see zeros only
               with_bias(sample({0, 4, 4, 2}, {3, 3, 3, 2}, {{"padding", 1}})),
               with_bias(sample({1, 3, 3, 0}, {2, 3, 3, 0}, {{"padding", 1}})),  // only the bias is left
               sample({1, 3, 3, 2}, {0, 3, 3, 2}, {{"padding", 1}}),
           },
       .rejects = {{sample({1, 4, 4, 3}, {2, 3, 3, 2}), "has 3 channels but weight (2, 3, 3, 2) reads 2"},
                   {{.inputs = {{1, 4, 4, 2}, {3, 3, 3, 2}, {2}}}, "conv2d: bias (2) for weight (3, 3, 3, 2)"}}},
      kCall);
}

TEST_CASE("conv2d: depthwise") {
  run({.name = "conv2d",
       .reference = conv2d_reference,
       .samples =
           {
               with_bias(sample({1, 4, 5, 3}, {3, 3, 3, 1}, {{"padding", 1}, {"groups", 3}})),
               sample({2, 3, 4, 2}, {2, 3, 3, 1}, {{"padding", 1}, {"groups", 2}}),
               sample({1, 1, 6, 2}, {2, 3, 3, 1}, {{"padding", 1}, {"groups", 2}}),  // both neighbours are outside
               sample({1, 5, 1, 2}, {2, 3, 3, 1}, {{"padding", 1}, {"groups", 2}}),
               sample({1, 5, 5, 2}, {2, 3, 3, 1}, {{"groups", 2}}),
               sample({1, 4, 4, 2}, {2, 3, 3, 1}, {{"padding", 2}, {"groups", 2}}),
               sample({1, 5, 6, 2}, {2, 3, 3, 1}, {{"padding", 1}, {"groups", 2}, {"stride", 2}}),
               sample({1, 6, 5, 2}, {2, 5, 3, 1}, {{"padding", 2}, {"padding_w", 1}, {"groups", 2}}),
               with_bias(sample({1, 5, 5, 2}, {2, 3, 3, 1}, {{"padding", 2}, {"groups", 2}, {"dilation", 2}})),
               sample({0, 4, 4, 2}, {2, 3, 3, 1}, {{"padding", 1}, {"groups", 2}}),
           }},
      kCall);
}

TEST_CASE("conv2d: reflect and replicate") {
  run({.name = "conv2d",
       .reference = conv2d_reference,
       .samples = {with_bias(sample({1, 4, 5, 2}, {2, 3, 3, 2}, {{"padding", 1}, {"padding_mode", 1}})),
                   sample({1, 4, 5, 2}, {2, 5, 3, 2}, {{"padding", 2}, {"padding_w", 1}, {"padding_mode", 2}}),
                   sample({1, 4, 4, 2}, {2, 3, 3, 1}, {{"padding", 1}, {"padding_mode", 2}, {"groups", 2}}),
                   sample({1, 4, 4, 2}, {2, 3, 3, 2}, {{"padding", 0}, {"padding_mode", 1}})}},
      kCall);
}

/// As many products per element as a float gradient of this size adds up, for the larger shapes below.
template <class T>
void compare(const char* what, const Tensor<T>& got, const std::vector<double>& want, const std::vector<double>& scale,
             double terms) {
  int64_t wrong = 0;
  const std::vector<T> values = got.to_vector();
  REQUIRE(values.size() == want.size());
  for (size_t i = 0; i < want.size(); ++i)
    wrong += !(std::fabs(double(values[i]) - want[i]) <= allowed_error(kRound<T>, kRound<T>, terms, scale[i]));
  CHECK_MESSAGE(wrong == 0, what, ": ", wrong, " of ", want.size(), " elements are wrong");
}

template <class T>
void compare_with_definition(const Sample& s) {
  const Shape x_shape = s.inputs[0], w_shape = s.inputs[1];
  INFO(to_text(x_shape), " ", to_text(w_shape), " ", s.attrs.text());
  Tensor<T> x = rand<T>(x_shape, Key{1}, -1, 1), w = rand<T>(w_shape, Key{2}, -1, 1);
  x.set_requires_grad();
  w.set_requires_grad();
  const Tensor<T> y = conv2d(x, w, {}, options_of(s.attrs));
  const Tensor<T> seed = rand<T>(y.shape(), Key{3}, -1, 1);
  const auto grads = grad(y, {x, w}, seed);

  std::vector<double> values[3], scales[3];
  const int64_t sizes[3] = {y.numel(), x.numel(), w.numel()};
  for (int t = 0; t < 3; ++t) {
    values[t].assign(size_t(sizes[t]), 0.0);
    scales[t].assign(size_t(sizes[t]), 0.0);
  }
  int64_t products = 0;
  each_product(x_shape, w_shape, s.attrs, [&](size_t i, size_t j, size_t k) {
    const double xv = x.data()[j], wv = w.data()[k], gv = seed.data()[i];
    const size_t place[3] = {i, j, k};
    const double term[3] = {xv * wv, gv * wv, gv * xv};
    for (int t = 0; t < 3; ++t) {
      values[t][place[t]] += term[t];
      scales[t][place[t]] += std::fabs(term[t]);
    }
    ++products;
  });
  const auto terms = [&](int t) { return double(products) / double(sizes[t]) + 1; };
  compare("y", y, values[0], scales[0], terms(0));
  compare("dx", grads[0], values[1], scales[1], terms(1));
  compare("dw", grads[1], values[2], scales[2], terms(2));
}

TEST_CASE_TEMPLATE("conv2d and its gradients across bands, panels and blocks", T, float, double) {
  for (const Sample& s : {
           sample({1, 24, 40, 35}, {33, 3, 3, 35}, {{"padding", 1}}),  // bands, a panel of 1, tiles of all sizes
           sample({2, 40, 19, 13}, {40, 3, 3, 13}, {{"padding", 1}}),  // outputs along the vectors of dw
           sample({1, 20, 33, 40}, {13, 3, 3, 40}, {{"padding", 1}}),
           sample({1, 17, 16, 2}, {32, 3, 3, 2}, {{"padding", 1}}),
           sample({1, 30, 31, 17}, {18, 3, 3, 17}, {{"padding", 1}, {"stride", 2}}),
           sample({1, 20, 20, 36}, {34, 3, 3, 18}, {{"padding", 2}, {"dilation", 2}, {"groups", 2}}),
           sample({1, 9, 8, 14}, {16, 3, 3, 7}, {{"padding", 1}, {"groups", 2}}),  // a group is half a vector
           sample({1, 30, 100, 12}, {20, 3, 3, 12}),                               // no padding
           sample({2, 33, 40, 20}, {40, 1, 1, 20}),                                // dw as a long sum
           sample({3, 13, 14, 48}, {48, 3, 3, 1}, {{"padding", 1}, {"groups", 48}}),
           sample({1, 12, 9, 37}, {37, 3, 3, 1}, {{"padding", 1}, {"groups", 37}}),
           sample({1, 12, 11, 37}, {37, 5, 5, 1}, {{"padding", 2}, {"groups", 37}, {"stride", 2}}),
       })
    compare_with_definition<T>(s);
}

TEST_CASE("conv2d computes only the gradients that are asked for") {
  Tensor<float> x = rand({1, 6, 6, 3}, Key{1}), w = rand({4, 3, 3, 3}, Key{2});
  w.set_requires_grad();
  sum(conv2d(x, w)).backward();
  CHECK(!x.grad().defined());
  CHECK(w.grad().shape() == w.shape());
}

TEST_CASE("conv2d: NaN reaches exactly the windows that see it") {
  for (int64_t groups : {1, 20}) {
    Tensor<float> x = zeros({1, 9, 11, 20}), w = ones({20, 3, 3, 20 / groups});
    x.mutable_data()[(4 * 11 + 10) * 20 + 3] = NAN;
    const Tensor<float> y = conv2d(x, w, {}, {.padding = 1, .groups = groups});
    int64_t wrong = 0;
    for (int64_t i = 0; i < 9; ++i)
      for (int64_t j = 0; j < 11; ++j)
        for (int64_t c = 0; c < 20; ++c)
          wrong += std::isnan(y.at({0, i, j, c})) !=
                   (std::abs(i - 4) <= 1 && std::abs(j - 10) <= 1 && (groups == 1 || c == 3));
    CHECK(wrong == 0);
  }
}

}  // namespace
}  // namespace clearsky::test::conv2d_test

#include "clearsky/ops/conv_shape.hpp"

#include <doctest/doctest.h>

#include <string>

namespace clearsky::test::conv_shape_test {
namespace {

template <class Rule>
std::string message(const Rule& rule) {
  try {
    return to_text(rule());
  } catch (const Error& e) {
    return e.what();
  }
}

TEST_CASE("conv2d_shape") {
  CHECK(conv2d_shape({2, 7, 9, 3}, {8, 3, 3, 3}, {}) == Shape{2, 5, 7, 8});
  CHECK(conv2d_shape({2, 7, 9, 3}, {8, 3, 3, 3}, {.stride = 2, .padding = 1}) == Shape{2, 4, 5, 8});
  CHECK(conv2d_shape({2, 7, 9, 6}, {8, 3, 3, 3}, {.dilation = 3, .groups = 2}) == Shape{2, 1, 3, 8});
  CHECK(conv2d_shape({2, 7, 9, 3}, {8, 1, 3, 3}, {.padding = 0, .padding_w = 1}) == Shape{2, 7, 9, 8});
  CHECK(conv2d_shape({2, 8, 8, 3}, {8, 2, 2, 3}, {.stride = 2, .stride_w = 3}) == Shape{2, 4, 3, 8});
  CHECK(conv2d_shape({0, 7, 9, 3}, {8, 3, 3, 3}, {}) == Shape{0, 5, 7, 8});  // an empty batch stays legal
  CHECK(conv2d_shape({1, 1, 1, 3}, {8, 3, 3, 3}, {.padding = 1}) == Shape{1, 1, 1, 8});
}

TEST_CASE("conv2d_shape says what is wrong") {
  const auto text = [](const Shape& x, const Shape& w, const Conv2dOptions& opt = {}) {
    return message([&] { return conv2d_shape(x, w, opt); });
  };
  CHECK(text({4, 128, 128, 15}, {64, 3, 3, 13})
            .starts_with("conv2d: input (4, 128, 128, 15) has 15 channels but weight (64, 3, 3, 13) reads 13 (groups 1 "
                         "x 13)"));
  CHECK(text({4, 2, 128, 13}, {64, 5, 5, 13})
            .starts_with("conv2d: a window of 5 does not fit height 2 with padding 0; input (4, 2, 128, 13), weight "
                         "(64, 5, 5, 13), dilation 1"));
  CHECK(text({4, 9, 4, 1}, {1, 3, 3, 1}, {.padding = 1, .dilation = 3})
            .starts_with("conv2d: a window of 7 does not fit width 4 with padding 1"));
  CHECK(text({7, 9, 3}, {8, 3, 3, 3}).starts_with("conv2d: input must be (N, H, W, C), got (7, 9, 3)"));
  CHECK(text({1, 7, 9, 3}, {8, 27}).starts_with("conv2d: weight must be (O, kH, kW, C/groups), got (8, 27)"));
  CHECK(text({1, 7, 9, 4}, {7, 3, 3, 2}, {.groups = 2})
            .starts_with("conv2d: 7 output channels of weight (7, 3, 3, 2) cannot be divided into 2 groups"));
  CHECK(text({1, 7, 9, 3}, {8, 3, 3, 3}, {.stride = 0}).starts_with("conv2d: stride 0 along H and 0 along W"));
  CHECK(text({1, 7, 9, 3}, {8, 3, 3, 3}, {.padding = -2}).starts_with("conv2d: padding -2 along H and -2 along W"));
  CHECK(text({1, 7, 9, 3}, {8, 3, 3, 3}, {.dilation = 0}).starts_with("conv2d: dilation 0; use at least 1"));
  CHECK(text({1, 7, 9, 3}, {8, 3, 3, 3}, {.groups = 0}).starts_with("conv2d: groups 0; use at least 1"));
  CHECK(text({1, 7, 9, 3}, {8, 0, 3, 3}).starts_with("conv2d: weight (8, 0, 3, 3) has an empty window"));
}

TEST_CASE("conv_transpose2d_shape undoes conv2d_shape") {
  for (int64_t size : {5, 6, 7})
    for (int64_t stride : {1, 2, 3})
      for (int64_t padding : {0, 1})
        for (int64_t dilation : {1, 2}) {
          const Shape large{2, size, size, 3}, weight{8, 3, 3, 3};
          const Shape small = conv2d_shape(large, weight, {.stride = stride, .padding = padding, .dilation = dilation});
          // What floor() cut off in the convolution.
          const int64_t rest = (size + 2 * padding - dilation * 2 - 1) % stride;
          CHECK(conv_transpose2d_shape(
                    small, weight,
                    {.stride = stride, .padding = padding, .output_padding = rest, .dilation = dilation}) == large);
        }
  CHECK(conv_transpose2d_shape({2, 4, 5, 6}, {6, 2, 2, 4}, {.stride = 2, .groups = 3}) == Shape{2, 8, 10, 12});
  CHECK(conv_transpose2d_shape({2, 0, 5, 6}, {6, 2, 2, 4}, {}) == Shape{2, 0, 6, 4});
}

TEST_CASE("conv_transpose2d_shape says what is wrong") {
  const auto text = [](const Shape& x, const Shape& w, const ConvTranspose2dOptions& opt = {}) {
    return message([&] { return conv_transpose2d_shape(x, w, opt); });
  };
  CHECK(text({1, 4, 4, 6}, {5, 2, 2, 4})
            .starts_with("conv_transpose2d: input (1, 4, 4, 6) has 6 channels but weight (5, 2, 2, 4) reads 5"));
  CHECK(text({4, 4, 6}, {6, 2, 2, 4}).starts_with("conv_transpose2d: input must be (N, H, W, C), got (4, 4, 6)"));
  CHECK(text({1, 4, 4, 6}, {6, 16}).starts_with("conv_transpose2d: weight must be (C, kH, kW, O/groups), got (6, 16)"));
  CHECK(text({1, 4, 4, 5}, {5, 2, 2, 4}, {.groups = 2})
            .starts_with("conv_transpose2d: 5 input channels of weight (5, 2, 2, 4) cannot be divided into 2 groups"));
  CHECK(text({1, 4, 4, 6}, {6, 2, 2, 4}, {.stride = 2, .output_padding = 2})
            .starts_with("conv_transpose2d: output_padding 2 with stride 2 and dilation 1"));
  CHECK(text({1, 1, 4, 6}, {6, 2, 2, 4}, {.padding = 1})
            .starts_with("conv_transpose2d: height 1 would give 0 pixels, padding 1 cuts off more than there is"));
}

}  // namespace
}  // namespace clearsky::test::conv_shape_test

#include "clearsky/nn/module.hpp"

#include <doctest/doctest.h>

#include <optional>
#include <set>

#include "clearsky/nn/conv2d.hpp"
#include "clearsky/nn/linear.hpp"

namespace clearsky::nn::module_test {
namespace {

struct Block {
  Conv2d<> conv;
  Parameter<> scale;
  explicit Block(int64_t channels)
      : conv(channels, channels, 3, {.padding = 1}, Bias::no), scale({channels}, init::constant(0.5)) {}
  template <class Visit>
  void each_part(Visit&& visit) {
    visit("conv", conv);
    visit("scale", scale);
  }
};

struct Net {
  Conv2d<> stem{3, 4, 3, {.padding = 1}};
  std::vector<Block> blocks;
  std::optional<Linear<>> head;
  Buffer<> count{{2}, 7};
  explicit Net(int64_t depth, bool with_head = true) {
    for (int64_t i = 0; i < depth; ++i) blocks.emplace_back(4);
    if (with_head) head.emplace(4, 2);
  }
  template <class Visit>
  void each_part(Visit&& visit) {
    visit("stem", stem);
    visit("blocks", blocks);
    visit("head", head);
    visit("count", count);
  }
};

template <class Module>
std::vector<std::string> names(Module& module) {
  std::vector<std::string> list;
  each_parameter(module, [&](const std::string& name, Parameter<>&) { list.push_back(name); });
  return list;
}

TEST_CASE("one walk names every parameter, and passes over what is absent") {
  Net net(2);
  CHECK(names(net) == std::vector<std::string>{"stem.weight", "stem.bias", "blocks.0.conv.weight", "blocks.0.scale",
                                               "blocks.1.conv.weight", "blocks.1.scale", "head.weight", "head.bias"});
  Net bare(0, false);
  CHECK(names(bare) == std::vector<std::string>{"stem.weight", "stem.bias"});
  std::vector<std::string> buffers;
  each_buffer(net, [&](const std::string& name, Buffer<>& b) {
    buffers.push_back(name);
    CHECK(b.value.to_vector() == std::vector<float>{7, 7});
    CHECK_FALSE(b.value.requires_grad());
  });
  CHECK(buffers == std::vector<std::string>{"count"});

  const Net& constant = net;
  CHECK(parameter_count(constant) == 3 * 3 * 3 * 4 + 4 + 2 * (144 + 4) + 8 + 2);
  CHECK(parameter_count(net, "blocks.1") == 148);
  CHECK(parameter_count(net, "block") == 0);  // a prefix is a whole part of the name
  CHECK(parameters(net).size() == 8);
}

TEST_CASE("start values depend on seed and name, not on what stands before") {
  Net deep(2), shallow(1, false), other(2);
  initialise(deep, 5);
  initialise(shallow, 5);
  initialise(other, 6);
  CHECK(deep.stem.weight.value.to_vector() == shallow.stem.weight.value.to_vector());
  CHECK(deep.blocks[0].conv.weight.value.to_vector() == shallow.blocks[0].conv.weight.value.to_vector());
  CHECK(deep.blocks[0].conv.weight.value.to_vector() != deep.blocks[1].conv.weight.value.to_vector());
  CHECK(deep.stem.weight.value.to_vector() != other.stem.weight.value.to_vector());
  CHECK(deep.blocks[1].scale.value.to_vector() == std::vector<float>(4, 0.5f));

  // A part that is made later, and told where it stands, starts as if it had been there.
  Linear<> head(4, 2);
  initialise(head, 5, "head");
  CHECK(head.weight.value.to_vector() == deep.head->weight.value.to_vector());
  // The same numbers in double, rounded.
  Linear<double> wide(4, 2);
  initialise(wide, 5, "head");
  for (int64_t i = 0; i < 8; ++i) CHECK(float(wide.weight.value.data()[i]) == head.weight.value.data()[i]);
}

TEST_CASE("freezing goes by whole parts of names, drops gradients, and names what it did not find") {
  Net net(2);
  each_parameter(net, [](const std::string&, Parameter<>& p) { p.value.set_grad(ones<float>(p.value.shape())); });
  freeze(net, "blocks.1");
  CHECK_FALSE(net.blocks[1].scale.value.requires_grad());
  CHECK_FALSE(net.blocks[1].scale.value.grad().defined());
  CHECK(net.blocks[0].scale.value.requires_grad());
  CHECK(net.blocks[0].scale.value.grad().defined());
  CHECK(trainable_parameters(net).size() == 6);
  freeze(net);
  CHECK(trainable_parameters(net).empty());
  unfreeze(net, "head");
  CHECK(trainable_parameters(net).size() == 2);
  CHECK_THROWS_WITH_AS(freeze(net, "block"),
                       doctest::Contains("freeze: no parameter is named block or lies below it; the module has stem, "
                                         "blocks, head"),
                       ValueError);
}

TEST_CASE("parameters can be divided by a predicate") {
  Net net(1);
  const auto [vectors, others] =
      partition(parameters(net), [](const std::string&, const Tensor<>& p) { return p.rank() == 1; });
  CHECK(vectors.size() == 3);
  CHECK(others.size() == 3);
  CHECK(others[0].name == "stem.weight");
}

TEST_CASE("a parameter's handle shares elements and gradient with the module") {
  Net net(1);
  const auto list = parameters(net);
  list[0].value.mutable_data()[0] = 42;
  CHECK(net.stem.weight.value.data()[0] == 42);
  list[0].value.set_grad(zeros<float>(list[0].value.shape()));
  CHECK(net.stem.weight.value.grad().defined());
  const Net moved = std::move(net);  // handles survive the move of the module
  CHECK(moved.stem.weight.value.data() == list[0].value.data());
}

// Rules of start values.

struct Moments {
  double mean, deviation, low, high;
};

Moments moments(const Initial& rule, uint64_t seed = 3) {
  Tensor<double> x({40, 500});
  fill_initial(x, rule, Key{seed});
  double sum = 0, squares = 0, low = INFINITY, high = -INFINITY;
  for (const double v : x.span()) {
    sum += v;
    squares += v * v;
    low = std::fmin(low, v);
    high = std::fmax(high, v);
  }
  const double mean = sum / double(x.numel());
  return {mean, std::sqrt(squares / double(x.numel()) - mean * mean), low, high};
}

TEST_CASE("rules of start values have the moments they promise") {
  // 20000 draws: the mean is known to deviation / 141, the deviation to about 1 %; 5 of these are allowed.
  const auto near = [](double got, double want, double allowed) { CHECK(std::fabs(got - want) <= allowed); };
  SUBCASE("uniform") {
    const Moments m = moments(init::uniform(-1, 3));
    near(m.mean, 1, 0.04);
    near(m.deviation, 4 / std::sqrt(12.0), 0.05);
    CHECK(m.low >= -1);
    CHECK(m.high <= 3);
    CHECK(m.high > 2.99);
  }
  SUBCASE("normal") {
    const Moments m = moments(init::normal(0.5, 2));
    near(m.mean, 2, 0.02);
    near(m.deviation, 0.5, 0.02);
    CHECK(m.high > 3.5);
  }
  SUBCASE("truncated normal") {
    const Moments m = moments(init::truncated_normal(0.5));
    near(m.mean, 0, 0.02);
    near(m.deviation, 0.5 * 0.87962566, 0.02);  // of a normal cut at 2 deviations
    CHECK(m.high <= 1);
    CHECK(m.low >= -1);
  }
  SUBCASE("the named ones") {
    near(moments(init::fan_in_uniform(27)).deviation, 1 / std::sqrt(3 * 27.0), 0.002);
    near(moments(init::kaiming_normal(50)).deviation, std::sqrt(2.0 / 50), 0.005);
    near(moments(init::kaiming_uniform(50)).deviation, std::sqrt(2.0 / 50), 0.005);
    near(moments(init::kaiming_uniform(50, std::sqrt(5.0))).high, 1 / std::sqrt(50.0), 0.001);  // PyTorch's default
    near(moments(init::xavier_normal(20, 60)).deviation, std::sqrt(2.0 / 80), 0.005);
    near(moments(init::xavier_uniform(20, 60)).deviation, std::sqrt(2.0 / 80), 0.005);
  }
}

TEST_CASE("orthogonal start values") {
  for (const Shape& shape : {Shape{5, 3, 3}, Shape{9, 5}, Shape{4, 4}, Shape{1, 7}}) {
    Tensor<double> x(shape);
    fill_initial(x, init::orthogonal(2), Key{1});
    const int64_t rows = shape[0], columns = x.numel() / rows, count = (std::min)(rows, columns);
    for (int64_t a = 0; a < count; ++a)
      for (int64_t b = 0; b < count; ++b) {
        double dot = 0;
        for (int64_t k = 0; k < (std::max)(rows, columns); ++k)
          dot += rows <= columns ? x.data()[a * columns + k] * x.data()[b * columns + k]
                                 : x.data()[k * columns + a] * x.data()[k * columns + b];
        CHECK(std::fabs(dot - (a == b ? 4 : 0)) < 1e-14 * 8);
      }
  }
}

TEST_CASE("start values do not depend on the number of threads") {
  const int64_t before = threads();
  std::set<std::vector<float>> seen;
  for (int64_t count : {1, 2, 3}) {
    set_threads(count);
    Tensor<float> x({20000});
    fill_initial(x, init::uniform(-1, 1), Key{1});
    seen.insert(x.to_vector());
  }
  set_threads(before);
  CHECK(seen.size() == 1);
}

TEST_CASE("layers refuse sizes that cannot be") {
  CHECK_THROWS_WITH_AS(Conv2d<>(3, 0, 3), doctest::Contains("Conv2d: 3 inputs, 0 outputs"), ValueError);
  CHECK_THROWS_WITH_AS(Conv2d<>(6, 8, 3, {.groups = 4}), doctest::Contains("cannot be divided into 4 groups"),
                       ValueError);
  CHECK_THROWS_WITH_AS(Linear<>(0, 2), doctest::Contains("Linear: 0 inputs"), ValueError);
}

TEST_CASE("layers run, and their gradients arrive at the parameters") {
  Conv2d<> conv(3, 8, 3, {.stride = 2, .padding = 1});
  const Tensor<> x = rand({2, 7, 6, 3}, Key{1});
  const Tensor<> y = conv(x);
  CHECK(y.shape() == Shape{2, 4, 3, 8});
  sum(y).backward();
  CHECK(conv.bias.value.grad().to_vector() == std::vector<float>(8, 24));
  CHECK(conv.weight.value.grad().shape() == conv.weight.value.shape());

  const Linear<> linear(3, 5);
  CHECK(linear(x).shape() == Shape{2, 7, 6, 5});
  const ConvTranspose2d<> up(3, 4, 2, {.stride = 2});
  CHECK(up(x).shape() == Shape{2, 14, 12, 4});
  CHECK(depthwise_conv2d(6)(rand({1, 5, 5, 6}, Key{2})).shape() == Shape{1, 5, 5, 6});
  CHECK(pointwise_conv2d(6, 2)(rand({1, 5, 5, 6}, Key{2})).shape() == Shape{1, 5, 5, 2});
}

}  // namespace
}  // namespace clearsky::nn::module_test

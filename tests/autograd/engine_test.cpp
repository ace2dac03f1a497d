#include "clearsky/autograd/engine.hpp"

#include <doctest/doctest.h>

#include "clearsky/ops/elementwise.hpp"
#include "clearsky/ops/reduce.hpp"

namespace clearsky {
namespace {

Tensor<> leaf(const std::vector<float>& values) {
  return Tensor<>({int64_t(values.size())}, values).set_requires_grad();
}

TEST_CASE("backward gives each leaf its gradient") {
  const Tensor<> a = leaf({1, 2, 3}), b = leaf({4, 5, 6}), constant({3}, {7, 8, 9});
  const Tensor<> y = sum(a * b + constant * a);
  y.backward();
  CHECK(a.grad().to_vector() == std::vector<float>{11, 13, 15});
  CHECK(b.grad().to_vector() == std::vector<float>{1, 2, 3});
  CHECK_FALSE(constant.grad().defined());
  CHECK_FALSE(y.grad().defined());
}

TEST_CASE("a value that is used twice gets the sum of both gradients") {
  const Tensor<> x = leaf({3});
  const Tensor<> y = x * x;      // 9
  const Tensor<> z = y * y + y;  // dz/dx = (2 y + 1) 2 x
  sum(z).backward();
  CHECK(x.grad().item() == (2 * 9 + 1) * 2 * 3);
}

TEST_CASE("gradients add up over passes until they are taken away") {
  Tensor<> x = leaf({2});
  sum(x * x).backward();
  sum(x * x).backward();
  CHECK(x.grad().item() == 8);
  x.set_grad({});
  CHECK_FALSE(x.grad().defined());
  sum(x * x).backward();
  CHECK(x.grad().item() == 4);
}

TEST_CASE("a gradient that the caller holds does not change behind his back") {
  const Tensor<> x = leaf({2});
  sum(x * x).backward();
  const Tensor<> first = x.grad();
  sum(x * x).backward();
  CHECK(first.item() == 4);
  CHECK(x.grad().item() == 8);

  // Nor does the seed, which would be the gradient itself here.
  const Tensor<> seed({1}, {1}), y = leaf({5});
  y.backward(seed);
  y.backward(seed);
  CHECK(seed.item() == 1);
  CHECK(y.grad().item() == 2);
}

TEST_CASE("the gradient of a leaf is its own: changing it changes no other tensor") {
  const Tensor<> a = leaf({1}), b = leaf({2}), seed({1}, {1});
  (a + b).backward(seed);  // the gradient of both is the seed
  a.grad().mutable_data()[0] = 7;
  CHECK(b.grad().item() == 1);
  CHECK(seed.item() == 1);
}

TEST_CASE("backward with a seed weighs the outputs") {
  const Tensor<> x = leaf({1, 2, 3});
  (x * x).backward(Tensor<>({3}, {1, 10, 100}));
  CHECK(x.grad().to_vector() == std::vector<float>{2, 40, 600});
}

TEST_CASE("gradients have the shape of their leaf, also through broadcasting") {
  const Tensor<> a = randn({2, 1, 3}, Key{1}).set_requires_grad(), b = randn({4, 1}, Key{2}).set_requires_grad();
  sum(a * b).backward();
  CHECK(a.grad().shape() == a.shape());
  CHECK(b.grad().shape() == b.shape());
}

TEST_CASE("what requires a gradient, and what is a leaf") {
  const Tensor<> x = leaf({1}), c({1}, {1});
  const Tensor<> y = x + c;
  CHECK(x.requires_grad());
  CHECK(x.is_leaf());
  CHECK(y.requires_grad());
  CHECK_FALSE(y.is_leaf());
  CHECK_FALSE((c + c).requires_grad());
  CHECK((c + c).is_leaf());
  CHECK(c.is_leaf());
  Tensor<> frozen = leaf({1});
  frozen.set_requires_grad(false);
  CHECK_FALSE((frozen * c).requires_grad());
}

TEST_CASE("detach cuts the graph and shares the elements") {
  const Tensor<> x = leaf({3});
  const Tensor<> d = (x * x).detach();
  CHECK_FALSE(d.requires_grad());
  sum(d * x).backward();
  CHECK(x.grad().item() == 9);
  CHECK(x.detach().data() == x.data());
}

TEST_CASE("NoGrad and EnableGrad nest, and end with their scope also after an exception") {
  const Tensor<> x = leaf({1});
  {
    const NoGrad guard;
    CHECK_FALSE(grad_enabled());
    CHECK_FALSE((x * x).requires_grad());
    {
      const EnableGrad enable;
      CHECK((x * x).requires_grad());
    }
    CHECK_FALSE(grad_enabled());
  }
  CHECK(grad_enabled());
  try {
    const NoGrad guard;
    throw 1;
  } catch (int) {
  }
  CHECK(grad_enabled());
}

TEST_CASE("the graph is gone after backward, unless it is retained") {
  const Tensor<> x = leaf({2});
  const Tensor<> y = sum(x * x);
  y.backward(Retain::yes);
  y.backward();
  CHECK(x.grad().item() == 8);
  CHECK_THROWS_WITH_AS(y.backward(), doctest::Contains("pass Retain::yes to the first backward"), AutogradError);
  CHECK(x.grad().item() == 8);  // the refused pass has added nothing
}

TEST_CASE("retain_grad keeps the gradient of a tensor that is not a leaf") {
  const Tensor<> x = leaf({3});
  const Tensor<> y = x * x;
  y.retain_grad();
  sum(y * y).backward();
  CHECK(y.grad().item() == 18);
  CHECK(x.grad().item() == 108);
  x.retain_grad();  // a leaf keeps its gradient anyway
  CHECK_THROWS_WITH_AS(Tensor<>({1}).retain_grad(), doctest::Contains("requires no gradient"), AutogradError);
}

TEST_CASE("retain_grad of a tensor that is dropped before backward is forgotten") {
  const Tensor<> x = leaf({3});
  Tensor<> z;
  {
    const Tensor<> y = x * x;
    y.retain_grad();
    z = sum(y);
  }
  z.backward();
  CHECK(x.grad().item() == 6);
}

TEST_CASE("hooks see the whole gradient once, and can change it") {
  Tensor<> x = leaf({3});
  Tensor<> y = x * x;
  int calls = 0;
  register_hook(y, [&](const Tensor<>& g) {
    ++calls;
    CHECK(g.item() == 5);  // 2 + 3, not one of the two
    return g * 10.0f;
  });
  const HookId on_leaf = register_hook(x, [](const Tensor<>& g) { return -g; });
  const auto backward = [&] { sum(y * 2.0f + y * 3.0f).backward(Retain::yes); };
  backward();
  CHECK(calls == 1);
  CHECK(x.grad().item() == -300);

  remove_hook(x, on_leaf);
  x.set_grad({});
  backward();
  CHECK(x.grad().item() == 300);
}

TEST_CASE("hooks: several run in order; a bad result or a tensor without gradient is refused") {
  Tensor<> x = leaf({1});
  register_hook(x, [](const Tensor<>& g) { return g + 1.0f; });
  register_hook(x, [](const Tensor<>& g) { return g * 10.0f; });
  sum(x).backward();
  CHECK(x.grad().item() == 20);

  Tensor<> bad = leaf({1});
  register_hook(bad, [](const Tensor<>&) { return Tensor<>(); });
  CHECK_THROWS_WITH_AS(sum(bad).backward(), doctest::Contains("returned an undefined one"), AutogradError);
  Tensor<> wide = leaf({1, 2});
  register_hook(wide, [](const Tensor<>& g) { return sum(g); });
  CHECK_THROWS_WITH_AS(sum(wide).backward(), doctest::Contains("of shape (2) and returned shape ()"), AutogradError);

  Tensor<> constant({1});
  CHECK_THROWS_WITH_AS(register_hook(constant, [](const Tensor<>& g) { return g; }),
                       doctest::Contains("register_hook: the tensor requires no gradient"), AutogradError);
}

TEST_CASE("grad() gives gradients of leaves and of what lies between, and leaves .grad() alone") {
  const Tensor<> x = leaf({3}), other = leaf({1});
  const Tensor<> y = x * x;
  const Tensor<> z = sum(y * y);
  const auto grads = grad(z, {y, x, other}, {}, CreateGraph::no, Retain::yes);
  CHECK(grads[0].item() == 18);
  CHECK(grads[1].item() == 108);
  CHECK_FALSE(grads[2].defined());
  CHECK_FALSE(x.grad().defined());
  CHECK(grad(z, {z})[0].item() == 1);
}

TEST_CASE("wrong calls of backward say what to do") {
  const Tensor<> x = leaf({1, 2});
  CHECK_THROWS_WITH_AS((x * x).backward(),
                       doctest::Contains("backward: shape (2) has 2 elements; without a seed it needs exactly 1"),
                       ShapeError);
  CHECK_THROWS_WITH_AS((x * x).backward(Tensor<>({3}, {1, 1, 1})),
                       doctest::Contains("backward: the seed has shape (3) but the tensor has shape (2)"), ShapeError);
  CHECK_THROWS_WITH_AS(Tensor<>({1}, {1}).backward(),
                       doctest::Contains("does not depend on anything that requires a gradient"), AutogradError);
  CHECK_THROWS_WITH_AS(Tensor<>().backward(), doctest::Contains("backward: the tensor is undefined"), AutogradError);
  CHECK_THROWS_WITH_AS(grad(Tensor<>({1}, {1}), {x}), doctest::Contains("grad: the tensor does not depend on anything"),
                       AutogradError);
  Tensor<> y = x * x;
  CHECK_THROWS_WITH_AS(y.set_requires_grad(), doctest::Contains("set_requires_grad: the tensor is the result of mul"),
                       AutogradError);
  Tensor<> none;
  CHECK_THROWS_AS(none.set_requires_grad(), AutogradError);
  CHECK_THROWS_WITH_AS(x.set_grad(Tensor<>({3})), doctest::Contains("gradient of shape (3) for a tensor of shape (2)"),
                       ShapeError);
  CHECK_THROWS_AS(Tensor<>({1}).set_grad(Tensor<>({1})), AutogradError);
}

TEST_CASE("an exception in a pass leaves nothing behind for the next") {
  Tensor<> x = leaf({2});
  bool fail = true;
  Tensor<> y = x * x;
  register_hook(y, [&](const Tensor<>& g) -> Tensor<> {
    if (fail) throw Error("stop");
    return g;
  });
  const auto z = sum(y + x);
  CHECK_THROWS_WITH_AS(z.backward(Retain::yes), "stop", Error);
  fail = false;
  x.set_grad({});
  z.backward();
  CHECK(x.grad().item() == 5);
}

TEST_CASE("gradients of float and double pass through a cast") {
  const Tensor<double> x = Tensor<double>({2}, {1, 2}).set_requires_grad();
  sum(cast<float>(x) * Tensor<>({2}, {3, 4})).backward();
  CHECK(x.grad().to_vector() == std::vector<double>{3, 4});
}

TEST_CASE("the order of a sum of gradients does not depend on the number of threads") {
  const auto run = [] {
    const Tensor<> x = randn({300, 301}, Key{1}).set_requires_grad();
    Tensor<> y = x * 0.5f;
    for (int i = 0; i < 5; ++i) y = y + exp(x * (0.1f * float(i))) * x;
    sum(y).backward();
    return x.grad().to_vector();
  };
  const int64_t before = threads();
  set_threads(1);
  const auto one = run();
  set_threads(3);
  CHECK(run() == one);
  set_threads(before);
}

}  // namespace
}  // namespace clearsky

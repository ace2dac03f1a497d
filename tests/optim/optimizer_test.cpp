#include <doctest/doctest.h>

#include <cmath>

#include "../tolerance.hpp"
#include "clearsky/nn/linear.hpp"
#include "clearsky/optim/adamw.hpp"
#include "clearsky/optim/sgd.hpp"

namespace clearsky::optim {
namespace {

template <class T>
using Named = std::vector<nn::NamedParameter<T>>;

/// Sizes around every border: of vectors, of the alignment, of a block of the parallel loop.
const std::vector<Shape> kShapes{{}, {3}, {16}, {17, 5}, {64}, {0}, {65}, {40000}, {2}};

template <class T>
Named<T> make_parameters(uint64_t seed = 1) {
  Named<T> list;
  for (size_t i = 0; i < kShapes.size(); ++i) {
    // Numbers that float has too, so that both types start alike.
    Tensor<T> p(kShapes[i]);
    for (int64_t k = 0; k < p.numel(); ++k) p.mutable_data()[k] = T(float(Key{seed, i}.normal(uint64_t(k))));
    p.set_requires_grad();
    list.push_back({"p" + std::to_string(i), p});
  }
  return list;
}

template <class T>
void set_gradients(const Named<T>& list, int64_t step) {
  for (size_t i = 0; i < list.size(); ++i) {
    Tensor<T> g(list[i].value.shape());
    for (int64_t k = 0; k < g.numel(); ++k)
      g.mutable_data()[k] = T(float(Key{7, i}.at(uint64_t(step)).normal(uint64_t(k))));
    list[i].value.set_grad(g);
  }
}

/// One element, in double, as the formulas say.
struct AdamReference {
  double p, m = 0, v = 0;
  int64_t t = 0;
  double largest = 0, changes = 0;  // changes of p as they would be if no gradients cancelled: for the tolerance
  void step(double g, double lr, const AdamOptions& o, Decay decay) {
    ++t;
    largest = std::fmax(largest, std::fabs(g) + o.weight_decay * std::fabs(p));
    if (decay == Decay::l2) g += o.weight_decay * p;
    else p -= lr * o.weight_decay * p;
    m = o.beta1 * m + (1 - o.beta1) * g;
    v = o.beta2 * v + (1 - o.beta2) * g * g;
    const double m_hat = m / (1 - std::pow(o.beta1, double(t))), v_hat = v / (1 - std::pow(o.beta2, double(t)));
    p -= lr * m_hat / (std::sqrt(v_hat) + o.eps);
    changes += lr * largest / (std::sqrt(v_hat) + o.eps);
  }
};

struct SgdReference {
  double p, u = 0;
  double changes = 0;
  void step(double g, double lr, const SgdOptions& o) {
    changes += lr * (std::fabs(g) + o.weight_decay * std::fabs(p)) / (1 - o.momentum);
    g += o.weight_decay * p;
    u = o.momentum * u + g;
    p -= lr * (o.nesterov ? g + o.momentum * u : u);
  }
};

/// Runs `steps` steps of both and compares every element.
template <class T, class Reference, class Step>
void compare(Optimizer<T>& optimizer, const Named<T>& list, const Step& reference_step, double lr, double scale) {
  constexpr int kSteps = 5;
  std::vector<std::vector<Reference>> references;
  for (const auto& p : list) {
    references.emplace_back();
    for (const T v : p.value.to_vector()) references.back().push_back({double(v)});
  }
  for (int64_t step = 0; step < kSteps; ++step) {
    set_gradients(list, step);
    for (size_t i = 0; i < list.size(); ++i)
      for (int64_t k = 0; k < list[i].value.numel(); ++k)
        reference_step(references[i][size_t(k)], scale * double(list[i].value.grad().data()[k]));
    optimizer.step(lr, scale);
  }
  double worst = 0;
  for (size_t i = 0; i < list.size(); ++i)
    for (int64_t k = 0; k < list[i].value.numel(); ++k) {
      const double want = references[i][size_t(k)].p;
      // Each step rounds p twice, and what it adds to p a dozen times.
      const double allowed =
          2 * test::kRound<T> * (kSteps * (std::fabs(want) + lr) + 12 * references[i][size_t(k)].changes);
      worst = std::fmax(worst, std::fabs(double(list[i].value.data()[k]) - want) / allowed);
    }
  CHECK(worst <= 1);
}

TEST_CASE_TEMPLATE("Adam and AdamW follow their formulas", T, float, double) {
  for (const Decay decay : {Decay::l2, Decay::decoupled})
    for (const double weight_decay : {0.0, 0.1}) {
      const AdamOptions options{.beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .weight_decay = weight_decay};
      const Named<T> list = make_parameters<T>();
      Adam<T> optimizer(list, options, decay);
      const double lr = 0.01;
      compare<T, AdamReference>(
          optimizer, list, [&](AdamReference& r, double g) { r.step(g, lr, options, decay); }, lr, 0.25);
    }
}

TEST_CASE_TEMPLATE("Sgd follows its formula", T, float, double) {
  for (const SgdOptions& options :
       {SgdOptions{}, SgdOptions{.weight_decay = 0.1}, SgdOptions{.momentum = 0.9, .weight_decay = 0.1},
        SgdOptions{.momentum = 0.9, .nesterov = true, .weight_decay = 0.1}}) {
    const Named<T> list = make_parameters<T>();
    Sgd<T> optimizer(list, options);
    const double lr = 0.05;
    compare<T, SgdReference>(
        optimizer, list, [&](SgdReference& r, double g) { r.step(g, lr, options); }, lr, 0.5);
  }
}

TEST_CASE("AdamW: the first step from PyTorch") {
  // torch.optim.AdamW([1, -2], lr=0.1, weight_decay=0.5) with gradients [3, -0.01]: decay by 0.95, then -+ lr.
  Tensor<double> p({2}, {1, -2});
  p.set_requires_grad();
  p.set_grad(Tensor<double>({2}, {3, -0.01}));
  AdamW<double> optimizer(Named<double>{{"p", p}}, {.weight_decay = 0.5});
  optimizer.step(0.1);
  CHECK(p.data()[0] == doctest::Approx(0.95 - 0.1).epsilon(1e-8));
  CHECK(p.data()[1] == doctest::Approx(-1.9 + 0.1 * 0.01 / (0.01 + 1e-8)).epsilon(1e-12));
}

TEST_CASE("groups have rates and decays of their own") {
  Named<double> list = make_parameters<double>();
  const std::vector<double> before = list[3].value.to_vector();
  std::vector<Group<double>> groups(2);
  groups[0] = {.parameters = {list[1], list[3]}, .lr_factor = 0.5, .weight_decay = 0};
  groups[1] = {.parameters = {list[2]}};
  AdamW<double> optimizer(std::move(groups), {.weight_decay = 0.25});
  set_gradients(list, 0);
  AdamReference slow{before[4]}, usual{list[2].value.data()[0]};
  slow.step(list[3].value.grad().data()[4], 0.05, {}, Decay::decoupled);
  usual.step(list[2].value.grad().data()[0], 0.1, {.weight_decay = 0.25}, Decay::decoupled);
  optimizer.step(0.1);
  CHECK(list[3].value.data()[4] == doctest::Approx(slow.p).epsilon(1e-14));
  CHECK(list[2].value.data()[0] == doctest::Approx(usual.p).epsilon(1e-14));
}

TEST_CASE("frozen parameters have no state and keep their bits") {
  Named<float> list = make_parameters<float>();
  list[3].value.set_requires_grad(false);
  const std::vector<float> frozen = list[3].value.to_vector(), later = list[7].value.to_vector();
  AdamW<float> optimizer(list, {.weight_decay = 0.1});
  CHECK(optimizer.parameters().size() == list.size() - 1);
  CHECK(optimizer.state().count("p3.exp_avg") == 0);
  CHECK(optimizer.state().count("p2.exp_avg") == 1);
  set_gradients(list, 0);
  list[7].value.set_requires_grad(false);  // frozen after the optimizer was made
  list[1].value.set_grad({});              // no gradient at this step
  const std::vector<float> without = list[1].value.to_vector();
  optimizer.step(0.1);
  CHECK(list[3].value.to_vector() == frozen);
  CHECK(list[7].value.to_vector() == later);
  CHECK(list[1].value.to_vector() == without);
  CHECK(Tensor<int64_t>::from(optimizer.state().at("p1.step")).item() == 0);
  CHECK(Tensor<int64_t>::from(optimizer.state().at("p2.step")).item() == 1);
}

template <class Make>
void check_resume(const Make& make) {
  Named<float> once = make_parameters<float>(), twice = make_parameters<float>();
  auto straight = make(once);
  auto first = make(twice);
  for (int64_t step = 0; step < 6; ++step) {
    set_gradients(once, step);
    straight->step(0.01);
  }
  for (int64_t step = 0; step < 3; ++step) {
    set_gradients(twice, step);
    first->step(0.01);
  }
  nn::StateDict saved;
  for (const auto& [name, tensor] : first->state()) {
    if (tensor.dtype() == DType::i64) saved[name] = Tensor<int64_t>::from(tensor).clone();
    else saved[name] = Tensor<float>::from(tensor).clone();
  }
  set_gradients(twice, 99);
  auto second = make(twice);
  second->load_state(saved);
  for (int64_t step = 3; step < 6; ++step) {
    set_gradients(twice, step);
    second->step(0.01);
  }
  for (size_t i = 0; i < once.size(); ++i) CHECK(once[i].value.to_vector() == twice[i].value.to_vector());

  const size_t all = saved.size();
  saved.erase(saved.begin());
  const std::string message = "of the " + std::to_string(all) + " tensors of the optimizer";
  CHECK_THROWS_WITH_AS(second->load_state(saved, "run/step_3"), doctest::Contains(message.c_str()), ValueError);
}

TEST_CASE("a saved and restored optimizer goes on with the same bits") {
  check_resume([](const Named<float>& p) { return std::make_unique<AdamW<float>>(p); });
  check_resume([](const Named<float>& p) { return std::make_unique<Sgd<float>>(p, SgdOptions{.momentum = 0.9}); });
  Named<float> list = make_parameters<float>();
  const nn::StateDict state = AdamW<float>(list).state();
  CHECK(state.count("p3.exp_avg") == 1);
  CHECK(state.count("p3.exp_avg_sq") == 1);
  CHECK(state.count("p3.step") == 1);
}

TEST_CASE("a step has the same bits for any number of threads, and asks the system for no memory") {
  const int64_t before = threads();
  std::vector<std::vector<float>> results;
  for (int64_t count : {1, 2, 3}) {
    set_threads(count);
    Named<float> list = make_parameters<float>();
    AdamW<float> optimizer(list);
    for (int64_t step = 0; step < 3; ++step) {
      set_gradients(list, step);
      optimizer.step(0.01, clip_factor(optimizer.gradient_norm(), 0.5));
    }
    results.push_back(list[7].value.to_vector());
    const int64_t allocations = memory_stats().system_allocations;
    optimizer.step(0.01, clip_factor(optimizer.gradient_norm(), 0.5));
    optimizer.zero_grad();
    CHECK(memory_stats().system_allocations == allocations);
  }
  set_threads(before);
  CHECK(results[0] == results[1]);
  CHECK(results[0] == results[2]);
}

TEST_CASE("gradients accumulate over passes until zero_grad") {
  nn::Linear<double> layer(3, 2, nn::Bias::no);
  const Tensor<double> x = rand<double>({4, 3}, Key{1});
  sum(layer(x)).backward();
  const std::vector<double> one = layer.weight.value.grad().to_vector();
  sum(layer(x)).backward();
  for (size_t i = 0; i < one.size(); ++i) CHECK(layer.weight.value.grad().data()[i] == 2 * one[i]);

  // Two passes with half the weight are one pass over both.
  nn::Linear<double> other(3, 2, nn::Bias::no);
  sum(other(x)).backward();
  Sgd<double> a(nn::parameters(layer)), b(nn::parameters(other));
  a.step(0.1, 0.5);
  b.step(0.1);
  CHECK(layer.weight.value.to_vector() == other.weight.value.to_vector());
  a.zero_grad();
  CHECK_FALSE(layer.weight.value.grad().defined());
  b.zero_grad(Gradients::zero);
  CHECK(other.weight.value.grad().to_vector() == std::vector<double>(6, 0));
}

TEST_CASE("a step after forward makes backward refuse: the weights it would read are gone") {
  nn::Linear<double> layer(3, 2);
  layer.weight.value.set_grad(ones<double>({2, 3}));
  Tensor<double> x = rand<double>({4, 3}, Key{1});
  x.set_requires_grad();
  const Tensor<double> y = sum(layer(x));
  Sgd<double>(nn::parameters(layer)).step(0.1);
  CHECK_THROWS_WITH_AS(y.backward(), doctest::Contains("changed in place"), AutogradError);
}

TEST_CASE("optimizers refuse what cannot be right") {
  Named<float> list = make_parameters<float>();
  CHECK_THROWS_WITH_AS(AdamW<float>(list, {.beta1 = 1}), doctest::Contains("AdamW: beta1 1"), ValueError);
  CHECK_THROWS_WITH_AS(AdamW<float>(list, {.weight_decay = -1}), doctest::Contains("a weight decay of -1"), ValueError);
  CHECK_THROWS_WITH_AS(Sgd<float>(list, {.momentum = 1}), doctest::Contains("Sgd: a momentum of 1"), ValueError);
  CHECK_THROWS_WITH_AS(Sgd<float>(list, {.nesterov = true}), doctest::Contains("nesterov without momentum"),
                       ValueError);
  CHECK_THROWS_WITH_AS(Adam<float>(Named<float>{list[1], list[1]}), doctest::Contains("Adam: p1 is given twice"),
                       ValueError);
  AdamW<float> optimizer(list);
  CHECK_THROWS_WITH_AS(optimizer.step(NAN), doctest::Contains("AdamW: a learning rate of nan"), ValueError);
  CHECK_THROWS_WITH_AS(optimizer.step(0.1, INFINITY), doctest::Contains("a gradient scale of inf"), ValueError);
  for (auto& p : list) p.value.set_requires_grad(false);
  CHECK_THROWS_WITH_AS(AdamW<float>{list}, doctest::Contains("none of the 9 parameters requires a gradient"),
                       ValueError);
}

}  // namespace
}  // namespace clearsky::optim

#include "clearsky/ops/cross_entropy.hpp"

#include "../op_spec.hpp"
#include "clearsky/ops/focal.hpp"

namespace clearsky::test::cross_entropy_test {
namespace {

/// Labels that look like noise; every fifth is ignored when asked for.
template <class Label = int64_t>
Tensor<Label> labels_for(const Shape& logits, const Attrs& a) {
  Shape shape = logits;
  shape.erase(shape.rank() - 1);
  Tensor<Label> labels(shape);
  for (int64_t i = 0; i < labels.numel(); ++i)
    labels.mutable_data()[i] = a.flag("ignore") && i % 5 == 1 ? Label(255) : Label((i * 7 + i / 3 * 5) % logits.back());
  return labels;
}
std::vector<double> weights_for(int64_t classes, const Attrs& a) {
  std::vector<double> weights;
  for (int64_t c = 0; a.flag("weights") && c < classes; ++c) weights.push_back(0.25 * double(1 + c % 4));
  return weights;
}
CrossEntropyOptions options_for(int64_t classes, const Attrs& a) {
  return {.class_weights = weights_for(classes, a), .label_smoothing = a.has("smoothing") ? a.at("smoothing") : 0};
}

Expected reference(const Inputs& in, const Attrs& a) {
  const Tensor<double>& x = in[0];
  const int64_t classes = x.shape().back();
  const Tensor<int64_t> labels = labels_for(x.shape(), a);
  std::vector<double> w = weights_for(classes, a);
  if (w.empty()) w.assign(size_t(classes), 1);
  const double smoothing = a.has("smoothing") ? a.at("smoothing") : 0, gamma = a.has("gamma") ? a.at("gamma") : 0;
  double total = 0, count = 0, scale = 0;
  for (int64_t i = 0; i < labels.numel(); ++i) {
    const int64_t y = labels.data()[i];
    if (y == 255) continue;
    const auto minus_log = [&](int64_t c) {
      double sum = 0;
      for (int64_t k = 0; k < classes; ++k) sum += std::exp(x.data()[i * classes + k] - x.data()[i * classes + c]);
      return std::log(sum);
    };
    for (int64_t c = 0; c < classes; ++c) {
      const double target = (c == y ? 1 - smoothing : 0) + smoothing / double(classes);
      const double weight = w[size_t(c)] * target * std::pow(1 - std::exp(-minus_log(c)), gamma);
      total += weight * minus_log(c);
      // A score near 1 has a rounding of its own, whatever is left of the logarithm.
      scale += weight * (1 + gamma) * std::fmax(1, minus_log(c));
    }
    count += w[size_t(y)];
  }
  if (count == 0) return {{0}, {0}, 1};
  return {{total / count}, {scale / count}, double(classes)};
}

TEST_CASE("cross_entropy") {
  run({.name = "cross_entropy",
       .reference = reference,
       .samples = {{.inputs = {{2, 3, 4, 5}}, .attrs = {{"ignore", 1}}},
                   {.inputs = {{7, 3}}, .attrs = {{"ignore", 1}, {"weights", 1}}},
                   {.inputs = {{2, 9, 35}}, .attrs = {{"ignore", 1}, {"weights", 1}}},  // several vectors of classes
                   {.inputs = {{6, 4}}, .attrs = {{"ignore", 1}, {"weights", 1}, {"smoothing", 0.2}}},
                   {.inputs = {{5, 37}}, .attrs = {{"smoothing", 1}}},  // several vectors of classes
                   {.inputs = {{4, 1}}},                                // one class: nothing to learn
                   {.inputs = {{0, 3}}},                                // no pixel: 0
                   {.inputs = {{3}}},                                   // one pixel without dimensions
                   {.inputs = {{4, 3}}, .low = 700, .high = 720},       // exp(720) overflows a double
                   {.inputs = {{2, 50, 60, 7}},
                    .attrs = {{"ignore", 1}},
                    .low = -4,
                    .high = 4,
                    .gradcheck = false,
                    .direction = true}},
       .rejects = {{{.inputs = {{}}}, "scores must be (..., classes) with at least 1 class, got ()"},
                   {{.inputs = {{2, 3}}, .attrs = {{"smoothing", 1.5}}}, "label smoothing 1.5; use 0 to 1"}},
       .twice_differentiable = false},
      [](const auto& in, const Attrs& a) {
        if (in[0].rank() == 0) return cross_entropy(in[0], Tensor<int64_t>(Shape{}));
        const int64_t classes = in[0].shape().back();
        return cross_entropy(in[0], labels_for(in[0].shape(), a), options_for(classes, a));
      });
}

TEST_CASE("focal_loss") {
  run({.name = "focal_loss",
       .reference = reference,
       .samples =
           {{.inputs = {{2, 3, 4, 5}}, .attrs = {{"ignore", 1}, {"gamma", 2}}},
            {.inputs = {{9, 3}}, .attrs = {{"gamma", 0.5}}},
            {.inputs = {{9, 3}}, .attrs = {{"gamma", 0}}},
            {.inputs = {{0, 3}}, .attrs = {{"gamma", 2}}},
            {.inputs = {{30, 40, 7}}, .attrs = {{"ignore", 1}, {"gamma", 3}}, .gradcheck = false, .direction = true}},
       .rejects = {{{.inputs = {{2, 3}}, .attrs = {{"gamma", -1}}}, "gamma -1; use at least 0"}},
       .twice_differentiable = false},
      [](const auto& in, const Attrs& a) {
        return focal_loss(in[0], labels_for<uint8_t>(in[0].shape(), a), a.at("gamma"));
      });
}

TEST_CASE("focal_loss of a pixel that is surely right has no NaN") {
  Tensor<float> x({1, 2}, {200, 0});
  x.set_requires_grad();
  const Tensor<float> y = focal_loss(x, Tensor<uint8_t>({1}, {0}), 0.5);
  y.backward();
  CHECK(y.item() == 0);
  CHECK(x.grad().to_vector() == std::vector<float>{0, 0});
}

TEST_CASE("cross_entropy: a crop without labels gives 0 and no gradient") {
  Tensor<float> x = randn<float>({2, 2, 3}, Key{1}).set_requires_grad();
  const Tensor<float> loss = cross_entropy(x, full<uint8_t>({2, 2}, 255));
  loss.backward();
  CHECK(loss.item() == 0);
  for (float g : x.grad().to_vector()) CHECK(g == 0);
}

TEST_CASE("cross_entropy names a label that is no class") {
  const Tensor<float> x = randn<float>({1, 2, 3, 4}, Key{1});
  Tensor<uint8_t> labels({1, 2, 3}, {0, 1, 2, 3, 9, 255});
  CHECK_THROWS_WITH_AS(
      cross_entropy(x, labels),
      doctest::Contains("label 9 at (0, 1, 1) is none of the 4 classes 0 to 3 and not the ignored 255"), ValueError);
  CHECK_THROWS_WITH_AS(cross_entropy(x, labels, {.ignore_index = 9}), doctest::Contains("label 255 at (0, 1, 2)"),
                       ValueError);
  const Tensor<int64_t> negative({1, 2, 3}, {0, -1, 2, 3, 1, 255});
  CHECK_THROWS_WITH_AS(focal_loss(x, negative), doctest::Contains("focal_loss: label -1 at (0, 0, 1)"), ValueError);
  CHECK_THROWS_WITH_AS(cross_entropy(x, labels, {.class_weights = {1, 2}}),
                       doctest::Contains("2 class weights for 4 classes"), ValueError);
  CHECK_THROWS_WITH_AS(cross_entropy(x, Tensor<uint8_t>({2, 3})),
                       doctest::Contains("scores (1, 2, 3, 4) want labels (1, 2, 3), got (2, 3)"), ShapeError);
}

// Labels are counted by the vector where there are many.
TEST_CASE_TEMPLATE("cross_entropy counts many labels as it counts few", Label, uint8_t, int64_t) {
  constexpr int64_t kRows = 1000, kClasses = 5;
  for (const int64_t ignore : {255, 3, 256 + 3, -100}) {
    Tensor<float> x = zeros<float>({kRows, kClasses}).set_requires_grad();
    Tensor<Label> labels({kRows});
    int64_t counted = 0;
    for (int64_t i = 0; i < kRows; ++i) {
      const int64_t label = i % 7 == 2 ? ignore : i * 3 % kClasses;
      const bool possible = int64_t(Label(label)) == label;
      labels.mutable_data()[i] = possible ? Label(label) : Label(0);
      counted += !possible || label != ignore;
    }
    cross_entropy(x, labels, {.ignore_index = ignore}).backward();
    const float* d = x.grad().data();  // (1/5 - [own class]) / counted
    for (int64_t i = 0; i < kRows; ++i)
      for (int64_t c = 0; c < kClasses; ++c) {
        const auto label = int64_t(labels.data()[i]);
        const double exact = label == ignore ? 0 : (0.2 - (c == label ? 1 : 0)) / double(counted);
        CHECK(std::fabs(double(d[i * kClasses + c]) - exact) <= 4 * kRoundFloat / double(counted));
      }
    labels.mutable_data()[777] = labels.mutable_data()[901] = Label(kClasses);
    CHECK_THROWS_WITH_AS(cross_entropy(x, labels, {.ignore_index = ignore}), doctest::Contains("label 5 at (777)"),
                         ValueError);
  }
}

TEST_CASE("cross_entropy: the gradient of a root can be asked for again") {
  Tensor<float> x = randn<float>({40, 10}, Key{1}).set_requires_grad();
  const Tensor<float> loss = cross_entropy(x, zeros<uint8_t>({40}));
  loss.backward(Retain::yes);
  const std::vector<float> once = x.grad().to_vector();
  loss.backward(Retain::yes);  // added in place to what is x's own
  x.set_grad({});
  loss.backward(Retain::yes);
  CHECK(x.grad().to_vector() == once);
  x.set_grad({});
  loss.backward(full<float>({}, 4));
  for (int64_t i = 0; i < 400; ++i) CHECK(x.grad().data()[i] == 4 * once[size_t(i)]);
}

TEST_CASE("cross_entropy carries a NaN") {
  Tensor<float> x = randn<float>({3, 4}, Key{1});
  x.mutable_data()[6] = std::numeric_limits<float>::quiet_NaN();
  CHECK(std::isnan(cross_entropy(x, Tensor<int64_t>({3}, {0, 1, 2})).item()));
}

TEST_CASE("cross_entropy does not look at the scores of ignored pixels") {
  Tensor<float> x = randn<float>({3, 4}, Key{1}).set_requires_grad();
  const float inf = std::numeric_limits<float>::infinity();
  for (int64_t c = 0; c < 4; ++c) x.mutable_data()[4 + c] = c == 2 ? inf : std::numeric_limits<float>::quiet_NaN();
  for (double gamma : {0.0, 2.0}) {
    const Tensor<uint8_t> label({3}, {0, 255, 2});
    const Tensor<float> loss = gamma == 0 ? cross_entropy(x, label) : focal_loss(x, label, gamma);
    CHECK(std::isfinite(loss.item()));
    x.set_grad({});
    loss.backward();
    for (int64_t i = 0; i < 12; ++i) CHECK((x.grad().data()[i] == 0) == (i / 4 == 1));
  }
}

}  // namespace
}  // namespace clearsky::test::cross_entropy_test

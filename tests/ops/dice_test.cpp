#include "clearsky/ops/dice.hpp"

#include "../op_spec.hpp"

namespace clearsky::test::dice_test {
namespace {

template <class Label = int64_t>
Tensor<Label> labels_for(const Shape& logits) {
  Shape shape = logits;
  shape.erase(shape.rank() - 1);
  Tensor<Label> labels(shape);
  for (int64_t i = 0; i < labels.numel(); ++i)
    labels.mutable_data()[i] = i % 5 == 1 ? Label(255) : Label((i * 7 + i / 3 * 5) % logits.back());
  return labels;
}

Expected reference(const Inputs& in, const Attrs& a) {
  const Tensor<double>& x = in[0];
  const int64_t classes = x.shape().back();
  const Tensor<int64_t> labels = labels_for(x.shape());
  double mean = 0;
  for (int64_t c = 0; c < classes; ++c) {
    double pt = 0, p = 0, t = 0;
    for (int64_t i = 0; i < labels.numel(); ++i) {
      if (labels.data()[i] == 255) continue;
      double sum = 0;
      for (int64_t k = 0; k < classes; ++k) sum += std::exp(x.data()[i * classes + k] - x.data()[i * classes + c]);
      const double target = labels.data()[i] == c ? 1 : 0;
      pt += target / sum;
      p += 1 / sum;
      t += target;
    }
    mean += (2 * pt + a.at("smooth")) / (p + t + a.at("smooth")) / double(classes);
  }
  return {{1 - mean}, {1}, double(classes)};
}

TEST_CASE("dice_loss") {
  const auto sample = [](Shape x, double smooth, bool check = true) {
    return Sample{.inputs = {x}, .attrs = {{"smooth", smooth}}, .gradcheck = check};
  };
  run({.name = "dice_loss",
       .reference = reference,
       .samples = {sample({2, 3, 4, 5}, 1), sample({7, 3}, 0.5), sample({4, 19}, 1),
                   sample({0, 3}, 1),  // nothing counts: every class overlaps fully
                   sample({2, 45, 40, 7}, 1, false)},
       .rejects = {{sample({2, 3}, 0), "smooth 0; use a value above 0"}},
       .twice_differentiable = false},
      [](const auto& in, const Attrs& a) {
        return dice_loss(in[0], labels_for<uint8_t>(in[0].shape()), a.at("smooth"));
      });
}

TEST_CASE("dice_loss is 0 for a sure and right map, near 1 for a sure and wrong one") {
  const Tensor<uint8_t> labels({4}, {0, 1, 0, 255});
  const Tensor<double> right({4, 2}, {50, 0, 0, 50, 50, 0, 7, 7}), wrong({4, 2}, {0, 50, 50, 0, 0, 50, 7, 7});
  CHECK(dice_loss(right, labels).item() == doctest::Approx(0).epsilon(1e-12));
  // Class 0: (0 + 1) / (1 + 2 + 1), class 1: (0 + 1) / (2 + 1 + 1).
  CHECK(dice_loss(wrong, labels).item() == doctest::Approx(0.75));
}

TEST_CASE("dice_loss names a label that is no class") {
  const Tensor<float> x = randn<float>({2, 3}, Key{1});
  CHECK_THROWS_WITH_AS(dice_loss(x, Tensor<int64_t>({2}, {0, 3})),
                       doctest::Contains("dice_loss: label 3 at (1) is none of the 3 classes 0 to 2"), ValueError);
}

}  // namespace
}  // namespace clearsky::test::dice_test

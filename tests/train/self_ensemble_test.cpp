#include "clearsky/train/self_ensemble.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "tiny.hpp"

namespace clearsky::train {

using namespace test;

namespace {

Tensor<float> uniform_image(int64_t height, int64_t width, int64_t channels, uint64_t key) {
  return rand<float>({1, height, width, channels}, Key{key});
}

double largest_difference(const Tensor<float>& a, const Tensor<float>& b) {
  REQUIRE(a.shape() == b.shape());
  const std::vector<float> x = a.to_vector(), y = b.to_vector();
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) worst = std::fmax(worst, std::fabs(double(x[i]) - double(y[i])));
  return worst;
}

}  // namespace

TEST_CASE("restore: with the ensemble, turning the input turns the output, which no network does by itself") {
  tdpcr::Config config = tiny_config().model;
  config.segmentation = true;
  const tdpcr::Model<float> model(config, 3);
  const Tensor<float> x = uniform_image(16, 24, 13, 1), s = uniform_image(16, 24, 2, 2);
  const auto plain = restore(model, x, s, SelfEnsemble::no), mean = restore(model, x, s, SelfEnsemble::yes);
  CHECK(plain.reconstruction.to_vector() == model(x, s).reconstruction.to_vector());
  CHECK(mean.reconstruction.shape() == x.shape());
  for (const auto& [transpose, rows, columns] : {std::array{true, false, false},
                                                 {true, true, false},
                                                 {true, false, true},
                                                 {false, true, false},
                                                 {false, true, true}}) {
    INFO("transpose ", transpose, ", rows ", rows, ", columns ", columns);
    const auto turn = [&, t = transpose, r = rows, c = columns](const Tensor<float>& image) {
      return detail::mapped(image, t, r, c);
    };
    const auto turned = restore(model, turn(x), turn(s), SelfEnsemble::yes);
    // The same eight results, added in another order.
    CHECK(largest_difference(turned.reconstruction, turn(mean.reconstruction)) < 1e-5);
    CHECK(largest_difference(turned.logits, turn(mean.logits)) < 1e-5);
    CHECK(largest_difference(turned.reliance, turn(mean.reliance)) < 1e-5);
    CHECK(largest_difference(turned.uncertainty, turn(mean.uncertainty)) < 1e-5);
    const auto alone = restore(model, turn(x), turn(s), SelfEnsemble::no);
    CHECK(largest_difference(alone.reconstruction, turn(plain.reconstruction)) > 1e-4);
  }
}

TEST_CASE("restore: what the model does not give stays undefined") {
  tdpcr::Config config = tiny_config().model;
  config.segmentation = false;
  config.fusion = tdpcr::Fusion::none;
  const tdpcr::Model<float> model(config, 3);
  const auto out = restore(model, uniform_image(9, 8, 13, 1), {}, SelfEnsemble::yes);
  CHECK(out.reconstruction.shape() == Shape{1, 9, 8, 13});
  CHECK_FALSE(out.logits.defined());
  CHECK_FALSE(out.reliance.defined());
}

}  // namespace clearsky::train

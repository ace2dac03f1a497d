#include "clearsky/train/restorer.hpp"

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

TEST_CASE("Restorer: with the ensemble, turning the input turns the output, which no network does by itself") {
  tdpcr::Config config = tiny_config().model;
  config.segmentation = true;
  const tdpcr::Model<float> model(config, 3);
  const Tensor<float> x = uniform_image(16, 24, 13, 1), s = uniform_image(16, 24, 2, 2);
  const auto plain = Restorer(model)(x, s), mean = Restorer(model, SelfEnsemble::yes)(x, s);
  CHECK(plain.reconstruction.to_vector() == model(x, s).reconstruction.to_vector());
  CHECK(mean.reconstruction.shape() == x.shape());
  using Turn = std::array<bool, 3>;  // transpose, flip the rows, flip the columns
  for (const Turn& t : {Turn{true, false, false}, Turn{true, true, false}, Turn{true, false, true},
                        Turn{false, true, false}, Turn{false, true, true}}) {
    INFO("transpose ", t[0], ", rows ", t[1], ", columns ", t[2]);
    const auto turn = [&](const Tensor<float>& image) { return detail::mapped(image, t[0], t[1], t[2]); };
    const auto turned = Restorer(model, SelfEnsemble::yes)(turn(x), turn(s));
    // The same eight results, added in another order.
    CHECK(largest_difference(turned.reconstruction, turn(mean.reconstruction)) < 1e-5);
    CHECK(largest_difference(turned.logits, turn(mean.logits)) < 1e-5);
    CHECK(largest_difference(turned.reliance, turn(mean.reliance)) < 1e-5);
    CHECK(largest_difference(turned.uncertainty, turn(mean.uncertainty)) < 1e-5);
    const auto alone = Restorer(model)(turn(x), turn(s));
    CHECK(largest_difference(alone.reconstruction, turn(plain.reconstruction)) > 1e-4);
  }
}

TEST_CASE("Restorer: what the model does not give stays undefined") {
  tdpcr::Config config = tiny_config().model;
  config.segmentation = false;
  config.fusion = tdpcr::Fusion::none;
  const tdpcr::Model<float> model(config, 3);
  const auto out = Restorer(model, SelfEnsemble::yes)(uniform_image(9, 8, 13, 1), {});
  CHECK(out.reconstruction.shape() == Shape{1, 9, 8, 13});
  CHECK_FALSE(out.logits.defined());
  CHECK_FALSE(out.reliance.defined());
}

TEST_CASE("Restorer: several models give the mean of what each gives") {
  tdpcr::Config config = tiny_config().model;
  config.segmentation = true;
  const tdpcr::Model<float> a(config, 3), b(config, 4), c(config, 5);
  const Tensor<float> x = uniform_image(10, 8, 13, 1), s = uniform_image(10, 8, 2, 2);
  const Restorer three({&a, &b, &c});
  CHECK(three.runs() == 3);
  const auto mean = three(x, s);
  const NoGrad guard;
  const auto of_a = a(x, s), of_b = b(x, s), of_c = c(x, s);
  const auto third = [](const Tensor<float>& u, const Tensor<float>& v, const Tensor<float>& w) {
    return (contiguous(u) + contiguous(v) + contiguous(w)) * (1 / 3.0f);
  };
  CHECK(mean.reconstruction.to_vector() ==
        third(of_a.reconstruction, of_b.reconstruction, of_c.reconstruction).to_vector());
  CHECK(mean.logits.to_vector() == third(of_a.logits, of_b.logits, of_c.logits).to_vector());
  CHECK(mean.uncertainty.to_vector() == third(of_a.uncertainty, of_b.uncertainty, of_c.uncertainty).to_vector());
  CHECK(Restorer({&a, &b}, SelfEnsemble::yes).runs() == 16);
  CHECK(Restorer(a)(x, s).reconstruction.to_vector() == of_a.reconstruction.to_vector());
}

TEST_CASE("Restorer: what cannot be averaged is refused") {
  tdpcr::Config config = tiny_config().model;
  config.segmentation = false;
  const tdpcr::Model<float> without(config, 3);
  config.segmentation = true;
  const tdpcr::Model<float> with(config, 3);
  CHECK(thrown<ValueError>([&] { Restorer({&without, &with}); }).find("Restorer: some of the 2 models have") == 0);
  CHECK(thrown<ValueError>([&] { Restorer(std::vector<const tdpcr::Model<float>*>{}); }).find("Restorer: no model") ==
        0);
}

}  // namespace clearsky::train

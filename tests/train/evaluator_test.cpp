#include "clearsky/train/evaluator.hpp"

#include "clearsky/ops/concat.hpp"
#include "clearsky/train/losses.hpp"
#include "clearsky/train/report.hpp"
#include "tiny.hpp"

namespace clearsky::train {

using namespace test;

TEST_CASE("losses: the mask weighs cloudy pixels, each term by its factor") {
  const Tensor<float> clear = zeros<float>({1, 2, 1, 13});
  const Tensor<float> restored = concat({full<float>({1, 1, 1, 13}, 0.5f), full<float>({1, 1, 1, 13}, 0.1f)}, 1);
  const Tensor<float> mask({1, 2, 1, 1}, {1, 0});
  LossOptions o;
  o.l1 = 2;
  o.ssim = 0;
  CHECK(reconstruction_loss<float>(restored, clear, clear, {}, o).item() == doctest::Approx(2 * 0.3));
  o.cloud_weight = 5;  // (6 * 0.5 + 1 * 0.1) / 7
  CHECK(reconstruction_loss<float>(restored, clear, clear, mask, o).item() == doctest::Approx(2 * 3.1 / 7));
  CHECK(thrown<ValueError>([&] {
          reconstruction_loss<float>(restored, clear, clear, {}, o);
        }).find("need cloud masks") != std::string::npos);
  o = {};
  o.l1 = 0;
  o.ssim = 0.1;
  CHECK(reconstruction_loss<float>(clear, clear, clear, {}, o).item() == doctest::Approx(0).epsilon(1e-6));
}

TEST_CASE("losses: minus the mean PSNR, each image by itself") {
  const Tensor<double> clear = rand<double>({2, 3, 4, 13}, Key{1});
  Tensor<double> restored = clear + concat({full<double>({1, 3, 4, 13}, 0.1), full<double>({1, 3, 4, 13}, -0.01)}, 0);
  CHECK(psnr_loss(restored, clear).item() == doctest::Approx(-(20 + 40) / 2).epsilon(1e-5));
  restored.set_requires_grad(true);
  psnr_loss(restored, clear).backward();
  // d/dx 10 log10(mean of x^2) / 2 = 10 / ln 10 * x / (2 * 156 / 2 * MSE): the better image weighs more per error
  const double factor = 10 / std::log(10.0) / 156;
  CHECK(restored.grad().at({0, 1, 2, 3}) == doctest::Approx(factor * 0.1 / 0.01).epsilon(1e-4));
  CHECK(restored.grad().at({1, 1, 2, 3}) == doctest::Approx(-factor * 0.01 / 0.0001).epsilon(1e-3));
  CHECK(psnr_loss(clear, clear).item() == doctest::Approx(-80));
}

TEST_CASE("losses: what clouds hide is pulled towards the mean colour, in the measure in which they hide it") {
  // Four pixels: nothing added, half of what hides, all of it and more, and a shadow of half of it; in B2 to B4 alone.
  const Tensor<double> clear = full<double>({1, 4, 1, 13}, 0.2), colour = full<double>({1, 1, 1, 13}, 0.1);
  Tensor<double> cloudy = full<double>({1, 4, 1, 13}, 0.9);
  const double added[] = {0, 0.06, 0.5, -0.06};
  for (int64_t p = 0; p < 4; ++p)
    for (int64_t b = data::kB2; b <= data::kB4; ++b)  // only their mean counts
      cloudy.mutable_data()[p * 13 + b] = 0.2 + added[p] + 0.03 * double(b - data::kB3);
  Tensor<double> restored = full<double>({1, 4, 1, 13}, 0.4);
  restored.set_requires_grad(true);
  const Tensor<double> loss = prior_loss(restored, clear, cloudy, colour);
  CHECK(loss.item() == doctest::Approx(0.3 * 0.3 * (0.5 + 1 + 0.5) / 4).epsilon(1e-6));
  loss.backward();
  CHECK(restored.grad().at({0, 0, 0, 5}) == doctest::Approx(0));
  CHECK(restored.grad().at({0, 2, 0, 5}) == doctest::Approx(2 * 0.3 / (4 * 13)).epsilon(1e-6));
}

TEST_CASE("losses: the variation is each band's variance within its own image") {
  // Two images of two pixels: 0.1 and 0.3, which is 0.1 from their mean; and 0.7 twice, which is no variation.
  Tensor<double> restored = concat({full<double>({1, 1, 2, 13}, 0.1), full<double>({1, 1, 2, 13}, 0.7)}, 0);
  for (int64_t b = 0; b < 13; ++b) restored.mutable_data()[13 + b] = 0.3;
  restored.set_requires_grad(true);
  const Tensor<double> loss = variation_loss(restored);
  CHECK(loss.item() == doctest::Approx((0.1 * 0.1 + 0) / 2));
  loss.backward();
  CHECK(restored.grad().at({0, 0, 0, 3}) == doctest::Approx(2 * -0.1 / (2 * 2 * 13)));
  CHECK(restored.grad().at({1, 0, 1, 3}) == doctest::Approx(0));
}

TEST_CASE("losses: the uncertainty follows the opacity of the samples of which it is known") {
  data::Batch batch;
  batch.infos.resize(2);
  batch.opacity = Tensor<float>({2, 1, 2, 1}, {1, 0.5f, 0, 0});
  batch.knows_opacity = {1, 1};
  Tensor<float> u({2, 1, 2, 1}, {0.5f, 0.5f, 0.2f, 0});
  u.set_requires_grad(true);
  CHECK(uncertainty_loss(u, batch).item() == doctest::Approx((0.25 + 0.04) / 4));
  batch.knows_opacity = {1, 0};
  const Tensor<float> loss = uncertainty_loss(u, batch);
  CHECK(loss.item() == doctest::Approx(0.25 / 2));
  loss.backward();
  CHECK(u.grad().to_vector() == std::vector<float>{-0.5f, 0, 0, 0});
  batch.knows_opacity = {0, 0};
  CHECK_FALSE(uncertainty_loss(u, batch).defined());
}

TEST_CASE("losses: labels of 255 count nowhere, classes weigh as told") {
  const Tensor<float> logits({1, 1, 2, 2}, {0, 0, 3, 0});
  LossOptions o;
  CHECK(segmentation_loss<float>(logits, Tensor<uint8_t>({1, 1, 2}, {0, 255}), o).item() ==
        doctest::Approx(std::log(2)));
  o.class_weights = {1, 3};
  const double far = std::log(1 + std::exp(3.0));
  CHECK(segmentation_loss<float>(logits, Tensor<uint8_t>({1, 1, 2}, {0, 1}), o).item() ==
        doctest::Approx((std::log(2) + 3 * far) / 4));
}

TEST_CASE("evaluation: baselines, regions and classes by hand") {
  // One sample whose left half is cloudy (0.8 instead of 0.2), and a model that is not asked for much.
  data::Sample s;
  s.info.id = "a";
  s.optical_clear = full<float>({16, 16, 13}, 0.2f);
  s.optical_cloudy = s.optical_clear.clone();
  s.sar = full<float>({16, 16, 2}, 0.5f);
  s.cloud_mask = zeros<float>({16, 16});
  s.labels = Tensor<uint8_t>({16, 16});
  for (int64_t p = 0; p < 256; ++p) {
    const bool cloudy = p % 16 < 8;
    s.cloud_mask.mutable_data()[p] = cloudy;
    s.labels.mutable_data()[p] = p % 16 == 15 ? 255 : 2;
    for (int64_t b = 0; b < 13 && cloudy; ++b) s.optical_cloudy.mutable_data()[p * 13 + b] = 0.8f;
  }
  const data::InMemory dataset({s});
  CHECK(mean_colour(dataset) == std::vector<float>(13, 0.2f));

  RunConfig config = tiny_config();
  tdpcr::Config c = config.model;
  c.segmentation = true;
  const tdpcr::Model<float> model(c, 1);
  const Evaluation e = evaluate(model, dataset, std::vector<float>(13, 0.3f), config);
  using metrics::Region;
  REQUIRE(e.images.size() == 1);
  CHECK(e.images[0].cloud_cover == 0.5);
  CHECK(e.copy.of(Region::all).mean().mae == doctest::Approx(0.3));
  CHECK(e.copy.of(Region::cloudy).mean().mae == doctest::Approx(0.6));
  CHECK(e.copy.of(Region::clear).mean().mae == 0);
  CHECK(e.colour.of(Region::all).mean().psnr == doctest::Approx(20));
  CHECK(e.model.of(Region::all, 2).images() == 1);  // 40 to 60 %
  CHECK(e.model.of(Region::all, 1).images() == 0);
  REQUIRE(e.segmentation);
  CHECK(e.segmentation->total() == 256 - 16);
  CHECK(e.segmentation->labelled(2) == 256 - 16);

  // What is written says the same as what was measured.
  const Json j = Json::parse(evaluation_json(e).dump());
  CHECK(j["copy_of_cloudy"]["all pixels"]["mae"].get<double>() == doctest::Approx(0.3));
  CHECK(j["mean_colour"]["all pixels"]["psnr_db"].get<double>() == doctest::Approx(20));
  CHECK(table(e).find("copy of the cloudy image") != std::string::npos);
  CHECK(evaluation_csv(e).starts_with("id,cloud_cover,psnr_db"));
  const ScratchFolder folder;
  write_report(e, folder.path, io::provenance("abc"));
  CHECK(folder.files() == 3);
  CHECK(Json::parse(io::read_file(folder / "metrics.json"))["made_by"]["commit"] == "abc");
}

TEST_CASE("evaluation: the same samples and clouds at every call, and no gradient is recorded") {
  std::vector<data::Sample> samples;
  const data::Synthetic scenes({.count = 2, .height = 24, .width = 24});
  for (int64_t i = 0; i < 2; ++i) {
    samples.push_back(scenes.load(i));
    samples.back().optical_cloudy = {};  // clouds are simulated
    samples.back().cloud_mask = samples.back().thickness = {};
  }
  const data::InMemory dataset(samples);
  const RunConfig config = tiny_config();
  tdpcr::Config c = config.model;
  c.segmentation = false;
  const tdpcr::Model<float> model(c, 1);
  const std::vector<float> colour(13, 0.2f);
  const auto once = evaluation_json(
      evaluate(model, dataset, colour, config, [](int64_t, const data::Batch&, const tdpcr::Outputs<float>& out) {
        CHECK(!out.reconstruction.requires_grad());
        CHECK(!out.logits.defined());
      }));
  CHECK(evaluation_json(evaluate(model, dataset, colour, config)) == once);
  CHECK(!once["reliance_correlation"].is_null());
}

}  // namespace clearsky::train

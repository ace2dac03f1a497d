// TDP-CR on the simt device: every convolution, attention, normalisation, loss and optimizer step by a CUDA kernel.

#include <doctest/doctest.h>

#include "clearsky/clearsky.hpp"
#include "clearsky/cuda/backend.hpp"
#include "clearsky/train/trainer.hpp"
#include "simt.hpp"

namespace clearsky::train {
namespace {

/// The network of width 8 on built-in scenes of 32 x 32: 2 samples a step.
RunConfig small(tdpcr::Block block) {
  RunConfig c;
  c.model.width = 8;
  c.model.block = block;
  c.data.count = 12;
  c.data.size = 32;
  c.augment.crop = 32;
  c.augment.simulate_probability = 0.5;
  c.phase1.steps = c.phase2.steps = 3;
  c.phase1.batch_size = c.phase2.batch_size = 2;
  c.phase1.warmup_share = c.phase2.warmup_share = 0;
  c.loss.dice = 0.5;
  c.optimizer.ema = 0.5;
  // Adam's first steps have the size of the rate whatever the gradient's: with the usual 1e-8 an element whose gradient
  // is nothing but rounding would go one way on one device and the other way on the other.
  c.optimizer.eps = 1e-4;
  return c;
}

using Weights = std::map<std::string, std::vector<float>>;
Weights weights_of(Trainer& t) {
  Weights w;
  nn::each_parameter(
      t.model(), [&](const std::string& name, const nn::Parameter<float>& p) { w.emplace(name, p.value.to_vector()); });
  return w;
}

struct Result {
  std::vector<StepRecord> curve;
  Weights weights;
};
Result train_on(Device device, const RunConfig& config) {
  Trainer trainer(config, open_data(config), "", device);
  trainer.run(true);
  CHECK(trainer.model().device() == device);
  return {trainer.curve(), weights_of(trainer)};
}

/// The largest difference of a parameter as a share of its largest value, 1e-2 at least: a bias that started at 0 has
/// gone three steps of 1e-3. And which parameter it is.
std::pair<double, std::string> largest_difference(const Weights& a, const Weights& b) {
  REQUIRE(a.size() == b.size());
  std::pair<double, std::string> worst;
  for (const auto& [name, values] : a) {
    const std::vector<float>& others = b.at(name);
    double scale = 1e-2, error = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      scale = std::max(scale, std::abs(double(values[i])));
      error = std::max(error, std::abs(double(values[i]) - double(others[i])));
    }
    worst = std::max(worst, {error / scale, name});
  }
  return worst;
}

TEST_CASE("three steps of each phase on the simt device agree with the CPU within 1e-4") {
  const Device simt = test::use_simt();
  test::close_memory_to_host(false);
  for (tdpcr::Block block : {tdpcr::Block::restormer, tdpcr::Block::naf}) {
    CAPTURE(int(block));
    const RunConfig config = small(block);
    const Result cpu = train_on(Device::cpu, config), device = train_on(simt, config);
    REQUIRE(cpu.curve.size() == 6);
    REQUIRE(device.curve.size() == 6);
    for (size_t i = 0; i < 6; ++i) {
      CAPTURE(i);
      CHECK(std::abs(device.curve[i].loss - cpu.curve[i].loss) <= 1e-4 * std::abs(cpu.curve[i].loss));
      CHECK(std::abs(device.curve[i].gradient_norm - cpu.curve[i].gradient_norm) <= 1e-4 * cpu.curve[i].gradient_norm);
    }
    const auto [difference, name] = largest_difference(device.weights, cpu.weights);
    MESSAGE("largest difference of a parameter: " << difference << ", of " << name);
    CHECK(difference <= 1e-4);
  }
  test::close_memory_to_host(true);
}

TEST_CASE("captured steps give the same bits as steps done one by one, in both phases") {
  test::close_memory_to_host(false);
  RunConfig config = small(tdpcr::Block::naf);
  config.model.width = 4;
  config.model.heads = {1, 1, 2, 2};
  config.phase1.steps = config.phase2.steps = 4;
  config.augment.crop = 16;
  const Result one_by_one = train_on(test::use_simt(), config);
  config.capture = true;
  const Result captured = train_on(test::use_simt(), config);
  test::close_memory_to_host(true);
  REQUIRE(captured.curve.size() == one_by_one.curve.size());
  for (size_t i = 0; i < captured.curve.size(); ++i) CHECK(captured.curve[i].loss == one_by_one.curve[i].loss);
  CHECK((captured.weights == one_by_one.weights));
}

TEST_CASE("no host code touches a device tensor's memory in a step of training: simt ends the program if one does") {
  RunConfig config = small(tdpcr::Block::naf);
  config.model.width = 4;
  config.model.heads = {1, 1, 2, 2};
  config.phase1.steps = config.phase2.steps = 1;
  config.augment.crop = 16;
  const Result result = train_on(test::use_simt(), config);
  CHECK(std::isfinite(result.curve[1].loss));
}

TEST_CASE("the default model's forward at 32 x 32 agrees with the CPU within 1e-4") {
  const Device simt = test::use_simt();
  tdpcr::Config config;
  config.segmentation = true;
  tdpcr::Model<float> model(config, 1);
  const Tensor<float> optical = rand({1, 32, 32, 13}, Key{1}), sar = rand({1, 32, 32, 2}, Key{2});
  const NoGrad guard;
  const auto here = model(optical, sar);
  nn::to(model, simt);
  const auto there = model(optical.to(simt), sar.to(simt));
  const auto compare = [](const Tensor<float>& a, const Tensor<float>& b) {
    const std::vector<float> x = a.to_vector(), y = b.to_vector();
    REQUIRE(x.size() == y.size());
    double scale = 0, error = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      scale = std::max(scale, std::abs(double(x[i])));
      error = std::max(error, std::abs(double(x[i]) - double(y[i])));
    }
    CHECK(error <= 1e-4 * scale);
  };
  compare(here.reconstruction, there.reconstruction);
  compare(here.logits, there.logits);
  compare(here.reliance, there.reliance);
  compare(here.uncertainty, there.uncertainty);
}

}  // namespace
}  // namespace clearsky::train

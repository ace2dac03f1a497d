// What a run leaves in its folder.

#include <algorithm>

#include "tiny.hpp"

namespace clearsky::train {

using namespace test;

TEST_CASE("a run's folder: the resolved configuration, the weights with what belongs to them, a curve of every step") {
  const ScratchFolder folder;
  const RunConfig config = tiny_config();
  Trainer trainer(config, open_data(config), folder.path);
  trainer.run(true);
  CHECK(to_json(load_config(folder / "config.json")) == to_json(config));
  const LoadedModel loaded = load_weights(folder / "weights.safetensors");
  CHECK(to_json(loaded.config) == to_json(config));
  CHECK(loaded.colour == trainer.colour());
  CHECK(weights_of(*loaded.model) == weights_of(trainer.model()));
  const std::string curve = io::read_file(folder / "curve.csv");
  CHECK(std::count(curve.begin(), curve.end(), '\n') == 1 + 4 + 4);
}

TEST_CASE("a run that was resumed has the curve of one that was not") {
  RunConfig config = tiny_config();
  config.phase2_trains = tdpcr::Trains::all;
  config.phase1.accumulate = 2;
  config.optimizer.ema = 0.9;
  const auto losses = [](const Trainer& t) {
    std::vector<double> all;
    for (const StepRecord& r : t.curve()) all.insert(all.end(), {double(r.phase), double(r.step), r.loss, r.rate});
    return all;
  };
  Trainer whole(config, open_data(config));
  whole.run(true);

  const ScratchFolder folder;
  config.checkpoint_every = 3;  // the last one is written by itself, and changes nothing
  {
    Trainer first(config, open_data(config), folder.path);
    Progress quiet("", true);
    first.run_phase(quiet);
    first.run_phase(quiet, 3);
  }
  Trainer second(config, open_data(config), folder.path);
  second.resume(folder / "checkpoint.safetensors");
  CHECK(second.position().phase == 1);
  CHECK(second.position().step == 3);
  second.run(true);
  CHECK(losses(second) == losses(whole));
  CHECK(weights_of(second.model()) == weights_of(whole.model()));
  const std::string curve = io::read_file(folder / "curve.csv");
  CHECK(std::count(curve.begin(), curve.end(), '\n') == 1 + 4 + 4);
}

TEST_CASE("labels and clear images that a phase needs and the data lacks are named") {
  std::vector<data::Sample> samples;
  const data::Synthetic scenes({.count = 4, .height = 32, .width = 32});
  for (int64_t i = 0; i < 4; ++i) samples.push_back(scenes.load(i));
  for (data::Sample& s : samples) s.labels = {};
  DataParts parts;
  parts.train = parts.validation = parts.test = std::make_shared<data::InMemory>(samples);
  RunConfig config = tiny_config();
  config.phase1.steps = 1;
  Trainer trainer(config, parts);
  CHECK(thrown<Error>([&] { trainer.run(true); }).find("needs labels") != std::string::npos);
}

}  // namespace clearsky::train

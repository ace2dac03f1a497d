#pragma once
// A network and a data set that train in milliseconds per step.

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "../io/scratch_folder.hpp"
#include "clearsky/train/trainer.hpp"

namespace clearsky::train::test {

using clearsky::test::ScratchFolder;
using clearsky::test::thrown;

inline RunConfig tiny_config() {
  RunConfig c;
  c.model.width = 8;
  c.model.optical_blocks = c.model.sar_blocks = c.model.decoder_blocks = {1, 1, 1, 1};
  c.model.prompt_channels = c.model.prompt_hidden = 8;
  c.model.segmentation_width = 8;
  c.data.count = 8;
  c.data.size = 32;
  c.data.split = SplitRule::random;
  c.augment.crop = 16;
  c.augment.simulate_probability = 0.5;
  for (PhaseOptions* p : {&c.phase1, &c.phase2}) {
    p->steps = 4;
    p->batch_size = 2;
  }
  return c;
}

/// Every parameter's elements, by name.
inline std::map<std::string, std::vector<float>> weights_of(tdpcr::Model<float>& model) {
  std::map<std::string, std::vector<float>> all;
  nn::each_parameter(model, [&](const std::string& name, nn::Parameter<float>& p) { all[name] = p.value.to_vector(); });
  return all;
}

/// Trains to the end. @return the weights
inline std::map<std::string, std::vector<float>> trained_weights(const RunConfig& config) {
  Trainer trainer(config, open_data(config));
  trainer.run(true);
  return weights_of(trainer.model());
}

/// As many threads as asked for while it lives.
struct Threads {
  int64_t before = clearsky::threads();
  explicit Threads(int64_t count) { set_threads(count); }
  ~Threads() { set_threads(before); }
};

}  // namespace clearsky::train::test

#pragma once
// The program's subcommands: each adds its options to the command line and gives back what runs it.

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "clearsky/train/checkpoint.hpp"
#include "clearsky/train/restorer.hpp"
#include "device.hpp"

/// Of the sources this program was built from; cmake/commit.cmake writes it.
extern const char* const clearsky_commit;

namespace clearsky::program {

using Run = std::function<void(const DeviceChoice&)>;

/// The models of one or more weight files.
/// @throws ConfigError when they differ in their network or their data: what one has not seen, another may have
inline std::vector<train::LoadedModel> load_models(const std::vector<std::string>& files) {
  std::vector<train::LoadedModel> models;
  for (const std::string& file : files) {
    models.push_back(train::load_weights(file));
    const train::RunConfig &a = models[0].config, &b = models.back().config;
    CLEARSKY_CHECK(ConfigError, train::to_json(a.model) == train::to_json(b.model), "--weights: ", files[0], " and ",
                   file, " are of different networks; pass runs that differ in their seed");
    CLEARSKY_CHECK(ConfigError, train::to_json(a.data) == train::to_json(b.data), "--weights: ", files[0], " and ",
                   file, " were trained on different data; pass runs that differ in their seed");
  }
  return models;
}

/// Chooses the device, when everything that can be wrong with files has been found, and moves the models there.
inline void move_to(const DeviceChoice& choice, const std::vector<train::LoadedModel>& models) {
  const Device device = choice.enable();
  for (const train::LoadedModel& m : models) nn::to(*m.model, device);
}

inline train::Restorer restorer_of(const std::vector<train::LoadedModel>& loaded, bool self_ensemble) {
  std::vector<const tdpcr::Model<float>*> models;
  for (const auto& l : loaded) models.push_back(l.model.get());
  return train::Restorer(std::move(models), self_ensemble ? train::SelfEnsemble::yes : train::SelfEnsemble::no);
}

/// --precision of a command that runs a model: what stands in `choice` then, for precision_of.
inline void add_precision(CLI::App& command, std::string& choice) {
  command
      .add_option("--precision", choice,
                  "What factors of products are rounded to: float32 (not at all), tf32 (on a GPU), bfloat16; faster "
                  "and less exact")
      ->check(CLI::IsMember({"float32", "tf32", "bfloat16"}));
}
inline Precision precision_of(const std::string& choice) {
  return choice == "bfloat16" ? Precision::bfloat16 : choice == "tf32" ? Precision::tf32 : Precision::float32;
}

Run add_train(CLI::App& app);
Run add_evaluate(CLI::App& app);
Run add_predict(CLI::App& app);
Run add_synthesize(CLI::App& app);
Run add_info(CLI::App& app);
Run add_profile(CLI::App& app);

}  // namespace clearsky::program

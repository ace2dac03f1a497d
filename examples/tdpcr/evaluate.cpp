// clearsky evaluate

#include <memory>

#include "clearsky/train/checkpoint.hpp"
#include "clearsky/train/report.hpp"
#include "commands.hpp"

namespace clearsky::program {
namespace {

struct EvaluateOptions {
  std::string out, part = "test", config;
  std::vector<std::string> weights, set;
  int64_t pictures = 6;
  bool self_ensemble = false;
  std::string precision = "float32";
};

void run_evaluate(const EvaluateOptions& o, const DeviceChoice& choice) {
  const std::vector<train::LoadedModel> models = load_models(o.weights);
  const train::LoadedModel& loaded = models[0];
  train::RunConfig config = loaded.config;
  if (!o.config.empty() || !o.set.empty()) {
    // The data may be other than the training's; the model may not.
    train::Json j = train::to_json(config);
    if (!o.config.empty()) j["data"] = train::to_json(train::load_config(o.config))["data"];
    for (const std::string& s : o.set) train::override_json(j, s);
    train::read_json(j, config);
    train::check_config(config);
    CLEARSKY_CHECK(ConfigError, train::to_json(config.model) == train::to_json(loaded.config.model),
                   "evaluate: the model of ", o.weights[0], " cannot be changed; set data.* keys only");
  }
  const train::DataParts parts = train::open_data(config);
  if (!parts.warning.empty()) std::fprintf(stderr, "warning: %s\n", parts.warning.c_str());
  const auto& dataset = o.part == "train" ? parts.train : o.part == "validation" ? parts.validation : parts.test;
  CLEARSKY_CHECK(ConfigError, dataset->size() > 0, "evaluate: the split leaves no sample for the part ", o.part);

  move_to(choice, models);
  const Autocast products(precision_of(o.precision));
  std::unique_ptr<train::Gallery> gallery;
  if (!o.out.empty()) gallery = std::make_unique<train::Gallery>(o.out + "/pictures", o.pictures);
  const train::Evaluation e = train::evaluate(restorer_of(models, o.self_ensemble), *dataset, loaded.colour, config,
                                              [&](int64_t, const data::Batch& batch, const tdpcr::Outputs<float>& out) {
                                                if (gallery) gallery->add(batch, out);
                                              });
  std::printf("%s", train::table(e).c_str());
  if (o.out.empty()) return;
  train::write_report(e, o.out, io::provenance(clearsky_commit));
  const std::string sheet = gallery->finish();
  std::printf("\nreport: %s/metrics.json%s%s\n", o.out.c_str(), sheet.empty() ? "" : ", pictures: ", sheet.c_str());
}

}  // namespace

Run add_evaluate(CLI::App& app) {
  auto* c = app.add_subcommand("evaluate", "Measure a trained model on held-out data");
  auto o = std::make_shared<EvaluateOptions>();
  c->add_option("--weights", o->weights, "weights.safetensors of a training run; of several, the mean of their results")
      ->required();
  c->add_option("--part", o->part, "Which part of the split")->check(CLI::IsMember({"train", "validation", "test"}));
  c->add_option("--config", o->config, "Take the data from this configuration instead of the training's");
  c->add_option("--set", o->set, "Override one data key, as in --set data.path=other");
  c->add_option("--out", o->out, "Folder for metrics.txt, .json, .csv and pictures");
  c->add_flag("--self-ensemble", o->self_ensemble, "The mean of eight runs, turned and mirrored; eight times slower");
  add_precision(*c, o->precision);
  c->add_option("--pictures", o->pictures, "Samples to draw");
  c->footer(
      "The table has PSNR, SSIM, spectral angle, MAE and RMSE (reflectance) for all, clear and cloudy pixels and per\n"
      "class of cloud cover, beside two baselines: the cloudy image itself, and the training images' mean colour.\n\n"
      "  clearsky evaluate --weights run/weights.safetensors --out report");
  return [o](const DeviceChoice& choice) { run_evaluate(*o, choice); };
}

}  // namespace clearsky::program

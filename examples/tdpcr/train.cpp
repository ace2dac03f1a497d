// clearsky train

#include <memory>

#include "clearsky/train/report.hpp"
#include "clearsky/train/trainer.hpp"
#include "commands.hpp"

namespace clearsky::program {
namespace {

struct TrainOptions {
  std::string config, out, resume, weights;
  std::vector<std::string> set;
  bool quiet = false, print_config = false;
};

io::Picture curve_picture(const std::vector<train::StepRecord>& curve, int64_t phase, const char* title) {
  io::Curve raw{"loss", {}, {}}, smooth{"smoothed", {}, {}};
  double mean = 0;
  for (const auto& r : curve) {
    if (r.phase != phase) continue;
    mean = raw.x.empty() ? r.loss : 0.95 * mean + 0.05 * r.loss;
    raw.x.push_back(double(r.step));
    raw.y.push_back(r.loss);
    smooth.x.push_back(double(r.step));
    smooth.y.push_back(mean);
  }
  return io::chart({raw, smooth}, {.title = title, .x_label = "step", .y_label = "loss"});
}

void run_train(const TrainOptions& o, const DeviceChoice& choice) {
  const train::RunConfig config = train::load_config(o.config, o.set);
  if (o.print_config) {
    std::printf("%s\n", train::to_json(config).dump(2).c_str());
    return;
  }
  const train::DataParts data = train::open_data(config);
  if (!data.warning.empty()) std::fprintf(stderr, "warning: %s\n", data.warning.c_str());
  train::Trainer trainer(config, data, o.out, choice.enable(o.quiet));
  if (!o.weights.empty()) trainer.start_from(o.weights);
  if (!o.resume.empty()) trainer.resume(o.resume);
  if (!o.quiet)
    std::printf("training on %lld samples, %lld held out; %lld parameters\n", (long long)data.train->size(),
                (long long)data.test->size(), (long long)nn::parameter_count(trainer.model()));
  trainer.run(o.quiet);
  if (o.out.empty()) return;
  for (int64_t phase = 0; phase < trainer.phases(); ++phase) {
    bool any = false;
    for (const auto& r : trainer.curve()) any = any || r.phase == phase;
    const std::string name = trainer.phase_name(phase);
    if (any)
      io::write_png(o.out + "/loss_" +
                        (name == "joint"     ? "joint"
                         : name == "phase 1" ? "phase1"
                                             : "phase2") +
                        ".png",
                    curve_picture(trainer.curve(), phase, name.c_str()));
  }
  train::Json run = {{"made_by", train::to_json(io::provenance(clearsky_commit))}};
  for (const auto& r : trainer.curve())
    run[trainer.phase_name(r.phase)] = {{"steps", r.step}, {"seconds", r.seconds}, {"loss", r.loss}};
  io::atomic_write_text(o.out + "/run.json", run.dump(2) + "\n");
  if (!o.quiet) std::printf("weights: %s/weights.safetensors\n", o.out.c_str());
}

}  // namespace

Run add_train(CLI::App& app) {
  auto* c = app.add_subcommand("train", "Train a model in two phases");
  auto o = std::make_shared<TrainOptions>();
  c->add_option("--config", o->config, "JSON file of what differs from the defaults");
  c->add_option("--set", o->set, "Override one key, as in --set phase1.steps=500; may be repeated");
  c->add_option("--out", o->out, "Folder for weights, checkpoint, curves and the resolved configuration");
  c->add_option("--weights", o->weights,
                "Start from the weights of another run; with phase1.steps=0, only phase 2 follows");
  c->add_option("--resume", o->resume, "Checkpoint to go on from; ends with the same bits as if never stopped");
  c->add_flag("--quiet", o->quiet, "Print nothing but errors");
  c->add_flag("--print-config", o->print_config, "Print every key with its value and stop");
  c->footer(
      "Phase 1 learns to restore; phase 2 attaches the segmentation decoder and by default trains it alone.\n"
      "Without a configuration, the built-in scenes are used: no files are needed.\n\n"
      "  clearsky train --out run --set phase1.steps=2000 --set model.width=16\n"
      "  clearsky train --config run/config.json --out run --resume run/checkpoint.safetensors\n"
      "  clearsky train --print-config > all_keys.json");
  return [o](const DeviceChoice& choice) { run_train(*o, choice); };
}

}  // namespace clearsky::program

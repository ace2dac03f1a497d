// clearsky info

#include <memory>

#include "clearsky/tdpcr/summary.hpp"
#include "clearsky/train/config.hpp"
#include "commands.hpp"

namespace clearsky::program {
namespace {

struct InfoOptions {
  std::string config;
  std::vector<std::string> set;
  int64_t height = 256, width = 256;
};

void run_info(const InfoOptions& o) {
  const train::RunConfig config = train::load_config(o.config, o.set);
  const tdpcr::Model<float> model(config.model, config.seed);
  const tdpcr::Summary summary = tdpcr::summarise(model, o.height, o.width);
  std::printf("%s", tdpcr::to_text(summary).c_str());

  // Not from a formula: one image goes through, and the memory pool says what was in use at most.
  const NoGrad guard;
  const Tensor<float> optical = zeros<float>({1, o.height, o.width, config.model.optical_bands});
  const Tensor<float> sar = zeros<float>({1, o.height, o.width, config.model.sar_bands});
  const int64_t before = memory_stats().live_bytes;
  reset_peak_memory();
  const auto out = model(optical, sar);
  std::printf("peak memory of inference, without weights and inputs: %.1f MB\n",
              double(memory_stats().peak_bytes - before) / 1e6);
}

}  // namespace

Run add_info(CLI::App& app) {
  auto* c = app.add_subcommand("info", "Parameters, multiply-adds and memory of a configuration");
  auto o = std::make_shared<InfoOptions>();
  c->add_option("--config", o->config, "JSON file of what differs from the defaults");
  c->add_option("--set", o->set, "Override one key, as in --set model.width=16");
  c->add_option("--height", o->height, "Pixels")->check(CLI::Range(8, 65536));
  c->add_option("--width", o->width, "Pixels")->check(CLI::Range(8, 65536));
  c->footer(
      "Counts are those of the network's definition: convolutions, linear layers and attention's products.\n\n"
      "  clearsky info\n"
      "  clearsky info --set model.block=naf --height 512 --width 512");
  return [o] { run_info(*o); };
}

}  // namespace clearsky::program

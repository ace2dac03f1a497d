// clearsky info

#include <algorithm>
#include <map>
#include <memory>
#include <string>

#include "clearsky/ops/loss.hpp"
#include "clearsky/tdpcr/summary.hpp"
#include "clearsky/train/config.hpp"
#include "commands.hpp"

namespace clearsky::program {
namespace {

struct InfoOptions {
  std::string config;
  std::vector<std::string> set;
  int64_t height = 256, width = 256;
  bool training = false;
};

/// The most that was in use at once since the last call, or since the start; without weights and inputs.
class PeakWatch {
 public:
  PeakWatch() : before_(memory_stats().live_bytes) { reset_peak_memory(); }
  double megabytes() {
    const int64_t peak = memory_stats().peak_bytes - before_;
    reset_peak_memory();
    return double(peak) / 1e6;
  }

 private:
  int64_t before_;
};

/// Not from a formula: an image goes through the network part by part, and the memory pool says what was in use at most
/// while each part ran, with what the parts before it had left for others.
std::map<std::string, double> inference_megabytes(const tdpcr::Model<float>& model, const Tensor<float>& optical,
                                                  const Tensor<float>& sar) {
  const NoGrad guard;
  std::map<std::string, double> peaks;
  PeakWatch watch;
  const auto note = [&](const char* part) { peaks[part] = (std::max)(peaks[part], watch.megabytes()); };
  const auto prompt = model.prompt_generator(optical);
  note("prompt_generator");
  tdpcr::Features<float> fused;
  Tensor<float> x = model.optical_encoder.stem(optical), s;
  note("optical_encoder");
  if (model.sar_encoder) s = model.sar_encoder->stem(sar);
  for (size_t l = 0; l < size_t(tdpcr::kLevels); ++l) {
    const bool deepest = l + 1 == size_t(tdpcr::kLevels);
    x = model.optical_encoder.levels[l].blocks(std::move(x));
    note("optical_encoder");
    if (model.sar_encoder) {
      s = model.sar_encoder->levels[l].blocks(std::move(s));
      note("sar_encoder");
      x = model.fusion[l](x, s, prompt.map, nullptr);
      note("fusion");
    }
    fused[l] = x;
    if (deepest) break;
    x = model.optical_encoder.levels[l].descend(x);
    note("optical_encoder");
    if (model.sar_encoder) s = model.sar_encoder->levels[l].descend(s);
    note("sar_encoder");
  }
  x = s = {};
  const tdpcr::Features<float> features = model.decoder(std::move(fused));
  const Tensor<float> image = model.decoder.head(features[0]);
  note("decoder");
  if (model.segmentation_decoder) (*model.segmentation_decoder)(features);
  note("segmentation_decoder");
  return peaks;
}

/// The same for a step of phase 1 with one image: forward, loss, backward.
double training_megabytes(const tdpcr::Model<float>& model, const Tensor<float>& optical, const Tensor<float>& sar) {
  PeakWatch watch;
  const auto out = model(optical, sar, {.reconstruction = true, .logits = false, .maps = false});
  l1_loss(out.reconstruction, optical).backward();
  return watch.megabytes();
}

void print_memory(const tdpcr::Model<float>& model, const tdpcr::Summary& summary, const InfoOptions& o) {
  const auto padded = [](int64_t side) { return (side + 7) / 8 * 8; };
  const Shape size{1, padded(o.height), padded(o.width)};
  const Tensor<float> optical = zeros<float>({1, size[1], size[2], model.config().optical_bands});
  const Tensor<float> sar = zeros<float>({1, size[1], size[2], model.config().sar_bands});
  std::printf("\n%-22s %12s  (beside weights and images; measured)\n", "part", "peak MB");
  std::map<std::string, double> peaks = inference_megabytes(model, optical, sar);
  double most = 0;
  for (const tdpcr::SummaryRow& row : summary.rows) {
    std::printf("%-22s %12.1f\n", row.part.c_str(), peaks[row.part]);
    most = (std::max)(most, peaks[row.part]);
  }
  std::printf("%-22s %12.1f\n", "inference", most);
  if (o.training)
    std::printf("%-22s %12.1f  (phase 1, one image; gradients of weights included)\n", "training step",
                training_megabytes(model, optical, sar));
  std::printf("%-22s %12.1f\n", "weights", 4e-6 * double(summary.total.parameters));
}

void run_info(const InfoOptions& o) {
  const train::RunConfig config = train::load_config(o.config, o.set);
  const tdpcr::Model<float> model(config.model, config.seed);
  const tdpcr::Summary summary = tdpcr::summarise(model, o.height, o.width);
  std::printf("%s", tdpcr::to_text(summary).c_str());

  print_memory(model, summary, o);
}

}  // namespace

Run add_info(CLI::App& app) {
  auto* c = app.add_subcommand("info", "Parameters, multiply-adds and memory of a configuration");
  auto o = std::make_shared<InfoOptions>();
  c->add_option("--config", o->config, "JSON file of what differs from the defaults");
  c->add_option("--set", o->set, "Override one key, as in --set model.width=16");
  c->add_option("--height", o->height, "Pixels")->check(CLI::Range(8, 65536));
  c->add_option("--width", o->width, "Pixels")->check(CLI::Range(8, 65536));
  c->add_flag("--training", o->training, "Also measure the memory of a training step, which takes longer");
  c->footer(
      "Counts are those of the network's definition: convolutions, linear layers and attention's products.\n\n"
      "  clearsky info\n"
      "  clearsky info --set model.block=naf --height 512 --width 512");
  return [o](const DeviceChoice&) { run_info(*o); };
}

}  // namespace clearsky::program

// clearsky synthesize

#include <memory>

#include "clearsky/data/luojiaset.hpp"
#include "clearsky/data/synthetic.hpp"
#include "commands.hpp"

namespace clearsky::program {
namespace {

struct SynthesizeOptions {
  data::SyntheticOptions data;
  std::string out;
};

void run_synthesize(const SynthesizeOptions& o) {
  const data::Synthetic dataset(o.data);
  const int64_t written = data::write_luojiaset(dataset, o.out);
  std::printf("%lld samples of %lld x %lld pixels in %s\n", (long long)written, (long long)o.data.height,
              (long long)o.data.width, o.out.c_str());
}

}  // namespace

Run add_synthesize(CLI::App& app) {
  auto* c = app.add_subcommand("synthesize", "Write built-in scenes as a LuojiaSET-OSFCR folder tree");
  auto o = std::make_shared<SynthesizeOptions>();
  o->data.count = 16;
  c->add_option("--out", o->out, "Folder")->required();
  c->add_option("--count", o->data.count, "Samples")->check(CLI::PositiveNumber);
  c->add_option("--height", o->data.height, "Pixels")->check(CLI::Range(16, 8192));
  c->add_option("--width", o->data.width, "Pixels")->check(CLI::Range(16, 8192));
  c->add_option("--seed", o->data.seed, "The same seed gives the same files");
  c->footer(
      "Each sample is a procedural landscape of seven classes seen by two sensors, under simulated clouds, with its "
      "exact\n"
      "labels and cloud mask.\n\n"
      "  clearsky synthesize --out tree --count 64\n"
      "  clearsky train --set data.source=luojiaset --set data.path=tree --out run");
  return [o](const DeviceChoice&) { run_synthesize(*o); };
}

}  // namespace clearsky::program

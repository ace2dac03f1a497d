// clearsky profile

#include "clearsky/train/profile.hpp"

#include <memory>

#include "clearsky/io/chrome_trace.hpp"
#include "commands.hpp"

namespace clearsky::program {
namespace {

struct ProfileCommand {
  std::string config, phase = "1", block, trace, json;
  std::vector<std::string> set;
  train::ProfileOptions options;
  int64_t depth = 2;
};

void run_profile(const ProfileCommand& c, const DeviceChoice& choice) {
  CLEARSKY_CHECK(DeviceError, !choice.is("cuda") && !choice.is("simt"),
                 "profile: measures the CPU alone; use --device cpu, and bash bench/gpu/run.sh for a GPU");
  std::vector<std::string> set = c.set;
  if (!c.block.empty()) set.push_back("model.block=" + c.block);
  const train::RunConfig config = train::load_config(c.config, set);
  train::ProfileOptions o = c.options;
  o.work = c.phase == "1" ? train::Work::phase1 : c.phase == "2" ? train::Work::phase2 : train::Work::inference;

  io::Profiler profiler(io::WatchMemory::yes);
  const tdpcr::Config network = train::profile_work(config, o, profiler);
  io::ProfileTable modules = profiler.modules(c.depth);
  train::add_flop(modules, network, o, c.depth);
  const io::ProfileTable operations = profiler.operations();

  std::vector<double> ms = profiler.run_ms();
  std::sort(ms.begin(), ms.end());
  const std::string block = network.block == tdpcr::Block::naf ? "naf" : "restormer";
  std::printf("%s, %s, %lld x %lld, batch %lld, %lld threads: %.1f ms, the median of %lld (%.1f to %.1f)\n\n%s\n%s",
              train::to_text(o.work), block.c_str(), (long long)o.size, (long long)o.size, (long long)o.batch,
              (long long)threads(), modules.total_ms, (long long)o.repeats, ms.front(), ms.back(),
              io::to_text(modules).c_str(), io::to_text(operations).c_str());
  if (!c.json.empty()) {
    const train::Json j = {{"made_by", train::to_json(io::provenance(clearsky_commit))},
                           {"work", train::to_text(o.work)},
                           {"block", block},
                           {"size", o.size},
                           {"batch", o.batch},
                           {"depth", c.depth},
                           {"total_ms", modules.total_ms},
                           {"all_ms", ms},
                           {"modules", train::to_json(modules)},
                           {"operations", train::to_json(operations)}};
    io::atomic_write_text(c.json, j.dump(1) + "\n");
  }
  if (!c.trace.empty()) io::write_chrome_trace(c.trace, profiler);
}

}  // namespace

Run add_profile(CLI::App& app) {
  auto* c = app.add_subcommand("profile", "Where the time of a training step, or of inference, goes");
  auto o = std::make_shared<ProfileCommand>();
  c->fallthrough();  // --threads may stand behind the command, too
  c->add_option("--size", o->options.size, "Height and width in pixels")->check(CLI::Range(16, 4096));
  c->add_option("--batch", o->options.batch, "Images")->check(CLI::Range(1, 1024));
  c->add_option("--phase", o->phase, "1 or 2: a training step of that phase; inference")
      ->check(CLI::IsMember({"1", "2", "inference"}));
  c->add_option("--block", o->block, "restormer or naf; the configuration's by default")
      ->check(CLI::IsMember({"restormer", "naf"}));
  c->add_option("--config", o->config, "JSON file of what differs from the defaults; its data are not used");
  c->add_option("--set", o->set, "Override one key, as in --set model.width=16; may be repeated");
  c->add_option("--repeats", o->options.repeats, "How often to measure; the tables are of the median run")
      ->check(CLI::Range(1, 1000));
  c->add_option("--depth", o->depth, "1: the model's parts; 2: their levels and layers; 3: blocks; and so on")
      ->check(CLI::Range(1, 16));
  c->add_option("--json", o->json, "File for the tables");
  c->add_option("--trace", o->trace, "File for every run's events: for chrome://tracing or ui.perfetto.dev");
  c->footer(
      "Rows add up to the whole: what a module calls is not counted as its own, and backward is the time of the "
      "module\n"
      "whose forward recorded it. FLOP are those of the network's definition, for backward twice those of forward;\n"
      "Winograd's convolutions do with fewer, so that a row can be faster than the machine. Peak MB: in use at most "
      "while\n"
      "the row ran, above what the weights and images take.\n\n"
      "  clearsky profile --threads 2\n"
      "  clearsky profile --phase inference --size 512 --block naf --trace trace.json");
  return [o](const DeviceChoice& choice) { run_profile(*o, choice); };
}

}  // namespace clearsky::program

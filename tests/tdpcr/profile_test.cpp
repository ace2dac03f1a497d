// A profile of the network: its modules by the names that their parameters have.

#include <doctest/doctest.h>

#include <set>

#include "clearsky/io/profiler.hpp"
#include "clearsky/nn/profile.hpp"
#include "clearsky/ops/loss.hpp"
#include "clearsky/tdpcr/summary.hpp"

namespace clearsky::tdpcr {
namespace {

std::set<std::string> modules_of(const Model<>& model) {
  std::set<std::string> names;
  nn::each_parameter(model, [&](const std::string& name, auto&) {
    for (size_t dot = name.find('.'); dot != name.npos; dot = name.find('.', dot + 1))
      names.insert(name.substr(0, dot));
  });
  return names;
}

struct Step {
  std::vector<std::vector<float>> gradients;
  std::vector<float> image;
};

Step step(const Model<>& model) {
  const Tensor<> optical = rand({1, 16, 24, 13}, Key{1}), sar = rand({1, 16, 24, 2}, Key{2});
  const auto out = model(optical, sar);
  l1_loss(out.reconstruction, optical).backward();
  Step s{{}, out.reconstruction.to_vector()};
  for (const auto& p : nn::parameters(model)) {
    s.gradients.push_back(p.value.grad().defined() ? p.value.grad().to_vector() : std::vector<float>());
    p.value.set_grad({});
  }
  return s;
}

TEST_CASE("profile: every row is a module of the network, with the same bits as without, for every kind of part") {
  for (const Block block : {Block::restormer, Block::naf})
    for (const Fusion fusion : {Fusion::replace, Fusion::concat, Fusion::none})
      for (const bool recompute : {false, true}) {
        Config c{.width = 8, .block = block, .fusion = fusion};
        c.skips = fusion == Fusion::concat ? Skips::concat : Skips::add;
        c.prompt = fusion == Fusion::concat ? Prompt::bank : Prompt::mixture;
        c.checkpoint_blocks = recompute;
        CAPTURE(int(block));
        CAPTURE(int(fusion));
        CAPTURE(recompute);
        const Model<> model(c);
        const Step plain = step(model);
        io::Profiler profiler;
        nn::name_modules(profiler, model);
        {
          const io::ProfileGuard on(profiler);
          const Step profiled = step(model);
          CHECK(profiled.image == plain.image);
          CHECK(profiled.gradients == plain.gradients);
        }
        const std::set<std::string> modules = modules_of(model);
        std::set<std::string> rows;
        for (const io::ProfileRow& row : profiler.modules(9).rows) {
          rows.insert(row.name);
          CHECK_MESSAGE((modules.count(row.name) == 1 || row.name == "model" || row.name == "other"), row.name);
          // Of what ran forward all runs backward, but for what no gradient of an image goes through.
          if (row.forward_calls > 0 && row.name != "model" && row.name != "decoder" &&
              !row.name.starts_with("segmentation_decoder") &&
              !(fusion == Fusion::none && row.name.starts_with("prompt_generator")) && fusion != Fusion::concat)
            CHECK_MESSAGE(row.backward_calls > 0, row.name);
        }
        // Every part whose multiply-adds are counted is a module; those that run by themselves have a row.
        for (const SummaryRow& part : macs_by_module(c, 16, 24)) {
          CHECK_MESSAGE(modules.count(part.part) == 1, part.part);
          const bool within_another = part.part.ends_with(".merge") || part.part.ends_with(".spatial.depthwise");
          CHECK_MESSAGE((within_another || rows.count(part.part) == 1 || part.part.ends_with(".mix")), part.part);
        }
      }
}

TEST_CASE("multiply-adds by module add up to the summary's") {
  const Model<> model(Config{.width = 8});
  const Summary s = summarise(model, 64, 32);
  int64_t total = 0, parts = 0;
  for (const SummaryRow& part : macs_by_module(model.config(), 64, 32)) total += part.macs;
  for (const SummaryRow& row : s.rows) parts += row.macs;
  CHECK(total == s.total.macs);
  CHECK(parts == s.total.macs);
  // One level by hand: a stem of 3x3 windows on 13 bands, to 8 channels.
  const auto rows = macs_by_module(model.config(), 64, 32);
  const auto stem =
      std::find_if(rows.begin(), rows.end(), [](const auto& r) { return r.part == "optical_encoder.stem"; });
  REQUIRE(stem != rows.end());
  CHECK(stem->macs == 64 * 32 * 9 * 13 * 8);
}

}  // namespace
}  // namespace clearsky::tdpcr

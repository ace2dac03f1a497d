#include "clearsky/tdpcr/config.hpp"

#include <doctest/doctest.h>

#include "clearsky/tdpcr/summary.hpp"

namespace clearsky::tdpcr {
namespace {

TEST_CASE("switches and their names") {
  CHECK(to_text(Block::naf) == "naf");
  CHECK(enum_from_text<Fusion>("inject") == Fusion::inject);
  for (const char* text : enum_texts<Skips>()) CHECK(to_text(enum_from_text<Skips>(text)) == text);
  CHECK_THROWS_WITH_AS(enum_from_text<Prompt>("mixtures"),
                       doctest::Contains("config: prompt = mixtures is unknown; use mixture, bank or none"),
                       ConfigError);
  CHECK_THROWS_WITH_AS(enum_from_text<Block>(""), doctest::Contains("use restormer or naf"), ConfigError);
}

TEST_CASE("a configuration that makes no network is refused") {
  const auto message = [](auto&& change) -> std::string {
    Config c;
    change(c);
    try {
      validate(c);
    } catch (const ConfigError& e) {
      return e.what();
    }
    return "";
  };
  CHECK(message([](Config&) {}).empty());
  CHECK(message([](Config& c) { c.width = 33; }).starts_with("config: width = 33; use an even number from 2 to 4096"));
  CHECK(
      message([](Config& c) { c.width = 2; }).starts_with("config: width = 2 leaves the gate of fusion = replace no"));
  CHECK(message([](Config& c) {
          c.heads[2] = 3;
        }).starts_with("config: heads[2] = 3 does not divide the 128 channels of level 2"));
  CHECK(message([](Config& c) { c.sar_blocks[1] = -1; }).starts_with("config: sar_blocks[1] = -1; use 0 to 1024"));
  CHECK(
      message([](Config& c) { c.prompt_components = 1; }).starts_with("config: prompt_components = 1; use 2 to 65536"));
  CHECK(message([](Config& c) { c.expansion = 0; }).starts_with("config: expansion = 0; use a number above 0"));
  CHECK(message([](Config& c) { c.classes = 1; }).starts_with("config: classes = 1; use 2 to 65536"));
  CHECK_THROWS_AS(Model<>(Config{.width = 5}), ConfigError);
}

TEST_CASE("the default network has the size that was planned") {
  const Model<> model;
  CHECK(nn::parameter_count(model) == 5'246'364);
  CHECK(nn::parameter_count(model) - nn::parameter_count(model, "segmentation_decoder") == 5'161'493);
  const Summary s = summarise(model, 256, 256);
  CHECK(s.total.parameters == 5'246'364);
  CHECK(double(s.total.macs) * 1e-9 == doctest::Approx(20.6).epsilon(0.0025));
  REQUIRE(s.rows.size() == 6);
  CHECK(s.rows[5].part == "segmentation_decoder");
  CHECK(to_text(s).find("5,246,364") != std::string::npos);
  // Padding counts: 250 is computed as 256.
  CHECK(summarise(model, 250, 256).total.macs == s.total.macs);
  CHECK(summarise(model, 512, 256).rows[1].macs == 2 * s.rows[1].macs);
}

TEST_CASE("names and shapes of the default network") {
  const Model<> model;
  const nn::StateDict dict = nn::state_dict(model);
  const auto shape = [&](const std::string& name) {
    REQUIRE_MESSAGE(dict.count(name) == 1, name);
    return dict.at(name).shape();
  };
  CHECK(shape("prompt_generator.conv1.weight") == Shape{32, 3, 3, 13});
  CHECK(shape("prompt_generator.logits.bias") == Shape{5});
  CHECK(shape("prompt_generator.embeddings") == Shape{5, 32});
  CHECK(shape("optical_encoder.stem.weight") == Shape{32, 3, 3, 13});
  CHECK(shape("sar_encoder.stem.weight") == Shape{32, 3, 3, 2});
  CHECK(shape("optical_encoder.levels.1.blocks.0.attention.qkv.weight") == Shape{192, 1, 1, 64});
  CHECK(shape("optical_encoder.levels.1.blocks.1.attention.qkv_depthwise.weight") == Shape{192, 3, 3, 1});
  CHECK(shape("sar_encoder.levels.3.blocks.0.attention.temperature") == Shape{8});
  CHECK(shape("decoder.levels.0.blocks.1.feed_forward.expand.weight") == Shape{128, 1, 1, 32});
  CHECK(shape("decoder.levels.0.blocks.1.feed_forward.project.weight") == Shape{32, 1, 1, 64});
  CHECK(shape("sar_encoder.levels.2.down.weight") == Shape{64, 3, 3, 128});
  CHECK(shape("fusion.0.context.hidden.weight") == Shape{8, 64});
  CHECK(shape("fusion.0.context.output.bias") == Shape{32});
  CHECK(shape("fusion.2.spatial.project.weight") == Shape{128, 1, 1, 161});
  CHECK(shape("fusion.2.spatial.depthwise.bias") == Shape{128});
  CHECK(shape("fusion.3.sar.weight") == Shape{256, 1, 1, 256});
  CHECK(shape("decoder.levels.3.up.weight") == Shape{512, 1, 1, 256});
  CHECK(shape("decoder.head.bias") == Shape{13});
  CHECK(shape("segmentation_decoder.levels.2.weight") == Shape{64, 1, 1, 128});
  CHECK(shape("segmentation_decoder.fuse.weight") == Shape{64, 1, 1, 256});
  CHECK(shape("segmentation_decoder.refine.weight") == Shape{64, 3, 3, 64});
  CHECK(shape("segmentation_decoder.classifier.bias") == Shape{7});
  for (const char* absent : {"fusion.0.sar.bias", "decoder.levels.0.up.weight", "decoder.levels.0.merge.weight",
                             "sar_encoder.levels.3.down.weight", "segmentation_decoder.fuse.bias"})
    CHECK_MESSAGE(dict.count(absent) == 0, absent);
}

TEST_CASE("the summary counts what the walk counts, for every kind of part") {
  for (const Block block : {Block::restormer, Block::naf})
    for (const Fusion fusion : {Fusion::replace, Fusion::concat, Fusion::none}) {
      Config c{.width = 8, .block = block, .fusion = fusion};
      c.skips = Skips::concat;
      c.prompt = Prompt::bank;
      const Model<> model(c);
      const Summary s = summarise(model, 64, 64);
      CHECK(s.total.parameters == nn::parameter_count(model));
      CHECK(s.rows.size() == (fusion == Fusion::none ? 4 : 6));
    }
}

}  // namespace
}  // namespace clearsky::tdpcr

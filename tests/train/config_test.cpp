#include "clearsky/train/config.hpp"

#include <doctest/doctest.h>

#include "../io/scratch_folder.hpp"

namespace clearsky::train {

namespace {

using test::ScratchFolder;
using test::thrown;

std::string complaint(const std::string& json) {
  return thrown<ConfigError>([&] { parse_config(json, "here"); });
}

}  // namespace

TEST_CASE("config: what a file does not name keeps its default") {
  const RunConfig defaults, c = parse_config(R"({"model": {"width": 16}, "phase1": {"steps": 7}})", "here");
  CHECK(c.model.width == 16);
  CHECK(c.phase1.steps == 7);
  CHECK(c.phase1.batch_size == defaults.phase1.batch_size);
  CHECK(c.model.decoder_blocks == defaults.model.decoder_blocks);
  CHECK(c.optimizer.clip_norm == 0.5);
}

TEST_CASE("config: what is written is read back") {
  RunConfig c;
  c.seed = 12;
  c.model.block = tdpcr::Block::naf;
  c.model.fusion = tdpcr::Fusion::inject;
  c.model.heads = {1, 1, 2, 4};
  c.phase2_trains = tdpcr::Trains::decoders;
  c.phases = Phases::joint;
  c.data.split = SplitRule::ids;
  c.data.test_ids = {"a", "b"};
  c.loss.class_weights = {1, 2, 3, 4, 5, 6, 7};
  c.optimizer.ema = 0.25;
  const RunConfig again = parse_config(to_json(c).dump(), "here");
  CHECK(to_json(again) == to_json(c));
  CHECK(again.model == c.model);
  CHECK(again.data.test_ids == c.data.test_ids);
}

TEST_CASE("config: an unknown key is named with its path and the nearest known one") {
  CHECK(complaint(R"({"phase1": {"step": 5}})")
            .starts_with("config: unknown key phase1.step; did you mean phase1.steps"));
  CHECK(
      complaint(R"({"model": {"widht": 8}})").starts_with("config: unknown key model.widht; did you mean model.width"));
  CHECK(complaint(R"({"sed": 5})").starts_with("config: unknown key sed; did you mean seed"));
}

TEST_CASE("config: a wrong type says what was found and what is wanted") {
  CHECK(complaint(R"({"phase1": {"steps": "many"}})")
            .starts_with("config: phase1.steps is \"many\"; it must be a whole number"));
  CHECK(
      complaint(R"({"phase1": {"steps": 1.5}})").starts_with("config: phase1.steps is 1.5; it must be a whole number"));
  CHECK(complaint(R"({"augment": {"flips": 1}})").starts_with("config: augment.flips is 1; it must be true or false"));
  CHECK(complaint(R"({"optimizer": {"ema": true}})").starts_with("config: optimizer.ema is true; it must be a number"));
  CHECK(complaint(R"({"seed": -1})").starts_with("config: seed is -1; it must be at least 0"));
  CHECK(
      complaint(R"({"model": {"heads": [1, 2]}})").starts_with("config: model.heads is [1,2]; it must be a list of 4"));
  CHECK(complaint(R"({"model": {"fusion": "mix"}})")
            .starts_with("config: model.fusion is \"mix\"; use one of replace, inject, concat, add, none"));
  CHECK(complaint(R"({"model": 3})").starts_with("config: model is 3; it must be an object in { }"));
  CHECK(complaint("{").find("not valid JSON") != std::string::npos);
}

TEST_CASE("config: values that cannot work are refused before any work is done") {
  CHECK(complaint(R"({"phase1": {"batch_size": 0}})").find("batch_size 0") != std::string::npos);
  CHECK(complaint(R"({"phase2": {"learning_rate": 0}})").find("learning_rate 0") != std::string::npos);
  CHECK(complaint(R"({"data": {"source": "luojiaset"}})").starts_with("config: data.path is empty"));
  CHECK(complaint(R"({"augment": {"crop": 7}})").starts_with("config: augment.crop is 7"));
  CHECK(complaint(R"({"augment": {"simulate_probability": 1.5}})").find("use 0 to 1") != std::string::npos);
  CHECK(complaint(R"({"loss": {"prior": -1}})").starts_with("config: loss: a weight is -1"));
  CHECK(complaint(R"({"loss": {"variation": -1}})").starts_with("config: loss: a weight is -1"));
  CHECK(complaint(R"({"loss": {"l1": 0, "ssim": 0}})").starts_with("config: loss: all weights of L_rec are 0"));
  CHECK(complaint(R"({"loss": {"class_weights": [1, 2]}})").find("2 values for 7 classes") != std::string::npos);
  CHECK(complaint(R"({"optimizer": {"ema": 1}})").find("ema 1") != std::string::npos);
  CHECK(complaint(R"({"model": {"width": 7}})").starts_with("config: width = 7"));
}

TEST_CASE("config: overrides come after the file, and create what is not there") {
  const ScratchFolder folder;
  io::atomic_write_text(folder / "c.json", R"({
    // a comment, as people write them
    "phase1": {"steps": 10, "batch_size": 2}})");
  const RunConfig c =
      load_config(folder / "c.json", {"phase1.steps=500", "model.fusion=inject", "data.test_ids=[\"x\"]"});
  CHECK(c.phase1.steps == 500);
  CHECK(c.phase1.batch_size == 2);
  CHECK(c.model.fusion == tdpcr::Fusion::inject);
  CHECK(c.data.test_ids == std::vector<std::string>{"x"});
  CHECK(thrown<ConfigError>([] {
          load_config("", {"phase1.steps"});
        }).starts_with("config: --set phase1.steps has no value"));
  CHECK(thrown<ConfigError>([] {
          load_config("", {"phase1.stpes=3"});
        }).starts_with("config: unknown key phase1.stpes; did you mean phase1.steps"));
  CHECK(thrown<IoError>([&] { load_config(folder / "none.json"); }).find("none.json") != std::string::npos);
}

}  // namespace clearsky::train

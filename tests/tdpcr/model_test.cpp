#include "clearsky/tdpcr/model.hpp"

#include <doctest/doctest.h>

#include <map>
#include <set>

#include "clearsky/optim/adamw.hpp"

namespace clearsky::tdpcr {
namespace {

Config tiny() {
  Config c;
  c.width = 4;
  c.heads = {1, 2, 2, 4};
  c.optical_blocks = c.sar_blocks = c.decoder_blocks = {1, 1, 1, 1};
  c.prompt_channels = 3;
  c.prompt_hidden = 5;
  c.prompt_components = 3;
  c.bank_size = 4;
  c.segmentation_width = 6;
  c.classes = 4;
  return c;
}

Tensor<float> optical_of(int64_t batch, int64_t height, int64_t width) {
  return rand<float>({batch, height, width, 13}, Key{1});
}
Tensor<float> sar_of(int64_t batch, int64_t height, int64_t width) {
  return rand<float>({batch, height, width, 2}, Key{2});
}

bool all_within(const Tensor<float>& x, double low, double high) {
  for (const float v : x.to_vector())
    if (!(low <= v && v <= high)) return false;
  return true;
}

TEST_CASE("any size from 8 x 8 comes out as it went in") {
  const Model<> model(tiny());
  const NoGrad inference;
  const int64_t sizes[][2] = {{8, 8}, {9, 8}, {15, 17}, {16, 24}, {23, 33}};
  for (const auto& size : sizes) {
    const int64_t h = size[0], w = size[1];
    const Outputs<> out = model(optical_of(2, h, w), sar_of(2, h, w));
    CHECK(out.reconstruction.shape() == Shape{2, h, w, 13});
    CHECK(out.logits.shape() == Shape{2, h, w, 4});
    CHECK(out.reliance.shape() == Shape{2, h, w, 1});
    CHECK(out.uncertainty.shape() == Shape{2, h, w, 1});
    CHECK(all_within(out.reliance, 0, 1));
    CHECK(all_within(out.uncertainty, 0, 1));
    CHECK(all_within(out.reconstruction, -1e3, 1e3));
  }
}

TEST_CASE("images of a batch do not see each other") {
  const Model<> model(tiny());
  const NoGrad inference;
  const Tensor<float> x = optical_of(2, 16, 9), s = sar_of(2, 16, 9);
  const Outputs<> both = model(x, s), second = model(slice(x, 0, 1, 2), slice(s, 0, 1, 2));
  CHECK(slice(both.reconstruction, 0, 1, 2).to_vector() == second.reconstruction.to_vector());
  CHECK(slice(both.reliance, 0, 1, 2).to_vector() == second.reliance.to_vector());
}

TEST_CASE("an empty batch stays empty") {
  const Model<> model(tiny());
  const NoGrad inference;
  CHECK(model(optical_of(0, 16, 16), sar_of(0, 16, 16)).reconstruction.shape() == Shape{0, 16, 16, 13});
}

/// Runs a step's forward and backward; which parameters got a gradient that is not zero everywhere?
std::set<std::string> reached(Model<>& model, const Tensor<float>& x, const Tensor<float>& s) {
  const Outputs<> out = model(x, s, {.maps = false});
  Tensor<float> loss = mean(square(out.reconstruction));
  if (out.logits.defined()) loss = loss + mean(square(out.logits));
  loss.backward();
  std::set<std::string> names;
  nn::each_parameter(model, [&](const std::string& name, nn::Parameter<>& p) {
    if (!p.value.grad().defined()) return;
    for (const float g : p.value.grad().to_vector())
      if (g != 0 && std::isfinite(g)) {
        names.insert(name);
        return;
      }
  });
  return names;
}

TEST_CASE("every combination of switches runs, and gradients reach every parameter that has an effect") {
  const Tensor<float> x = optical_of(1, 16, 12), s = sar_of(1, 16, 12);
  int combinations = 0;
  for (const Block block : {Block::restormer, Block::naf})
    for (const Prompt prompt : {Prompt::mixture, Prompt::bank, Prompt::none})
      for (const Fusion fusion : {Fusion::replace, Fusion::inject, Fusion::concat, Fusion::add, Fusion::none})
        for (const Skips skips : {Skips::add, Skips::concat, Skips::none})
          for (const Residual residual : {Residual::none, Residual::input}) {
            Config c = tiny();
            c.block = block, c.prompt = prompt, c.fusion = fusion, c.skips = skips, c.residual = residual;
            INFO(to_text(block), ", prompt ", to_text(prompt), ", fusion ", to_text(fusion), ", skips ", to_text(skips),
                 ", residual ", to_text(residual));
            Model<> model(c, 3);
            // NAF's beta and gamma are 0 at the start, which keeps gradients from what lies behind them.
            nn::each_parameter(model, [&](const std::string& name, nn::Parameter<>& p) {
              if (name.ends_with("beta") || name.ends_with("gamma"))
                nn::fill_initial(p.value, nn::init::constant(0.5), Key{});
            });
            const std::set<std::string> names = reached(model, x, s);
            nn::each_parameter(model, [&](const std::string& name, nn::Parameter<>&) {
              // Without a gate nothing reads the prompt but its own map.
              if (!c.gated() && name.starts_with("prompt_generator.")) return;
              CHECK_MESSAGE(names.count(name) == 1, name);
            });
            ++combinations;
          }
  CHECK(combinations == 180);
}

TEST_CASE("training asks for less: the same numbers, without what was not wanted") {
  Config c = tiny();
  const Model<> model(c);
  const NoGrad inference;
  const Tensor<float> x = optical_of(1, 16, 16), s = sar_of(1, 16, 16);
  const Outputs<> all = model(x, s), image = model(x, s, {.logits = false, .maps = false}),
                  classes = model(x, s, {.reconstruction = false, .maps = false});
  CHECK(image.reconstruction.to_vector() == all.reconstruction.to_vector());
  CHECK_FALSE(image.logits.defined());
  CHECK_FALSE(image.reliance.defined());
  CHECK_FALSE(image.uncertainty.defined());
  CHECK(classes.logits.to_vector() == all.logits.to_vector());
  CHECK_FALSE(classes.reconstruction.defined());
}

TEST_CASE("the maps are reports: they carry no gradient") {
  const Model<> model(tiny());
  const Outputs<> out = model(optical_of(1, 8, 8), sar_of(1, 8, 8));
  CHECK(out.reconstruction.requires_grad());
  CHECK_FALSE(out.reliance.requires_grad());
  CHECK_FALSE(out.uncertainty.requires_grad());
}

TEST_CASE(
    "uncertainty with its gradient, where a loss asks for it: same numbers, reaching the prompt generator alone") {
  Model<> model(tiny());
  const Tensor<float> x = optical_of(1, 12, 20), s = sar_of(1, 12, 20);
  const Outputs<> report = model(x, s), out = model(x, s, {.logits = false, .maps = false, .uncertainty = true});
  CHECK(out.uncertainty.to_vector() == report.uncertainty.to_vector());
  CHECK_FALSE(out.reliance.defined());
  sum(out.uncertainty).backward();
  nn::each_parameter(model, [](const std::string& name, nn::Parameter<float>& p) {
    const bool reached = name.starts_with("prompt_generator.") && !name.ends_with("embeddings");
    CHECK_MESSAGE(p.value.grad().defined() == reached, name);
  });
  Config c = tiny();
  c.prompt = Prompt::bank;  // has none: zeros
  CHECK_FALSE(Model<>(c)(x, s, {.maps = false, .uncertainty = true}).uncertainty.requires_grad());
}

TEST_CASE("without SAR the second image may be absent") {
  Config c = tiny();
  c.fusion = Fusion::none;
  const Model<> model(c);
  const NoGrad inference;
  CHECK(model(optical_of(1, 8, 8), {}).reconstruction.shape() == Shape{1, 8, 8, 13});
  CHECK_FALSE(model(optical_of(1, 8, 8), {}).reliance.defined());
}

TEST_CASE("a gate starts nearly closed") {
  const Model<> model(tiny());
  const NoGrad inference;
  const Tensor<float> reliance = model(optical_of(1, 32, 32), sar_of(1, 32, 32)).reliance;
  const double centre = double(mean(reliance).item());
  CHECK(centre > 0.03);  // sigmoid(-2) = 0.12
  CHECK(centre < 0.3);
}

TEST_CASE("phase 2: attached later, the segmentation decoder starts as if it had been there") {
  Config c = tiny();
  const Model<> whole(c, 5);
  c.segmentation = false;
  Model<> model(c, 5);
  CHECK(nn::parameter_count(model, "segmentation_decoder") == 0);
  CHECK_FALSE(model(optical_of(1, 8, 8), sar_of(1, 8, 8)).logits.defined());
  CHECK_THROWS_WITH_AS(
      model.set_trained(Trains::segmentation),
      doctest::Contains("set_trained: trains = segmentation but the model has no segmentation decoder"), ValueError);
  model.attach_segmentation(5);
  CHECK(model.config() == whole.config());
  CHECK_THROWS_WITH_AS(model.attach_segmentation(5), doctest::Contains("already"), ValueError);
  const nn::StateDict a = nn::state_dict(model), b = nn::state_dict(whole);
  REQUIRE(a.size() == b.size());
  for (const auto& entry : a) {
    const std::vector<float> values = Tensor<float>::from(entry.second).to_vector();
    CHECK_MESSAGE(values == Tensor<float>::from(b.at(entry.first)).to_vector(), entry.first);
  }
}

TEST_CASE("a phase trains what it says, and frozen parameters keep their bits") {
  const auto trained_parts = [](Model<>& model) {
    std::set<std::string> parts;
    for (const auto& p : nn::trainable_parameters(model)) parts.insert(p.name.substr(0, p.name.find('.')));
    return parts;
  };
  const std::map<Trains, std::set<std::string>> expected = {
      {Trains::reconstruction, {"prompt_generator", "optical_encoder", "sar_encoder", "fusion", "decoder"}},
      {Trains::segmentation, {"segmentation_decoder"}},
      {Trains::decoders, {"decoder", "segmentation_decoder"}},
      {Trains::all,
       {"prompt_generator", "optical_encoder", "sar_encoder", "fusion", "decoder", "segmentation_decoder"}},
  };
  const Tensor<float> x = optical_of(1, 16, 16), s = sar_of(1, 16, 16);
  for (const bool checkpoint_blocks : {false, true})
    for (const auto& entry : expected) {
      const Trains trains = entry.first;
      const std::set<std::string>& parts = entry.second;
      INFO(to_text(trains), checkpoint_blocks ? ", blocks computed again" : "");
      Config c = tiny();
      c.checkpoint_blocks = checkpoint_blocks;
      Model<> model(c);
      model.set_trained(trains);
      CHECK(trained_parts(model) == parts);
      std::map<std::string, std::vector<float>> before;
      nn::each_parameter(model,
                         [&](const std::string& name, nn::Parameter<>& p) { before[name] = p.value.to_vector(); });
      optim::AdamW<float> optimizer(nn::parameters(model), {.weight_decay = 0.1});
      const std::set<std::string> names = reached(model, x, s);
      optimizer.step(0.1);
      nn::each_parameter(model, [&](const std::string& name, nn::Parameter<>& p) {
        const bool trained = parts.count(name.substr(0, name.find('.'))) == 1;
        CHECK_MESSAGE((p.value.to_vector() != before[name]) == trained, name);
        CHECK_MESSAGE((names.count(name) == 1) == trained, name);
      });
    }
}

TEST_CASE("phase 2 with all but the segmentation decoder frozen keeps no activations of the frozen part") {
  Config c = tiny();
  c.width = 16;
  Model<> model(c);
  const Tensor<float> x = optical_of(1, 64, 64), s = sar_of(1, 64, 64);
  const auto kept_bytes = [&](Trains trains, const Wanted& wanted) {
    model.set_trained(trains);
    const int64_t before = memory_stats().live_bytes;
    const Outputs<> out = model(x, s, wanted);
    return memory_stats().live_bytes - before;
  };
  const Wanted classes{.reconstruction = false, .maps = false};
  const int64_t segmentation = kept_bytes(Trains::segmentation, classes), all = kept_bytes(Trains::all, classes);
  INFO(segmentation, " bytes against ", all);
  CHECK(segmentation * 8 < all);
}

TEST_CASE("blocks computed again in backward: less memory, the same gradients") {
  const Tensor<float> x = optical_of(1, 32, 32), s = sar_of(1, 32, 32);
  std::vector<std::vector<float>> gradients[2];
  int64_t kept[2];
  for (const bool checkpoint_blocks : {false, true}) {
    Config c = tiny();
    c.width = 8;
    c.decoder_blocks = {2, 2, 2, 2};
    c.checkpoint_blocks = checkpoint_blocks;
    Model<> model(c);
    const int64_t before = memory_stats().live_bytes;
    const Outputs<> out = model(x, s, {.maps = false});
    kept[checkpoint_blocks] = memory_stats().live_bytes - before;
    (mean(square(out.reconstruction)) + mean(square(out.logits))).backward();
    nn::each_parameter(model, [&](const std::string&, nn::Parameter<>& p) {
      gradients[checkpoint_blocks].push_back(p.value.grad().to_vector());
    });
  }
  CHECK(gradients[0] == gradients[1]);  // bit for bit
  INFO(kept[1], " bytes against ", kept[0]);
  CHECK(kept[1] * 2 < kept[0]);
}

TEST_CASE("inputs that do not fit are explained") {
  const Model<> model(tiny());
  const auto refuses = [&](const Tensor<float>& x, const Tensor<float>& s, const char* message) {
    CHECK_THROWS_WITH_AS(model(x, s), doctest::Contains(message), ShapeError);
  };
  refuses(rand<float>({1, 16, 16, 12}, Key{1}), sar_of(1, 16, 16),
          "tdpcr: optical (1, 16, 16, 12) has 12 bands, the model wants 13");
  refuses(optical_of(1, 16, 16), rand<float>({1, 16, 16, 3}, Key{1}), "tdpcr: sar (1, 16, 16, 3) must be (N, H, W, 2)");
  refuses(optical_of(1, 16, 16), sar_of(1, 16, 8), "differ in number or size");
  refuses(optical_of(2, 16, 16), sar_of(1, 16, 16), "differ in number or size");
  refuses(optical_of(1, 7, 16), sar_of(1, 7, 16), "is smaller than 8 x 8 pixels");
  refuses(rand<float>({16, 16, 13}, Key{1}), sar_of(1, 16, 16),
          "tdpcr: optical must be (N, H, W, 13), got (16, 16, 13)");
  refuses(optical_of(1, 16, 16), {}, "tdpcr: sar is undefined but fusion = replace reads it");
}

TEST_CASE("the same seed gives the same network, in float and in double") {
  const Model<> a(tiny(), 7), b(tiny(), 7), c(tiny(), 8);
  const Model<double> wide(tiny(), 7);
  const std::vector<float> weight = a.optical_encoder.stem.weight.value.to_vector();
  CHECK(weight == b.optical_encoder.stem.weight.value.to_vector());
  CHECK(weight != c.optical_encoder.stem.weight.value.to_vector());
  CHECK(weight[3] == float(wide.optical_encoder.stem.weight.value.data()[3]));
}

}  // namespace
}  // namespace clearsky::tdpcr

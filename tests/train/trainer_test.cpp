#include "clearsky/train/trainer.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <numeric>

namespace clearsky::train {
namespace {

/// A run of a few seconds: 4 built-in scenes of 32 x 32, the smallest network.
RunConfig tiny() {
  RunConfig c;
  c.model.width = 4;
  c.model.heads = {1, 1, 2, 2};
  c.model.optical_blocks = c.model.sar_blocks = c.model.decoder_blocks = {1, 1, 1, 1};
  c.model.prompt_channels = c.model.prompt_hidden = 4;
  c.model.segmentation_width = 8;
  c.data.count = 12;
  c.data.size = 32;
  c.augment.crop = 16;
  c.augment.simulate_probability = 0.5;
  c.phase1.steps = 6;
  c.phase2.steps = 4;
  c.phase1.batch_size = c.phase2.batch_size = 3;
  c.optimizer.ema = 0.5;
  return c;
}

std::vector<float> all_weights(Trainer& t, const std::string& without = "-") {
  std::vector<float> values;
  nn::each_parameter(t.model(), [&](const std::string& name, const nn::Parameter<float>& p) {
    if (name.starts_with(without)) return;
    const auto v = p.value.to_vector();
    values.insert(values.end(), v.begin(), v.end());
  });
  return values;
}
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<float> train_all(const RunConfig& c) {
  Trainer t(c, open_data(c));
  t.run(true);
  return all_weights(t);
}

/// A folder of its own, removed afterwards.
struct Folder {
  std::string path;
  explicit Folder(const char* name) : path((std::filesystem::temp_directory_path() / name).string()) {
    std::filesystem::remove_all(path);
  }
  ~Folder() { std::filesystem::remove_all(path); }
};

TEST_CASE("training twice gives the same bits, with 1 thread and with 2; another seed gives others") {
  const int64_t before = threads();
  set_threads(1);
  RunConfig everything = tiny();
  everything.augment.mix_probability = 0.5;
  everything.augment.sar_jitter = 0.1;
  everything.loss.prior = everything.loss.variation = 1;
  const auto one = train_all(tiny()), all_one = train_all(everything);
  set_threads(2);
  const auto two = train_all(tiny()), all_two = train_all(everything);
  const auto again = train_all(tiny());
  set_threads(before);
  CHECK(same_bits(all_one, all_two));
  CHECK(!same_bits(one, all_one));
  CHECK(same_bits(one, two));
  CHECK(same_bits(two, again));
  RunConfig other = tiny();
  other.seed = 2;
  CHECK(!same_bits(one, train_all(other)));
}

TEST_CASE("stopping and resuming gives the same bits as not stopping, in either phase") {
  const auto straight = train_all(tiny());
  for (const int64_t stop : {2, 7}) {
    CAPTURE(stop);
    const Folder folder("clearsky_resume_test");
    {
      Trainer t(tiny(), open_data(tiny()), folder.path);
      Progress quiet("", true);
      for (int64_t done = 0; done < stop; ++done) t.run_phase(quiet, 1);
      t.save();
    }
    Trainer t(tiny(), open_data(tiny()));
    t.resume(folder.path + "/checkpoint.safetensors");
    CHECK(t.position().phase == (stop < 6 ? 0 : 1));
    t.run(true);
    CHECK(same_bits(all_weights(t), straight));
  }
}

TEST_CASE("a scaled loss gives the same bits as an unscaled one, resumed or not") {
  RunConfig scaled = tiny();
  scaled.loss_scaling = true;
  const auto plain = train_all(tiny());
  CHECK(same_bits(train_all(scaled), plain));
  const Folder folder("clearsky_scaled_test");
  {
    Trainer t(scaled, open_data(scaled), folder.path);
    Progress quiet("", true);
    t.run_phase(quiet, 3);
    t.save();
  }
  Trainer t(scaled, open_data(scaled));
  t.resume(folder.path + "/checkpoint.safetensors");
  t.run(true);
  CHECK(same_bits(all_weights(t), plain));
}

TEST_CASE("a step whose scaled gradients overflow is left out, and the factor shrinks") {
  RunConfig c = tiny();
  c.loss_scaling = true;
  c.phase1.steps = 24;
  c.phase2.steps = 0;
  c.optimizer.clip_norm = 0;
  c.loss.l1 = 1e36;  // times 65536 there is no float
  Trainer t(c, open_data(c));
  const auto start = all_weights(t);
  Progress quiet("", true);
  t.run_phase(quiet, 1);
  CHECK(same_bits(all_weights(t), start));
  CHECK(std::isinf(t.curve().front().gradient_norm));
  CHECK(std::isfinite(t.curve().front().loss));
  t.run_phase(quiet, 23);
  CHECK(std::isfinite(t.curve().back().gradient_norm));
  CHECK(!same_bits(all_weights(t), start));
}

TEST_CASE("a checkpoint of another configuration is refused") {
  const Folder folder("clearsky_other_config_test");
  {
    Trainer t(tiny(), open_data(tiny()), folder.path);
    t.save();
  }
  RunConfig other = tiny();
  other.phase1.learning_rate = 5e-4;
  Trainer t(other, open_data(other));
  CHECK_THROWS_WITH_AS(t.resume(folder.path + "/checkpoint.safetensors"),
                       doctest::Contains("belongs to a run with another configuration"), ConfigError);
}

TEST_CASE("phase 2 with trains = segmentation leaves every other parameter's bits alone") {
  const RunConfig c = tiny();
  Trainer t(c, open_data(c));
  Progress quiet("", true);
  t.run_phase(quiet);  // phase 1, and the entry into phase 2
  const auto before = all_weights(t, "segmentation_decoder.");
  const auto whole = all_weights(t);
  t.run(true);
  CHECK(same_bits(before, all_weights(t, "segmentation_decoder.")));
  CHECK(!same_bits(whole, all_weights(t)));
}

TEST_CASE("phase 2 trains what it is told to, and joint training both at once") {
  for (const auto trains : {tdpcr::Trains::decoders, tdpcr::Trains::all}) {
    RunConfig c = tiny();
    c.phase2_trains = trains;
    Trainer t(c, open_data(c));
    Progress quiet("", true);
    t.run_phase(quiet);
    const auto encoder = [&] { return t.model().optical_encoder.stem.weight.value.to_vector(); };
    const auto head = [&] { return t.model().decoder.head.weight.value.to_vector(); };
    const auto encoder_before = encoder(), head_before = head();
    t.run(true);
    CHECK(same_bits(encoder_before, encoder()) == (trains == tdpcr::Trains::decoders));
    CHECK(!same_bits(head_before, head()));
  }
  RunConfig c = tiny();
  c.phases = Phases::joint;
  Trainer t(c, open_data(c));
  CHECK(t.model().segmentation_decoder.has_value());
  t.run(true);
  CHECK(t.curve().size() == 6);
}

TEST_CASE("gradient accumulation adds up batches: two of 1 move the weights as far as their mean gradient says") {
  RunConfig c = tiny();
  c.phase2.steps = 0;
  c.phase1.steps = 1;
  c.optimizer.ema = 0;
  c.phase1.batch_size = 1;
  c.phase1.accumulate = 2;
  c.loss.ssim = 0;  // a mean over pixels: the mean of two batches' losses is that of the joint batch
  c.loss.l1 = 1;
  const auto accumulated = train_all(c);
  c.phase1.batch_size = 2;
  c.phase1.accumulate = 1;
  const auto joint = train_all(c);
  REQUIRE(accumulated.size() == joint.size());
  // Adam's first step is the rate times the gradient's sign: it hides the gradients' size but not their direction, and
  // elements whose gradient is near 0 may go either way.
  int64_t differ = 0;
  for (size_t i = 0; i < joint.size(); ++i) differ += std::fabs(accumulated[i] - joint[i]) > 1e-4f;
  CHECK(differ < int64_t(joint.size() / 50));
}

TEST_CASE("a model that learns: the loss falls, and the weight file gives the same restoration back") {
  const Folder folder("clearsky_learns_test");
  RunConfig c = tiny();
  c.phase1.steps = 60;
  c.phase1.learning_rate = 3e-3;
  c.optimizer.ema = 0;
  Trainer t(c, open_data(c), folder.path);
  t.run(true);
  double first = 0, last = 0;
  for (size_t i = 0; i < 10; ++i) {
    first += t.curve()[i].loss;
    last += t.curve()[50 + i].loss;
  }
  CHECK(last < 0.9 * first);

  const LoadedModel loaded = load_weights(folder.path + "/weights.safetensors");
  const NoGrad guard;
  const Tensor<float> optical = rand({1, 19, 21, 13}, Key{1}), sar = rand({1, 19, 21, 2}, Key{2});
  const auto a = t.model()(optical, sar), b = (*loaded.model)(optical, sar);
  CHECK(a.reconstruction.to_vector() == b.reconstruction.to_vector());
  CHECK(a.logits.to_vector() == b.logits.to_vector());
}

TEST_CASE("a strong prior keeps what thick clouds hide at the mean colour of the scenes that train") {
  const auto distance = [](double prior) {
    RunConfig c = tiny();
    c.augment.simulate_probability = 0;
    c.phase1.steps = 40;
    c.phase1.learning_rate = 3e-3;
    c.phase2.steps = 0;
    c.optimizer.ema = 0;
    c.loss.l1 = 0;
    c.loss.mse = 10;
    c.loss.prior = prior;
    Trainer t(c, open_data(c));
    t.run(true);
    const NoGrad guard;
    const Tensor<float> white = rand({1, 32, 32, 13}, Key{1}) * 0.1f + 0.8f, sar = rand({1, 32, 32, 2}, Key{2});
    const Tensor<float> restored = contiguous(t.model()(white, sar).reconstruction);
    double total = 0;
    for (int64_t i = 0; i < restored.numel(); ++i)
      total += std::pow(double(restored.data()[i]) - double(t.colour()[size_t(i % 13)]), 2);
    return total / double(restored.numel());
  };
  CHECK(distance(1000) < 0.5 * distance(0));
}

TEST_CASE("products in bfloat16: the loss falls as it does in float, with the same bits for any number of threads") {
  const auto curve = [](Precision precision, int64_t steps) {
    RunConfig c = tiny();
    c.precision = precision;
    c.phase1.steps = steps;
    c.phase2.steps = 0;
    c.phase1.learning_rate = 3e-3;
    c.optimizer.ema = 0;
    Trainer t(c, open_data(c));
    t.run(true);
    std::vector<double> losses;
    for (const StepRecord& r : t.curve()) losses.push_back(r.loss);
    return losses;
  };
  const auto exact = curve(Precision::float32, 60), rounded = curve(Precision::bfloat16, 60);
  const auto ten = [](const std::vector<double>& v, size_t from) {
    return std::accumulate(v.begin() + int64_t(from), v.begin() + int64_t(from) + 10, 0.0);
  };
  CHECK(rounded[0] != exact[0]);
  // A loss that was rounded on its way, by much less than it falls.
  CHECK(std::fabs(rounded[0] / exact[0] - 1) < 0x1p-8);
  CHECK(ten(rounded, 50) < 0.9 * ten(rounded, 0));
  CHECK(std::fabs(ten(rounded, 50) / ten(exact, 50) - 1) < 0.05);

  const int64_t before = threads();
  const auto few = curve(Precision::bfloat16, 6);
  for (const int64_t count : {1, 3}) {
    set_threads(count);
    CHECK(curve(Precision::bfloat16, 6) == few);
  }
  set_threads(before);
}

}  // namespace
}  // namespace clearsky::train

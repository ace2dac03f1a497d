#include "clearsky/ops/attention.hpp"
#include "clearsky/ops/carl.hpp"
#include "clearsky/ops/cross_entropy.hpp"
#include "clearsky/ops/dice.hpp"
#include "clearsky/ops/focal.hpp"
#include "clearsky/ops/fusion.hpp"
#include "clearsky/ops/gate.hpp"
#include "clearsky/ops/loss.hpp"
#include "clearsky/ops/norm.hpp"
#include "clearsky/ops/softmax.hpp"
#include "clearsky/ops/ssim.hpp"
#include "replay.hpp"

namespace clearsky::test::ops_learning_replay_test {
namespace {

template <class T>
GoldenCalls<T> calls() {
  using C = GoldenCase<T>;
  return {
      {"layer_norm", [](C& c) { return layer_norm(c.in[0], c.in[1], c.in[2], c.number("eps")); }},
      {"rms_norm", [](C& c) { return rms_norm(c.in[0], c.in[1], c.number("eps")); }},
      {"group_norm", [](C& c) { return group_norm(c.in[0], c.integer("groups"), c.in[1], c.in[2], c.number("eps")); }},
      {"l2_normalise", [](C& c) { return l2_normalise(c.in[0], c.integer("dim"), c.number("eps")); }},
      {"softmax", [](C& c) { return softmax(c.in[0], c.integer("dim")); }},
      {"log_softmax", [](C& c) { return log_softmax(c.in[0], c.integer("dim")); }},
      {"scaled_dot_product_attention",
       [](C& c) {
         AttentionOptions<T> o;
         o.scale = c.number("scale");
         o.causal = c.flag("causal");
         if (!c.masks.empty()) o.mask = c.masks[0];
         return scaled_dot_product_attention(c.in[0], c.in[1], c.in[2], o);
       }},
      {"window_attention",
       [](C& c) { return window_attention(c.in[0], c.in[1], c.in[2], c.integer("heads"), c.integer("window")); }},
      {"channel_attention", [](C& c) { return channel_attention(c.in[0], c.in[1], c.in[2], c.in[3]); }},
      {"channel_attention_qkv", [](C& c) { return channel_attention_qkv(c.in[0], c.in[1]); }},
      {"gelu_gate", [](C& c) { return gelu_gate(c.in[0]); }},
      {"simple_gate", [](C& c) { return simple_gate(c.in[0]); }},
      {"prompt_guided_mix",
       [](C& c) {
         const auto mode = c.text("mode") == "replace" ? FusionMode::replace : FusionMode::inject;
         return prompt_guided_mix(c.in[0], c.in[1], c.in[2], c.in[3], mode, &c.extra["reliance"]);
       }},
      {"l1_loss", [](C& c) { return l1_loss(c.in[0], c.in[1]); }},
      {"mse_loss", [](C& c) { return mse_loss(c.in[0], c.in[1]); }},
      {"huber_loss", [](C& c) { return huber_loss(c.in[0], c.in[1], c.number("delta")); }},
      {"charbonnier_loss", [](C& c) { return charbonnier_loss(c.in[0], c.in[1], c.number("eps")); }},
      {"cross_entropy",
       [](C& c) {
         CrossEntropyOptions o;
         o.ignore_index = c.integer("ignore_index");
         o.label_smoothing = c.number("label_smoothing");
         for (const auto& w : c.attrs.at("class_weights")) o.class_weights.push_back(w.template get<double>());
         return cross_entropy(c.in[0], c.indices[0], o);
       }},
      {"dice_loss", [](C& c) { return dice_loss(c.in[0], c.indices[0]); }},
      {"focal_loss", [](C& c) { return focal_loss(c.in[0], c.indices[0], c.number("gamma")); }},
      {"ssim", [](C& c) { return ssim(c.in[0], c.in[1]); }},
      {"carl_loss", [](C& c) { return carl_loss(c.in[0], c.in[1], c.in[2], c.in[3], c.number("lambda")); }},
  };
}

TEST_CASE("golden values: norms, attention, gates, losses") {
  replay(calls<float>(), calls<double>());
}

/// Batch normalisation also changes its running statistics, which the table has no place for.
template <class T>
void replay_batch_norm() {
  const io::TensorFile& file = golden_file("ops");
  int cases = 0;
  for (const auto& [name, text] : file.metadata) {
    const auto meta = nlohmann::json::parse(text);
    if (meta.at("op") != "batch_norm") continue;
    INFO(name);
    GoldenCase<T> c = load_case<T>(file, name, meta);
    Tensor<T> mean = c.in[3], variance = c.in[4];
    const Tensor<T> y = batch_norm(c.in[0], c.in[1], c.in[2], mean, variance, c.flag("training"), c.number("momentum"),
                                   c.number("eps"));
    const double terms = double(c.in[0].numel());
    check_close(y, file.get<double>(name + "/output"), terms, "output");
    check_close(mean, file.get<double>(name + "/running_mean"), terms, "running mean");
    check_close(variance, file.get<double>(name + "/running_var"), terms, "running variance");
    y.backward(cast<T>(file.get<double>(name + "/grad_output")));
    for (size_t i = 0; i < 3; ++i)
      check_close(c.in[i].grad(), file.get<double>(name + "/grad_input." + std::to_string(i)), terms, "gradient");
    ++cases;
  }
  CHECK(cases == 3);
}

TEST_CASE("golden values: batch_norm") {
  replay_batch_norm<float>();
  replay_batch_norm<double>();
}

const Replays kRegistered([] {
  auto all = calls<float>();
  all["batch_norm"] = nullptr;
  return all;
}());

TEST_CASE("every operation in the golden file is replayed") {
  for (const auto& [name, text] : golden_file("ops").metadata) {
    const std::string op = nlohmann::json::parse(text).at("op").get<std::string>();
    CHECK_MESSAGE(replayed_ops().count(op) == 1, name, ": no test replays ", op);
  }
}

}  // namespace
}  // namespace clearsky::test::ops_learning_replay_test

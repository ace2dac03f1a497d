#pragma once
// Everything that a run depends on, with its default in place. One JSON file sets what differs; the run's folder keeps
// the whole of it.

#include <array>
#include <string>
#include <vector>

#include "clearsky/data/land_cover.hpp"
#include "clearsky/io/file.hpp"
#include "clearsky/tdpcr/config.hpp"
#include "clearsky/train/fields.hpp"

namespace clearsky::train {

/// The network's configuration knows nothing of JSON; its keys are listed here.
template <>
struct Fields<tdpcr::Config> {
  template <class Enum>
  static Choice<Enum> choice(Enum& value) {
    const auto texts = tdpcr::enum_texts<Enum>();
    return {value, {texts.begin(), texts.end()}};
  }
  template <class Visit>
  static void each(tdpcr::Config& c, Visit&& visit) {
    visit("width", c.width);
    visit("optical_blocks", c.optical_blocks);
    visit("sar_blocks", c.sar_blocks);
    visit("decoder_blocks", c.decoder_blocks);
    visit("heads", c.heads);
    visit("expansion", c.expansion);
    visit("block", choice(c.block));
    visit("prompt", choice(c.prompt));
    visit("fusion", choice(c.fusion));
    visit("skips", choice(c.skips));
    visit("residual", choice(c.residual));
    visit("prompt_components", c.prompt_components);
    visit("prompt_channels", c.prompt_channels);
    visit("prompt_hidden", c.prompt_hidden);
    visit("bank_size", c.bank_size);
    visit("segmentation_width", c.segmentation_width);
    visit("classes", c.classes);
    visit("checkpoint_blocks", c.checkpoint_blocks);
  }
};

enum class Source { synthetic, luojiaset, sen12mscr, manifest };
enum class SplitRule { roi, random, standard, ids, whole };
enum class SarRule { standard, ecrformer };

/// Where samples come from, and which train, validate and test.
struct DataOptions {
  Source source = Source::synthetic;
  std::string path;      ///< folder of a data set, or the CSV file of a manifest
  int64_t count = 120;   ///< synthetic: samples
  int64_t size = 128;    ///< synthetic: height and width in pixels
  double dn_offset = 0;  ///< 1000 for products of processing baseline 04.00 and later; digital numbers
  SarRule sar_scaling = SarRule::standard;
  std::string labels;  ///< "1:0,2:1": file value to class; empty: values are classes
  SplitRule split = SplitRule::roi;
  uint64_t split_seed = 42;
  std::array<double, 3> split_shares = {0.7, 0.1, 0.2};          ///< train, validation, test
  std::vector<std::string> train_ids, validation_ids, test_ids;  ///< split = ids

  template <class Visit>
  void each_field(Visit&& visit) {
    visit("source", Choice{source, {"synthetic", "luojiaset", "sen12mscr", "manifest"}});
    visit("path", path);
    visit("count", count);
    visit("size", size);
    visit("dn_offset", dn_offset);
    visit("sar_scaling", Choice{sar_scaling, {"standard", "ecrformer"}});
    visit("labels", labels);
    visit("split", Choice{split, {"roi", "random", "standard", "ids", "whole"}});
    visit("split_seed", split_seed);
    visit("split_shares", split_shares);
    visit("train_ids", train_ids);
    visit("validation_ids", validation_ids);
    visit("test_ids", test_ids);
  }
};

/// Random changes of training samples.
struct AugmentSettings {
  int64_t crop = 128;  ///< side of a random square; 0 keeps the whole image
  bool flips = true;
  bool rotations = true;
  double simulate_probability = 0;  ///< of simulated clouds over the clear image in place of the real cloudy one
  double sar_jitter = 0;            ///< spread of a random gain and offset of the SAR image
  double mix_probability = 0;       ///< of blending a sample with another; samples with labels are never blended

  template <class Visit>
  void each_field(Visit&& visit) {
    visit("crop", crop);
    visit("flips", flips);
    visit("rotations", rotations);
    visit("simulate_probability", simulate_probability);
    visit("sar_jitter", sar_jitter);
    visit("mix_probability", mix_probability);
  }
};

/// L_rec = l1 L1 + mse MSE - psnr PSNR + ssim (1 - SSIM) + carl CARL, and L_seg = cross-entropy + dice Dice. Where the
/// prompt generator is trained, the loss has uncertainty times uncertainty_loss() as well; with L_rec come prior times
/// prior_loss() and variation times variation_loss().
struct LossOptions {
  double l1 = 0.9;
  double mse = 0;
  double psnr = 0;  ///< weight of a decibel; measures each image by itself, as the mean PSNR does
  double ssim = 0.1;
  double carl = 0;            ///< needs a cloud mask
  double carl_lambda = 1;     ///< weight of the plain term within CARL
  double cloud_weight = 0;    ///< L1's and MSE's pixels weigh 1 + cloud_weight * mask; 5 in model.md
  double prior = 0;           ///< weight of the squared distance from the mean colour where clouds hide the ground
  double variation = 0;       ///< weight of the variance of each restored band within its image
  double uncertainty = 0.05;  ///< weight of what ties the prompt's uncertainty to the clouds, where they are known
  double lambda = 0.1;        ///< weight of L_seg beside L_rec, where both are trained
  double dice = 0;
  std::vector<double> class_weights;  ///< of the cross-entropy; empty: all 1

  template <class Visit>
  void each_field(Visit&& visit) {
    visit("l1", l1);
    visit("mse", mse);
    visit("psnr", psnr);
    visit("ssim", ssim);
    visit("carl", carl);
    visit("carl_lambda", carl_lambda);
    visit("cloud_weight", cloud_weight);
    visit("prior", prior);
    visit("variation", variation);
    visit("uncertainty", uncertainty);
    visit("lambda", lambda);
    visit("dice", dice);
    visit("class_weights", class_weights);
  }
};

/// The length and pace of one phase.
struct PhaseOptions {
  int64_t steps = 1000;
  double minutes = 0;  ///< above 0: the phase ends after so long, and its schedule follows the clock: not reproducible
  int64_t batch_size = 8;
  int64_t accumulate = 1;  ///< batches whose gradients are added up for one step
  double learning_rate = 1e-3;
  double lowest_rate = 1e-6;   ///< at the end of the cosine
  double warmup_share = 0.05;  ///< of the steps, with a rate rising from 0

  template <class Visit>
  void each_field(Visit&& visit) {
    visit("steps", steps);
    visit("minutes", minutes);
    visit("batch_size", batch_size);
    visit("accumulate", accumulate);
    visit("learning_rate", learning_rate);
    visit("lowest_rate", lowest_rate);
    visit("warmup_share", warmup_share);
  }
};

struct OptimizerOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 1e-3;
  double clip_norm = 0.5;  ///< 0: gradients are not clipped
  double ema = 0;          ///< decay of the average of the weights, which then is what is evaluated; 0: none

  template <class Visit>
  void each_field(Visit&& visit) {
    visit("beta1", beta1);
    visit("beta2", beta2);
    visit("eps", eps);
    visit("weight_decay", weight_decay);
    visit("clip_norm", clip_norm);
    visit("ema", ema);
  }
};

enum class Phases { two, joint };

/// A run.
struct RunConfig {
  uint64_t seed = 1;
  Phases phases = Phases::two;
  tdpcr::Trains phase2_trains = tdpcr::Trains::segmentation;
  tdpcr::Config model;
  DataOptions data;
  AugmentSettings augment;
  LossOptions loss;
  PhaseOptions phase1, phase2;
  OptimizerOptions optimizer;
  Precision precision =
      Precision::float32;        ///< of products' factors, on a device with tensor cores; the CPU ignores it
  bool loss_scaling = false;     ///< scales the loss for short formats; steps whose gradients overflow are left out
  bool capture = false;          ///< on a device: steps of one shape are captured once and replayed
  int64_t checkpoint_every = 0;  ///< steps; 0: at the end of a phase only
  std::vector<std::string> class_names;

  RunConfig() { phase2.steps = 500; }

  template <class Visit>
  void each_field(Visit&& visit) {
    visit("seed", seed);
    visit("phases", Choice{phases, {"two", "joint"}});
    visit("phase2_trains", Fields<tdpcr::Config>::choice(phase2_trains));
    visit("model", model);
    visit("data", data);
    visit("augment", augment);
    visit("loss", loss);
    visit("phase1", phase1);
    visit("phase2", phase2);
    visit("optimizer", optimizer);
    visit("precision", Choice{precision, {"float32", "tf32", "bfloat16"}});
    visit("loss_scaling", loss_scaling);
    visit("capture", capture);
    visit("checkpoint_every", checkpoint_every);
    visit("class_names", class_names);
  }
};

namespace detail {

inline void check_phase(const char* name, const PhaseOptions& p) {
  CLEARSKY_CHECK(ConfigError, p.steps >= 0 && p.minutes >= 0 && p.batch_size >= 1 && p.accumulate >= 1,
                 "config: ", name, ": steps ", p.steps, ", minutes ", p.minutes, ", batch_size ", p.batch_size,
                 ", accumulate ", p.accumulate, "; the first two must be at least 0, the others at least 1");
  CLEARSKY_CHECK(ConfigError, p.learning_rate > 0 && p.lowest_rate >= 0 && 0 <= p.warmup_share && p.warmup_share < 1,
                 "config: ", name, ": learning_rate ", p.learning_rate, " must be above 0, lowest_rate ", p.lowest_rate,
                 " at least 0, warmup_share ", p.warmup_share, " in [0, 1)");
}

}  // namespace detail

/// @throws ConfigError for values that cannot work, before any work is done
inline void check_config(const RunConfig& c) {
  tdpcr::validate(c.model);
  CLEARSKY_CHECK(ConfigError, c.phase2_trains != tdpcr::Trains::reconstruction,
                 "config: phase2_trains = reconstruction is what phase 1 does; use segmentation, decoders or all");
  detail::check_phase("phase1", c.phase1);
  detail::check_phase("phase2", c.phase2);
  const DataOptions& d = c.data;
  CLEARSKY_CHECK(ConfigError, d.source == Source::synthetic || !d.path.empty(),
                 "config: data.path is empty; name the folder of the data set, or the CSV file of the manifest");
  CLEARSKY_CHECK(ConfigError, d.source != Source::synthetic || (d.count >= 3 && d.size >= 16), "config: data.count ",
                 d.count, " must be at least 3 and data.size ", d.size, " at least 16");
  CLEARSKY_CHECK(ConfigError, d.split != SplitRule::standard || d.source == Source::sen12mscr,
                 "config: data.split = standard is SEN12MS-CR's; use roi, random or ids");
  CLEARSKY_CHECK(ConfigError, c.augment.crop == 0 || c.augment.crop >= 8, "config: augment.crop is ", c.augment.crop,
                 "; use 0 or at least 8");
  for (double p : {c.augment.simulate_probability, c.augment.mix_probability})
    CLEARSKY_CHECK(ConfigError, 0 <= p && p <= 1, "config: augment: a probability is ", p, "; use 0 to 1");
  CLEARSKY_CHECK(ConfigError, 0 <= c.augment.sar_jitter && c.augment.sar_jitter <= 1, "config: augment.sar_jitter is ",
                 c.augment.sar_jitter, "; use 0 to 1");
  const LossOptions& l = c.loss;
  for (double w : {l.l1, l.mse, l.psnr, l.ssim, l.carl, l.carl_lambda, l.cloud_weight, l.prior, l.variation,
                   l.uncertainty, l.lambda, l.dice})
    CLEARSKY_CHECK(ConfigError, w >= 0, "config: loss: a weight is ", w, "; all must be at least 0");
  CLEARSKY_CHECK(ConfigError, l.l1 + l.mse + l.psnr + l.ssim + l.carl > 0, "config: loss: all weights of L_rec are 0");
  CLEARSKY_CHECK(ConfigError, l.class_weights.empty() || int64_t(l.class_weights.size()) == c.model.classes,
                 "config: loss.class_weights has ", int64_t(l.class_weights.size()), " values for ", c.model.classes,
                 " classes");
  CLEARSKY_CHECK(ConfigError, c.class_names.empty() || int64_t(c.class_names.size()) == c.model.classes,
                 "config: class_names has ", int64_t(c.class_names.size()), " names for ", c.model.classes, " classes");
  const OptimizerOptions& o = c.optimizer;
  CLEARSKY_CHECK(ConfigError, o.clip_norm >= 0 && 0 <= o.ema && o.ema < 1 && o.weight_decay >= 0,
                 "config: optimizer: clip_norm ", o.clip_norm, " and weight_decay ", o.weight_decay,
                 " must be at least 0, ema ", o.ema, " in [0, 1)");
}

/// The names of the classes: the configured ones, the built-in ones where they fit, else "class 0" and so on.
inline std::vector<std::string> names_of_classes(const RunConfig& c) {
  if (!c.class_names.empty()) return c.class_names;
  std::vector<std::string> names;
  const bool built_in = c.data.source == Source::synthetic && c.model.classes == data::kClasses;
  for (int64_t i = 0; i < c.model.classes; ++i)
    names.push_back(built_in ? data::kClassNames[i] : "class " + std::to_string(i));
  return names;
}

/// Reads a configuration, with overrides from the command line, and checks it.
/// @param path       JSON file; empty: the defaults
/// @param overrides  "phase1.steps=500", applied in order
/// @throws           ConfigError, IoError
inline RunConfig load_config(const std::string& path, const std::vector<std::string>& overrides = {}) {
  Json j = Json::object();
  if (!path.empty()) {
    const std::string text = io::read_file(path);
    // Comments are allowed in files written by hand.
    j = Json::parse(text, nullptr, false, true);
    CLEARSKY_CHECK(ConfigError, !j.is_discarded(), "config: ", path, " is not valid JSON");
  }
  for (const std::string& o : overrides) override_json(j, o);
  RunConfig config;
  read_json(j, config);
  check_config(config);
  return config;
}

/// A configuration from the text that a run or a weight file keeps.
inline RunConfig parse_config(const std::string& text, const std::string& source) {
  const Json j = Json::parse(text, nullptr, false);
  CLEARSKY_CHECK(ConfigError, !j.is_discarded(), "config: ", source, " holds a configuration that is not valid JSON");
  RunConfig config;
  read_json(j, config);
  check_config(config);
  return config;
}

}  // namespace clearsky::train

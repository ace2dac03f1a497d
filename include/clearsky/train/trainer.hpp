#pragma once
// Training in two phases (or jointly): batches, losses, steps, checkpoints.
//
// A run bounded by steps is a pure function of configuration and data: the same bits for any number of threads, and
// whether it was interrupted and resumed or not. A run bounded by minutes is not.

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>

#include "clearsky/ops/inplace.hpp"
#include "clearsky/optim/clip.hpp"
#include "clearsky/train/checkpoint.hpp"
#include "clearsky/train/datasets.hpp"
#include "clearsky/train/evaluator.hpp"
#include "clearsky/train/losses.hpp"
#include "clearsky/train/progress.hpp"

namespace clearsky::train {

class Trainer {
 public:
  /// @param folder  receives config.json, checkpoint.safetensors, weights.safetensors and curve.csv; empty: no files
  /// @param device  where the model is trained; batches are made on the CPU
  Trainer(const RunConfig& config, const DataParts& data, std::string folder = "", Device device = Device::cpu)
      : config_(config),
        data_(data),
        folder_(std::move(folder)),
        device_(device),
        model_(start_config(config), config.seed) {
    check_config(config_);
    CLEARSKY_CHECK(ConfigError, data_.train->size() > 0, "train: the split leaves no sample to train on");
    colour_ = mean_colour(*data_.train);
    // Without a residual the network starts from the best constant, not from grey and noise.
    if (config_.model.residual == tdpcr::Residual::none) {
      std::copy(colour_.begin(), colour_.end(), model_.decoder.head.bias.value.mutable_data());
      const Tensor<float>& w = model_.decoder.head.weight.value;
      float* head = w.mutable_data();
      for (int64_t i = 0; i < w.numel(); ++i) head[i] *= 0.1f;
    }
    nn::to(model_, device_);
    prior_ = Tensor<float>({1, 1, 1, data::kBands}, colour_).to(device_);
    if (!folder_.empty()) {
      io::make_folders(folder_);
      io::atomic_write_text(folder_ + "/config.json", to_json(config_).dump(2) + "\n");
    }
    enter(0);
  }

  tdpcr::Model<float>& model() { return model_; }
  const std::vector<float>& colour() const { return colour_; }
  const std::vector<StepRecord>& curve() const { return curve_; }
  Position position() const { return position_; }
  optim::WeightAverage<float>* average() { return average_ ? &*average_ : nullptr; }
  int64_t phases() const { return config_.phases == Phases::joint ? 1 : 2; }
  const char* phase_name(int64_t phase) const {
    return config_.phases == Phases::joint ? "joint" : phase == 0 ? "phase 1" : "phase 2";
  }

  /// Starts from the weights of another run. What they do not have (a segmentation decoder) keeps its start values.
  /// @throws IoError, ShapeError when the file belongs to another model
  void start_from(const std::string& path) {
    const io::TensorFile file = io::read_safetensors(path);
    nn::StateDict reconstruction;
    for (const auto& [name, tensor] : file.tensors)
      if (model_.segmentation_decoder.has_value() || !name.starts_with("segmentation_decoder."))
        reconstruction.emplace(name, tensor);
    nn::load_state(model_, reconstruction, {.source = path});
    enter(position_.phase);  // the average of the weights starts from these
  }

  /// Goes on from a checkpoint of the same configuration.
  /// @throws IoError, ConfigError when the file does not belong to this run
  void resume(const std::string& path) {
    const io::TensorFile file = io::read_safetensors(path);
    const Position to = checkpoint_position(file);
    RunConfig other = parse_config(detail::metadata_of(file, "config"), path);
    other.checkpoint_every = config_.checkpoint_every;  // changes no bit of the result
    CLEARSKY_CHECK(ConfigError, to_json(other) == to_json(config_), "train: ", path,
                   " belongs to a run with another configuration; use that run's config.json");
    CLEARSKY_CHECK(IoError, to.phase < phases(), "train: ", path, " stands in phase ", to.phase, " of ", phases());
    enter(to.phase);
    nn::load_state(model_, detail::with_prefix(file, "model."), {.source = path});
    optimizer_->load_state(detail::with_prefix(file, "optimizer."), path);
    if (average_) average_->load_state(detail::with_prefix(file, "average."), path);
    if (scaler_) detail::load_scaler(*scaler_, file);
    curve_ = detail::curve_rows(file);
    position_ = to;
    loader_->seek(to.step * phase_options().accumulate);
  }

  /// Runs up to `steps` more steps of the current phase (all that are left by default), and enters the next phase when
  /// this one is done. Returns false when the whole run is done.
  bool run_phase(Progress& progress, int64_t steps = std::numeric_limits<int64_t>::max()) {
    const PhaseOptions& o = phase_options();
    const double start = progress.seconds() - elapsed_in_phase_;
    while (position_.step < o.steps && steps-- > 0) {
      elapsed_in_phase_ = progress.seconds() - start;
      const double limit = o.minutes * 60;
      if (limit > 0 && elapsed_in_phase_ >= limit) break;
      const double by_steps = double(position_.step) / double(o.steps);
      const double share = limit > 0 ? (std::max)(by_steps, elapsed_in_phase_ / limit) : by_steps;
      StepRecord r = step(share);
      r.seconds = progress.seconds();
      curve_.push_back(r);
      smooth_loss_ = smooth_loss_ == 0 ? r.loss : 0.95 * smooth_loss_ + 0.05 * r.loss;
      char text[96];
      std::snprintf(text, sizeof text, "step %lld, loss %.4f", (long long)position_.step, smooth_loss_);
      progress.update(limit > 0 ? (std::max)(by_steps, (progress.seconds() - start) / limit)
                                : double(position_.step) / double(o.steps),
                      text);
      if (config_.checkpoint_every > 0 && position_.step % config_.checkpoint_every == 0) save();
    }
    const bool by_time = o.minutes > 0 && elapsed_in_phase_ >= o.minutes * 60;
    if (position_.step < o.steps && !by_time) return true;
    finish_phase();
    return position_.phase < phases();
  }

  /// Everything that is left.
  void run(bool quiet = false) {
    while (position_.phase < phases()) {
      Progress progress(phase_name(position_.phase), quiet);
      run_phase(progress);
    }
  }

  /// One step of the current phase on a batch of the caller's, which counts as one of the run: for measuring.
  StepRecord step_on(const data::Batch& batch) {
    const Autocast products(config_.precision);
    double total = 0;
    add_gradients(on_device(batch), 1, total);
    return update(rate_at(0), total);
  }

  /// checkpoint.safetensors and curve.csv
  void save() {
    if (folder_.empty()) return;
    save_checkpoint(folder_ + "/checkpoint.safetensors", model_, *optimizer_, average(), scaler_ ? &*scaler_ : nullptr,
                    config_, position_, curve_);
    save_curve();
  }

 private:
  /// The segmentation decoder is attached when its phase begins.
  static tdpcr::Config start_config(const RunConfig& config) {
    tdpcr::Config model = config.model;
    model.segmentation = config.phases == Phases::joint;
    return model;
  }
  const PhaseOptions& phase_options() const { return position_.phase == 0 ? config_.phase1 : config_.phase2; }
  bool reconstructs() const { return position_.phase == 0 || config_.phase2_trains != tdpcr::Trains::segmentation; }
  /// Whether there is a mixture, whose uncertainty can be taught, and this phase trains it.
  bool trains_prompt() const {
    const Tensor<float>& weight = model_.prompt_generator.logits.weight.value;
    return reconstructs() && weight.defined() && weight.requires_grad();
  }
  bool segments() const { return position_.phase == 1 || config_.phases == Phases::joint; }

  /// Sets up a phase at its first step: what is trained, its optimizer, its batches.
  void enter(int64_t phase) {
    position_ = {phase, 0};
    elapsed_in_phase_ = smooth_loss_ = 0;
    captured_.reset();
    if (segments() && !model_.segmentation_decoder) model_.attach_segmentation(config_.seed);
    model_.set_trained(config_.phases == Phases::joint ? tdpcr::Trains::all
                       : phase == 0                    ? tdpcr::Trains::reconstruction
                                                       : config_.phase2_trains);
    const OptimizerOptions& o = config_.optimizer;
    optimizer_.emplace(
        nn::trainable_parameters(model_),
        optim::AdamOptions{.beta1 = o.beta1, .beta2 = o.beta2, .eps = o.eps, .weight_decay = o.weight_decay});
    average_.reset();
    if (o.ema > 0) average_.emplace(nn::trainable_parameters(model_), o.ema);
    scaler_.reset();
    if (config_.loss_scaling) scaler_.emplace();
    const AugmentSettings& a = config_.augment;
    const PhaseOptions& p = phase_options();
    loader_.emplace(data_.train, data::LoaderOptions{.batch_size = p.batch_size,
                                                     .seed = Key{config_.seed}.at(0x7068617365, uint64_t(phase)).stream,
                                                     .augment = {.crop = a.crop,
                                                                 .flips = a.flips,
                                                                 .rotations = a.rotations,
                                                                 .simulate_probability = a.simulate_probability,
                                                                 .sar_jitter = a.sar_jitter,
                                                                 .mix_probability = a.mix_probability}});
  }

  /// Warm-up from 0, then a cosine down to the lowest rate. @param share  of the phase that is done, 0 to 1
  double rate_at(double share) const {
    const PhaseOptions& o = phase_options();
    const double first = 1 / double((std::max)(o.steps, int64_t(1)));
    if (share < o.warmup_share) return o.learning_rate * (std::min)(1.0, (share + first) / o.warmup_share);
    const double t = (std::min)(1.0, (share - o.warmup_share) / (1 - o.warmup_share));
    return o.lowest_rate + (o.learning_rate - o.lowest_rate) * 0.5 * (1 + std::cos(3.14159265358979323846 * t));
  }

  StepRecord step(double share) {
    const PhaseOptions& o = phase_options();
    const Autocast products(config_.precision);
    double total = 0;
    for (int64_t a = 0; a < o.accumulate; ++a) {
      const data::Batch batch = next_batch();
      if (can_capture(batch)) {
        total = replay(batch);
        check_loss(total);
        break;
      }
      add_gradients(batch, 1 / float(o.accumulate), total);
    }
    return update(rate_at(share), total);
  }

  data::Batch next_batch() {
    const ProfilePart part("data");
    return on_device(loader_->next());
  }

  /// Forward and backward. @param total  the loss is added to it
  void add_gradients(const data::Batch& batch, float factor, double& total) {
    Tensor<float> loss = batch_loss(batch);
    {
      const ProfilePart part("loss");
      loss = loss * factor;
      total += double(loss.item());
      check_loss(total);
      loss = scaled(loss);
    }
    loss.backward();
  }
  void check_loss(double total) const {
    CLEARSKY_CHECK(ValueError, std::isfinite(total), "train: the loss is ", total, " at step ", position_.step, " of ",
                   phase_name(position_.phase), "; lower the learning rate, or check the data");
  }

  StepRecord update(double rate, double loss) {
    const std::optional<double> norm = gradient_norm();
    const ProfilePart part("optimizer");
    if (norm) {
      const double clip = config_.optimizer.clip_norm, scale = scaler_ ? scaler_->scale() : 1;
      optimizer_->step(rate, (clip > 0 ? optim::clip_factor(*norm, clip) : 1) / scale, average());
    }
    if (scaler_) update_scaler(norm.has_value());
    optimizer_->zero_grad();
    ++position_.step;
    return {position_.phase, position_.step, loss, rate, norm.value_or(double(INFINITY)), 0};
  }
  std::optional<double> gradient_norm() const {
    const ProfilePart part("clipping");
    return scaler_ ? scaler_->norm(*optimizer_) : std::optional<double>(optimizer_->gradient_norm());
  }

  /// The loss as it is differentiated.
  Tensor<float> scaled(const Tensor<float>& loss) const { return scaler_ ? loss * float(scaler_->scale()) : loss; }
  void update_scaler(bool finite) {
    const double before = scaler_->scale();
    scaler_->update(finite);
    if (scaler_->scale() != before) captured_.reset();  // the factor is part of a captured step
    CLEARSKY_CHECK(ValueError, scaler_->scale() >= 0x1p-20, "train: ", scaler_->skipped(),
                   " steps had gradients that are not finite, however small the loss was made, up to step ",
                   position_.step, " of ", phase_name(position_.phase), "; lower the learning rate, or check the data");
  }

  data::Batch on_device(data::Batch batch) const {
    for (Tensor<float>* t : {&batch.optical, &batch.clear, &batch.sar, &batch.mask, &batch.opacity})
      *t = t->to(device_);
    batch.labels = batch.labels.to(device_);
    return batch;
  }

  /// A step's work, captured: where its inputs lie, and where it leaves the loss and the gradients.
  struct CapturedStep {
    data::Batch inputs;
    std::unique_ptr<CapturedWork> work;
    Tensor<float> loss;
    std::vector<std::pair<Tensor<float>, Tensor<float>>> gradients;  // of a parameter
  };

  /// The first step of a phase is done as it comes, later ones are replayed as long as they have its shape. Of samples
  /// whose opacity is unknown there may be any number in a batch, so that such batches have no shape of their own.
  bool can_capture(const data::Batch& batch) const {
    const auto& known = batch.knows_opacity;
    if (!config_.capture || device_ == Device::cpu || phase_options().accumulate != 1 || position_.step == 0)
      return false;
    if (std::count(known.begin(), known.end(), uint8_t(1)) != batch.size()) return false;
    if (!captured_) return true;
    const data::Batch& is = captured_->inputs;
    const auto alike = [](const auto& a, const auto& b) {
      return a.defined() == b.defined() && (!a.defined() || a.shape() == b.shape());
    };
    return alike(is.optical, batch.optical) && alike(is.clear, batch.clear) && alike(is.sar, batch.sar) &&
           alike(is.mask, batch.mask) && alike(is.opacity, batch.opacity) && alike(is.labels, batch.labels);
  }

  /// Captures a step if none is, and does it for this batch: gradients are at the parameters afterwards.
  double replay(const data::Batch& batch) {
    if (!captured_) {
      auto step = std::make_unique<CapturedStep>();
      step->inputs = batch;
      optimizer_->zero_grad();
      step->work = capture(device_, [&] {
        step->loss = batch_loss(step->inputs);
        scaled(step->loss).backward();
        for (const auto& p : nn::trainable_parameters(model_))
          if (p.value.grad().defined()) step->gradients.emplace_back(p.value, p.value.grad());
      });
      captured_ = std::move(step);
    } else {
      const data::Batch& to = captured_->inputs;
      const auto write = [](Tensor<float> place, const Tensor<float>& values) {
        if (place.defined()) copy_(place, values);
      };
      write(to.optical, batch.optical);
      write(to.clear, batch.clear);
      write(to.sar, batch.sar);
      write(to.mask, batch.mask);
      write(to.opacity, batch.opacity);
      if (Tensor<uint8_t> place = to.labels; place.defined()) copy_(place, batch.labels);
    }
    captured_->work->launch();
    for (auto& [parameter, gradient] : captured_->gradients) parameter.set_grad(gradient);
    return double(captured_->loss.item());
  }

  Tensor<float> batch_loss(const data::Batch& batch) {
    CLEARSKY_CHECK(ValueError, batch.sar.defined() && (batch.clear.defined() || !reconstructs()), "train: sample ",
                   batch.infos[0].id, " or a neighbour in its batch has no SAR or no clear image");
    CLEARSKY_CHECK(ValueError, !segments() || batch.labels.defined(), "train: ", phase_name(position_.phase),
                   " needs labels, which sample ", batch.infos[0].id, " does not have; set phase2.steps to 0");
    const bool ties_uncertainty = config_.loss.uncertainty > 0 && trains_prompt();
    const tdpcr::Outputs<float> out = model_(
        batch.optical, batch.sar,
        {.reconstruction = reconstructs(), .logits = segments(), .maps = false, .uncertainty = ties_uncertainty});
    const ProfilePart part("loss");
    Tensor<float> loss;
    if (reconstructs())
      loss = reconstruction_loss(out.reconstruction, batch.clear, batch.optical, batch.mask, config_.loss);
    if (reconstructs() && config_.loss.prior > 0)
      loss = loss + prior_loss(out.reconstruction, batch.clear, batch.optical, prior_) * float(config_.loss.prior);
    if (reconstructs() && config_.loss.variation > 0)
      loss = loss + variation_loss(out.reconstruction) * float(config_.loss.variation);
    if (ties_uncertainty)
      if (const Tensor<float> term = uncertainty_loss(out.uncertainty, batch); term.defined())
        loss = loss + term * float(config_.loss.uncertainty);
    if (!segments()) return loss;
    const Tensor<float> seg = segmentation_loss(out.logits, batch.labels, config_.loss);
    return loss.defined() ? loss + seg * float(config_.loss.lambda) : seg;
  }

  /// The average of the weights becomes the weights: what the next phase starts from and what is evaluated.
  void finish_phase() {
    if (average_) {
      average_->swap();
      average_.reset();
    }
    ++position_.phase;
    position_.step = 0;
    if (!folder_.empty()) {
      save_weights(folder_ + "/weights.safetensors", model_, config_, colour_);
      save_curve();
    }
    if (position_.phase >= phases()) return;
    if (config_.phase2.steps == 0) {
      position_.phase = phases();
      return;
    }
    enter(position_.phase);
    save();
  }

  void save_curve() const {
    std::string text = "phase,step,loss,learning_rate,gradient_norm,seconds\n";
    for (const StepRecord& r : curve_) {
      char line[160];
      std::snprintf(line, sizeof line, "%s,%lld,%.9g,%.9g,%.9g,%.3f\n", phase_name(r.phase), (long long)r.step, r.loss,
                    r.rate, r.gradient_norm, r.seconds);
      text += line;
    }
    io::atomic_write_text(folder_ + "/curve.csv", text);
  }

  RunConfig config_;
  DataParts data_;
  std::string folder_;
  Device device_;
  tdpcr::Model<float> model_;
  std::vector<float> colour_;
  Tensor<float> prior_;  // (1, 1, 1, 13)  the colour, where the model is
  std::optional<optim::AdamW<float>> optimizer_;
  std::optional<optim::WeightAverage<float>> average_;
  std::optional<optim::LossScaler> scaler_;
  std::optional<data::Loader> loader_;
  std::unique_ptr<CapturedStep> captured_;
  std::vector<StepRecord> curve_;
  Position position_;
  double elapsed_in_phase_ = 0, smooth_loss_ = 0;
};

}  // namespace clearsky::train

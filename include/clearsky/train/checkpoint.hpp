#pragma once
// A run's state in one file: weights, their average, the optimizer, where the run stands, its configuration. Random
// numbers need no state of their own: they are functions of the seed and the step.

#include <algorithm>
#include <memory>
#include <string>

#include "clearsky/io/safetensors.hpp"
#include "clearsky/nn/state_dict.hpp"
#include "clearsky/optim/adamw.hpp"
#include "clearsky/optim/ema.hpp"
#include "clearsky/optim/loss_scaler.hpp"
#include "clearsky/tdpcr/model.hpp"
#include "clearsky/train/config.hpp"

namespace clearsky::train {

/// Where a run stands: `step` steps of phase number `phase` are done.
struct Position {
  int64_t phase = 0, step = 0;
};

/// One row of a run's curve.
struct StepRecord {
  int64_t phase, step;
  double loss, rate, gradient_norm, seconds;
};

namespace detail {

inline constexpr const char* kFormat = "clearsky checkpoint 1";

inline void add_prefixed(io::TensorMap& to, const std::string& prefix, const nn::StateDict& from) {
  for (const auto& [name, tensor] : from) to[prefix + name] = tensor;
}
inline nn::StateDict with_prefix(const io::TensorFile& file, const std::string& prefix) {
  nn::StateDict out;
  for (const auto& [name, tensor] : file.tensors)
    if (name.starts_with(prefix)) out.emplace(name.substr(prefix.size()), tensor);
  return out;
}

inline const std::string& metadata_of(const io::TensorFile& file, const std::string& key) {
  const auto found = file.metadata.find(key);
  CLEARSKY_CHECK(IoError, found != file.metadata.end(), "load_checkpoint: ", file.path, " has no entry ", key,
                 "; it was not written by clearsky train");
  return found->second;
}

inline int64_t whole_number(const io::TensorFile& file, const std::string& key) {
  const std::string& text = metadata_of(file, key);
  CLEARSKY_CHECK(IoError, !text.empty() && text.size() < 18 && text.find_first_not_of("0123456789") == text.npos,
                 "load_checkpoint: ", file.path, ": ", key, " is \"", text, "\", not a number");
  return std::stoll(text);
}

/// scale, good and skipped steps of a loss scaler, (3), and back.
inline Tensor<double> scaler_tensor(const optim::LossScaler& scaler) {
  return Tensor<double>({3}, {scaler.scale(), double(scaler.good()), double(scaler.skipped())});
}
inline void load_scaler(optim::LossScaler& scaler, const io::TensorFile& file) {
  const Tensor<double> state = file.get<double>("loss_scaler");
  CLEARSKY_CHECK(IoError, state.numel() == 3, "load_checkpoint: ", file.path, ": loss_scaler is ", state.shape(),
                 "; it was not written by clearsky train");
  scaler.load(state.data()[0], int64_t(state.data()[1]), int64_t(state.data()[2]));
}

/// The rows of a curve as a tensor, (rows, 6), and back.
inline Tensor<double> curve_tensor(const std::vector<StepRecord>& curve) {
  Tensor<double> rows({int64_t(curve.size()), 6});
  double* to = rows.mutable_data();
  for (const StepRecord& r : curve)
    for (const double v : {double(r.phase), double(r.step), r.loss, r.rate, r.gradient_norm, r.seconds}) *to++ = v;
  return rows;
}
inline std::vector<StepRecord> curve_rows(const io::TensorFile& file) {
  const Tensor<double> rows = file.get<double>("curve");
  CLEARSKY_CHECK(IoError, rows.rank() == 2 && rows.size(1) == 6, "load_checkpoint: ", file.path, ": curve is ",
                 rows.shape(), "; it was not written by clearsky train");
  std::vector<StepRecord> curve;
  for (const double *p = rows.data(), *end = p + rows.numel(); p != end; p += 6)
    curve.push_back({int64_t(p[0]), int64_t(p[1]), p[2], p[3], p[4], p[5]});
  return curve;
}

}  // namespace detail

/// Writes a checkpoint, atomically.
/// @param average  null when there is none
/// @param scaler   null when the loss is not scaled
inline void save_checkpoint(const std::string& path, tdpcr::Model<float>& model, const optim::AdamW<float>& optimizer,
                            const optim::WeightAverage<float>* average, const optim::LossScaler* scaler,
                            const RunConfig& config, Position position, const std::vector<StepRecord>& curve) {
  io::TensorMap tensors;
  if (scaler != nullptr) tensors["loss_scaler"] = detail::scaler_tensor(*scaler);
  tensors["curve"] = detail::curve_tensor(curve);
  detail::add_prefixed(tensors, "model.", nn::state_dict(model));
  detail::add_prefixed(tensors, "optimizer.", optimizer.state());
  if (average != nullptr) detail::add_prefixed(tensors, "average.", average->state());
  io::write_safetensors(path, tensors,
                        {{"format", detail::kFormat},
                         {"config", to_json(config).dump()},
                         {"phase", std::to_string(position.phase)},
                         {"step", std::to_string(position.step)}});
}

/// Where a checkpoint's run stands, and its configuration.
inline Position checkpoint_position(const io::TensorFile& file) {
  CLEARSKY_CHECK(IoError, detail::metadata_of(file, "format") == detail::kFormat, "load_checkpoint: ", file.path,
                 " has format \"", detail::metadata_of(file, "format"), "\", this program reads \"", detail::kFormat,
                 "\"");
  return {detail::whole_number(file, "phase"), detail::whole_number(file, "step")};
}

/// Weights alone, with the configuration they belong to: what predict and evaluate read.
inline void save_weights(const std::string& path, tdpcr::Model<float>& model, const RunConfig& config,
                         const std::vector<float>& colour) {
  io::TensorMap tensors;
  for (const auto& [name, tensor] : nn::state_dict(model)) tensors[name] = tensor;
  Json mean = Json::array();
  for (float v : colour) mean.push_back(double(v));
  io::write_safetensors(path, tensors, {{"config", to_json(config).dump()}, {"mean_colour", mean.dump()}});
}

/// A model from a weight file.
struct LoadedModel {
  RunConfig config;
  std::unique_ptr<tdpcr::Model<float>> model;
  std::vector<float> colour;  ///< mean colour of the training set, (13)
};

/// @throws IoError, ConfigError, ShapeError for a file that is damaged or belongs to another model
inline LoadedModel load_weights(const std::string& path) {
  const io::TensorFile file = io::read_safetensors(path);
  LoadedModel loaded;
  loaded.config = parse_config(detail::metadata_of(file, "config"), path);
  tdpcr::Config model = loaded.config.model;
  model.segmentation = std::any_of(file.tensors.begin(), file.tensors.end(),
                                   [](const auto& entry) { return entry.first.starts_with("segmentation_decoder."); });
  loaded.model = std::make_unique<tdpcr::Model<float>>(model);
  nn::load_state(*loaded.model, file.tensors, {.source = path});
  const Json mean = Json::parse(detail::metadata_of(file, "mean_colour"), nullptr, false);
  CLEARSKY_CHECK(IoError, mean.is_array() && int64_t(mean.size()) == data::kBands, "load_weights: ", path,
                 ": mean_colour is damaged");
  for (const auto& v : mean) loaded.colour.push_back(v.get<float>());
  return loaded;
}

}  // namespace clearsky::train

#pragma once
// How good a model is on a data set: the metrics of image restoration and of segmentation, beside two baselines.

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>

#include "clearsky/autograd/grad_mode.hpp"
#include "clearsky/data/dataset.hpp"
#include "clearsky/data/loader.hpp"
#include "clearsky/metrics/correlation.hpp"
#include "clearsky/metrics/image.hpp"
#include "clearsky/metrics/segmentation.hpp"
#include "clearsky/ops/reduce.hpp"
#include "clearsky/tdpcr/model.hpp"
#include "clearsky/train/datasets.hpp"
#include "clearsky/train/restorer.hpp"

namespace clearsky::train {

/// Everything measured on one set of samples.
struct Evaluation {
  struct Image {
    std::string id, bucket;
    double cloud_cover;                        ///< share of cloudy pixels, NaN when unknown
    metrics::ImageScores model, copy, colour;  ///< restored; the cloudy image itself; the mean colour
  };
  std::vector<Image> images;
  metrics::ImageReport model, copy, colour;
  std::optional<metrics::ConfusionMatrix>
      segmentation;  ///< when the model has a segmentation decoder and there are labels
  std::vector<std::string> class_names;
  /// Spearman's correlation with the cloud's thickness (or mask, where that is all that is known), over all pixels of
  /// the set; NaN when neither is known or the map does not exist.
  double reliance_correlation = std::numeric_limits<double>::quiet_NaN();
  double uncertainty_correlation = std::numeric_limits<double>::quiet_NaN();
  int64_t runs = 1;            ///< how many answers were averaged for each image
  int64_t invalid_values = 0;  ///< NaN and infinite input values that were set to 0
};

/// Per-band mean of the clear images: the best constant guess, which a model has to beat.
/// @return  (13)
inline std::vector<float> mean_colour(const data::Dataset& dataset) {
  std::vector<double> total(size_t(data::kBands), 0.0);
  int64_t pixels = 0;
  for (int64_t i = 0; i < dataset.size(); ++i) {
    const data::Sample s = dataset.load(i);
    if (!s.optical_clear.defined()) continue;
    const float* x = s.optical_clear.data();
    const int64_t n = s.optical_clear.numel() / data::kBands;
    for (int64_t p = 0; p < n; ++p)
      for (int64_t b = 0; b < data::kBands; ++b) total[size_t(b)] += double(x[p * data::kBands + b]);
    pixels += n;
  }
  std::vector<float> mean;
  for (double t : total) mean.push_back(pixels > 0 ? float(t / double(pixels)) : 0.0f);
  return mean;
}

namespace detail {

inline metrics::ImagePair pair_of(std::span<const float> restored, const Tensor<float>& clear) {
  return {restored, {clear.data(), size_t(clear.numel())}, clear.size(0), clear.size(1), data::kBands};
}

inline std::vector<float> clamped(const Tensor<float>& x) {
  std::vector<float> values(x.data(), x.data() + x.numel());
  metrics::clamp_to_unit(values);
  return values;
}

}  // namespace detail

/// One sample's images as a batch of one, without changes.
/// Without a cloudy image, clouds are simulated from the sample's place in the data set, so every call sees the same.
inline data::Batch evaluation_batch(const data::Dataset& dataset, int64_t index, uint64_t seed,
                                    int64_t* invalid = nullptr) {
  const data::Sample sample = dataset.load(index);
  if (invalid != nullptr) *invalid += sample.invalid_values;
  const data::Sample plain = data::augment(sample, Key{seed}.at(0x6576616c, uint64_t(index)), data::no_augmentation());
  return data::make_batch(std::span<const data::Sample>(&plain, 1));
}

/// Runs a model, or several, over a data set and measures the result. Images are restored whole.
/// @param colour     the mean colour of the training set, for the baseline
/// @param each       called with (index, batch, outputs) after each sample, for pictures; may be empty
/// @throws ValueError when a sample has no SAR image
inline Evaluation evaluate(
    const Restorer& restorer, const data::Dataset& dataset, const std::vector<float>& colour, const RunConfig& config,
    const std::function<void(int64_t, const data::Batch&, const tdpcr::Outputs<float>&)>& each = {}) {
  const NoGrad guard;
  Evaluation result;
  result.class_names = names_of_classes(config);
  result.runs = restorer.runs();
  std::vector<float> reliance, uncertainty, thickness;
  for (int64_t i = 0; i < dataset.size(); ++i) {
    const data::Batch batch = evaluation_batch(dataset, i, config.seed, &result.invalid_values);
    CLEARSKY_CHECK(ValueError, batch.sar.defined(), "evaluate: sample ", batch.infos[0].id, " has no SAR image");
    tdpcr::Outputs<float> out = restorer(batch.optical, batch.sar);
    // Views of padded images otherwise.
    for (Tensor<float>* t : {&out.reconstruction, &out.logits, &out.reliance, &out.uncertainty}) *t = contiguous(*t);
    const int64_t pixels = batch.optical.size(1) * batch.optical.size(2);
    std::vector<uint8_t> cloudy;
    double cover = std::numeric_limits<double>::quiet_NaN();
    if (batch.mask.defined()) {
      for (int64_t p = 0; p < pixels; ++p) cloudy.push_back(batch.mask.data()[p] > 0.5f);
      cover = double(std::count(cloudy.begin(), cloudy.end(), uint8_t(1))) / double(pixels);
    }
    if (batch.clear.defined()) {
      const Tensor<float> clear = select(batch.clear, 0, 0);
      const std::vector<float> restored = detail::clamped(out.reconstruction), copied = detail::clamped(batch.optical);
      std::vector<float> constant(size_t(pixels * data::kBands));
      for (size_t k = 0; k < constant.size(); ++k) constant[k] = colour[k % size_t(data::kBands)];
      const auto of_model = detail::pair_of(restored, clear), of_copy = detail::pair_of(copied, clear),
                 of_colour = detail::pair_of(constant, clear);
      result.model.add(of_model, cloudy);
      result.copy.add(of_copy, cloudy);
      result.colour.add(of_colour, cloudy);
      result.images.push_back({batch.infos[0].id, batch.infos[0].bucket, cover, metrics::image_scores(of_model),
                               metrics::image_scores(of_copy), metrics::image_scores(of_colour)});
    }
    if (out.logits.defined() && batch.labels.defined()) {
      if (!result.segmentation) result.segmentation.emplace(config.model.classes);
      const Tensor<uint8_t> predicted = cast<uint8_t>(argmax(out.logits, -1));
      result.segmentation->add(std::span<const uint8_t>(predicted.data(), size_t(pixels)),
                               std::span<const uint8_t>(batch.labels.data(), size_t(pixels)));
    }
    const Tensor<float>& known = batch.thickness.defined() ? batch.thickness : batch.mask;
    if (known.defined()) {
      // Every 7th pixel: ranks of millions of values would cost more than the model, and neighbours are alike.
      for (int64_t p = 0; p < pixels; p += 7) {
        thickness.push_back(known.data()[p]);
        if (out.reliance.defined()) reliance.push_back(out.reliance.data()[p]);
        if (out.uncertainty.defined()) uncertainty.push_back(out.uncertainty.data()[p]);
      }
    }
    if (each) each(i, batch, out);
  }
  if (reliance.size() == thickness.size() && !thickness.empty())
    result.reliance_correlation =
        metrics::spearman(std::span<const float>(reliance), std::span<const float>(thickness));
  if (uncertainty.size() == thickness.size() && !thickness.empty())
    result.uncertainty_correlation =
        metrics::spearman(std::span<const float>(uncertainty), std::span<const float>(thickness));
  return result;
}

}  // namespace clearsky::train

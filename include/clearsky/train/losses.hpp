#pragma once
// What training minimises.

#include <algorithm>
#include <cmath>

#include "clearsky/data/loader.hpp"
#include "clearsky/ops/carl.hpp"
#include "clearsky/ops/cross_entropy.hpp"
#include "clearsky/ops/dice.hpp"
#include "clearsky/ops/loss.hpp"
#include "clearsky/ops/reduce.hpp"
#include "clearsky/ops/ssim.hpp"
#include "clearsky/ops/view.hpp"
#include "clearsky/train/config.hpp"

namespace clearsky::train {

/// The mean over the images of 10 log10(MSE + 1e-8), in dB: with images in [0, 1], minus their mean PSNR. MSE minds the
/// worst images most, the mean PSNR the relative error of each.
///
/// @param restored  (N, H, W, C)
/// @param clear     (N, H, W, C)
/// @source  Chen et al., "Simple Baselines for Image Restoration", ECCV 2022, arXiv:2204.04676 (its training loss)
template <class T>
Tensor<T> psnr_loss(const Tensor<T>& restored, const Tensor<T>& clear) {
  const Tensor<T> d = restored - clear;
  return mean(log(mean(d * d, {1, 2, 3}) + T(1e-8))) * T(10 / std::log(10.0));
}

/// L_rec = l1 L1 + mse MSE - psnr PSNR + ssim (1 - SSIM) + carl CARL
///
/// @param restored  (N, H, W, 13)
/// @param clear     (N, H, W, 13)
/// @param cloudy    (N, H, W, 13)  for CARL
/// @param mask      (N, H, W, 1)   1 where cloudy; needed for cloud_weight and CARL
/// @throws ValueError when a term needs a mask that the data does not have
template <class T>
Tensor<T> reconstruction_loss(const Tensor<T>& restored, const Tensor<T>& clear, const Tensor<T>& cloudy,
                              const Tensor<T>& mask, const LossOptions& o) {
  CLEARSKY_CHECK(ValueError, mask.defined() || (o.cloud_weight == 0 && o.carl == 0),
                 "reconstruction_loss: loss.cloud_weight and loss.carl need cloud masks, which the data does not have; "
                 "set them to 0");
  const Tensor<T> weight = o.cloud_weight > 0 ? mask * T(o.cloud_weight) + T(1) : Tensor<T>();
  Tensor<T> total;
  const auto add = [&](double factor, const Tensor<T>& term) {
    const Tensor<T> part = term * T(factor);
    total = total.defined() ? total + part : part;
  };
  if (o.l1 > 0) add(o.l1, l1_loss(restored, clear, weight));
  if (o.mse > 0) add(o.mse, mse_loss(restored, clear, weight));
  if (o.psnr > 0) add(o.psnr, psnr_loss(restored, clear));
  if (o.ssim > 0) add(o.ssim, T(1) - ssim(restored, clear));
  if (o.carl > 0) add(o.carl, carl_loss(restored, clear, cloudy, mask, o.carl_lambda));
  return total;
}

/// What clouds add to the mean of B2, B3 and B4 where they hide the ground: a rough value for the real pairs that the
/// example configurations train on. Simulated clouds that add as much still show most of it.
inline constexpr double kHidingBrightness = 0.12;  // reflectance

/// Pulls what clouds hide towards the mean colour: the mean of hidden (restored - colour)^2, with
///
///     hidden = min(1, |e| / kHidingBrightness)
///
/// and e the mean of cloudy - clear over B2, B3 and B4. Beside `mse` times the MSE, a weight of `prior` leaves the
/// share mse / (mse + prior) of the distance from the mean colour that the data alone would ask for where all is
/// hidden. Few scenes ask for too much: what a network reads off thick clouds over them is wrong over others.
///
/// @param restored  (N, H, W, 13)
/// @param clear     (N, H, W, 13)
/// @param cloudy    (N, H, W, 13)
/// @param colour    (1, 1, 1, 13)  of the training set
template <class T>
Tensor<T> prior_loss(const Tensor<T>& restored, const Tensor<T>& clear, const Tensor<T>& cloudy,
                     const Tensor<T>& colour) {
  const Tensor<T> added = mean(slice(cloudy - clear, 3, data::kB2, data::kB4 + 1), {3}, KeepDim::yes);
  const Tensor<T> hidden = clamp(abs(added) * T(1 / kHidingBrightness), T(0), T(1));
  return mean(square(restored - colour) * hidden);
}

/// The variance of each band within its image, in the mean over bands and images: mean of (restored - its own mean)^2.
/// Beside `mse` times the MSE, a weight of `variation` leaves the share mse / (mse + variation) of the contrast that
/// the data alone would ask for. The clear image is of another day than the cloudy one, and detail that few scenes
/// teach need not hold in others.
///
/// @param restored  (N, H, W, 13)
template <class T>
Tensor<T> variation_loss(const Tensor<T>& restored) {
  return mean(square(restored - mean(restored, {1, 2}, KeepDim::yes)));
}

/// Teaches the prompt's uncertainty to rise with the clouds: the mean of (U - opacity)^2 over the samples of which the
/// opacity is known. Nothing else in the losses gives the entropy of the mixture a meaning: trained without it, U
/// follows the clouds in one data set and runs against them in the next.
///
/// @param uncertainty  (N, H, W, 1)
/// @param batch        its opacity may be on the device already
/// @return             undefined where of no sample it is known
template <class T>
Tensor<T> uncertainty_loss(const Tensor<T>& uncertainty, const data::Batch& batch) {
  const auto& known = batch.knows_opacity;
  const int64_t unknown = std::count(known.begin(), known.end(), uint8_t(0));
  if (unknown == int64_t(known.size())) return {};
  const Tensor<T> opacity = cast<T>(batch.opacity).to(uncertainty.device());
  if (unknown == 0) return mse_loss(uncertainty, opacity);
  Tensor<T> weight(opacity.shape());
  const int64_t each = weight.numel() / batch.size();
  for (int64_t i = 0; i < batch.size(); ++i) std::fill_n(weight.mutable_data() + i * each, each, T(known[size_t(i)]));
  return mse_loss(uncertainty, opacity, weight.to(uncertainty.device()));
}

/// L_seg = cross-entropy + dice Dice
/// @param logits  (N, H, W, classes)
/// @param labels  (N, H, W)  255 is ignored
template <class T>
Tensor<T> segmentation_loss(const Tensor<T>& logits, const Tensor<uint8_t>& labels, const LossOptions& o) {
  CrossEntropyOptions options;
  options.class_weights = o.class_weights;
  Tensor<T> total = cross_entropy(logits, labels, options);
  if (o.dice > 0) total = total + dice_loss(logits, labels) * T(o.dice);
  return total;
}

}  // namespace clearsky::train

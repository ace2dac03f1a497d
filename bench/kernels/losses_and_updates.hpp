#pragma once
// Losses, random numbers, and what changes the parameters.

#include "shapes.hpp"

namespace clearsky::cuda {

inline void losses_and_updates() {
  const int64_t bands = 13, count = kPixels * bands, classes = 10;
  const auto a = numbers(count, 1), b = numbers(count, 2), scores = numbers(kPixels * classes, 3), one = numbers(1, 4);
  const std::string shape = text("%lldx%lldx%lld", kSide, kSide, bands);
  const DeviceArray<float> loss(1), scale(1), da(count), dmx(count), dsq(count), dpr(count), d(kPixels * classes);
  const ErrorLossForward<cpu::AbsoluteError> f{{}, a.data(), b.data(), nullptr, loss.data(), scale.data(), count, 1};
  const DeviceArray<float> space(error_loss_workspace(count, 1) + 2);
  look_at("l1_loss_forward", shape, 3.0 * double(count), "error_loss_sums",
          [&] { error_loss_forward(f, space.data(), nullptr); });
  look_at("l1_loss_backward", shape, 3.0 * double(count), "error_loss_slopes", [&] {
    error_loss_backward(
        ErrorLossBackward<cpu::AbsoluteError>{
            {}, a.data(), b.data(), nullptr, one.data(), scale.data(), da.data(), nullptr, count, 1},
        nullptr);
  });
  look_at("charbonnier_loss_forward", shape, 5.0 * double(count), "error_loss_sums", [&] {
    error_loss_forward(
        ErrorLossForward<cpu::CharbonnierError<float>>{
            {1e-3f}, a.data(), b.data(), nullptr, loss.data(), scale.data(), count, 1},
        space.data(), nullptr);
  });
  const auto input = numbers(count, 8), mask = numbers(kPixels, 9);
  const DeviceArray<float> carl_space(carl_workspace(kPixels, bands) + 2);
  look_at("cloud_adaptive_loss_forward", shape, 7.0 * double(count), "carl_sums", [&] {
    carl_forward({a.data(), b.data(), input.data(), mask.data(), loss.data(), kPixels, bands, 1.0f}, carl_space.data(),
                 nullptr);
  });
  look_at("cloud_adaptive_loss_backward", shape, 8.0 * double(count), "carl_slopes", [&] {
    carl_backward(
        {one.data(), a.data(), b.data(), input.data(), mask.data(), da.data(), nullptr, nullptr, kPixels, bands, 1.0f},
        nullptr);
  });
  const SsimForward s{a.data(),   b.data(), loss.data(), dmx.data(), nullptr, dsq.data(),
                      dpr.data(), kBatch,   kSide,       kSide,      bands};
  const DeviceArray<float> ssim_space(ssim_forward_workspace(s) + 2);
  look_at("ssim_forward", shape, 240.0 * double(count), "ssim_forward_tiles",
          [&] { ssim_forward(s, ssim_space.data(), nullptr); });
  look_at("ssim_backward", shape, 140.0 * double(count), "ssim_backward_tiles", [&] {
    ssim_backward(
        {one.data(), a.data(), b.data(), dmx.data(), dsq.data(), dpr.data(), da.data(), kBatch, kSide, kSide, bands},
        nullptr);
  });
  std::vector<uint8_t> labels(static_cast<size_t>(kPixels));
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = uint8_t(i % 10);
  const DeviceArray<uint8_t> label(labels.data(), kPixels);
  const DeviceArray<float> ce_space(cross_entropy_workspace(kPixels) + 2);
  const DeviceArray<int64_t> invalid(1);
  look_at("cross_entropy", text("%lldx%lldx%lld", kSide, kSide, classes), 12.0 * double(kPixels * classes),
          "cross_entropy_rows", [&] {
            cross_entropy(CrossEntropy<uint8_t>{scores.data(), label.data(), nullptr, loss.data(), scale.data(),
                                                d.data(), nullptr, kPixels, classes, 255, 0, 0},
                          ce_space.data(), invalid.data(), nullptr);
          });
  const DeviceArray<float> dice_space(dice_forward_workspace(kPixels, classes) + 2), probability(kPixels * classes),
      slopes(2 * classes);
  look_at("dice_loss_forward", text("%lldx%lldx%lld", kSide, kSide, classes), 10.0 * double(kPixels * classes),
          "dice_rows", [&] {
            dice_forward(DiceForward<uint8_t>{scores.data(), label.data(), loss.data(), probability.data(),
                                              slopes.data(), nullptr, kPixels, classes, 255, 1.0},
                         dice_space.data(), invalid.data(), nullptr);
          });
  look_at("dice_loss_backward", text("%lldx%lldx%lld", kSide, kSide, classes), 6.0 * double(kPixels * classes),
          "dice_backward", [&] {
            dice_backward(DiceBackward<uint8_t>{one.data(), probability.data(), slopes.data(), label.data(), d.data(),
                                                kPixels, classes, 255},
                          nullptr);
          });
  const DeviceArray<float> noise(count);
  look_at("rand_uniform", shape, 0, "draw", [&] { rand_uniform({Key{7}, 0, 1, noise.data(), count}, nullptr); });
  look_at("rand_normal", shape, 0, "draw", [&] { rand_normal({Key{7}, noise.data(), count}, nullptr); });
  look_at("dropout_mask", shape, 0, "draw", [&] { dropout_mask({Key{7}, 0.1, noise.data(), count}, nullptr); });
  const int64_t parameters = 1 << 17;
  const auto value = numbers(parameters, 5), gradient = numbers(parameters, 6), m = numbers(parameters, 7);
  const DeviceArray<float> v(parameters);
  fill_device(v.data(), 0, size_t(parameters) * 4, nullptr);
  const int64_t starts[] = {0, parameters}, counts[] = {parameters};
  const DeviceArray<int64_t> start(starts, 2), size(counts, 1);
  const AdamTensor record{value.data(), gradient.data(), m.data(), v.data(), 1, 0, 1e-3f, 1};
  const DeviceArray<AdamTensor> records(&record, 1);
  look_at("adam_step", text("%lld parameters", parameters), 14.0 * double(parameters), "adam", [&] {
    adam_step({{start.data(), size.data(), 1}, records.data(), 0.1f, 0.999f, 0.001f, 1e-8f, 1}, parameters, nullptr);
  });

  const cpu::UpdateLayout layout{start.data(), size.data(), 1};
  const std::string many = text("%lld parameters", parameters);
  const SgdTensor sgd{value.data(), gradient.data(), m.data(), 0, 1e-3f};
  const DeviceArray<SgdTensor> sgd_records(&sgd, 1);
  look_at("sgd_step (momentum)", many, 5.0 * double(parameters), "sgd", [&] {
    sgd_step({layout, sgd_records.data(), 0.9f, 1, false}, parameters, nullptr);
  });
  float *const averages[] = {m.data()}, *const values[] = {value.data()};
  const float* const gradients[] = {gradient.data()};
  const DeviceArray<float*> of_averages(averages, 1), of_values(values, 1);
  const DeviceArray<const float*> of_gradients(gradients, 1);
  look_at("average_step", many, 3.0 * double(parameters), "average", [&] {
    average_step({layout, of_averages.data(), of_values.data(), 0.01f, false}, parameters, nullptr);
  });
  look_at("scale_step", many, double(parameters), "scale", [&] {
    scale_step({layout, of_values.data(), 0.5f, 1e9f}, parameters, nullptr);
  });
  const DeviceArray<double> norm(1), norm_space(squared_norm_workspace(parameters));
  look_at("squared_norm", many, 2.0 * double(parameters), "squared_norm", [&] {
    squared_norm({layout, of_gradients.data(), norm.data()}, parameters, norm_space.data(), nullptr);
  });
}

}  // namespace clearsky::cuda

#pragma once
// The segmentation decoder: a land-cover map from the shared decoder's features.

#include "clearsky/nn/norm.hpp"
#include "clearsky/tdpcr/decoder.hpp"

namespace clearsky::tdpcr {

/// Four depths of the shared decoder to the logits of each class at the size of the shallowest.
///
///     f = Conv1x1_{4D -> D}([up(Conv1x1(x_0)) ; ... ; up(Conv1x1(x_3))])        all at half the height and width
///     logits = up(Conv1x1(GELU(Conv3x3(GELU(LN(f))))))                          up: bilinear
template <class T = float>
struct SegmentationDecoder {
  using value_type = T;
  std::vector<nn::Conv2d<T>> levels;  ///< 1x1, C_l -> D
  nn::Conv2d<T> fuse;                 ///< 1x1, 4 D -> D
  nn::LayerNorm<T> norm;
  nn::Conv2d<T> refine;  ///< 3x3
  nn::Conv2d<T> classifier;

  [[gnu::cold]] explicit SegmentationDecoder(const Config& config)
      : fuse(nn::pointwise_conv2d<T>(kLevels * config.segmentation_width, config.segmentation_width)),
        norm(config.segmentation_width),
        refine(config.segmentation_width, config.segmentation_width, 3, {.padding = 1}),
        classifier(nn::pointwise_conv2d<T>(config.segmentation_width, config.classes, nn::Bias::yes)) {
    for (int64_t l = 0; l < kLevels; ++l)
      levels.push_back(nn::pointwise_conv2d<T>(config.channels(l), config.segmentation_width, nn::Bias::yes));
  }

  /// @param features  (N, H_l, W_l, C_l), shallowest first
  /// @return          (N, H_0, W_0, classes)
  Tensor<T> operator()(const Features<T>& features) const {
    const ProfileModule scope(*this);
    const int64_t height = features[0].size(1), width = features[0].size(2);
    Tensor<T> f = at_half_size(features, 0, height / 2, width / 2);
    for (size_t l = 1; l < size_t(kLevels); ++l) f = f + at_half_size(features, l, height / 2, width / 2);
    return resize(classifier(gelu(refine(gelu(norm(f))))), height, width);
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("levels", levels);
    visit("fuse", fuse);
    visit("norm", norm);
    visit("refine", refine);
    visit("classifier", classifier);
  }

 private:
  /// What a level contributes to f. Bilinear weights add up to 1, so resizing commutes with 1x1 convolutions and their
  /// biases: everything is computed at the smaller of the two sizes, and the four levels are added instead of being put
  /// side by side.
  Tensor<T> at_half_size(const Features<T>& features, size_t level, int64_t height, int64_t width) const {
    const auto convolve = [&](const Tensor<T>& x) {
      const Tensor<T> y = levels[level](x);
      const ProfileModule scope(fuse);
      return detail::part_of_pointwise(y, fuse.weight.value, int64_t(level) * y.size(3));
    };
    const Tensor<T>& x = features[level];
    return x.size(1) > height ? convolve(resize(x, height, width)) : resize(convolve(x), height, width);
  }
};

}  // namespace clearsky::tdpcr

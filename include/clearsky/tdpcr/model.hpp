#pragma once
// TDP-CR: cloud removal and land-cover segmentation from one optical and one SAR image.
//
// Source: Zhang, Li, Shi, Yuan, "Task-Driven Prompt Learning: A Joint Framework for Multi-modal Cloud Removal and
// Segmentation", arXiv:2601.12052. The paper fixes the structure; equations and sizes are this project's.

#include <optional>

#include "clearsky/nn/state_dict.hpp"
#include "clearsky/ops/elementwise.hpp"
#include "clearsky/ops/pad.hpp"
#include "clearsky/tdpcr/encoder.hpp"
#include "clearsky/tdpcr/prompt.hpp"
#include "clearsky/tdpcr/segmentation.hpp"

namespace clearsky::tdpcr {

/// What the model gives. Tensors that were not asked for, or that the configuration has not, are undefined.
template <class T = float>
struct Outputs {
  Tensor<T> reconstruction;  ///< (N, H, W, bands)
  Tensor<T> logits;          ///< (N, H, W, classes); undefined without a segmentation decoder
  Tensor<T> reliance;        ///< (N, H, W, 1)  the fusion gates' mean, 0 to 1: where SAR was used; no gradient
  Tensor<T> uncertainty;     ///< (N, H, W, 1)  the prompt's entropy, 0 to 1; its gradient only where it is asked for
};

/// Which outputs to compute. Training asks only for what its loss reads.
struct Wanted {
  bool reconstruction = true;
  bool logits = true;        ///< where a segmentation decoder is attached
  bool maps = true;          ///< reliance and uncertainty, both without gradient
  bool uncertainty = false;  ///< uncertainty with its gradient, for a loss
};

template <class T = float>
struct Model {
  using value_type = T;

  /// Start values from `seed`.
  /// @throws ConfigError when the configuration makes no network
  [[gnu::cold]] explicit Model(const Config& configuration = {}, uint64_t seed = 1)
      : config_(checked(configuration)),
        prompt_generator(config_),
        optical_encoder(config_, config_.optical_bands, config_.optical_blocks),
        decoder(config_) {
    if (config_.uses_sar()) {
      sar_encoder.emplace(config_, config_.sar_bands, config_.sar_blocks);
      fusion = {kLevels, [&](int64_t l) {
                  return FusionBlock<T>(config_.fusion, config_.channels(l), config_.prompt_channels);
                }};
    }
    if (config_.segmentation) segmentation_decoder.emplace(config_);
    nn::initialise(*this, seed);
  }

  /// As it is now: `segmentation` becomes true when the segmentation decoder is attached.
  const Config& config() const { return config_; }

  /// Where its parameters are; nn::to moves them.
  Device device() const { return decoder.head.weight.value.device(); }

  /// Adds the segmentation decoder, for phase 2. With the seed of the model it starts as if it had been there from the
  /// beginning. @throws ValueError when there is one already
  void attach_segmentation(uint64_t seed) {
    CLEARSKY_CHECK(ValueError, !segmentation_decoder.has_value(),
                   "attach_segmentation: the model has a segmentation decoder already");
    segmentation_decoder.emplace(config_);
    nn::initialise(*segmentation_decoder, seed, "segmentation_decoder");
    nn::to(*segmentation_decoder, device());
    config_.segmentation = true;
  }

  /// Makes trainable what a phase trains and freezes everything else: frozen parameters have no gradient, no optimizer
  /// state, and keep their bits, and what runs ahead of all trained ones records nothing. Make the optimizer
  /// afterwards.
  /// @throws ValueError when there is no segmentation decoder to train
  void set_trained(Trains trains) {
    CLEARSKY_CHECK(ValueError, trains == Trains::reconstruction || segmentation_decoder.has_value(),
                   "set_trained: trains = ", trains,
                   " but the model has no segmentation decoder; call attach_segmentation() first");
    nn::each_parameter(*this, [&](const std::string& name, nn::Parameter<T>& p) {
      const bool segments = name.starts_with("segmentation_decoder."), decodes = name.starts_with("decoder.");
      const bool on = trains == Trains::all || (trains == Trains::reconstruction && !segments) ||
                      (trains == Trains::segmentation && segments) ||
                      (trains == Trains::decoders && (segments || decodes));
      p.value.set_requires_grad(on);
      if (!on) p.value.set_grad({});
    });
  }

  /// @param optical  (N, H, W, bands) the cloudy image in [0, 1]; H and W at least 8
  /// @param sar      (N, H, W, SAR bands) in [0, 1], of the same place; ignored, and may be undefined, for fusion =
  /// none
  /// @throws         ShapeError when bands or sizes do not fit
  Outputs<T> operator()(const Tensor<T>& optical, const Tensor<T>& sar, const Wanted& wanted = {}) const {
    const ProfileModule scope(*this);
    check_inputs(optical, sar);
    const int64_t height = optical.size(1), width = optical.size(2);
    const PadSizes border{.bottom = missing(height), .right = missing(width)};
    const auto padded = [&](const Tensor<T>& x) {
      return border.bottom + border.right == 0 ? x : pad(x, border, Padding::reflect);
    };
    const auto cropped = [&](const Tensor<T>& x) { return slice(slice(x, 1, 0, height), 2, 0, width); };

    const Tensor<T> cloudy = padded(optical);
    PromptMap<T> prompt;
    if (config_.gated() || wanted.maps || wanted.uncertainty) prompt = prompt_generator(cloudy);
    std::vector<Tensor<T>> gates;
    Features<T> features =
        decoder(encode(cloudy, config_.uses_sar() ? padded(sar) : Tensor<T>(), prompt, wanted.maps ? &gates : nullptr));

    Outputs<T> out;
    if (wanted.maps) {
      const NoGrad reports_only;
      out.reliance = mean_gate(gates, cloudy.size(1), cloudy.size(2));
      if (out.reliance.defined()) out.reliance = cropped(out.reliance);
    }
    if (wanted.maps || wanted.uncertainty) {
      const Tensor<T>& u = prompt.uncertainty;
      out.uncertainty = u.defined()
                            ? cropped(resize(wanted.uncertainty ? u : u.detach(), cloudy.size(1), cloudy.size(2)))
                            : zeros<T>({optical.size(0), height, width, 1}, optical.device());
    }
    if (wanted.logits && segmentation_decoder.has_value()) out.logits = cropped((*segmentation_decoder)(features));
    if (wanted.reconstruction) {
      Tensor<T> image = decoder.head(features[0]);
      if (config_.residual == Residual::input) image = image + cloudy;
      out.reconstruction = cropped(image);
    }
    return out;
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("prompt_generator", prompt_generator);
    visit("optical_encoder", optical_encoder);
    visit("sar_encoder", sar_encoder);
    visit("fusion", fusion);
    visit("decoder", decoder);
    visit("segmentation_decoder", segmentation_decoder);
  }

 private:
  static const Config& checked(const Config& config) {
    validate(config);
    return config;
  }
  static int64_t missing(int64_t size) { return (kSizeMultiple - size % kSizeMultiple) % kSizeMultiple; }

  void check_inputs(const Tensor<T>& optical, const Tensor<T>& sar) const {
    CLEARSKY_CHECK(ShapeError, optical.rank() == 4, "tdpcr: optical must be (N, H, W, ", config_.optical_bands,
                   "), got ", optical.shape());
    CLEARSKY_CHECK(ShapeError, optical.size(3) == config_.optical_bands, "tdpcr: optical ", optical.shape(), " has ",
                   optical.size(3), " bands, the model wants ", config_.optical_bands,
                   "; use data with those bands, or weights made for yours");
    CLEARSKY_CHECK(ShapeError, optical.size(1) >= kSizeMultiple && optical.size(2) >= kSizeMultiple, "tdpcr: optical ",
                   optical.shape(), " is smaller than ", kSizeMultiple, " x ", kSizeMultiple,
                   " pixels; use a larger window");
    if (!config_.uses_sar()) return;
    CLEARSKY_CHECK(ShapeError, sar.defined(), "tdpcr: sar is undefined but fusion = ", config_.fusion,
                   " reads it; pass the image, or use a model with fusion = none");
    CLEARSKY_CHECK(ShapeError, sar.rank() == 4 && sar.size(3) == config_.sar_bands, "tdpcr: sar ", sar.shape(),
                   " must be (N, H, W, ", config_.sar_bands, ")");
    CLEARSKY_CHECK(ShapeError,
                   sar.size(0) == optical.size(0) && sar.size(1) == optical.size(1) && sar.size(2) == optical.size(2),
                   "tdpcr: optical ", optical.shape(), " and sar ", sar.shape(),
                   " differ in number or size; resample one to the other's grid");
  }

  /// Both streams downwards, fused at the end of each level: what the next level and the decoder see.
  Features<T> encode(const Tensor<T>& cloudy, const Tensor<T>& sar, const PromptMap<T>& prompt,
                     std::vector<Tensor<T>>* gates) const {
    Features<T> fused;
    Tensor<T> x = optical_encoder.stem(cloudy), s;
    if (sar_encoder) s = sar_encoder->stem(sar);
    for (size_t l = 0; l < size_t(kLevels); ++l) {
      x = optical_encoder.levels[l].blocks(std::move(x));
      if (sar_encoder) {
        s = sar_encoder->levels[l].blocks(std::move(s));
        Tensor<T> gate;
        x = fusion[l](x, s, prompt.map, gates == nullptr ? nullptr : &gate);
        if (gate.defined()) gates->push_back(std::move(gate));
      }
      fused[l] = x;
      if (l + 1 == size_t(kLevels)) break;
      x = optical_encoder.levels[l].descend(x);
      if (sar_encoder) s = sar_encoder->levels[l].descend(s);
    }
    return fused;
  }

  /// The mean over the levels of each level's mean gate, at full size; undefined without gates.
  static Tensor<T> mean_gate(const std::vector<Tensor<T>>& gates, int64_t height, int64_t width) {
    Tensor<T> total;
    for (const Tensor<T>& g : gates) {
      const Tensor<T> large = resize(g, height, width);
      total = total.defined() ? total + large : large;
    }
    return total.defined() ? total * T(1.0 / double(gates.size())) : total;
  }

  Config config_;

 public:
  PromptGenerator<T> prompt_generator;
  Encoder<T> optical_encoder;
  std::optional<Encoder<T>> sar_encoder;  ///< absent for fusion = none
  nn::List<FusionBlock<T>> fusion;        ///< one per level; none for fusion = none
  Decoder<T> decoder;
  std::optional<SegmentationDecoder<T>> segmentation_decoder;
};

}  // namespace clearsky::tdpcr

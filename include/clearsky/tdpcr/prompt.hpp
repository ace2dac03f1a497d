#pragma once
// The prompt generator: where the cloudy image is how cloudy, and how sure that is.

#include <cmath>

#include "clearsky/nn/conv2d.hpp"
#include "clearsky/nn/linear.hpp"
#include "clearsky/ops/concat.hpp"
#include "clearsky/ops/pool.hpp"
#include "clearsky/ops/resize.hpp"
#include "clearsky/ops/softmax.hpp"
#include "clearsky/tdpcr/config.hpp"

namespace clearsky::tdpcr {

/// What the fusion blocks and the user get from the prompt generator, at a quarter of the image's height and width.
template <class T = float>
struct PromptMap {
  Tensor<T> map;          ///< (N, H/4, W/4, C_p + 1): the prompt P, then U; undefined for prompt = none, meaning zeros
  Tensor<T> uncertainty;  ///< (N, H/4, W/4, 1): U in [0, 1]; undefined where it is 0 by definition
};

/// From the raw optical image (N, H, W, bands), H and W multiples of 4.
///
///     mixture:  m = softmax(Conv1x1(GELU(Conv3x3/2(GELU(Conv3x3/2(x))))))   over the K components, per pixel
///               P = sum_k m_k e_k        U = -sum_k m_k log m_k / log K
///     bank:     P = resize(sum_k softmax(Linear(GAP(x)))_k B_k)               U = 0
///
/// @source  bank: Potlapalli et al., "PromptIR", NeurIPS 2023, arXiv:2306.13090, eq. 3; mixture: this project's
template <class T = float>
struct PromptGenerator {
  using value_type = T;
  nn::Conv2d<T> conv1, conv2, logits;
  nn::Parameter<T> embeddings;  ///< (K, C_p)
  nn::Parameter<T> bank;        ///< (K, S, S, C_p)
  nn::Linear<T> mixing;

  [[gnu::cold]] explicit PromptGenerator(const Config& config) {
    const int64_t hidden = config.prompt_hidden, components = config.prompt_components;
    if (config.prompt == Prompt::mixture) {
      conv1 = nn::Conv2d<T>(config.optical_bands, hidden, 3, {.stride = 2, .padding = 1});
      conv2 = nn::Conv2d<T>(hidden, hidden, 3, {.stride = 2, .padding = 1});
      logits = nn::pointwise_conv2d<T>(hidden, components, nn::Bias::yes);
      embeddings = nn::Parameter<T>({components, config.prompt_channels}, nn::init::normal(1));
    } else if (config.prompt == Prompt::bank) {
      const int64_t side = config.bank_size;
      bank = nn::Parameter<T>({components, side, side, config.prompt_channels}, nn::init::normal(1));
      mixing = nn::Linear<T>(config.optical_bands, components);
    }
  }

  PromptMap<T> operator()(const Tensor<T>& x) const {
    const ProfileModule scope(*this);
    if (embeddings.defined()) return mixture(x);
    if (bank.defined()) return from_bank(x);
    return {};
  }

  template <class Visit>
  void each_part(Visit&& visit) {
    visit("conv1", conv1);
    visit("conv2", conv2);
    visit("logits", logits);
    visit("embeddings", embeddings);
    visit("bank", bank);
    visit("mixing", mixing);
  }

 private:
  PromptMap<T> mixture(const Tensor<T>& x) const {
    const Tensor<T> log_m = log_softmax(logits(gelu(conv2(gelu(conv1(x))))), -1), m = exp(log_m);
    const Tensor<T> entropy = -sum(m * log_m, {-1}, KeepDim::yes);
    const Tensor<T> uncertainty = entropy * T(1 / std::log(double(m.size(-1))));
    return {concat({matmul(m, embeddings.value), uncertainty}, -1), uncertainty};
  }

  PromptMap<T> from_bank(const Tensor<T>& x) const {
    const int64_t batch = x.size(0), height = x.size(1) / 4, width = x.size(2) / 4;
    const Shape& b = bank.value.shape();  // (K, S, S, C_p)
    const Tensor<T> shares = softmax(mixing(mean(x, {1, 2})), -1);
    const Tensor<T> mixed = matmul(shares, reshape(bank.value, {b[0], b[1] * b[2] * b[3]}));
    const Tensor<T> prompt = resize(reshape(mixed, {batch, b[1], b[2], b[3]}), height, width);
    return {concat({prompt, zeros<T>({batch, height, width, 1}, x.device())}, -1), {}};
  }
};

}  // namespace clearsky::tdpcr

#pragma once
// The rows of the CPU benchmarks: what is timed, and what it must do at least. bench/peers/torch_rows.py has the same
// rows, by the same names, in PyTorch.

#include <functional>
#include <string>
#include <vector>

#include "clearsky/clearsky.hpp"

namespace clearsky::bench {

/// One measurement. FLOP and bytes are those of the direct algorithm: multiplications and additions, and every input
/// read once and every output written once; backward counts the same again for each gradient.
struct Row {
  std::string name;
  std::string kind;  ///< model | model_naf | model_bf16 | attention | conv3x3_forward | other
  double flop, bytes;
  /// Makes the inputs; what it returns is timed.
  std::function<std::function<void()>()> make;
};

namespace detail {

inline Tensor<> input(const Shape& shape, uint64_t key, bool gradient) {
  Tensor<> x = rand<float>(shape, Key{key}, -1.0, 1.0);
  if (gradient) x.set_requires_grad();
  return x;
}

/// Forward alone, and forward and backward, of a function of some tensors.
/// @param gradients  how many products of forward's size backward has: 2 where a weight has a gradient too
template <class F>
void add_pair(std::vector<Row>& rows, const std::string& name, const std::string& kind, const std::string& forward_kind,
              double flop, double gradients, double bytes, const std::vector<Shape>& shapes, F f) {
  rows.push_back({name + ".forward", forward_kind, flop, bytes, [=]() -> std::function<void()> {
                    std::vector<Tensor<>> in;
                    for (size_t i = 0; i < shapes.size(); ++i) in.push_back(input(shapes[i], i + 1, false));
                    return [=] {
                      const NoGrad guard;
                      f(in);
                    };
                  }});
  rows.push_back(
      {name + ".forward_backward", kind, flop * (1 + gradients), bytes * 2.5, [=]() -> std::function<void()> {
         std::vector<Tensor<>> in;
         for (size_t i = 0; i < shapes.size(); ++i) in.push_back(input(shapes[i], i + 1, true));
         Tensor<> seed;
         {
           const NoGrad guard;
           seed = input(f(in).shape(), 99, false);
         }
         return [=]() mutable {
           const Tensor<> y = f(in);
           y.backward(y.rank() == 0 ? ones<float>(y.shape()) : seed);
           for (Tensor<>& x : in) x.set_grad({});
         };
       }});
}

inline void add_convolution(std::vector<Row>& rows, const std::string& name, int64_t size, int64_t in, int64_t out,
                            int64_t window, int64_t groups = 1) {
  const double pixels = double(size * size), taps = double(window * window * (in / groups));
  const std::string kind = window == 3 && groups == 1 && in >= 32 ? "conv3x3_forward" : "other";
  add_pair(rows, name, "other", kind, 2 * pixels * double(out) * taps, 2, 4 * pixels * double(in + out),
           {{1, size, size, in}, {out, window, window, in / groups}}, [=](const std::vector<Tensor<>>& t) {
             return conv2d(t[0], t[1], {}, {.padding = window / 2, .groups = groups});
           });
}

/// A model's training step: forward, loss, backward, clipping, AdamW; or inference.
inline std::function<void()> model_work(tdpcr::Block block, int64_t batch, int64_t size, int phase) {
  tdpcr::Config config;
  config.block = block;
  config.segmentation = phase != 1;
  struct State {
    tdpcr::Model<float> model;
    Tensor<> optical, sar, clear;
    Tensor<uint8_t> labels;
    std::optional<optim::AdamW<float>> optimizer;
    explicit State(const tdpcr::Config& c) : model(c, 1) {}
  };
  auto s = std::make_shared<State>(config);
  s->optical = rand<float>({batch, size, size, 13}, Key{1});
  s->sar = rand<float>({batch, size, size, 2}, Key{2});
  s->clear = rand<float>({batch, size, size, 13}, Key{3});
  s->labels = Tensor<uint8_t>({batch, size, size});
  for (int64_t i = 0; i < s->labels.numel(); ++i) s->labels.mutable_data()[i] = uint8_t(i * 7 / 64 % 7);
  if (phase == 0)
    return [s] {
      const NoGrad guard;
      s->model(s->optical, s->sar);
    };
  s->model.set_trained(phase == 1 ? tdpcr::Trains::reconstruction : tdpcr::Trains::segmentation);
  s->optimizer.emplace(nn::trainable_parameters(s->model), optim::AdamOptions{.weight_decay = 1e-3});
  return [s, phase] {
    Tensor<> loss;
    if (phase == 1) {
      const Tensor<> image = s->model(s->optical, s->sar).reconstruction;
      loss = l1_loss(image, s->clear) * 0.9f + (1.0f - ssim(image, s->clear)) * 0.1f;
    } else {
      loss = cross_entropy(s->model(s->optical, s->sar, {.reconstruction = false}).logits, s->labels);
    }
    loss.backward();
    s->optimizer->step(1e-4, optim::clip_factor(s->optimizer->gradient_norm(), 0.5));
    s->optimizer->zero_grad();
  };
}

inline void add_model(std::vector<Row>& rows, const std::string& name, const std::string& kind, tdpcr::Block block,
                      int64_t batch, int64_t size, int phase, Precision precision = Precision::float32) {
  tdpcr::Config config;
  config.block = block;
  config.segmentation = phase != 1;
  const double forward =
      2 * double(tdpcr::summarise(tdpcr::Model<float>(config, 1), size, size).total.macs) * double(batch);
  rows.push_back({name, kind, phase == 1 ? 3 * forward : forward, 0, [=]() -> std::function<void()> {
                    return [=, work = model_work(block, batch, size, phase)] {
                      const Autocast products(precision);
                      work();
                    };
                  }});
}

}  // namespace detail

/// All rows of performance.md's tables.
inline std::vector<Row> all_rows() {
  using detail::add_pair;
  std::vector<Row> rows;
  detail::add_convolution(rows, "conv3x3_64_64_at_128", 128, 64, 64, 3);
  detail::add_convolution(rows, "conv3x3_128_128_at_64", 64, 128, 128, 3);
  detail::add_convolution(rows, "conv3x3_32_32_at_256", 256, 32, 32, 3);
  detail::add_convolution(rows, "conv3x3_15_32_at_256", 256, 15, 32, 3);
  detail::add_convolution(rows, "conv1x1_64_256_at_128", 128, 64, 256, 1);
  detail::add_convolution(rows, "conv1x1_32_64_at_256", 256, 32, 64, 1);
  detail::add_convolution(rows, "depthwise3x3_128_at_128", 128, 128, 128, 3, 128);
  const double pixels = 128.0 * 128;
  add_pair(rows, "layer_norm_64_at_128", "other", "other", 8 * 64 * pixels, 1.5, 8 * 64 * pixels,
           {{1, 128, 128, 64}, {64}, {64}}, [](const auto& t) { return layer_norm(t[0], t[1], t[2]); });
  add_pair(rows, "gelu_64_at_128", "other", "other", 20 * 64 * pixels, 1, 8 * 64 * pixels, {{1, 128, 128, 64}},
           [](const auto& t) { return gelu(t[0]); });
  const Shape tokens{1, 4, 1024, 32};
  add_pair(rows, "attention_1024_4x32", "attention", "attention", 4.0 * 4 * 1024 * 1024 * 32, 2.5,
           4.0 * 4 * 4 * 1024 * 32, {tokens, tokens, tokens},
           [](const auto& t) { return scaled_dot_product_attention(t[0], t[1], t[2]); });
  const Shape image{1, 128, 128, 128};
  add_pair(rows, "window_attention_256x64_4x32", "attention", "attention", 4.0 * 256 * 4 * 64 * 64 * 32, 2.5,
           4.0 * 4 * 128 * 128 * 128, {image, image, image},
           [](const auto& t) { return window_attention(t[0], t[1], t[2], 4, 8); });
  add_pair(rows, "mdta_64_at_128", "attention", "attention",
           2 * pixels * (3 * 64 * 64 + 9 * 192 + 2 * 64 * 32 + 64 * 64), 2, 4 * 2 * 64 * pixels,
           {{1, 128, 128, 64}, {192, 1, 1, 64}, {192, 3, 3, 1}, {2}, {64, 1, 1, 64}}, [](const auto& t) {
             const Tensor<> qkv = conv2d(conv2d(t[0], t[1]), t[2], {}, {.padding = 1, .groups = 192});
             return conv2d(channel_attention_qkv(qkv, t[3]), t[4]);
           });
  {
    auto labels = std::make_shared<Tensor<uint8_t>>(Shape{4, 256, 256});
    for (int64_t i = 0; i < labels->numel(); ++i) labels->mutable_data()[i] = uint8_t(i * 7 / 64 % 10);
    const double elements = 4.0 * 256 * 256 * 10;
    add_pair(rows, "cross_entropy_4x10x256x256", "other", "other", 20 * elements, 1, 4 * elements, {{4, 256, 256, 10}},
             [labels](const auto& t) { return cross_entropy(t[0], *labels); });
  }
  rows.push_back({"adamw_5m", "other", 12 * 5e6, 28 * 5e6, []() -> std::function<void()> {
                    const Tensor<> p = detail::input({5000, 1000}, 1, true);
                    auto optimizer = std::make_shared<optim::AdamW<float>>(
                        std::vector<nn::NamedParameter<float>>{{"p", p}}, optim::AdamOptions{.weight_decay = 1e-3});
                    return [p, optimizer, g = detail::input({5000, 1000}, 2, false)] {
                      p.set_grad(g);
                      optimizer->step(1e-4);
                    };
                  }});
  for (int64_t batch : {1, 4}) {
    const std::string end = "_at_256_batch_" + std::to_string(batch);
    detail::add_model(rows, "tdpcr.inference" + end, "model", tdpcr::Block::restormer, batch, 256, 0);
    detail::add_model(rows, "tdpcr.phase1" + end, "model", tdpcr::Block::restormer, batch, 256, 1);
    detail::add_model(rows, "tdpcr.phase2" + end, "model", tdpcr::Block::restormer, batch, 256, 2);
  }
  detail::add_model(rows, "tdpcr_naf.inference_at_256_batch_1", "model_naf", tdpcr::Block::naf, 1, 256, 0);
  detail::add_model(rows, "tdpcr_naf.phase1_at_256_batch_1", "model_naf", tdpcr::Block::naf, 1, 256, 1);
  // Products of factors in bfloat16.
  for (const bool naf : {false, true})
    for (const int phase : {0, 1})
      detail::add_model(rows,
                        std::string(naf ? "tdpcr_naf" : "tdpcr") + "_bf16." + (phase == 0 ? "inference" : "phase1") +
                            "_at_256_batch_1",
                        "model_bf16", naf ? tdpcr::Block::naf : tdpcr::Block::restormer, 1, 256, phase,
                        Precision::bfloat16);
  // How time and memory grow with pixels and with images.
  for (int64_t size : {32, 64, 128, 256, 512, 1024}) {
    const std::string end = "_at_" + std::to_string(size) + "_batch_1";
    detail::add_model(rows, "scaling.inference" + end, "scaling", tdpcr::Block::restormer, 1, size, 0);
    if (size <= 512) detail::add_model(rows, "scaling.phase1" + end, "scaling", tdpcr::Block::restormer, 1, size, 1);
  }
  for (int64_t batch : {2, 4, 8, 16}) {
    const std::string end = "_at_64_batch_" + std::to_string(batch);
    detail::add_model(rows, "scaling.inference" + end, "scaling", tdpcr::Block::restormer, batch, 64, 0);
    detail::add_model(rows, "scaling.phase1" + end, "scaling", tdpcr::Block::restormer, batch, 64, 1);
  }
  return rows;
}

}  // namespace clearsky::bench

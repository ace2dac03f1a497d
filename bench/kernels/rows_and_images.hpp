#pragma once
// Operations on pixels' channels and on images, and single elements.

#include "shapes.hpp"

namespace clearsky::cuda {

inline void rows_of_channels() {
  const int64_t count = kPixels * kWidth;
  const auto x = numbers(count, 1), dy = numbers(count, 2), gamma = numbers(kWidth, 3), beta = numbers(kWidth, 4);
  const DeviceArray<float> y(count), mean(kPixels), rstd(kPixels), dx(count), dgamma(kWidth), dbeta(kWidth);
  const std::string shape = text("%lldx%lldx%lld", kSide, kSide, kWidth);
  look_at("layer_norm_forward", shape, 8.0 * double(count), "layer_norm_forward", [&] {
    layer_norm_forward(
        {x.data(), gamma.data(), beta.data(), y.data(), mean.data(), rstd.data(), kPixels, kWidth, 1e-5f}, nullptr);
  });
  const DeviceArray<float> space(layer_norm_backward_workspace(kPixels, kWidth));
  look_at("layer_norm_backward", shape, 12.0 * double(count), "layer_norm_backward_input", [&] {
    layer_norm_backward({x.data(), gamma.data(), mean.data(), rstd.data(), dy.data(), dx.data(), dgamma.data(),
                         dbeta.data(), kPixels, kWidth},
                        space.data(), nullptr);
  });
  const auto wide = numbers(2 * count, 5);
  const DeviceArray<float> dwide(2 * count);
  look_at("gelu_gate_forward", shape, 20.0 * double(count), "gate", [&] {
    gelu_gate_forward({wide.data(), y.data(), kPixels, kWidth}, nullptr);
  });
  look_at("gelu_gate_backward", shape, 40.0 * double(count), "gate", [&] {
    gelu_gate_backward({wide.data(), dy.data(), dwide.data(), kPixels, kWidth}, nullptr);
  });
  look_at("simple_gate_forward", shape, double(count), "gate", [&] {
    simple_gate_forward({wide.data(), y.data(), kPixels, kWidth}, nullptr);
  });
  look_at("simple_gate_backward", shape, 2.0 * double(count), "gate", [&] {
    simple_gate_backward({wide.data(), dy.data(), dwide.data(), kPixels, kWidth}, nullptr);
  });

  const auto context = numbers(kWidth, 6), sar = numbers(count, 7), bias = numbers(count, 8);
  const DeviceArray<float> reliance(kPixels), dsar(count), dcontext(kWidth), dbias(count);
  look_at("prompt_guided_mix_forward", shape, 8.0 * double(count), "mix", [&] {
    mix_forward({x.data(), sar.data(), context.data(), bias.data(), y.data(), reliance.data(), kBatch, kSide * kSide,
                 kWidth, true},
                nullptr);
  });
  const DeviceArray<float> mix_space(mix_backward_workspace(kBatch, kSide * kSide, kWidth));
  look_at("prompt_guided_mix_backward", shape, 14.0 * double(count), "mix", [&] {
    mix_backward({x.data(), sar.data(), context.data(), bias.data(), dy.data(), dx.data(), dsar.data(), dcontext.data(),
                  dbias.data(), kBatch, kSide * kSide, kWidth, true},
                 mix_space.data(), nullptr);
  });

  const int64_t half = kSide / 2;
  const auto prompt = numbers(half * half * kWidth, 11), taps = numbers(9 * kWidth, 12);
  const DeviceArray<float> dprojected(count), dprompt(half * half * kWidth), dweight(9 * kWidth);
  const PromptFusionSizes sizes{kBatch, kSide, kSide, kWidth, half, half};
  look_at("prompt_guided_fusion_forward", shape, 40.0 * double(count), "prompt_fusion_forward", [&] {
    prompt_fusion_forward({x.data(), sar.data(), bias.data(), prompt.data(), context.data(), taps.data(), gamma.data(),
                           y.data(), reliance.data(), sizes, true},
                          nullptr);
  });
  const PromptFusionBackward fusion{
      x.data(),     sar.data(), bias.data(), prompt.data(),     context.data(), taps.data(),     gamma.data(),
      dy.data(),    dx.data(),  dsar.data(), dprojected.data(), dprompt.data(), dcontext.data(), dweight.data(),
      dbeta.data(), sizes,      true};
  const DeviceArray<float> fusion_space(prompt_fusion_backward_workspace(fusion));
  look_at("prompt_guided_fusion_backward", shape, 90.0 * double(count), "prompt_fusion_backward",
          [&] { prompt_fusion_backward(fusion, fusion_space.data(), nullptr); });
}

inline void elements_and_images() {
  const int64_t count = kPixels * kWidth;
  const auto x = numbers(count, 1), dy = numbers(count, 2);
  const DeviceArray<float> y(count), totals(kWidth);
  const std::string shape = text("%lldx%lldx%lld", kSide, kSide, kWidth);
  const auto map_of = [&](MapFunction f, int inputs) {
    DeviceMap m{};
    m.f = f, m.s = 0.5f, m.y = y.data();
    m.x[0] = x.data(), m.x[1] = dy.data();
    if (inputs == 1) m.set_shape<1>({count}, {Shape{1}});
    else m.set_shape<2>({count}, {Shape{1}, Shape{1}});
    return m;
  };
  look_at("add", shape, double(count), "map", [&] { map(map_of(MapFunction::add, 2), nullptr); });
  look_at("gelu", shape, 20.0 * double(count), "map", [&] { map(map_of(MapFunction::gelu, 1), nullptr); });
  look_at("gelu_backward", shape, 30.0 * double(count), "map",
          [&] { map(map_of(MapFunction::times_gelu_1, 2), nullptr); });
  look_at("copy (NHWC to NCHW)", shape, 0, "copy", [&] {
    copy<float, float>({x.data(), {1, kWidth}, y.data(), {kPixels, 1}, {kWidth, kPixels}}, nullptr);
  });
  const Sum sums{x.data(), totals.data(), 1, kPixels, kWidth};
  const DeviceArray<float> sum_space(sum_workspace(sums));
  look_at("sum over pixels", shape, double(count), "sum_column", [&] { sum(sums, sum_space.data(), nullptr); });
  const DeviceArray<float> dscores(kPixels * 10);
  look_at("softmax backward", text("%lldx%lldx%lld", kSide, kSide, 10), 4.0 * double(kPixels * 10), "softmax", [&] {
    softmax_backward({x.data(), dy.data(), dscores.data(), kPixels, 10, 1, false}, nullptr);
  });
  look_at("softmax", text("%lldx%lldx%lld", kSide, kSide, 10), 6.0 * double(kPixels * 10), "softmax", [&] {
    softmax({x.data(), y.data(), kPixels, 10, 1, false}, nullptr);
  });
  look_at("pixel_shuffle", text("32x32x%lld", 4 * kWidth), 0, "shuffle", [&] {
    pixel_shuffle({x.data(), y.data(), kBatch, kSide / 2, kSide / 2, kWidth, 2}, nullptr);
  });
  look_at("pixel_unshuffle", shape, 0, "shuffle", [&] {
    pixel_unshuffle({x.data(), y.data(), kBatch, kSide / 2, kSide / 2, kWidth, 2}, nullptr);
  });
  const auto small = numbers(count / 16, 9);
  const DeviceArray<float> small_out(count / 16);
  look_at("resize", text("16x16x%lld to 64x64", kWidth), 8.0 * double(count), "resize", [&] {
    resize({small.data(), y.data(), kBatch, 16, 16, kSide, kSide, kWidth, Interpolation::bilinear}, nullptr);
  });
  look_at("resize_transpose", text("64x64x%lld to 16x16", kWidth), 8.0 * double(count), "resize_transpose", [&] {
    resize_transpose({x.data(), small_out.data(), kBatch, 16, 16, kSide, kSide, kWidth, Interpolation::bilinear},
                     nullptr);
  });

  const PoolSizes pool{kBatch, kSide, kSide, kWidth, kSide / 2, kSide / 2, 2, 2, 0};
  const DeviceArray<float> pooled(count / 4);
  const DeviceArray<int64_t> where(count / 4);
  look_at("max_pool", shape + ", window 2", 3.0 * double(count / 4), "max_pool", [&] {
    max_pool({x.data(), pooled.data(), where.data(), pool}, nullptr);
  });
  look_at("max_pool backward", shape + ", window 2", 0, "max_pool", [&] {
    max_pool_scatter({pooled.data(), where.data(), y.data(), pool}, nullptr);
  });
  look_at("avg_pool", shape + ", window 2", double(count), "avg_pool", [&] {
    avg_pool({x.data(), pooled.data(), pool}, nullptr);
  });
  look_at("avg_pool backward", shape + ", window 2", double(count), "avg_pool", [&] {
    avg_pool_transpose({pooled.data(), y.data(), pool}, nullptr);
  });
  const DeviceArray<float> padded((kSide + 8) * (kSide + 8) * kWidth);
  look_at("pad (reflect, 4 on each side)", shape, 0, "pad", [&] {
    pad({x.data(), padded.data(), kBatch, kSide, kSide, kWidth, 4, 4, 4, 4, PadSource::mirror, 0}, nullptr);
  });
  look_at("pad backward", shape, double(count), "pad", [&] {
    pad_transpose({padded.data(), y.data(), kBatch, kSide, kSide, kWidth, 4, 4, 4, 4, PadSource::mirror, 0}, nullptr);
  });

  const DeviceArray<float> largest(kPixels), spread(count);
  const DeviceArray<int64_t> at(kPixels);
  look_at("argmax over channels", shape, double(count), "extremum", [&] {
    extremum({x.data(), largest.data(), at.data(), kPixels, kWidth, 1, true}, nullptr);
  });
  look_at("argmax backward", shape, 0, "put_along_index", [&] {
    put_along_index({largest.data(), at.data(), spread.data(), kPixels, kWidth, 1}, nullptr);
  });
  const int64_t parts = 8;  // of a mixture of prompts
  std::vector<int64_t> index(static_cast<size_t>(parts));
  for (size_t i = 0; i < index.size(); ++i) index[i] = int64_t(i * 3 % 5);
  const DeviceArray<int64_t> chosen(index.data(), parts);
  const DeviceArray<float> taken(parts * kPixels);
  const Gather g{x.data(), chosen.data(), taken.data(), 1, kWidth, parts, kPixels, 0, 1, 0};
  look_at("gather (8 of 32 maps)", shape, 0, "gather", [&] { gather(g, nullptr); });
  look_at("scatter_add (8 of 32 maps)", shape, double(parts * kPixels), "scatter_add", [&] {
    scatter_add({taken.data(), chosen.data(), y.data(), 1, kWidth, parts, kPixels, 0, 1, 0}, nullptr);
  });
  const DeviceArray<bool> flags(count);
  look_at("less (than a number)", shape, double(count), "compare", [&] {
    compare(Compare<float>{Comparison::less, x.data(), nullptr, 0.5f, flags.data(), count}, nullptr);
  });
}

}  // namespace clearsky::cuda

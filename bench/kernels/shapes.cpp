// What each kernel does to memory at the shapes of the default TDP-CR (width 32, patches of 64 x 64), seen by the lens.
// Prints JSON: one entry per launch. bench/kernels/table.py runs it and adds what nvcc knows.
//
// A launch's share of the work (flops) is given for the one kernel that does it; sums in slots and the like have none.

#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "clearsky/cuda/kernel_set.cuh"
#include "clearsky/simt/lens.hpp"

namespace clearsky::cuda {
namespace {

bool first_entry = true;

/// Of `launches`, one entry each. @param flops  of the launch whose kernel's name contains `main_kernel`
void look_at(const char* operation, const std::string& shape, double flops, const char* main_kernel,
             const std::function<void()>& launches) {
  const simt::Lens lens;
  launches();
  const simt::LensReport report = lens.report();
  if (!report.errors.empty()) {
    std::fprintf(stderr, "%s: %s\n", operation, lens.error_text().c_str());
    std::exit(1);
  }
  for (const simt::LensLaunch& l : report.launches) {
    int64_t wavefronts = 0, ideal_wavefronts = 0, lanes = 0, requests = 0, sectors = 0, ideal_sectors = 0;
    for (const simt::LensLine& line : l.lines) {
      wavefronts += line.wavefronts;
      ideal_wavefronts += line.ideal_wavefronts;
      lanes += line.lanes;
      requests += line.requests;
      sectors += line.sectors;
      ideal_sectors += line.ideal_sectors;
    }
    const bool main = l.kernel.find(main_kernel) != std::string::npos;
    std::printf(
        "%s{\"operation\": \"%s\", \"shape\": \"%s\", \"kernel\": \"%s\", \"blocks\": %lld, \"flops\": %.0f, "
        "\"requested_bytes\": %lld, \"moved_bytes\": %lld, \"compulsory_bytes\": %lld, \"sectors\": %lld, "
        "\"ideal_sectors\": %lld, \"shared_wavefronts\": %lld, \"ideal_shared_wavefronts\": %lld, "
        "\"active_lanes\": %.4f}",
        first_entry ? "[\n" : ",\n", operation, shape.c_str(), l.kernel.c_str(),
        (long long)(int64_t(l.grid[0]) * l.grid[1] * l.grid[2]), main ? flops : 0.0,
        (long long)(l.read_bytes + l.written_bytes), (long long)(32 * (l.block_read_sectors + l.block_written_sectors)),
        (long long)(l.compulsory_read_bytes + l.compulsory_written_bytes), (long long)sectors, (long long)ideal_sectors,
        (long long)wavefronts, (long long)ideal_wavefronts,
        requests == 0 ? 1.0 : double(lanes) / (32.0 * double(requests)));
    first_entry = false;
  }
}

/// Device memory full of numbers.
DeviceArray<float> numbers(int64_t count, uint64_t seed) {
  std::vector<float> v(static_cast<size_t>(count));
  for (size_t i = 0; i < v.size(); ++i) v[i] = float(Key{seed}.uniform(i, -1, 1));
  return DeviceArray<float>(v.data(), count);
}

// The first level of the default network, and a patch of 64 x 64: its layers are the largest.
constexpr int64_t kBatch = 1, kSide = 64, kPixels = kBatch * kSide * kSide, kWidth = 32, kHeads = 1;

cpu::ConvShape conv_shape(int64_t channels, int64_t outputs, int64_t window, int64_t groups, int64_t stride = 1) {
  const int64_t padding = window / 2, out = (kSide + 2 * padding - window) / stride + 1;
  return {.batch = kBatch,
          .height = kSide,
          .width = kSide,
          .channels = channels,
          .outputs = outputs,
          .window_height = window,
          .window_width = window,
          .groups = groups,
          .out_height = out,
          .out_width = out,
          .stride_height = stride,
          .stride_width = stride,
          .padding_height = padding,
          .padding_width = padding,
          .dilation = 1};
}

std::string text(const char* format, long long a, long long b = 0, long long c = 0) {
  char buffer[96];
  std::snprintf(buffer, sizeof buffer, format, a, b, c);
  return buffer;
}

void convolutions() {
  struct Layer {
    int64_t channels, outputs, window;
  };
  for (const Layer& l : {Layer{15, 32, 3}, Layer{32, 32, 3}, Layer{32, 96, 1}, Layer{32, 170, 1}}) {
    const cpu::ConvShape s = conv_shape(l.channels, l.outputs, l.window, 1);
    const int64_t taps = l.window * l.window * l.channels;
    const auto x = numbers(kPixels * l.channels, 1), w = numbers(l.outputs * taps, 2), b = numbers(l.outputs, 3),
               dy = numbers(kPixels * l.outputs, 4);
    const DeviceArray<float> y(kPixels * l.outputs), dx(kPixels * l.channels), dw(l.outputs * taps);
    const double flops = 2.0 * double(kPixels) * double(l.outputs) * double(taps);
    const std::string shape =
        text("%lldx%lldx%lld", kSide, kSide, l.channels) + text(" -> %lld, window %lld", l.outputs, l.window);
    for (Precision precision : {Precision::float32, Precision::tf32, Precision::bfloat16}) {
      const std::string at = shape + ", " + to_text(precision);
      look_at("conv2d_forward", at, flops, "tile_product", [&] {
        conv2d_forward(Conv2dForward{x.data(), w.data(), b.data(), y.data(), s}, precision, nullptr);
      });
      if (precision == Precision::tf32) continue;
      look_at("conv2d_data_gradient", at, flops, "tile_product", [&] {
        conv2d_data_gradient({dy.data(), w.data(), dx.data(), s}, precision, nullptr);
      });
      const Conv2dWeightGradient g{x.data(), dy.data(), dw.data(), s};
      const DeviceArray<float> workspace(conv2d_weight_gradient_workspace(g));
      look_at("conv2d_weight_gradient", at, flops, "tile_product",
              [&] { conv2d_weight_gradient(g, precision, workspace.data(), nullptr); });
    }
  }
  const int64_t c = 3 * kWidth;
  const cpu::ConvShape s = conv_shape(c, c, 3, c);
  const auto x = numbers(kPixels * c, 1), w = numbers(9 * c, 2), b = numbers(c, 3);
  const DeviceArray<float> y(kPixels * c), dw(9 * c);
  const std::string shape = text("%lldx%lldx%lld, window 3", kSide, kSide, c);
  const double flops = 18.0 * double(kPixels * c);
  look_at("conv2d_depthwise_forward", shape, flops, "depthwise", [&] {
    conv2d_depthwise_forward({x.data(), w.data(), b.data(), y.data(), s}, nullptr);
  });
  look_at("conv2d_depthwise_data_gradient", shape, flops, "depthwise", [&] {
    conv2d_depthwise_data_gradient({x.data(), w.data(), y.data(), s}, nullptr);
  });
  const Conv2dWeightGradient g{x.data(), x.data(), dw.data(), s};
  const DeviceArray<float> workspace(conv2d_depthwise_weight_gradient_workspace(g));
  look_at("conv2d_depthwise_weight_gradient", shape, flops, "depthwise",
          [&] { conv2d_depthwise_weight_gradient(g, workspace.data(), nullptr); });
}

void attention() {
  const auto qkv = numbers(kPixels * 3 * kWidth, 1), temperature = numbers(kHeads, 2),
             dy = numbers(kPixels * kWidth, 3);
  const int64_t d = kWidth / kHeads;
  const DeviceArray<float> y(kPixels * kWidth), state(kHeads * (2 * d * d + 2 * d)), dqkv(kPixels * 3 * kWidth),
      dt(kHeads);
  const ChannelAttentionForward f{qkv.data(), temperature.data(), y.data(), state.data(),
                                  kBatch,     kSide * kSide,      kWidth,   kHeads};
  const DeviceArray<float> workspace(channel_attention_forward_workspace(f));
  const std::string shape = text("%lldx%lldx%lld", kSide, kSide, kWidth) + text(", %lld head", kHeads);
  const double flops = 2.0 * double(kPixels * kWidth * d);
  for (Precision precision : {Precision::float32, Precision::bfloat16})
    look_at("channel_attention_forward", shape + ", " + to_text(precision), flops, "tile_product",
            [&] { channel_attention_forward(f, precision, workspace.data(), nullptr); });
  const ChannelAttentionBackward b{qkv.data(), temperature.data(), state.data(), dy.data(), dqkv.data(), dt.data(),
                                   kBatch,     kSide * kSide,      kWidth,       kHeads};
  const DeviceArray<float> backward_workspace(channel_attention_backward_workspace(b));
  look_at("channel_attention_backward", shape + ", float32", flops, "tile_product",
          [&] { channel_attention_backward(b, Precision::float32, backward_workspace.data(), nullptr); });

  const int64_t tokens = 256, heads = 4, width = 32, count = heads * tokens * width;
  const auto q = numbers(count, 4), k = numbers(count, 5), v = numbers(count, 6), g = numbers(count, 7);
  const DeviceArray<float> out(count), lse(heads * tokens), dq(count), dk(count), dv(count);
  const cpu::AttentionShape s{1, heads, tokens, tokens, width, 0.18, false};
  const double products = 4.0 * double(heads * tokens * tokens * width);
  look_at("attention_forward", text("%lld heads of %lld, %lld tokens", heads, width, tokens), products,
          "attention_forward", [&] {
            attention_forward({q.data(), k.data(), v.data(), out.data(), lse.data(), {}, s}, nullptr);
          });
  const DeviceArray<float> delta(heads * tokens);
  look_at(
      "attention_backward", text("%lld heads of %lld, %lld tokens", heads, width, tokens), 1.25 * products,
      "attention_backward", [&] {
        attention_backward(
            {q.data(), k.data(), v.data(), out.data(), lse.data(), g.data(), dq.data(), dk.data(), dv.data(), {}, s},
            delta.data(), nullptr);
      });
}

void memory_bound() {
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
  const Sum sums{x.data(), dgamma.data(), 1, kPixels, kWidth};
  const DeviceArray<float> sum_space(sum_workspace(sums));
  look_at("sum over pixels", shape, double(count), "sum_column", [&] { sum(sums, sum_space.data(), nullptr); });
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
  look_at("resize", text("16x16x%lld to 64x64", kWidth), 8.0 * double(count), "resize", [&] {
    resize({small.data(), y.data(), kBatch, 16, 16, kSide, kSide, kWidth, Interpolation::bilinear}, nullptr);
  });
}

void losses_and_updates() {
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
}

}  // namespace
}  // namespace clearsky::cuda

int main() {
  clearsky::cuda::convolutions();
  clearsky::cuda::attention();
  clearsky::cuda::memory_bound();
  clearsky::cuda::losses_and_updates();
  std::printf("\n]\n");
}

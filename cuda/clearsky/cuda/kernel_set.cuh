#pragma once
// The kernels' launchers behind the pointers of KernelSet: each gets its workspace from the caching allocator, the
// stream of the runtime and the precision of the calling thread.

#include "clearsky/cuda/kernel_set.hpp"
#include "clearsky/cuda/kernels/adam.cuh"
#include "clearsky/cuda/kernels/attention.cuh"
#include "clearsky/cuda/kernels/carl.cuh"
#include "clearsky/cuda/kernels/channel_attention.cuh"
#include "clearsky/cuda/kernels/compare.cuh"
#include "clearsky/cuda/kernels/conv.cuh"
#include "clearsky/cuda/kernels/conv_depthwise.cuh"
#include "clearsky/cuda/kernels/copy.cuh"
#include "clearsky/cuda/kernels/cross_entropy.cuh"
#include "clearsky/cuda/kernels/dice.cuh"
#include "clearsky/cuda/kernels/error_loss.cuh"
#include "clearsky/cuda/kernels/fusion.cuh"
#include "clearsky/cuda/kernels/gate.cuh"
#include "clearsky/cuda/kernels/gather.cuh"
#include "clearsky/cuda/kernels/gemm.cuh"
#include "clearsky/cuda/kernels/layer_norm.cuh"
#include "clearsky/cuda/kernels/map.cuh"
#include "clearsky/cuda/kernels/pad.cuh"
#include "clearsky/cuda/kernels/pixel_shuffle.cuh"
#include "clearsky/cuda/kernels/pool.cuh"
#include "clearsky/cuda/kernels/prompt_fusion.cuh"
#include "clearsky/cuda/kernels/random.cuh"
#include "clearsky/cuda/kernels/reduce.cuh"
#include "clearsky/cuda/kernels/resize.cuh"
#include "clearsky/cuda/kernels/softmax.cuh"
#include "clearsky/cuda/kernels/ssim.cuh"
#include "clearsky/cuda/kernels/update.cuh"
#include "clearsky/cuda/runtime.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

namespace detail {

/// Host arrays that a kernel reads on the device, for as long as the launches of this scope are queued.
template <class T>
class OnDeviceFor {
 public:
  OnDeviceFor(const T* host, int64_t count) : scratch_((count * int64_t(sizeof(T)) + 3) / 4) {
    if (count != 0)
      Runtime::global().uploader().upload(scratch_.data(), host, size_t(count) * sizeof(T), current_stream());
  }
  T* get() const { return reinterpret_cast<T*>(scratch_.data()); }

 private:
  DeviceScratch scratch_;
};

/// Where tensors lie along the common axis of an update, on the device.
class LayoutOnDevice {
 public:
  explicit LayoutOnDevice(const cpu::UpdateLayout& host)
      : starts_(host.starts, host.tensors + 1),
        counts_(host.counts, host.tensors),
        tensors_(host.tensors),
        length_(host.tensors == 0 ? 0 : host.starts[host.tensors]) {}
  cpu::UpdateLayout get() const { return {starts_.get(), counts_.get(), tensors_}; }
  int64_t length() const { return length_; }

 private:
  OnDeviceFor<int64_t> starts_, counts_;
  int64_t tensors_, length_;
};

/// A step of an optimizer: its records go to the device with the layout.
template <auto Launch, class Step>
void run_step(const Step& s) {
  const LayoutOnDevice layout(s.layout);
  const OnDeviceFor<std::remove_cvref_t<decltype(*s.tensors)>> tensors(s.tensors, s.layout.tensors);
  Step step = s;
  step.layout = layout.get(), step.tensors = tensors.get();
  Launch(step, layout.length(), current_stream());
}
inline void run_average(const AverageStep& s) {
  const LayoutOnDevice layout(s.layout);
  const OnDeviceFor<float*> averages(s.averages, s.layout.tensors), values(s.values, s.layout.tensors);
  average_step({layout.get(), averages.get(), values.get(), s.share, s.exchange}, layout.length(), current_stream());
}
inline void run_scale(const ScaleStep& s) {
  const LayoutOnDevice layout(s.layout);
  const OnDeviceFor<float*> values(s.values, s.layout.tensors);
  scale_step({layout.get(), values.get(), s.scale, s.limit}, layout.length(), current_stream());
}
/// Waits: the norm is wanted on the host.
inline void run_squared_norm(const SquaredNorm& s) {
  const LayoutOnDevice layout(s.layout);
  const OnDeviceFor<const float*> values(s.values, s.layout.tensors);
  const DeviceScratch doubles(2 * (1 + squared_norm_workspace(layout.length())));
  auto* total = reinterpret_cast<double*>(doubles.data());
  squared_norm({layout.get(), values.get(), total}, layout.length(), total + 1, current_stream());
  copy_to_host(s.total, total, sizeof(double), current_stream());
}

/// Reports a label that no class has: at once, or after each replay of a captured graph.
/// @param flag  on the device; kept alive for the replays
inline void report_invalid_label(const char* op, int64_t* host, std::shared_ptr<DeviceScratch> flag) {
  if (!Runtime::global().capturing()) return copy_to_host(host, flag->data(), sizeof(int64_t), current_stream());
  *host = -1;
  Runtime::global().check([op, flag = std::move(flag)] {
    int64_t row = -1;
    copy_to_host(&row, flag->data(), sizeof row, current_stream());
    CLEARSKY_CHECK(ValueError, row < 0, op, ": the label of row ", row,
                   " is no class and not the ignored one; check the labels before they go into a captured step");
  });
}

template <class Label>
void run_cross_entropy(const CrossEntropy<Label>& args) {
  const auto flag = std::make_shared<DeviceScratch>(2);
  const DeviceScratch workspace(cross_entropy_workspace(args.rows));
  cross_entropy(args, workspace.data(), reinterpret_cast<int64_t*>(flag->data()), current_stream());
  report_invalid_label("cross_entropy", args.invalid, flag);
}
template <class Label>
void run_dice_forward(const DiceForward<Label>& args) {
  const auto flag = std::make_shared<DeviceScratch>(2);
  const DeviceScratch workspace(dice_forward_workspace(args.rows, args.classes));
  dice_forward(args, workspace.data(), reinterpret_cast<int64_t*>(flag->data()), current_stream());
  report_invalid_label("dice_loss", args.invalid, flag);
}

template <class E>
void run_error_loss(const ErrorLossForward<E>& args) {
  const DeviceScratch workspace(error_loss_workspace(args.rows, args.cols));
  error_loss_forward(args, workspace.data(), current_stream());
}

}  // namespace detail

/// All of them. A function of one name may have several forms: the arguments decide.
inline KernelSet kernel_set() {
// Launchers that need their arguments and the stream; or a workspace as well; or the precision of products.
#define CLEARSKY_PLAIN(name) [](const auto& args) { name(args, current_stream()); }
#define CLEARSKY_WITH_WORKSPACE(name)                      \
  [](const auto& args) {                                   \
    const DeviceScratch workspace(name##_workspace(args)); \
    name(args, workspace.data(), current_stream());        \
  }
#define CLEARSKY_PRECISE(name) [](const auto& args) { name(args, product_precision(), current_stream()); }
#define CLEARSKY_PRECISE_WITH_WORKSPACE(name)                            \
  [](const auto& args) {                                                 \
    const DeviceScratch workspace(name##_workspace(args));               \
    name(args, product_precision(), workspace.data(), current_stream()); \
  }
  KernelSet k{};
  k.copy_float = CLEARSKY_PLAIN(copy);
  k.copy_int64 = CLEARSKY_PLAIN(copy);
  k.copy_uint8 = CLEARSKY_PLAIN(copy);
  k.copy_bool = CLEARSKY_PLAIN(copy);
  k.bool_to_float = CLEARSKY_PLAIN(copy);
  k.int64_to_float = CLEARSKY_PLAIN(copy);
  k.uint8_to_float = CLEARSKY_PLAIN(copy);
  k.int64_to_uint8 = CLEARSKY_PLAIN(copy);
  k.float_to_bfloat16 = CLEARSKY_PLAIN(copy);
  k.bfloat16_to_float = CLEARSKY_PLAIN(copy);
  k.float_to_half = CLEARSKY_PLAIN(copy);
  k.half_to_float = CLEARSKY_PLAIN(copy);
  k.map = CLEARSKY_PLAIN(map);
  k.draw_uniform = CLEARSKY_PLAIN(rand_uniform);
  k.draw_normal = CLEARSKY_PLAIN(rand_normal);
  k.draw_integers = CLEARSKY_PLAIN(rand_integers);
  k.dropout_mask = CLEARSKY_PLAIN(dropout_mask);
  k.compare_float = CLEARSKY_PLAIN(compare);
  k.compare_int64 = CLEARSKY_PLAIN(compare);
  k.compare_uint8 = CLEARSKY_PLAIN(compare);
  k.sum = CLEARSKY_WITH_WORKSPACE(sum);
  k.extremum = CLEARSKY_PLAIN(extremum);
  k.put_along_index = CLEARSKY_PLAIN(put_along_index);
  k.take_along_index = CLEARSKY_PLAIN(take_along_index);
  k.pad = CLEARSKY_PLAIN(pad);
  k.pad_transpose = CLEARSKY_PLAIN(pad_transpose);
  k.gather = CLEARSKY_PLAIN(gather);
  k.scatter_add = CLEARSKY_PLAIN(scatter_add);
  k.gemm = CLEARSKY_PRECISE_WITH_WORKSPACE(gemm);
  k.conv2d_forward = CLEARSKY_PRECISE(conv2d_forward);
  k.conv2d_data_gradient = CLEARSKY_PRECISE(conv2d_data_gradient);
  k.conv2d_weight_gradient = CLEARSKY_PRECISE_WITH_WORKSPACE(conv2d_weight_gradient);
  k.conv2d_depthwise_forward = CLEARSKY_PLAIN(conv2d_depthwise_forward);
  k.conv2d_depthwise_data_gradient = CLEARSKY_PLAIN(conv2d_depthwise_data_gradient);
  k.conv2d_depthwise_weight_gradient = CLEARSKY_WITH_WORKSPACE(conv2d_depthwise_weight_gradient);
  k.layer_norm_forward = CLEARSKY_PLAIN(layer_norm_forward);
  k.softmax = CLEARSKY_PLAIN(softmax);
  k.gelu_gate_forward = CLEARSKY_PLAIN(gelu_gate_forward);
  k.gelu_gate_backward = CLEARSKY_PLAIN(gelu_gate_backward);
  k.simple_gate_forward = CLEARSKY_PLAIN(simple_gate_forward);
  k.simple_gate_backward = CLEARSKY_PLAIN(simple_gate_backward);
  k.mix_forward = CLEARSKY_PLAIN(mix_forward);
  k.prompt_fusion_forward = CLEARSKY_PLAIN(prompt_fusion_forward);
  k.prompt_fusion_backward = CLEARSKY_WITH_WORKSPACE(prompt_fusion_backward);
  k.channel_attention_forward = CLEARSKY_PRECISE_WITH_WORKSPACE(channel_attention_forward);
  k.channel_attention_backward = CLEARSKY_PRECISE_WITH_WORKSPACE(channel_attention_backward);
  k.attention_forward = CLEARSKY_PRECISE(attention_forward);
  k.attention_backward = CLEARSKY_PRECISE_WITH_WORKSPACE(attention_backward);
  k.window_attention_forward = CLEARSKY_PRECISE(window_attention_forward);
  k.window_attention_backward = CLEARSKY_PRECISE_WITH_WORKSPACE(window_attention_backward);
  k.pixel_shuffle = CLEARSKY_PLAIN(pixel_shuffle);
  k.pixel_unshuffle = CLEARSKY_PLAIN(pixel_unshuffle);
  k.resize = CLEARSKY_PLAIN(resize);
  k.resize_transpose = CLEARSKY_PLAIN(resize_transpose);
  k.max_pool = CLEARSKY_PLAIN(max_pool);
  k.max_pool_scatter = CLEARSKY_PLAIN(max_pool_scatter);
  k.max_pool_take = CLEARSKY_PLAIN(max_pool_take);
  k.avg_pool = CLEARSKY_PLAIN(avg_pool);
  k.avg_pool_transpose = CLEARSKY_PLAIN(avg_pool_transpose);
  k.layer_norm_backward = [](const LayerNormBackward& args) {
    const DeviceScratch workspace(layer_norm_backward_workspace(args.rows, args.cols));
    layer_norm_backward(args, workspace.data(), current_stream());
  };
  k.mix_backward = [](const MixBackward& args) {
    const DeviceScratch workspace(mix_backward_workspace(args.batch, args.pixels, args.channels));
    mix_backward(args, workspace.data(), current_stream());
  };
  k.cross_entropy_uint8 = detail::run_cross_entropy<uint8_t>;
  k.cross_entropy_int64 = detail::run_cross_entropy<int64_t>;
  k.dice_forward_uint8 = detail::run_dice_forward<uint8_t>;
  k.dice_forward_int64 = detail::run_dice_forward<int64_t>;
  k.dice_backward_uint8 = CLEARSKY_PLAIN(dice_backward);
  k.dice_backward_int64 = CLEARSKY_PLAIN(dice_backward);
  k.l1_forward = detail::run_error_loss<cpu::AbsoluteError>;
  k.mse_forward = detail::run_error_loss<cpu::SquaredError>;
  k.huber_forward = detail::run_error_loss<cpu::HuberError<float>>;
  k.charbonnier_forward = detail::run_error_loss<cpu::CharbonnierError<float>>;
  k.l1_backward = CLEARSKY_PLAIN(error_loss_backward);
  k.mse_backward = CLEARSKY_PLAIN(error_loss_backward);
  k.huber_backward = CLEARSKY_PLAIN(error_loss_backward);
  k.charbonnier_backward = CLEARSKY_PLAIN(error_loss_backward);
  k.carl_forward = [](const CarlForward& args) {
    const DeviceScratch workspace(carl_workspace(args.rows, args.cols));
    carl_forward(args, workspace.data(), current_stream());
  };
  k.carl_backward = CLEARSKY_PLAIN(carl_backward);
  k.ssim_forward = CLEARSKY_WITH_WORKSPACE(ssim_forward);
  k.ssim_backward = CLEARSKY_PLAIN(ssim_backward);
  k.adam_step = detail::run_step<adam_step, AdamStep>;
  k.sgd_step = detail::run_step<sgd_step, SgdStep>;
  k.average_step = detail::run_average;
  k.scale_step = detail::run_scale;
  k.squared_norm = detail::run_squared_norm;
#undef CLEARSKY_PLAIN
#undef CLEARSKY_WITH_WORKSPACE
#undef CLEARSKY_PRECISE
#undef CLEARSKY_PRECISE_WITH_WORKSPACE
  return k;
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

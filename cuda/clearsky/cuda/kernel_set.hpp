#pragma once
// Every kernel of a device by a plain function pointer. The kernels are compiled where their meaning is decided (by
// nvcc for a device, as C++ for simt), the operations in the user's own files; this is the border between the two, so
// that nvcc never sees an operation.

#include "clearsky/core/device.hpp"
#include "clearsky/core/draws.hpp"
#include "clearsky/cpu/attention.hpp"
#include "clearsky/cpu/channel_attention.hpp"
#include "clearsky/cpu/compare.hpp"
#include "clearsky/cpu/conv.hpp"
#include "clearsky/cpu/conv_depthwise.hpp"
#include "clearsky/cpu/copy.hpp"
#include "clearsky/cpu/cross_entropy.hpp"
#include "clearsky/cpu/dice.hpp"
#include "clearsky/cpu/dropout.hpp"
#include "clearsky/cpu/fusion.hpp"
#include "clearsky/cpu/gate.hpp"
#include "clearsky/cpu/gather.hpp"
#include "clearsky/cpu/gemm.hpp"
#include "clearsky/cpu/loss.hpp"
#include "clearsky/cpu/norm.hpp"
#include "clearsky/cpu/pad.hpp"
#include "clearsky/cpu/pixel_shuffle.hpp"
#include "clearsky/cpu/pool.hpp"
#include "clearsky/cpu/prompt_fusion.hpp"
#include "clearsky/cpu/reduce.hpp"
#include "clearsky/cpu/resize.hpp"
#include "clearsky/cpu/softmax.hpp"
#include "clearsky/cpu/ssim.hpp"
#include "clearsky/cpu/update.hpp"
#include "clearsky/cpu/window_attention.hpp"
#include "clearsky/cuda/device_map.hpp"

namespace clearsky::cuda {

/// A launcher's place in the set: queues the work and returns.
template <class Args>
using Launcher = void (*)(const Args&);

/// In float; names as in the launch tables of clearsky/ops.
struct KernelSet {
  Launcher<DeviceMap> map;

  Launcher<cpu::Copy<float, float>> copy_float;
  Launcher<cpu::Copy<int64_t, int64_t>> copy_int64;
  Launcher<cpu::Copy<uint8_t, uint8_t>> copy_uint8;
  Launcher<cpu::Copy<bool, bool>> copy_bool;
  Launcher<cpu::Copy<bool, float>> bool_to_float;
  Launcher<cpu::Copy<int64_t, float>> int64_to_float;
  Launcher<cpu::Copy<uint8_t, float>> uint8_to_float;
  Launcher<cpu::Copy<int64_t, uint8_t>> int64_to_uint8;
  Launcher<cpu::Copy<float, BFloat16>> float_to_bfloat16;
  Launcher<cpu::Copy<BFloat16, float>> bfloat16_to_float;
  Launcher<cpu::Copy<float, Half>> float_to_half;
  Launcher<cpu::Copy<Half, float>> half_to_float;

  Launcher<clearsky::detail::UniformDraw<float>> draw_uniform;
  Launcher<clearsky::detail::NormalDraw<float>> draw_normal;
  Launcher<clearsky::detail::IntegerDraw<int64_t>> draw_integers;
  Launcher<cpu::DropoutMask<float>> dropout_mask;
  Launcher<cpu::Compare<float>> compare_float;
  Launcher<cpu::Compare<int64_t>> compare_int64;
  Launcher<cpu::Compare<uint8_t>> compare_uint8;

  Launcher<cpu::Sum<float>> sum;
  Launcher<cpu::Extremum<float>> extremum;
  Launcher<cpu::AlongIndex<float>> put_along_index, take_along_index;
  Launcher<cpu::Pad<float>> pad, pad_transpose;
  Launcher<cpu::Gather<float>> gather, scatter_add;

  Launcher<cpu::Gemm<float>> gemm;
  Launcher<cpu::Conv2dForward<float>> conv2d_forward, conv2d_depthwise_forward;
  Launcher<cpu::Conv2dDataGradient<float>> conv2d_data_gradient, conv2d_depthwise_data_gradient;
  Launcher<cpu::Conv2dWeightGradient<float>> conv2d_weight_gradient, conv2d_depthwise_weight_gradient;

  Launcher<cpu::LayerNormForward<float>> layer_norm_forward;
  Launcher<cpu::LayerNormBackward<float>> layer_norm_backward;
  Launcher<cpu::Softmax<float>> softmax;
  Launcher<cpu::GateForward<float>> gelu_gate_forward, simple_gate_forward;
  Launcher<cpu::GateBackward<float>> gelu_gate_backward, simple_gate_backward;
  Launcher<cpu::MixForward<float>> mix_forward;
  Launcher<cpu::MixBackward<float>> mix_backward;
  Launcher<cpu::PromptFusionForward<float>> prompt_fusion_forward;
  Launcher<cpu::PromptFusionBackward<float>> prompt_fusion_backward;
  Launcher<cpu::ChannelAttentionForward<float>> channel_attention_forward;
  Launcher<cpu::ChannelAttentionBackward<float>> channel_attention_backward;
  Launcher<cpu::AttentionForward<float>> attention_forward;
  Launcher<cpu::AttentionBackward<float>> attention_backward;
  Launcher<cpu::WindowAttentionForward<float>> window_attention_forward;
  Launcher<cpu::WindowAttentionBackward<float>> window_attention_backward;

  Launcher<cpu::PixelShuffle<float>> pixel_shuffle, pixel_unshuffle;
  Launcher<cpu::Resize<float>> resize, resize_transpose;
  Launcher<cpu::MaxPool<float>> max_pool;
  Launcher<cpu::MaxPoolRoute<float>> max_pool_scatter, max_pool_take;
  Launcher<cpu::AvgPool<float>> avg_pool, avg_pool_transpose;

  Launcher<cpu::ErrorLossForward<float, cpu::AbsoluteError>> l1_forward;
  Launcher<cpu::ErrorLossBackward<float, cpu::AbsoluteError>> l1_backward;
  Launcher<cpu::ErrorLossForward<float, cpu::SquaredError>> mse_forward;
  Launcher<cpu::ErrorLossBackward<float, cpu::SquaredError>> mse_backward;
  Launcher<cpu::ErrorLossForward<float, cpu::HuberError<float>>> huber_forward;
  Launcher<cpu::ErrorLossBackward<float, cpu::HuberError<float>>> huber_backward;
  Launcher<cpu::ErrorLossForward<float, cpu::CharbonnierError<float>>> charbonnier_forward;
  Launcher<cpu::ErrorLossBackward<float, cpu::CharbonnierError<float>>> charbonnier_backward;
  Launcher<cpu::CarlForward<float>> carl_forward;
  Launcher<cpu::CarlBackward<float>> carl_backward;
  Launcher<cpu::SsimForward<float>> ssim_forward;
  Launcher<cpu::SsimBackward<float>> ssim_backward;
  Launcher<cpu::CrossEntropy<float, uint8_t>> cross_entropy_uint8;
  Launcher<cpu::CrossEntropy<float, int64_t>> cross_entropy_int64;
  Launcher<cpu::DiceForward<float, uint8_t>> dice_forward_uint8;
  Launcher<cpu::DiceBackward<float, uint8_t>> dice_backward_uint8;
  Launcher<cpu::DiceForward<float, int64_t>> dice_forward_int64;
  Launcher<cpu::DiceBackward<float, int64_t>> dice_backward_int64;

  Launcher<cpu::AdamStep<float>> adam_step;
  Launcher<cpu::SgdStep<float>> sgd_step;
  Launcher<cpu::AverageStep<float>> average_step;
  Launcher<cpu::ScaleStep<float>> scale_step;
  Launcher<cpu::SquaredNorm<float>> squared_norm;
};

/// A device's memory and kernels, ready to be enabled.
struct DeviceLibrary {
  Device device;
  const DeviceRuntime* (*runtime)();
  KernelSet (*kernels)();
  /// Why the device cannot be used ("no CUDA driver", ...), or an empty text; asks the driver.
  std::string (*unavailable)();
  std::string (*describe)();  ///< one line: what it is
};

}  // namespace clearsky::cuda

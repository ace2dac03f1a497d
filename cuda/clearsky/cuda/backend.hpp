#pragma once
// Puts a device behind the operations: fills their launch tables from a DeviceLibrary.
//
//     #include "clearsky/cuda/simt_library.hpp"                    // or link a file compiled by nvcc, see
//     cuda_library.cuh int main() {
//       clearsky::cuda::enable(clearsky::cuda::simt_library());
//       auto x = clearsky::randn({8, 8}, clearsky::Key{1}).to(clearsky::Device::simt);
//       ...

#include "clearsky/cuda/kernel_set.hpp"
#include "clearsky/cuda/map_bridge.hpp"
#include "clearsky/ops/attention.hpp"
#include "clearsky/ops/carl.hpp"
#include "clearsky/ops/channel_attention.hpp"
#include "clearsky/ops/compare.hpp"
#include "clearsky/ops/cross_entropy.hpp"
#include "clearsky/ops/dice.hpp"
#include "clearsky/ops/dropout.hpp"
#include "clearsky/ops/fusion.hpp"
#include "clearsky/ops/gate.hpp"
#include "clearsky/ops/gather.hpp"
#include "clearsky/ops/loss.hpp"
#include "clearsky/ops/matmul.hpp"
#include "clearsky/ops/norm.hpp"
#include "clearsky/ops/pixel_shuffle.hpp"
#include "clearsky/ops/pool.hpp"
#include "clearsky/ops/prompt_fusion.hpp"
#include "clearsky/ops/resize.hpp"
#include "clearsky/ops/softmax.hpp"
#include "clearsky/ops/ssim.hpp"
#include "clearsky/optim/parameter_set.hpp"

namespace clearsky::cuda {

namespace detail {

/// The maps of one device: functions of many types, one kernel.
template <Device D>
inline Launcher<DeviceMap> map_launcher = nullptr;

template <Device D, class F, size_t N>
void run_map(const cpu::Map<float, F, N>& args) {
  map_launcher<D>(device_map(args));
}

template <Device D>
void enable_maps(Launcher<DeviceMap> launcher) {
  map_launcher<D> = launcher;
  for_each_map([]<class F, size_t N>(MapOf<F, N>) {
    clearsky::detail::map_kernel<float, F, N>.slots[size_t(D)] = &run_map<D, F, N>;
  });
}

template <class E>
void enable_error(size_t d, Launcher<cpu::ErrorLossForward<float, E>> forward,
                  Launcher<cpu::ErrorLossBackward<float, E>> backward) {
  clearsky::detail::error_loss_forward<float, E>.slots[d] = forward;
  clearsky::detail::error_loss_backward<float, E>.slots[d] = backward;
}

}  // namespace detail

/// Makes a device usable by every operation in float. Call it once, at the start of main().
/// @throws DeviceError when there is no such device, with the reason
inline void enable(const DeviceLibrary& library) {
  namespace ops = clearsky::detail;
  const std::string reason = library.unavailable();
  CLEARSKY_CHECK(DeviceError, reason.empty(), "device ", library.device, ": ", reason);
  const auto d = size_t(library.device);
  const KernelSet k = library.kernels();
  ops::device_runtimes[d] = library.runtime();

  if (library.device == Device::simt) detail::enable_maps<Device::simt>(k.map);
  else detail::enable_maps<Device::cuda>(k.map);

  ops::copy_kernel<float, float>.slots[d] = k.copy_float;
  ops::copy_kernel<int64_t, int64_t>.slots[d] = k.copy_int64;
  ops::copy_kernel<uint8_t, uint8_t>.slots[d] = k.copy_uint8;
  ops::copy_kernel<bool, bool>.slots[d] = k.copy_bool;
  ops::copy_kernel<bool, float>.slots[d] = k.bool_to_float;
  ops::copy_kernel<int64_t, float>.slots[d] = k.int64_to_float;
  ops::copy_kernel<uint8_t, float>.slots[d] = k.uint8_to_float;
  ops::copy_kernel<int64_t, uint8_t>.slots[d] = k.int64_to_uint8;
  ops::copy_kernel<float, BFloat16>.slots[d] = k.float_to_bfloat16;
  ops::copy_kernel<BFloat16, float>.slots[d] = k.bfloat16_to_float;
  ops::copy_kernel<float, Half>.slots[d] = k.float_to_half;
  ops::copy_kernel<Half, float>.slots[d] = k.half_to_float;

  ops::draw_kernel<ops::UniformDraw<float>>.slots[d] = k.draw_uniform;
  ops::draw_kernel<ops::NormalDraw<float>>.slots[d] = k.draw_normal;
  ops::draw_kernel<ops::IntegerDraw<int64_t>>.slots[d] = k.draw_integers;
  ops::dropout_mask_kernel<float>.slots[d] = k.dropout_mask;
  ops::compare_kernel<float>.slots[d] = k.compare_float;
  ops::compare_kernel<int64_t>.slots[d] = k.compare_int64;
  ops::compare_kernel<uint8_t>.slots[d] = k.compare_uint8;
  ops::sum_kernel<float>.slots[d] = k.sum;
  ops::extremum_kernel<float>.slots[d] = k.extremum;
  ops::put_along_index_kernel<float>.slots[d] = k.put_along_index;
  ops::take_along_index_kernel<float>.slots[d] = k.take_along_index;
  ops::pad_kernel<float>.slots[d] = k.pad;
  ops::pad_transpose_kernel<float>.slots[d] = k.pad_transpose;
  ops::gather_kernel<float>.slots[d] = k.gather;
  ops::scatter_add_kernel<float>.slots[d] = k.scatter_add;

  ops::gemm_kernel<float>.slots[d] = k.gemm;
  ops::conv2d_forward<float>.slots[d] = k.conv2d_forward;
  ops::conv2d_data_gradient<float>.slots[d] = k.conv2d_data_gradient;
  ops::conv2d_weight_gradient<float>.slots[d] = k.conv2d_weight_gradient;
  ops::conv2d_depthwise_forward<float>.slots[d] = k.conv2d_depthwise_forward;
  ops::conv2d_depthwise_data_gradient<float>.slots[d] = k.conv2d_depthwise_data_gradient;
  ops::conv2d_depthwise_weight_gradient<float>.slots[d] = k.conv2d_depthwise_weight_gradient;

  ops::layer_norm_forward<float>.slots[d] = k.layer_norm_forward;
  ops::layer_norm_backward<float>.slots[d] = k.layer_norm_backward;
  ops::softmax_kernel<float>.slots[d] = k.softmax;
  ops::gelu_gate_forward<float>.slots[d] = k.gelu_gate_forward;
  ops::gelu_gate_backward<float>.slots[d] = k.gelu_gate_backward;
  ops::simple_gate_forward<float>.slots[d] = k.simple_gate_forward;
  ops::simple_gate_backward<float>.slots[d] = k.simple_gate_backward;
  ops::mix_forward<float>.slots[d] = k.mix_forward;
  ops::mix_backward<float>.slots[d] = k.mix_backward;
  ops::prompt_fusion_forward<float>.slots[d] = k.prompt_fusion_forward;
  ops::prompt_fusion_backward<float>.slots[d] = k.prompt_fusion_backward;
  ops::channel_attention_forward<float>.slots[d] = k.channel_attention_forward;
  ops::channel_attention_backward<float>.slots[d] = k.channel_attention_backward;
  ops::attention_forward<float>.slots[d] = k.attention_forward;
  ops::attention_backward<float>.slots[d] = k.attention_backward;
  ops::window_attention_forward<float>.slots[d] = k.window_attention_forward;
  ops::window_attention_backward<float>.slots[d] = k.window_attention_backward;

  ops::pixel_shuffle_kernel<float>.slots[d] = k.pixel_shuffle;
  ops::pixel_unshuffle_kernel<float>.slots[d] = k.pixel_unshuffle;
  ops::resize_kernel<float>.slots[d] = k.resize;
  ops::resize_transpose_kernel<float>.slots[d] = k.resize_transpose;
  ops::max_pool_kernel<float>.slots[d] = k.max_pool;
  ops::max_pool_scatter_kernel<float>.slots[d] = k.max_pool_scatter;
  ops::max_pool_take_kernel<float>.slots[d] = k.max_pool_take;
  ops::avg_pool_kernel<float>.slots[d] = k.avg_pool;
  ops::avg_pool_transpose_kernel<float>.slots[d] = k.avg_pool_transpose;

  detail::enable_error<cpu::AbsoluteError>(d, k.l1_forward, k.l1_backward);
  detail::enable_error<cpu::SquaredError>(d, k.mse_forward, k.mse_backward);
  detail::enable_error<cpu::HuberError<float>>(d, k.huber_forward, k.huber_backward);
  detail::enable_error<cpu::CharbonnierError<float>>(d, k.charbonnier_forward, k.charbonnier_backward);
  ops::carl_forward<float>.slots[d] = k.carl_forward;
  ops::carl_backward<float>.slots[d] = k.carl_backward;
  ops::ssim_forward<float>.slots[d] = k.ssim_forward;
  ops::ssim_backward<float>.slots[d] = k.ssim_backward;
  ops::cross_entropy_kernel<float, uint8_t>.slots[d] = k.cross_entropy_uint8;
  ops::cross_entropy_kernel<float, int64_t>.slots[d] = k.cross_entropy_int64;
  ops::dice_forward<float, uint8_t>.slots[d] = k.dice_forward_uint8;
  ops::dice_backward<float, uint8_t>.slots[d] = k.dice_backward_uint8;
  ops::dice_forward<float, int64_t>.slots[d] = k.dice_forward_int64;
  ops::dice_backward<float, int64_t>.slots[d] = k.dice_backward_int64;

  optim::detail::adam_step<float>.slots[d] = k.adam_step;
  optim::detail::sgd_step<float>.slots[d] = k.sgd_step;
  optim::detail::average_step<float>.slots[d] = k.average_step;
  optim::detail::scale_step<float>.slots[d] = k.scale_step;
  optim::detail::squared_norm<float>.slots[d] = k.squared_norm;
}

}  // namespace clearsky::cuda

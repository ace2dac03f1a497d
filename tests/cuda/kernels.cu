// Every kernel, by way of its launchers. Compiled only.
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

namespace clearsky::cuda {

void use_layer_norm(const LayerNormForward& f, const LayerNormBackward& b, float* workspace, Stream stream) {
  layer_norm_forward(f, stream);
  layer_norm_backward(b, workspace, stream);
}
void use_softmax(const Softmax& f, const SoftmaxBackward& b, Stream stream) {
  softmax(f, stream);
  softmax_backward(b, stream);
}
void use_gates(const GateForward& f, const GateBackward& b, Stream stream) {
  gelu_gate_forward(f, stream);
  gelu_gate_backward(b, stream);
  simple_gate_forward(f, stream);
  simple_gate_backward(b, stream);
}
void use_fusion(const MixForward& f, const MixBackward& b, float* workspace, Stream stream) {
  mix_forward(f, stream);
  mix_backward(b, workspace, stream);
}
void use_gemm(const Gemm& p, Precision precision, float* workspace, Stream stream) {
  gemm(p, precision, workspace, stream);
}
void use_adam(const AdamStep& s, int64_t length, Stream stream) {
  adam_step(s, length, stream);
}
void use_conv(const Conv2dForward& f, const ConvEpilogue& epilogue, const Conv2dDataGradient& d,
              const Conv2dWeightGradient& w, Precision precision, float* workspace, Stream stream) {
  conv2d_forward(f, epilogue, precision, stream);
  conv2d_data_gradient(d, precision, stream);
  conv2d_weight_gradient(w, precision, workspace, stream);
}
void use_conv_depthwise(const Conv2dForward& f, const Conv2dDataGradient& d, const Conv2dWeightGradient& w,
                        float* workspace, Stream stream) {
  conv2d_depthwise_forward(f, stream);
  conv2d_depthwise_data_gradient(d, stream);
  conv2d_depthwise_weight_gradient(w, workspace, stream);
}
void use_image(const PixelShuffle& s, const Resize& r, const MaxPool& m, const MaxPoolRoute& t, const AvgPool& a,
               Stream stream) {
  pixel_shuffle(s, stream);
  pixel_unshuffle(s, stream);
  resize(r, stream);
  resize_transpose(r, stream);
  max_pool(m, stream);
  max_pool_scatter(t, stream);
  max_pool_take(t, stream);
  avg_pool(a, stream);
  avg_pool_transpose(a, stream);
}
template <class Label>
void use_class_losses(const CrossEntropy<Label>& c, const DiceForward<Label>& f, const DiceBackward<Label>& b,
                      float* workspace, int64_t* invalid, Stream stream) {
  cross_entropy(c, workspace, invalid, stream);
  dice_forward(f, workspace, invalid, stream);
  dice_backward(b, stream);
}
template void use_class_losses(const CrossEntropy<uint8_t>&, const DiceForward<uint8_t>&, const DiceBackward<uint8_t>&,
                               float*, int64_t*, Stream);
template void use_class_losses(const CrossEntropy<int64_t>&, const DiceForward<int64_t>&, const DiceBackward<int64_t>&,
                               float*, int64_t*, Stream);
template <class E>
void use_error_loss(const ErrorLossForward<E>& f, const ErrorLossBackward<E>& b, float* workspace, Stream stream) {
  error_loss_forward(f, workspace, stream);
  error_loss_backward(b, stream);
}
template void use_error_loss(const ErrorLossForward<AbsoluteError>&, const ErrorLossBackward<AbsoluteError>&, float*,
                             Stream);
template void use_error_loss(const ErrorLossForward<SquaredError>&, const ErrorLossBackward<SquaredError>&, float*,
                             Stream);
template void use_error_loss(const ErrorLossForward<HuberError>&, const ErrorLossBackward<HuberError>&, float*, Stream);
template void use_error_loss(const ErrorLossForward<CharbonnierError>&, const ErrorLossBackward<CharbonnierError>&,
                             float*, Stream);
void use_carl(const CarlForward& f, const CarlBackward& b, float* workspace, Stream stream) {
  carl_forward(f, workspace, stream);
  carl_backward(b, stream);
}
void use_ssim(const SsimForward& f, const SsimBackward& b, float* workspace, Stream stream) {
  ssim_forward(f, workspace, stream);
  ssim_backward(b, stream);
}
void use_prompt_fusion(const PromptFusionForward& f, const PromptFusionBackward& b, float* workspace, Stream stream) {
  prompt_fusion_forward(f, stream);
  prompt_fusion_backward(b, workspace, stream);
}

void use_map(const DeviceMap& m, Stream stream) {
  map(m, stream);
}
void use_copy(const cpu::Copy<float, float>& c, const cpu::Copy<float, BFloat16>& narrow,
              const cpu::Copy<BFloat16, float>& wide, const cpu::Copy<uint8_t, float>& labels, Stream stream) {
  copy(c, stream);
  copy(narrow, stream);
  copy(wide, stream);
  copy(labels, stream);
}
void use_reductions(const Sum& s, const Extremum& e, const AlongIndex& a, float* workspace, Stream stream) {
  sum(s, workspace, stream);
  extremum(e, stream);
  put_along_index(a, stream);
  take_along_index(a, stream);
}
void use_pad_and_gather(const Pad& p, const Gather& g, Stream stream) {
  pad(p, stream);
  pad_transpose(p, stream);
  gather(g, stream);
  scatter_add(g, stream);
}
void use_updates(const SgdStep& s, const AverageStep& a, const ScaleStep& c, const SquaredNorm& n, int64_t length,
                 double* workspace, Stream stream) {
  sgd_step(s, length, stream);
  average_step(a, length, stream);
  scale_step(c, length, stream);
  squared_norm(n, length, workspace, stream);
}

void use_attention(const AttentionForward& f, const AttentionBackward& b, const WindowAttentionForward& wf,
                   const WindowAttentionBackward& wb, const ChannelAttentionForward& cf,
                   const ChannelAttentionBackward& cb, Precision precision, float* workspace, Stream stream) {
  attention_forward(f, precision, stream);
  attention_backward(b, precision, workspace, stream);
  window_attention_forward(wf, precision, stream);
  window_attention_backward(wb, precision, workspace, stream);
  channel_attention_forward(cf, precision, workspace, stream);
  channel_attention_backward(cb, precision, workspace, stream);
}

void use_random(const UniformDraw& u, const NormalDraw& n, const IntegerDraw<int64_t>& i, const DropoutMask& d,
                Stream stream) {
  rand_uniform(u, stream);
  rand_normal(n, stream);
  rand_integers(i, stream);
  dropout_mask(d, stream);
}
void use_compare(const Compare<float>& f, const Compare<int64_t>& i, const Compare<uint8_t>& b, Stream stream) {
  compare(f, stream);
  compare(i, stream);
  compare(b, stream);
}

}  // namespace clearsky::cuda

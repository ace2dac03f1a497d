// Every kernel, by way of its launchers. Compiled only.
#include "clearsky/cuda/kernels/adam.cuh"
#include "clearsky/cuda/kernels/conv.cuh"
#include "clearsky/cuda/kernels/conv_depthwise.cuh"
#include "clearsky/cuda/kernels/fusion.cuh"
#include "clearsky/cuda/kernels/gate.cuh"
#include "clearsky/cuda/kernels/gemm.cuh"
#include "clearsky/cuda/kernels/layer_norm.cuh"
#include "clearsky/cuda/kernels/softmax.cuh"

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

}  // namespace clearsky::cuda

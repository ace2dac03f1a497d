// Every kernel, by way of its launchers. Compiled only.
#include "clearsky/cuda/kernels/layer_norm.cuh"

namespace clearsky::cuda {

void use_layer_norm(const LayerNormForward& f, const LayerNormBackward& b, float* workspace, Stream stream) {
  layer_norm_forward(f, stream);
  layer_norm_backward(b, workspace, stream);
}

}  // namespace clearsky::cuda

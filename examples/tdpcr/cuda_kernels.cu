// The CUDA kernels, compiled by nvcc, for --device cuda.

#include "clearsky/cuda/cuda_library.cuh"

namespace clearsky::program {

const cuda::DeviceLibrary& cuda_kernels();
const cuda::DeviceLibrary& cuda_kernels() {
  return cuda::make_cuda_library();
}

}  // namespace clearsky::program

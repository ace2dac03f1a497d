// The cuBLAS route. Compiled only.
#include "clearsky/cuda/cublas.cuh"

namespace clearsky::cuda {

void use_cublas(const cpu::Gemm<float>& p, Precision precision, Stream stream) {
  Cublas().gemm(p, precision, stream);
}

}  // namespace clearsky::cuda

// The cuBLAS route. Compiled only.
#if __has_include(<cublas_v2.h>)
#include "clearsky/cuda/cublas.cuh"

namespace clearsky::cuda {

void use_cublas(const cpu::Gemm<float>& p, Precision precision, Stream stream) {
  Cublas().gemm(p, precision, stream);
}

}  // namespace clearsky::cuda
#endif

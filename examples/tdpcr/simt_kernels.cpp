// The CUDA kernels as C++, for --device simt.

#include "clearsky/cuda/simt_library.hpp"

namespace clearsky::program {

const cuda::DeviceLibrary& simt_kernels();
const cuda::DeviceLibrary& simt_kernels() {
  return cuda::simt_library();
}

}  // namespace clearsky::program

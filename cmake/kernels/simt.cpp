// The CUDA kernels as C++, once for whoever runs them on the CPU: the program's --device simt, and the tests of
// devices.

#include "clearsky/cuda/simt_library.hpp"

namespace clearsky::cuda {

const DeviceLibrary& simt_kernels();
const DeviceLibrary& simt_kernels() {
  return simt_library();
}

}  // namespace clearsky::cuda

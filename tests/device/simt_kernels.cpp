// The kernels as C++, once for all tests of this folder.

#include "simt.hpp"

#include "clearsky/cuda/simt_library.hpp"

namespace clearsky::test {

const cuda::DeviceLibrary& simt_kernels() {
  return cuda::simt_library();
}

void close_memory_to_host(bool on) {
  simt::GlobalMemory::global().set_closed_to_host(on);
}

}  // namespace clearsky::test

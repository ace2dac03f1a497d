#include "clearsky/cuda/backend.hpp"
#include "clearsky/simt/global_memory.hpp"
#include "simt.hpp"

namespace clearsky {

namespace cuda {
const DeviceLibrary& simt_kernels();  // cmake/kernels/simt.cpp
}

namespace test {

Device use_simt() {
  static const bool once = (cuda::enable(cuda::simt_kernels()), true);
  return once ? Device::simt : Device::cpu;
}

void close_memory_to_host(bool on) {
  simt::GlobalMemory::global().set_closed_to_host(on);
}

}  // namespace test
}  // namespace clearsky

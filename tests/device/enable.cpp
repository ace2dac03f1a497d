#include "clearsky/cuda/backend.hpp"
#include "simt.hpp"

namespace clearsky::test {

Device use_simt() {
  static const bool once = (cuda::enable(simt_kernels()), true);
  return once ? Device::simt : Device::cpu;
}

}  // namespace clearsky::test

// --device

#include "device.hpp"

#include <cstdio>

#include "clearsky/cuda/backend.hpp"

// In files of their own, since the kernels take longer to compile than all the rest.
namespace clearsky::cuda {
const DeviceLibrary& simt_kernels();  // cmake/kernels/simt.cpp
}

namespace clearsky::program {

#ifdef CLEARSKY_WITH_CUDA
const cuda::DeviceLibrary& cuda_kernels();  // cuda_kernels.cu
#endif

namespace {

/// Why there is no GPU to compute on; empty when there is one.
std::string why_no_cuda() {
#ifdef CLEARSKY_WITH_CUDA
  return cuda_kernels().unavailable();
#else
  return "this program was built without CUDA; install the CUDA toolkit and build again, or use --device cpu";
#endif
}

}  // namespace

Device DeviceChoice::enable(bool quiet) const {
  const auto say = [&](const std::string& text) {
    if (!quiet) std::printf("device: %s\n", text.c_str());
    // Before whatever takes long, also where the output goes into a file.
    if (!quiet) std::fflush(stdout);
  };
  if (name_ == "cpu") {
    say("cpu, as asked for");
    return Device::cpu;
  }
  if (name_ == "simt") {
    cuda::enable(cuda::simt_kernels());
    say(cuda::simt_kernels().describe() + ", as asked for");
    return Device::simt;
  }
  const std::string reason = why_no_cuda();
  CLEARSKY_CHECK(DeviceError, name_ != "cuda" || reason.empty(), "--device cuda: ", reason);
  if (!reason.empty()) {
    say("cpu, since " + reason.substr(0, reason.find(';')));
    return Device::cpu;
  }
#ifdef CLEARSKY_WITH_CUDA
  cuda::enable(cuda_kernels());
  say("cuda, " + cuda_kernels().describe() + (name_ == "cuda" ? ", as asked for" : ", since there is one"));
#endif
  return Device::cuda;
}

}  // namespace clearsky::program

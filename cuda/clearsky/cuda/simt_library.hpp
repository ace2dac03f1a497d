#pragma once
// The kernels on the CPU, as a device: see clearsky/cuda/backend.hpp. Include it in one C++ file of a program; it takes
// a minute to compile.

#ifdef __CUDACC__
#error "clearsky/cuda/simt_library.hpp is for a C++ compiler; nvcc takes clearsky/cuda/cuda_library.cuh"
#endif

#include "clearsky/cuda/kernel_set.cuh"

namespace clearsky::cuda {

/// @return  always available; slow, and only as fast as the number of threads of parallel_for allows
inline const DeviceLibrary& simt_library() {
  static const DeviceLibrary library{
      .device = Device::simt,
      .runtime = [] { return &on_cpu::runtime_table(); },
      .kernels = [] { return on_cpu::kernel_set(); },
      .unavailable = [] { return std::string(); },
      .describe = [] { return std::string("simt (the CUDA kernels, emulated on the CPU)"); },
  };
  return library;
}

}  // namespace clearsky::cuda

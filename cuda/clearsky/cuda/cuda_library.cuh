#pragma once
// The kernels on an NVIDIA GPU, as a device. A program needs one file compiled by nvcc:
//
//     #include "clearsky/cuda/cuda_library.cuh"
//     const clearsky::cuda::DeviceLibrary& cuda_library() { return clearsky::cuda::make_cuda_library(); }
//
// and enables it where it has a device: see clearsky/cuda/backend.hpp.

#ifndef __CUDACC__
#error "clearsky/cuda/cuda_library.cuh is for nvcc; a C++ compiler takes clearsky/cuda/simt_library.hpp"
#endif

#include "clearsky/cuda/kernel_set.cuh"

namespace clearsky::cuda {

namespace detail {

/// Any error means "no device": without a driver the count is not even written.
inline std::string why_no_device() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    (void)cudaGetLastError();
    return std::string("no usable NVIDIA driver (") + cudaGetErrorString(status) + ", CUDA error " +
           std::to_string(int(status)) + "); install one, or use --device cpu";
  }
  if (count == 0) return "no NVIDIA GPU in this machine; use --device cpu";
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  if (properties.major < 8)
    return std::string(properties.name) + " has compute capability " + std::to_string(properties.major) + "." +
           std::to_string(properties.minor) + ", the kernels need 8.0; use --device cpu";
  return "";
}

}  // namespace detail

inline const DeviceLibrary& make_cuda_library() {
  static const DeviceLibrary library{
      .device = Device::cuda,
      .runtime = [] { return &on_device::runtime_table(); },
      .kernels = [] { return on_device::kernel_set(); },
      .unavailable = [] { return detail::why_no_device(); },
      .describe =
          [] {
            cudaDeviceProp properties{};
            check_cuda(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
            return std::string(properties.name) + ", " + std::to_string(properties.totalGlobalMem >> 20) + " MiB";
          },
  };
  return library;
}

}  // namespace clearsky::cuda

#pragma once
// Devices, and the launch table through which an op reaches the kernel of a device.

#include <cstdint>
#include <string>

#include "clearsky/core/error.hpp"

namespace clearsky {

/// Where a tensor's memory lies and its kernels run.
enum class Device : uint8_t {
  cpu,
  cuda,  ///< an NVIDIA GPU; its kernels come with clearsky/cuda
  simt,  ///< the same kernels, emulated on the CPU: slow, for tests, study and audits
};
inline constexpr int kDevices = 3;

inline std::string to_text(Device d) {
  return d == Device::cpu ? "cpu" : d == Device::cuda ? "cuda" : "simt";
}

/// What the factors of products (convolutions, matrix products) are rounded to on a device with tensor cores. Tensors
/// stay float, and products are added up in float; the CPU ignores it.
enum class Precision : uint8_t {
  float32,   ///< nothing
  tf32,      ///< 10 bits after the point
  bfloat16,  ///< 7 bits after the point
};
inline std::string to_text(Precision p) {
  return p == Precision::float32 ? "float32" : p == Precision::tf32 ? "tf32" : "bfloat16";
}

/// One kernel on every device it exists for. Ops call it with a plain struct of pointers and sizes; the CPU slot is
/// filled where the table is declared, any other by the backend that brings the device.
///
///     template <class T>
///     inline Kernel<LayerNormForward<T>> layer_norm_forward{"layer_norm_forward", cpu::layer_norm_forward<T>};
template <class Args>
struct Kernel {
  using Function = void (*)(const Args&);
  const char* name;
  Function slots[kDevices];

  Kernel(const char* kernel_name, Function cpu) : name(kernel_name), slots{cpu} {}

  void operator()(Device device, const Args& args) const {
    const Function run = slots[size_t(device)];
    CLEARSKY_CHECK(DeviceError, run != nullptr, name, ": the tensor is on ", device,
                   " but this program has no kernels for it; include clearsky/cuda/backend.cuh and call "
                   "clearsky::cuda::enable() at the start of main()");
    run(args);
  }
};

}  // namespace clearsky

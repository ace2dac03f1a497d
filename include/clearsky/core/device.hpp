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
};
inline constexpr int kDevices = 2;

inline std::string to_text(Device d) {
  return d == Device::cpu ? "cpu" : "cuda";
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

#pragma once
// Devices: their memory, and the launch table through which an op reaches the kernel of a device.

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "clearsky/core/error.hpp"
#include "clearsky/core/shape.hpp"

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

/// What the factors of products (convolutions, matrix products, attention) are rounded to. Tensors stay float, and
/// products are added up in float; double is never rounded.
///
/// A device with tensor cores takes all of them so. The CPU ignores tf32, and takes in bfloat16 matrix products,
/// convolutions and the blocks that consist of them (restormer_attention, restormer_feed_forward, naf_block): faster
/// where the processor multiplies bfloat16 (AVX512-BF16; denormal factors are then 0), else rounded as well, and
/// slower. There stay float: 3x3 windows where Winograd's way is faster still, the gradients of the weights of windows
/// larger than 1x1, depthwise windows, and attention as an operation of its own.
enum class Precision : uint8_t {
  float32,   ///< nothing
  tf32,      ///< 10 bits after the point
  bfloat16,  ///< 7 bits after the point
};
inline std::string to_text(Precision p) {
  return p == Precision::float32 ? "float32" : p == Precision::tf32 ? "tf32" : "bfloat16";
}

namespace detail {
inline constinit thread_local Precision product_precision = Precision::float32;
}

/// What products on this thread round their factors to.
inline Precision product_precision() {
  return detail::product_precision;
}

/// While alive, products that this thread asks for round their factors so. Weights, features and gradients stay float,
/// so that a step of the optimizer loses nothing. Let it live through backward as well, whose products are two thirds
/// of all.
class [[nodiscard]] Autocast {
 public:
  explicit Autocast(Precision precision) : before_(detail::product_precision) { detail::product_precision = precision; }
  ~Autocast() { detail::product_precision = before_; }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  Precision before_;
};

/// What a pool of memory has done so far. All sizes in bytes, rounded up to the pool's block sizes.
struct MemoryStats {
  int64_t live_bytes = 0;          ///< handed out now
  int64_t peak_bytes = 0;          ///< the most ever handed out at once, since the last reset_peak_memory()
  int64_t reserved_bytes = 0;      ///< taken from the system and not given back
  int64_t system_allocations = 0;  ///< how often the system was asked; constant in a steady state
};

/// Work of a device that was captured once and can be done again with one call.
struct CapturedWork {
  CapturedWork() = default;
  virtual ~CapturedWork() = default;
  CapturedWork(const CapturedWork&) = delete;
  CapturedWork& operator=(const CapturedWork&) = delete;
  /// @throws ValueError for what could not be checked while it was captured, such as a label that is no class
  virtual void launch() = 0;
};

/// What a device other than the CPU does with its memory; filled by the backend that brings the device
/// (clearsky/cuda/backend.hpp). Everything happens in the order in which it was asked for.
struct DeviceRuntime {
  void* (*allocate)(size_t bytes);
  void (*release)(void* p, size_t bytes);
  void (*upload)(void* to, const void* from, size_t bytes);    ///< from the CPU; `from` may change afterwards
  void (*download)(void* to, const void* from, size_t bytes);  ///< to the CPU; waits until it is there
  void (*copy)(void* to, const void* from, size_t bytes);      ///< within the device
  /// Elements of a strided tensor, in row-major order, side by side.
  void (*copy_strided)(void* to, const void* from, size_t element_bytes, const Shape& shape, const Shape& strides);
  void (*fill)(void* p, const void* element, size_t element_bytes, int64_t count);
  void (*synchronize)();  ///< waits for all that was asked for; throws DeviceError when something failed
  std::unique_ptr<CapturedWork> (*capture)(const std::function<void()>& body);
  MemoryStats (*memory)();
  void (*reset_peak)();
  void (*release_cached)();
};

namespace detail {
inline const DeviceRuntime* device_runtimes[kDevices] = {};
}

/// True for the CPU, and for a device whose backend was enabled.
inline bool has_device(Device device) {
  return device == Device::cpu || detail::device_runtimes[size_t(device)] != nullptr;
}

/// @throws DeviceError when the program has no such device
inline const DeviceRuntime& device_runtime(Device device) {
  const DeviceRuntime* runtime = detail::device_runtimes[size_t(device)];
  CLEARSKY_CHECK(DeviceError, runtime != nullptr, "device ", device,
                 ": this program has no memory and no kernels on it",
                 "; include clearsky/cuda/backend.hpp and call clearsky::cuda::enable() at the start of main()");
  return *runtime;
}

/// Waits for a device. Nothing to do for the CPU, whose kernels return when they are done.
inline void synchronize(Device device) {
  if (device != Device::cpu) device_runtime(device).synchronize();
}

/// Captures what `body` asks of a device, without doing it, for a step whose shapes do not change: hundreds of small
/// launches cost the host more time than the device needs for them.
///
///     auto step = capture(device, [&] { loss = model(x); loss.backward(); });
///     copy_(x, next_batch);  step->launch();     // the same addresses, new values
///
/// Tensors made by `body` lie in memory of the captured work, and must not be used after it; tensors that it read must
/// outlive it. A value cannot be read back inside.
/// @throws DeviceError for the CPU and a device that the program does not have; ValueError when body reads a value
inline std::unique_ptr<CapturedWork> capture(Device device, const std::function<void()>& body) {
  CLEARSKY_CHECK(DeviceError, device != Device::cpu,
                 "capture: the CPU's work is done as it is asked for; use a device with a queue");
  return device_runtime(device).capture(body);
}

namespace detail {

/// Copies bytes between any two devices; when it returns, `from` may change.
inline void transfer(void* to, Device to_device, const void* from, Device from_device, size_t bytes) {
  if (bytes == 0) return;
  if (to_device == Device::cpu && from_device == Device::cpu) {
    std::memcpy(to, from, bytes);
  } else if (from_device == Device::cpu) {
    device_runtime(to_device).upload(to, from, bytes);
  } else if (to_device == Device::cpu) {
    device_runtime(from_device).download(to, from, bytes);
  } else if (to_device == from_device) {
    device_runtime(to_device).copy(to, from, bytes);
  } else {
    std::vector<std::byte> host(bytes);
    device_runtime(from_device).download(host.data(), from, bytes);
    device_runtime(to_device).upload(to, host.data(), bytes);
  }
}

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_without_kernel(const char* name, Device device) {
  CLEARSKY_FAIL(DeviceError, name, ": the tensor is on ", device,
                ", for which it has no kernel; move the tensor with to(Device::cpu), or include "
                "clearsky/cuda/backend.hpp and call clearsky::cuda::enable() at the start of main()");
}

}  // namespace detail

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

  constexpr Kernel(const char* kernel_name, Function cpu) : name(kernel_name), slots{cpu} {}

  bool exists_on(Device device) const { return slots[size_t(device)] != nullptr; }

  void operator()(Device device, const Args& args) const {
    const Function run = slots[size_t(device)];
    if (run == nullptr) [[unlikely]]
      detail::fail_without_kernel(name, device);
    run(args);
  }
};

}  // namespace clearsky

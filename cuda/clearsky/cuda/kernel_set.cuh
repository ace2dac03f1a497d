#pragma once
// The kernels' launchers behind the pointers of KernelSet: each gets its workspace from the caching allocator, the
// stream of the runtime and the precision of the calling thread.

#include "clearsky/cuda/kernel_set.hpp"
#include "clearsky/cuda/kernels/adam.cuh"
#include "clearsky/cuda/kernels/attention.cuh"
#include "clearsky/cuda/kernels/carl.cuh"
#include "clearsky/cuda/kernels/channel_attention.cuh"
#include "clearsky/cuda/kernels/conv2d.cuh"
#include "clearsky/cuda/kernels/copy.cuh"
#include "clearsky/cuda/kernels/cross_entropy.cuh"
#include "clearsky/cuda/kernels/depthwise.cuh"
#include "clearsky/cuda/kernels/dice.cuh"
#include "clearsky/cuda/kernels/error_loss.cuh"
#include "clearsky/cuda/kernels/fusion.cuh"
#include "clearsky/cuda/kernels/gate.cuh"
#include "clearsky/cuda/kernels/gather.cuh"
#include "clearsky/cuda/kernels/gemm.cuh"
#include "clearsky/cuda/kernels/layer_norm.cuh"
#include "clearsky/cuda/kernels/map.cuh"
#include "clearsky/cuda/kernels/pad.cuh"
#include "clearsky/cuda/kernels/pixel_shuffle.cuh"
#include "clearsky/cuda/kernels/pool.cuh"
#include "clearsky/cuda/kernels/reduce.cuh"
#include "clearsky/cuda/kernels/resize.cuh"
#include "clearsky/cuda/kernels/softmax.cuh"
#include "clearsky/cuda/kernels/ssim.cuh"
#include "clearsky/cuda/kernels/update.cuh"
#include "clearsky/cuda/runtime.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

namespace detail {

/// A launcher that needs nothing but its arguments.
template <auto Launch, class Args>
void plain(const Args& args) {
  Launch(args, current_stream());
}

/// One that needs `Workspace(args)` floats as well.
template <auto Launch, auto Workspace, class Args>
void with_workspace(const Args& args) {
  const DeviceScratch scratch(Workspace(args));
  Launch(args, scratch.data(), current_stream());
}

/// Host arrays that a kernel reads on the device.
template <class T>
class OnDeviceFor {
 public:
  OnDeviceFor(const T* host, int64_t count) : scratch_((count * int64_t(sizeof(T)) + 3) / 4) {
    if (count != 0)
      Runtime::global().uploader().upload(scratch_.data(), host, size_t(count) * sizeof(T), current_stream());
  }
  const T* get() const { return reinterpret_cast<const T*>(scratch_.data()); }

 private:
  DeviceScratch scratch_;
};

/// Where tensors lie along the common axis of an update, on the device.
class LayoutOnDevice {
 public:
  explicit LayoutOnDevice(const cpu::UpdateLayout& host)
      : starts_(host.starts, host.tensors + 1),
        counts_(host.counts, host.tensors),
        tensors_(host.tensors),
        length_(host.tensors == 0 ? 0 : host.starts[host.tensors]) {}
  cpu::UpdateLayout get() const { return {starts_.get(), counts_.get(), tensors_}; }
  int64_t length() const { return length_; }

 private:
  OnDeviceFor<int64_t> starts_, counts_;
  int64_t tensors_, length_;
};

}  // namespace detail

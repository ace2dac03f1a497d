#pragma once
// Global memory and copies, in both meanings. Nothing here is cached: see clearsky/cuda/allocator.cuh for what tensors
// use.

#include "clearsky/cuda/portable.cuh"

#ifndef __CUDACC__
#include "clearsky/simt/global_memory.hpp"
#endif

namespace clearsky::cuda::inline CLEARSKY_MEANING {

#ifdef __CUDACC__

/// @throws MemoryError when the device has no such piece left
inline void* device_allocate(size_t bytes) {
  void* p = nullptr;
  const cudaError_t status = cudaMalloc(&p, bytes == 0 ? 1 : bytes);
  if (status == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();  // or the next check would report it again
    CLEARSKY_FAIL(MemoryError, "cuda: the device has no ", bytes, " bytes left; use a smaller batch or tile");
  }
  check_cuda(status, "device_allocate");
  return p;
}
inline void device_release(void* p) {
  check_cuda(cudaFree(p), "device_release");
}
/// @throws ValueError while work of the stream is captured
inline void refuse_while_capturing(const char* what, Stream stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(stream, &status), what);
  CLEARSKY_CHECK(ValueError, status == cudaStreamCaptureStatusNone, what,
                 ": not while a graph is captured, since it would happen once and not at each replay; move it out of "
                 "the captured part");
}
/// Returns at once for pinned memory; pageable memory has been read when it returns.
inline void copy_to_device(void* to, const void* from, size_t bytes, Stream stream) {
  refuse_while_capturing("copy_to_device", stream);
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "copy_to_device");
}
/// Returns when the copy is done.
inline void copy_to_host(void* to, const void* from, size_t bytes, Stream stream) {
  refuse_while_capturing("copy_to_host", stream);
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "copy_to_host");
  check_cuda(cudaStreamSynchronize(stream), "copy_to_host");
}
inline void copy_on_device(void* to, const void* from, size_t bytes, Stream stream) {
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "copy_on_device");
}
inline void fill_device(void* p, int byte, size_t bytes, Stream stream) {
  check_cuda(cudaMemsetAsync(p, byte, bytes, stream), "fill_device");
}
/// Makes reused memory look fresh where that can be seen: under simt.
inline void forget_device(void*, size_t) {}
/// Waits for all work of a stream.
/// @throws DeviceError when a kernel failed
inline void synchronize(Stream stream) {
  check_cuda(cudaStreamSynchronize(stream), "synchronize");
}

#else

inline void* device_allocate(size_t bytes) {
  return simt::GlobalMemory::global().allocate(bytes);
}
inline void device_release(void* p) {
  simt::GlobalMemory::global().release(p);
}
inline void copy_to_device(void* to, const void* from, size_t bytes, Stream) {
  simt::refuse_while_recording("copy_to_device");
  simt::GlobalMemory::global().copy(to, from, bytes);
}
inline void copy_to_host(void* to, const void* from, size_t bytes, Stream) {
  simt::refuse_while_recording("copy_to_host");
  simt::GlobalMemory::global().copy(to, from, bytes);
}
inline void copy_on_device(void* to, const void* from, size_t bytes, Stream) {
  const auto run = [=] { simt::GlobalMemory::global().copy(to, from, bytes); };
  if (simt::recording() != nullptr) simt::recording()->push_back(run);
  else run();
}
inline void fill_device(void* p, int byte, size_t bytes, Stream) {
  const auto run = [=] { simt::GlobalMemory::global().fill(p, byte, bytes); };
  if (simt::recording() != nullptr) simt::recording()->push_back(run);
  else run();
}
inline void forget_device(void* p, size_t bytes) {
  const auto run = [=] { simt::GlobalMemory::global().forget(p, bytes); };
  if (simt::recording() != nullptr) simt::recording()->push_back(run);
  else run();
}
inline void synchronize(Stream) {
  simt::refuse_while_recording("synchronize");
}

#endif

/// An array in device memory, for workspaces and tests.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(int64_t count)
      : count_(count), data_(static_cast<T*>(device_allocate(size_t(count) * sizeof(T)))) {}
  DeviceArray(const T* values, int64_t count) : DeviceArray(count) {
    copy_to_device(data_, values, size_t(count) * sizeof(T), nullptr);
  }
  DeviceArray(DeviceArray&& other) noexcept : count_(other.count_), data_(other.data_) { other.data_ = nullptr; }
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(count_, other.count_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~DeviceArray() {
    if (data_ != nullptr) device_release(data_);
  }
  T* data() const { return data_; }
  int64_t size() const { return count_; }
  void download(T* to) const { copy_to_host(to, data_, size_t(count_) * sizeof(T), nullptr); }

 private:
  int64_t count_;
  T* data_;
};

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

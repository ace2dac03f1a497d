#pragma once
// The device as tensors see it: memory, copies, the stream that everything is queued on.

#include "clearsky/cuda/stream.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

/// What the launches of this process share. One device, one stream for the work of tensors.
class Runtime {
 public:
  static Runtime& global() {
    static Runtime* const runtime = new Runtime;
    return *runtime;
  }
  Stream stream() const { return stream_.get(); }
  Uploader& uploader() { return uploader_; }

  /// A check that needs a value from the device: at once, or, while a graph is captured, after each replay.
  void check(std::function<void()> body) {
    if (deferred_ != nullptr) deferred_->push_back(std::move(body));
    else body();
  }
  void defer_checks(std::vector<std::function<void()>>* to) { deferred_ = to; }
  bool capturing() const { return deferred_ != nullptr; }

 private:
  OwnedStream stream_;
  Uploader uploader_;
  std::vector<std::function<void()>>* deferred_ = nullptr;
};

inline Stream current_stream() {
  return Runtime::global().stream();
}

/// grid (ceil(count / 256)), block 256
template <class T>
__global__ void __launch_bounds__(256) fill_all(T* p, T value, int64_t count) {
  const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (i < count) p[i] = value;
}

/// Where the elements of a strided tensor lie, dimensions from the last to the first.
struct StridedFrom {
  int64_t sizes[kMaxRank], strides[kMaxRank];
  int rank;
};

/// grid (ceil(count / 256)), block 256
template <class T>
__global__ void __launch_bounds__(256) gather_strided(T* to, const T* from, const StridedFrom s, int64_t count) {
  const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (i >= count) return;
  int64_t rest = i, at = 0;
  for (int d = 0; d < s.rank; ++d) {
    at += rest % s.sizes[d] * s.strides[d];
    rest /= s.sizes[d];
  }
  to[i] = from[at];
}

namespace detail {

/// Calls body with an unsigned integer of that many bytes.
template <class Body>
void with_element(size_t bytes, Body&& body) {
  switch (bytes) {
    case 1:
      return body(uint8_t());
    case 2:
      return body(uint16_t());
    case 4:
      return body(uint32_t());
    default:
      return body(uint64_t());
  }
}

}  // namespace detail

/// A graph of the runtime's stream, and what is to be checked after each of its replays.
class CapturedGraph final : public CapturedWork {
 public:
  explicit CapturedGraph(const std::function<void()>& body) {
    Runtime& runtime = Runtime::global();
    runtime.defer_checks(&checks_);
    const auto end = [&runtime](void*) { runtime.defer_checks(nullptr); };
    const std::unique_ptr<void, decltype(end)> guard(this, end);
    graph_.capture(runtime.stream(), body);
  }
  ~CapturedGraph() override { checks_.clear(); }  // their flags lie in the graph's memory
  void launch() override {
    graph_.launch(current_stream());
    for (const auto& check : checks_) check();
  }

 private:
  Graph graph_;
  std::vector<std::function<void()>> checks_;
};

/// The table through which tensors reach this device.
inline const DeviceRuntime& runtime_table() {
  static const DeviceRuntime table{
      .allocate = [](size_t bytes) { return CachingAllocator::global().allocate(bytes); },
      .release = [](void* p, size_t bytes) { CachingAllocator::global().release(p, bytes); },
      .upload = [](void* to, const void* from,
                   size_t bytes) { Runtime::global().uploader().upload(to, from, bytes, current_stream()); },
      .download = [](void* to, const void* from, size_t bytes) { copy_to_host(to, from, bytes, current_stream()); },
      .copy = [](void* to, const void* from, size_t bytes) { copy_on_device(to, from, bytes, current_stream()); },
      .copy_strided =
          [](void* to, const void* from, size_t element_bytes, const Shape& shape, const Shape& strides) {
            const int64_t count = shape.numel();
            if (count == 0) return;
            StridedFrom s{};
            for (size_t d = shape.size(); d-- > 0; ++s.rank) s.sizes[s.rank] = shape[d], s.strides[s.rank] = strides[d];
            detail::with_element(element_bytes, [&](auto zero) {
              using T = decltype(zero);
              launch(gather_strided<T>, blocks_of(count, 256), 256, 0, current_stream(), static_cast<T*>(to),
                     static_cast<const T*>(from), s, count);
            });
          },
      .fill =
          [](void* p, const void* element, size_t element_bytes, int64_t count) {
            if (count == 0) return;
            detail::with_element(element_bytes, [&](auto value) {
              std::memcpy(&value, element, sizeof value);
              if (value == 0) return fill_device(p, 0, size_t(count) * element_bytes, current_stream());
              launch(fill_all<decltype(value)>, blocks_of(count, 256), 256, 0, current_stream(),
                     static_cast<decltype(value)*>(p), value, count);
            });
          },
      .synchronize = [] { synchronize(current_stream()); },
      .capture = [](const std::function<void()>& body) -> std::unique_ptr<CapturedWork> {
        return std::make_unique<CapturedGraph>(body);
      },
      .memory = [] { return CachingAllocator::global().stats(); },
      .reset_peak = [] { CachingAllocator::global().reset_peak(); },
      .release_cached = [] { CachingAllocator::global().trim(); },
  };
  return table;
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

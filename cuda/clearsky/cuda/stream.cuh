#pragma once
// Streams, events, memory that the device reads by itself, and graphs: work that is captured once and replayed.

#include <functional>
#include <memory>
#include <utility>

#include "clearsky/cuda/allocator.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

/// A stream of its own, whose work does not wait for the default stream's.
class OwnedStream {
 public:
#ifdef __CUDACC__
  OwnedStream() {
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "OwnedStream");
  }
  ~OwnedStream() {
    (void)cudaStreamDestroy(stream_);
  }
#else
  OwnedStream() = default;
#endif
  OwnedStream(const OwnedStream&) = delete;
  OwnedStream& operator=(const OwnedStream&) = delete;
  Stream get() const {
    return stream_;
  }

 private:
  Stream stream_ = nullptr;
};

/// A point in a stream that others can wait for.
class Event {
 public:
#ifdef __CUDACC__
  Event() {
    check_cuda(cudaEventCreate(&event_), "Event");
  }
  ~Event() {
    (void)cudaEventDestroy(event_);
  }
  void record(Stream stream) {
    check_cuda(cudaEventRecord(event_, stream), "Event::record");
  }
  /// Work queued on `stream` from now on waits for the event.
  void make_wait(Stream stream) const {
    check_cuda(cudaStreamWaitEvent(stream, event_, 0), "Event::make_wait");
  }
  /// The host waits.
  void wait() const {
    check_cuda(cudaEventSynchronize(event_), "Event::wait");
  }
  /// Milliseconds from an earlier event to this one; both must have happened.
  float since(const Event& earlier) const {
    float ms = 0;
    check_cuda(cudaEventElapsedTime(&ms, earlier.event_, event_), "Event::since");
    return ms;
  }

 private:
  cudaEvent_t event_ = nullptr;

 public:
#else
  // Work is done when it is asked for: every point has been passed. Emulated time is no time.
  Event() = default;
  void record(Stream) {}
  void make_wait(Stream) const {}
  void wait() const {}
#endif
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
};

/// Host memory that a device copies from while the host goes on.
class PinnedBuffer {
 public:
  explicit PinnedBuffer(size_t bytes) : bytes_(bytes) {
#ifdef __CUDACC__
    check_cuda(cudaMallocHost(&data_, bytes), "PinnedBuffer");
#else
    data_ = ::operator new(bytes);
#endif
  }
  ~PinnedBuffer() {
#ifdef __CUDACC__
    (void)cudaFreeHost(data_);
#else
    ::operator delete(data_);
#endif
  }
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  void* data() const {
    return data_;
  }
  size_t bytes() const {
    return bytes_;
  }

 private:
  size_t bytes_;
  void* data_ = nullptr;
};

/// Uploads that return as soon as the values have been put aside, so that the host prepares the next batch while the
/// device works on this one. Two buffers in turn: the third upload waits for the first.
class Uploader {
 public:
  void upload(void* to, const void* from, size_t bytes, Stream stream) {
    Slot& slot = slots_[next_];
    next_ = 1 - next_;
    slot.done.wait();
    if (slot.buffer == nullptr || slot.buffer->bytes() < bytes)
      slot.buffer = std::make_unique<PinnedBuffer>(std::bit_ceil((std::max)(bytes, size_t(4096))));
    std::memcpy(slot.buffer->data(), from, bytes);
    copy_to_device(to, slot.buffer->data(), bytes, stream);
    slot.done.record(stream);
  }

 private:
  struct Slot {
    std::unique_ptr<PinnedBuffer> buffer;
    Event done;
  };
  Slot slots_[2];
  int next_ = 0;
};

/// Work that is captured once and replayed with one call, for a step of fixed shapes: hundreds of small launches cost
/// more time on the host than the device needs for them.
///
///     Graph graph;
///     graph.capture(stream, [&] { loss = model(x).sum(); loss.backward(); });   // captured, not done
///     copy new values into x;  graph.launch(stream);                           // done, for these
///
/// Tensors made inside live in memory that the graph owns: they must not be used after it. Reading a value back, or
/// uploading one, is refused inside.
class Graph {
 public:
  Graph() = default;
  ~Graph() { clear(); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  bool captured() const { return captured_; }

  template <class Body>
  void capture([[maybe_unused]] Stream stream, Body&& body) {
    clear();
    CachingAllocator& memory = CachingAllocator::global();
    memory.use_private(&pool_);
    const auto end = [&memory](void*) { memory.use_private(nullptr); };
    const std::unique_ptr<void, decltype(end)> guard(this, end);
#ifdef __CUDACC__
    check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "Graph::capture");
    cudaGraph_t graph = nullptr;
    try {
      body();
    } catch (...) {
      (void)cudaStreamEndCapture(stream, &graph);
      if (graph != nullptr) (void)cudaGraphDestroy(graph);
      throw;
    }
    check_cuda(cudaStreamEndCapture(stream, &graph), "Graph::capture");
    check_cuda(cudaGraphInstantiate(&executable_, graph, 0), "Graph::capture");
    check_cuda(cudaGraphDestroy(graph), "Graph::capture");
#else
    const simt::Record record(work_);
    body();
#endif
    captured_ = true;
  }

  /// @throws ValueError before a capture
  void launch([[maybe_unused]] Stream stream) {
    CLEARSKY_CHECK(ValueError, captured_, "Graph::launch: nothing was captured; call capture() first");
#ifdef __CUDACC__
    check_cuda(cudaGraphLaunch(executable_, stream), "Graph::launch");
#else
    for (const auto& work : work_) work();
#endif
  }

 private:
  void clear() {
#ifdef __CUDACC__
    if (captured_) (void)cudaGraphExecDestroy(executable_);
#else
    work_.clear();
#endif
    CachingAllocator::global().drop_private(pool_);
    captured_ = false;
  }

#ifdef __CUDACC__
  cudaGraphExec_t executable_ = nullptr;
#else
  simt::Recording work_;
#endif
  CachingAllocator::PrivatePool pool_;
  bool captured_ = false;
};

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

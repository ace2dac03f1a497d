#include "clearsky/cuda/runtime.cuh"

#include "kernels.hpp"

namespace clearsky::cuda {
namespace {

/// grid (ceil(count / 64)), block 64
template <int Threads>
__global__ void __launch_bounds__(Threads) add_into(float* y, const float* x, int64_t count) {
  const int64_t i = int64_t(blockIdx.x) * Threads + threadIdx.x;
  if (i < count) y[i] += x[i];
}

}  // namespace
}  // namespace clearsky::cuda

namespace clearsky::test::runtime_test {
namespace {

void add(float* y, const float* x, int64_t count) {
  cuda::launch(cuda::add_into<64>, cuda::blocks_of(count, 64), 64, 0, cuda::current_stream(), y, x, count);
}

std::vector<float> downloaded(const void* p, int64_t count) {
  std::vector<float> v(static_cast<size_t>(count));
  cuda::copy_to_host(v.data(), p, v.size() * sizeof(float), cuda::current_stream());
  return v;
}

template <class Body>
std::string message_of(Body&& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing thrown";
}

TEST_CASE("allocator: freed blocks come back, counters count, and sizes are rounded by at most an eighth") {
  cuda::CachingAllocator memory;
  void* a = memory.allocate(1000);
  CHECK(memory.stats().live_bytes == 1024);
  CHECK(memory.stats().system_allocations == 1);
  memory.release(a, 1000);
  CHECK(memory.stats().live_bytes == 0);
  CHECK(memory.stats().reserved_bytes == 1024);
  void* b = memory.allocate(1020);  // of the same class
  CHECK(b == a);
  void* c = memory.allocate(1020);
  CHECK(c != b);
  CHECK(memory.stats().system_allocations == 2);
  CHECK(memory.stats().peak_bytes == 2048);
  memory.release(b, 1020);
  memory.release(c, 1020);
  memory.reset_peak();
  CHECK(memory.stats().peak_bytes == 0);
  for (size_t bytes : {size_t(1), size_t(513), size_t(5000), size_t(100001), (size_t(1) << 20) + 1}) {
    void* p = memory.allocate(bytes);
    const auto block = size_t(memory.stats().live_bytes);
    CHECK(block >= bytes);
    CHECK(block <= (std::max)(size_t(1024), bytes + bytes / 8 + 512));
    memory.release(p, bytes);
  }
  memory.trim();
  CHECK(memory.stats().reserved_bytes == 0);
}

TEST_CASE("runtime: copies, strided copies and fills, as DeviceRuntime promises") {
  const DeviceRuntime& device = cuda::runtime_table();
  std::vector<float> x(24);
  for (size_t i = 0; i < x.size(); ++i) x[i] = float(i);
  void* p = device.allocate(24 * 4);
  device.upload(p, x.data(), 24 * 4);
  void* q = device.allocate(24 * 4);
  device.copy(q, p, 24 * 4);
  CHECK(downloaded(q, 24) == x);
  // (2, 3, 4) with the last two dimensions swapped.
  device.copy_strided(q, p, 4, Shape{2, 4, 3}, Shape{12, 1, 4});
  const std::vector<float> turned = downloaded(q, 24);
  for (size_t i = 0; i < 24; ++i) CHECK(turned[i] == x[i / 12 * 12 + i % 3 * 4 + i / 3 % 4]);
  const float value = 2.5f;
  device.fill(q, &value, 4, 24);
  CHECK(downloaded(q, 24) == std::vector<float>(24, 2.5f));
  const uint8_t byte = 7;
  device.fill(q, &byte, 1, 5);
  std::vector<uint8_t> bytes(6);
  device.download(bytes.data(), q, 6);
  CHECK(bytes[4] == 7);
  CHECK(bytes[5] != 7);
  device.synchronize();
  device.release(p, 24 * 4);
  device.release(q, 24 * 4);
}

TEST_CASE("uploads may be changed as soon as they return") {
  cuda::DeviceArray<float> a(100), b(100), c(100);
  std::vector<float> host(100, 1.f);
  cuda::Uploader uploader;
  for (auto* to : {&a, &b, &c}) {
    uploader.upload(to->data(), host.data(), 400, cuda::current_stream());
    for (float& v : host) v += 1;
  }
  CHECK(downloaded(a.data(), 100)[99] == 1);
  CHECK(downloaded(b.data(), 100)[0] == 2);
  CHECK(downloaded(c.data(), 100)[50] == 3);
}

TEST_CASE("graph: captured work is not done, each replay does it, on memory of its own") {
  cuda::CachingAllocator& memory = cuda::CachingAllocator::global();
  const auto before = memory.stats();
  const DeviceRuntime& device = cuda::runtime_table();
  const std::vector<float> ones(200, 1.f);
  void* x = device.allocate(800);
  device.upload(x, ones.data(), 800);
  void* total = device.allocate(800);
  const float zero = 0;
  device.fill(total, &zero, 4, 200);
  {
    cuda::Graph graph;
    CHECK(message_of([&] { graph.launch(cuda::current_stream()); }).find("call capture() first") != std::string::npos);
    void* inner = nullptr;
    graph.capture(cuda::current_stream(), [&] {
      inner = device.allocate(800);
      device.copy(inner, x, 800);
      add(static_cast<float*>(inner), static_cast<const float*>(x), 200);  // 2 x
      add(static_cast<float*>(total), static_cast<const float*>(inner), 200);
      device.release(inner, 800);
    });
    CHECK(downloaded(total, 200)[7] == 0);
    void* outer = device.allocate(800);
    CHECK(outer != inner);  // the graph's, although it was released
    graph.launch(cuda::current_stream());
    CHECK(downloaded(total, 200)[7] == 2);
    const std::vector<float> tens(200, 10.f);
    device.upload(x, tens.data(), 800);
    graph.launch(cuda::current_stream());
    CHECK(downloaded(total, 200)[199] == 22);
    device.release(outer, 800);
    // A value cannot be read while nothing is done, nor be brought from a place that may be gone at the replay.
    cuda::Graph bad;
    CHECK(message_of([&] { bad.capture(cuda::current_stream(), [&] { downloaded(x, 200); }); }) != "nothing thrown");
    CHECK(!bad.captured());
  }
  device.release(x, 800);
  device.release(total, 800);
  CHECK(memory.stats().live_bytes == before.live_bytes);
  CHECK(downloaded(cuda::DeviceArray<float>(ones.data(), 3).data(), 3)[2] == 1);  // capture mode has ended
}

}  // namespace
}  // namespace clearsky::test::runtime_test

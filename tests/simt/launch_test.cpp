#include <memory>
#include <set>

#include "clearsky/core/threads.hpp"
#include "ways.hpp"

namespace clearsky::cuda {
namespace {

using test::contains;
using test::each_way;
using test::message_of;

__global__ void write_place(int* out) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * (blockDim.x * blockDim.y * blockDim.z) + thread] += 1 + int(thread + 1000 * block);
}

TEST_CASE("launch: each thread of each block runs once, with its own indices, for 1 and several threads") {
  for (int64_t threads : {1, 3}) {
    const int64_t before = clearsky::threads();
    set_threads(threads);
    each_way([] {
      for (const dim3 grid : {dim3(1), dim3(7), dim3(3, 4, 5)})
        for (const dim3 block : {dim3(1), dim3(40), dim3(3, 5, 2)}) {
          const unsigned blocks = grid.x * grid.y * grid.z, size = block.x * block.y * block.z;
          std::vector<int> out(blocks * size + 1, 0);
          out.back() = -7;
          launch(write_place, grid, block, 0, nullptr, out.data());
          bool right = true;
          for (unsigned b = 0; b < blocks; ++b)
            for (unsigned t = 0; t < size; ++t) right = right && out[b * size + t] == 1 + int(t + 1000 * b);
          CHECK(right);
          CHECK(out.back() == -7);
        }
    });
    set_threads(before);
  }
}

__global__ void note_block(std::vector<int>* order) {
  order->push_back(int(blockIdx.x));
}

TEST_CASE("launch: blocks follow the order too") {
  const int64_t before = clearsky::threads();
  set_threads(1);
  const auto blocks = [](simt::Order order, uint64_t seed) {
    const simt::UseSettings guard({.order = order, .seed = seed});
    std::vector<int> out;
    launch(note_block, 12, 1, 0, nullptr, &out);
    return out;
  };
  const std::vector<int> forward = blocks(simt::Order::forward, 0);
  for (int i = 0; i < 12; ++i) CHECK(forward[size_t(i)] == i);
  CHECK(blocks(simt::Order::reverse, 0) == std::vector<int>(forward.rbegin(), forward.rend()));
  std::set<std::vector<int>> random;
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    const std::vector<int> drawn = blocks(simt::Order::random, seed);
    CHECK(std::set<int>(drawn.begin(), drawn.end()).size() == 12);
    random.insert(drawn);
  }
  CHECK(random.size() >= 2);
  set_threads(before);
}

__global__ void nothing() {}
__global__ void nothing_else() {}
template <int Bytes>
__global__ void use_static() {
  CLEARSKY_SHARED(char, tile, [Bytes]);
  tile[threadIdx.x] = 0;
}
__global__ void launch_from_kernel() {
  launch(nothing, 1, 1, 0, nullptr);
}

TEST_CASE("launch: the limits of the hardware are errors that name both values") {
  const auto text = [](dim3 grid, dim3 block, size_t shared = 0) {
    return message_of([&] { launch(nothing, grid, block, shared, nullptr); });
  };
  CHECK(text(1, 1024) == "nothing thrown");
  CHECK(text(1, dim3(16, 1, 64)) == "nothing thrown");
  CHECK(contains(text(1, 1025), "launch: block (1025, 1, 1) has 1025 threads; use 1 to 1024"));
  CHECK(contains(text(1, dim3(32, 33)), "launch: block (32, 33, 1) has 1056 threads; use 1 to 1024"));
  CHECK(contains(text(1, dim3(1, 1, 65)), "launch: block (1, 1, 65) has 65 threads; use 1 to 1024, at most"));
  CHECK(contains(text(1, dim3(0, 4)), "launch: block (0, 4, 1) has 0 threads"));
  CHECK(contains(text(0, 32), "launch: grid (0, 1, 1) is empty; return before the launch"));
  CHECK(contains(text(dim3(1, 65536), 32), "launch: grid (1, 65536, 1) is too large; use at most (2147483647, 65535"));
  CHECK(contains(text(dim3(0x80000000u), 32), "launch: grid (2147483648, 1, 1) is too large"));
  CHECK(contains(message_of([] { launch(launch_from_kernel, 1, 1, 0, nullptr); }), "launch: called by a kernel"));
}

TEST_CASE("launch: more than 48 KiB of shared memory must be allowed, for each kernel") {
  const auto text = [](auto kernel, size_t bytes) { return message_of([&] { launch(kernel, 1, 1, bytes, nullptr); }); };
  CHECK(text(nothing, 49152) == "nothing thrown");
  CHECK(contains(text(nothing, 49153),
                 "launch: 49153 bytes of dynamic shared memory, this kernel may use 49152; "
                 "call allow_shared(kernel, bytes) first"));
  allow_shared(nothing, 100000);
  CHECK(text(nothing, 100000) == "nothing thrown");
  CHECK(contains(text(nothing, 100001), "this kernel may use 100000"));
  CHECK(contains(text(nothing_else, 100000), "this kernel may use 49152"));
  CHECK(contains(message_of([] { allow_shared(nothing, 200000); }), "allow_shared: 200000 bytes of shared memory"));
  CHECK(text(use_static<49152>, 0) == "nothing thrown");
  CHECK(contains(text(use_static<49153>, 0), "simt: the kernel declares 49153 bytes of static shared memory"));
  allow_shared(use_static<49152>, simt::kSharedLimit);
  CHECK(contains(text(use_static<49152>, simt::kSharedLimit), "bytes of static and 166912 of dynamic shared memory"));
}

__global__ void take_values(std::vector<int> values, double scale, int* out) {
  values[0] += 1;  // its own copy
  *out = values[0] + int(scale);
}

TEST_CASE("launch: arguments are converted, and copied for each thread") {
  int out = 0;
  launch(take_values, 1, 32, 0, nullptr, std::vector<int>{5}, 2, &out);
  CHECK(out == 8);
}

}  // namespace
}  // namespace clearsky::cuda

#include <cmath>
#include <cstring>
#include <memory>

#include "ways.hpp"

namespace clearsky::cuda {
namespace {

using test::contains;
using test::each_way;
using test::message_of;

template <int N>
__global__ void read_shared_first(float* out, int* number, uint16_t* bits) {
  CLEARSKY_SHARED(float, floats, [N]);
  CLEARSKY_SHARED(bfloat16, brains, [N]);
  CLEARSKY_DYNAMIC_SHARED(int, dynamic);
  out[threadIdx.x] = floats[threadIdx.x];
  number[threadIdx.x] = dynamic[threadIdx.x];
  bits[threadIdx.x] = brains[threadIdx.x].bits;
  __syncthreads();
  floats[threadIdx.x] = 1;  // must not reach the next block
  dynamic[threadIdx.x] = 1;
}

TEST_CASE("shared memory: what no one wrote is NaN, in each block anew") {
  each_way([] {
    std::vector<float> out(8, 0);
    std::vector<int> number(8, 0);
    std::vector<uint16_t> bits(8, 0);
    launch(read_shared_first<8>, 5, 8, 8 * sizeof(int), nullptr, out.data(), number.data(), bits.data());
    for (size_t i = 0; i < 8; ++i) {
      CHECK(std::isnan(out[i]));
      CHECK(number[i] == -1);
      CHECK(bits[i] == 0xffff);
    }
  });
}

template <int Number>
__global__ void two_arrays(int* out) {
  CLEARSKY_SHARED(int, first, [4][3]);
  CLEARSKY_SHARED(int, second, [4][3]);
  const unsigned i = threadIdx.x;
  for (unsigned k = 0; k < 3; ++k) {
    first[i][k] = Number + int(i);
    second[i][k] = -1;
  }
  __syncthreads();
  out[i] = first[3 - i][2] + (&first[0][0] == &second[0][0] ? 100 : 0);
}

TEST_CASE("shared memory: each declaration is an array of its own, seen by the whole block") {
  each_way([] {
    std::vector<int> one(4), two(4);
    launch(two_arrays<10>, 1, 4, 0, nullptr, one.data());
    launch(two_arrays<20>, 1, 4, 0, nullptr, two.data());
    CHECK(one == std::vector<int>{13, 12, 11, 10});
    CHECK(two == std::vector<int>{23, 22, 21, 20});
  });
}

#if !CLEARSKY_SIMT_ASAN  // which stops the program at the write itself
__global__ void write_behind(int index) {
  CLEARSKY_SHARED(float, tile, [10]);
  volatile float* p = tile;
  p[index] = 1;
}
__global__ void write_behind_dynamic(int index) {
  CLEARSKY_DYNAMIC_SHARED(float, tile);
  volatile float* p = tile;
  p[index] = 1;
}

TEST_CASE("shared memory: a write behind an array is reported") {
  each_way([] {
    launch(write_behind, 1, 1, 0, nullptr, 9);
    CHECK(contains(message_of([] { launch(write_behind, 1, 1, 0, nullptr, 10); }),
                   "simt: the kernel wrote 0 bytes behind the end of a static shared array of 40 bytes"));
    CHECK(contains(message_of([] { launch(write_behind_dynamic, 1, 1, 20, nullptr, 7); }),
                   "simt: the kernel wrote 8 bytes behind the end of a dynamic shared array of 20 bytes"));
  });
}
#endif

__global__ void copy_vectors(const float* from, float* to, int shift) {
  st4(to + 4 * threadIdx.x, ld4(from + 4 * threadIdx.x + shift));
}
__global__ void copy_pairs(const float* from, float* to) {
  store_vector(to, load_vector<float2>(from));
}

TEST_CASE("vector access: 16 bytes at a time, and a misaligned address is reported") {
  alignas(16) float from[20], to[16];
  for (int i = 0; i < 20; ++i) from[i] = float(i);
  each_way([&] {
    std::memset(to, 0, sizeof to);
    launch(copy_vectors, 1, 4, 0, nullptr, from, to, 4);
    for (int i = 0; i < 16; ++i) CHECK(to[i] == float(i + 4));
    const std::string text = message_of([&] { launch(copy_vectors, 1, 1, 0, nullptr, from, to, 3); });
    CHECK(contains(text,
                   "simt: thread (0, 0, 0) of block (0, 0, 0) accesses 16 bytes at an address that is 12 bytes "
                   "past a multiple of 16, at load_vector (device_memory_test.cpp:"));
    launch(copy_pairs, 1, 1, 0, nullptr, from + 2, to);
    CHECK(to[1] == 3);
    CHECK(contains(message_of([&] { launch(copy_pairs, 1, 1, 0, nullptr, from + 1, to); }), "4 bytes past"));
    CHECK(contains(message_of([&] { launch(copy_pairs, 1, 1, 0, nullptr, from, to + 3); }), "store_vector"));
  });
}

/// The second half of the block reads what the first half copied.
template <int Newest, bool Barrier>
__global__ void copy_and_read(const float* from, float* to) {
  CLEARSKY_SHARED(float, tile, [2][64]);
  const int i = int(threadIdx.x);
  for (int stage = 0; stage < 2; ++stage) {
    if (i < 16) cp_async16(&tile[stage][4 * i], from + 64 * stage + 4 * i);
    cp_commit();
  }
  cp_wait<Newest>();
  if (Barrier) __syncthreads();
  to[i] = tile[0][i];
  to[64 + i] = tile[1][i];
}

TEST_CASE("cp.async: copies arrive at the wait, so that a missing wait or barrier shows as NaN") {
  alignas(16) float from[128];
  for (int i = 0; i < 128; ++i) from[i] = float(i);
  const auto missing = [&](auto kernel) {
    std::vector<float> to(128, 0);
    launch(kernel, 1, 64, 0, nullptr, from, to.data());
    int nan = 0;
    for (size_t i = 0; i < 128; ++i) {
      if (std::isnan(to[i])) ++nan;
      else CHECK(to[i] == from[i]);
    }
    return nan;
  };
  each_way([&] {
    CHECK(missing(copy_and_read<0, true>) == 0);
    CHECK(missing(copy_and_read<1, true>) == 64);   // the second group is not waited for
    CHECK(missing(copy_and_read<2, true>) == 128);  // no group is
  });
  const simt::UseSettings reverse({.order = simt::Order::reverse});
  CHECK(missing(copy_and_read<0, false>) > 0);  // a wait is for a thread's own copies
}

/// Fetches the next number into a tile that the block is still reading when the barrier is left out.
template <bool Barrier>
__global__ void fetch_over(const int* from, int* to) {
  CLEARSKY_SHARED(int, tile, [1]);
  if (threadIdx.x == 0) tile[0] = from[0];
  __syncthreads();
  to[threadIdx.x] = tile[0];
  if (Barrier) __syncthreads();
  if (threadIdx.x == 0) cp_async4(tile, from + 1);
  cp_commit();
  __syncthreads();
  cp_wait<0>();
}

TEST_CASE("cp.async: an early copy shows a tile that is fetched while it is read, a late one does not") {
  const int from[] = {1, 2};
  const auto right = [&](auto kernel, simt::Copies copies) {
    const simt::UseSettings guard({.copies = copies});
    std::vector<int> to(40, 0);
    launch(kernel, 1, 40, 0, nullptr, from, to.data());
    return to == std::vector<int>(40, 1);
  };
  CHECK(right(fetch_over<true>, simt::Copies::late));
  CHECK(right(fetch_over<true>, simt::Copies::early));
  CHECK(right(fetch_over<false>, simt::Copies::late));
  CHECK(!right(fetch_over<false>, simt::Copies::early));
}

/// Warps that meet no barrier may be far apart: the second reads what the first may have overwritten.
__global__ void warps_apart(int* to) {
  CLEARSKY_SHARED(int, tile, [64]);
  const int i = int(threadIdx.x);
  tile[i] = i;
  __syncthreads();
  int sum = tile[63 - i];
  for (int k = 0; k < 4; ++k) sum = __shfl_xor_sync(kAllLanes, sum, 1);
  tile[i] = -1;  // no barrier before this
  to[i] = sum;
}

TEST_CASE("orders: a warp runs ahead of the others through its shuffles, up to the next barrier") {
  for (simt::Order order : {simt::Order::forward, simt::Order::reverse, simt::Order::random}) {
    const simt::UseSettings guard({.order = order});
    std::vector<int> to(64, 0);
    launch(warps_apart, 1, 64, 0, nullptr, to.data());
    int wrong = 0;
    for (int v : to) wrong += v == -1;
    CHECK(wrong == 32);
  }
}

__global__ void copy_parts(const float* from, float* to) {
  CLEARSKY_SHARED(float, tile, [32]);
  const int i = int(threadIdx.x);
  if (i < 4) cp_async16(tile + 4 * i, from + 4 * i, 4 * i);
  else cp_async4(tile + 12 + i, from + i, i % 2 == 0 ? 4 : 0);
  cp_commit();
  cp_wait<0>();
  __syncthreads();
  to[i] = tile[i];
  to[16 + i] = tile[16 + i];
}
__global__ void copy_to(float* to, const float* from, int shift, int valid) {
  CLEARSKY_SHARED(float, tile, [8]);
  cp_async16(to == nullptr ? tile + shift : to, from, valid);
}

TEST_CASE("cp.async: zeros behind the valid bytes; wrong addresses and sizes are reported") {
  alignas(16) float from[16];
  for (int i = 0; i < 16; ++i) from[i] = float(i + 1);
  each_way([&] {
    std::vector<float> to(32, -1);
    launch(copy_parts, 1, 16, 0, nullptr, from, to.data());
    for (int i = 0; i < 16; ++i) CHECK(to[size_t(i)] == (i % 4 < i / 4 ? from[i] : 0));
    for (int i = 4; i < 16; ++i) CHECK(to[size_t(12 + i)] == (i % 2 == 0 ? from[i] : 0));
    const auto text = [&](float* at, const float* f, int shift, int valid) {
      return message_of([&] { launch(copy_to, 1, 1, 0, nullptr, at, f, shift, valid); });
    };
    CHECK(text(nullptr, from, 4, 16) == "nothing thrown");
    CHECK(text(nullptr, nullptr, 4, 0) == "nothing thrown");  // nothing is read
    CHECK(contains(text(nullptr, from + 1, 0, 16), "is 4 bytes past a multiple of 16, at cp_async16"));
    CHECK(contains(text(nullptr, from, 1, 16), "is 4 bytes past a multiple of 16, at cp_async16"));
    CHECK(contains(text(from, from, 0, 16), "bytes that are not in a shared array; check the index"));
    CHECK(contains(text(nullptr, from, 8, 16), "bytes that are not in a shared array; check the index"));
    CHECK(contains(text(nullptr, from, 0, 20), "copies 20 of 16 bytes"));
  });
}

__global__ void count_everything(int* sum, unsigned* top, int* low, float* total, int* spin, double* big) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(sum, i);
  atomicMax(top, unsigned(i) * 3u);
  atomicMin(low, -i);
  atomicAdd(total, 0.5f);
  atomicAdd(big, 1.0);
  for (int expected = 0;;) {  // an addition, made of compare-and-swap
    const int found = atomicCAS(spin, expected, expected + 2);
    if (found == expected) break;
    expected = found;
  }
}
__global__ void exchange(int* chain, int* out) {
  out[threadIdx.x] = atomicExch(chain, int(threadIdx.x));
}

TEST_CASE("atomics: nothing is lost between blocks that run at the same time") {
  each_way([] {
    int sum = 0, low = 0, spin = 0;
    unsigned top = 0;
    float total = 0;
    double big = 0;
    launch(count_everything, 64, 50, 0, nullptr, &sum, &top, &low, &total, &spin, &big);
    CHECK(sum == 3199 * 3200 / 2);
    CHECK(top == 3199 * 3);
    CHECK(low == -3199);
    CHECK(total == 1600);
    CHECK(spin == 6400);
    CHECK(big == 3200);
    int chain = 100;
    std::vector<int> out(40);
    launch(exchange, 1, 40, 0, nullptr, &chain, out.data());
    out.push_back(chain);
    std::sort(out.begin(), out.end());  // each value came out once
    for (int i = 0; i < 40; ++i) CHECK(out[size_t(i)] == i);
    CHECK(out[40] == 100);
  });
}

}  // namespace
}  // namespace clearsky::cuda

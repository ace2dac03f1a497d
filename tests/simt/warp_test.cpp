#include <array>

#include "ways.hpp"

namespace clearsky::cuda {
namespace {

using test::contains;
using test::each_way;
using test::message_of;

enum class Kind { from_lane, up, down, exclusive_or };

template <class T>
__global__ void shuffle_all(Kind kind, int argument, int width, T* out) {
  const int i = int(threadIdx.x);
  const T v = T(i * 10);
  T r{};
  if (kind == Kind::from_lane) r = __shfl_sync(kAllLanes, v, argument, width);
  if (kind == Kind::up) r = __shfl_up_sync(kAllLanes, v, unsigned(argument), width);
  if (kind == Kind::down) r = __shfl_down_sync(kAllLanes, v, unsigned(argument), width);
  if (kind == Kind::exclusive_or) r = __shfl_xor_sync(kAllLanes, v, argument, width);
  out[i] = r;
}

/// From the guide's words: a tile of `width` lanes has ranks; a rank outside the tile reads itself, a lane number
/// wraps.
int read_lane(Kind kind, int lane, int argument, int width) {
  const int tile = lane / width, rank = lane % width;
  int other = rank;
  if (kind == Kind::from_lane) other = argument % width;
  if (kind == Kind::up) other = rank - argument;
  if (kind == Kind::down) other = rank + argument;
  if (kind == Kind::exclusive_or) other = rank ^ argument;
  return other < 0 || other >= width ? lane : tile * width + other;
}

TEST_CASE_TEMPLATE("shuffles read the lane that the CUDA guide says, in tiles of every width", T, int, float, double) {
  each_way([] {
    for (Kind kind : {Kind::from_lane, Kind::up, Kind::down, Kind::exclusive_or})
      for (int width : {2, 8, 32})
        for (int argument : {0, 1, 5, 7}) {
          // An exclusive-or beyond the tile may reach an earlier one, which the reference above does not describe.
          if (kind == Kind::exclusive_or && argument >= width) continue;
          std::array<T, 64> out{};
          launch(shuffle_all<T>, 1, 64, 0, nullptr, kind, argument, width, out.data());
          for (int i = 0; i < 64; ++i) {
            CAPTURE(i);
            CHECK(out[size_t(i)] == T((i / 32 * 32 + read_lane(kind, i % 32, argument, width)) * 10));
          }
        }
  });
}

__global__ void sum_rows(const float* x, float* out) {
  const float sum = warp_sum(x[threadIdx.y * 32 + threadIdx.x]);
  const float top = warp_max(x[threadIdx.y * 32 + threadIdx.x]);
  out[threadIdx.y * 32 + threadIdx.x] = sum + 1000 * top;
}

TEST_CASE("warp_sum and warp_max give every lane the result of its own warp") {
  std::array<float, 96> x{};
  for (size_t i = 0; i < 96; ++i) x[i] = float(i % 7) + float(i / 32);
  each_way([&] {
    std::array<float, 96> out{};
    launch(sum_rows, 1, dim3(32, 3), 0, nullptr, x.data(), out.data());
    for (size_t i = 0; i < 96; ++i) {
      float sum = 0;
      for (size_t k = 0; k < 32; ++k) sum += x[i / 32 * 32 + k];
      CHECK(out[i] == sum + 1000 * (6 + float(i / 32)));
    }
  });
}

/// Tiles of 8 lanes that shuffle different numbers of times: the warp must not wait for all of them.
__global__ void tiles_of_eight(int* out) {
  const int lane = int(threadIdx.x), tile = lane / 8;
  const unsigned mask = 0xffu << (tile * 8);
  int v = lane;
  for (int i = 0; i <= tile; ++i) v = __shfl_sync(mask, v, (lane + 1) % 8, 8);
  __syncwarp(mask);
  out[lane] = v;
}

TEST_CASE("partial masks: tiles of a warp shuffle on their own") {
  each_way([] {
    std::array<int, 32> out{};
    launch(tiles_of_eight, 1, 32, 0, nullptr, out.data());
    for (int i = 0; i < 32; ++i) CHECK(out[size_t(i)] == i / 8 * 8 + (i + i / 8 + 1) % 8);
  });
}

__global__ void votes(unsigned* ballot, int* any, int* all, unsigned* active) {
  const int lane = int(threadIdx.x);
  if (lane >= 24) return;
  ballot[lane] = __ballot_sync(0x00ffffffu, lane % 5 == 0);
  any[lane] = __any_sync(0x00ffffffu, lane == 23) * 2 + __any_sync(0x00ffffffu, lane == 24);
  all[lane] = __all_sync(0x00ffffffu, lane < 24) * 2 + __all_sync(0x00ffffffu, lane < 23);
  __syncwarp(0x00ffffffu);
  active[lane] = __activemask();
}

TEST_CASE("votes count the lanes of the mask") {
  each_way([] {
    std::array<unsigned, 24> ballot{}, active{};
    std::array<int, 24> any{}, all{};
    launch(votes, 1, 32, 0, nullptr, ballot.data(), any.data(), all.data(), active.data());
    for (size_t i = 0; i < 24; ++i) {
      CHECK(ballot[i] == 0x00108421u);
      CHECK(any[i] == 2);
      CHECK(all[i] == 2);
      CHECK((active[i] >> i & 1) == 1);
      CHECK((active[i] & ~0x00ffffffu) == 0u);
    }
  });
}

__global__ void mask_without_self() {
  __syncwarp(0xfffffffeu);
}
__global__ void two_masks() {
  __syncwarp(threadIdx.x < 16 ? 0xffffffffu : 0xffff8000u);
}
__global__ void two_functions(float* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(kAllLanes, 1.0f, 0);
  else __syncwarp();
}
__global__ void read_ended_lane(float* out) {
  if (threadIdx.x >= 16) return;
  out[threadIdx.x] = warp_sum(1.0f);
}
__global__ void sum_few(float* out) {
  out[threadIdx.x % 32] = warp_sum(1.0f);
}
__global__ void odd_width() {
  __shfl_sync(kAllLanes, 1, 0, 12);
}

TEST_CASE("warp functions: wrong masks are reported with the lanes and both values") {
  each_way([] {
    float out[32];
    CHECK(contains(message_of([] { launch(mask_without_self, 1, 32, 0, nullptr); }),
                   "simt: lane 0 of warp 0 calls __syncwarp (warp_test.cpp:"));
    const std::string masks = message_of([] { launch(two_masks, 1, 32, 0, nullptr); });
    CHECK(contains(masks, "simt: lanes of warp 0 disagree on the mask: lane "));
    CHECK(contains(masks, "0xffff8000"));
    CHECK(contains(masks, "0xffffffff"));
    const std::string functions = message_of([&] { launch(two_functions, 1, 32, 0, nullptr, out); });
    CHECK(contains(functions, "simt: lanes of warp 0 call different functions: lane "));
    CHECK(contains(functions, "__shfl_sync (warp_test.cpp:"));
    CHECK(contains(functions, "__syncwarp (warp_test.cpp:"));
    const std::string ended = message_of([&] { launch(read_ended_lane, 1, 32, 0, nullptr, out); });
    CHECK(contains(ended, "simt: lane 0 of warp 0 reads lane 16 at __shfl_xor_sync (portable.cuh:"));
    CHECK(contains(ended, "but only the lanes 0x0000ffff take part"));
    // The second warp has 8 threads only.
    CHECK(contains(message_of([&] { launch(sum_few, 1, 40, 0, nullptr, out); }), "only the lanes"));
    CHECK(contains(message_of([] { launch(odd_width, 1, 32, 0, nullptr); }), "has width 12; use a power of two"));
  });
}

}  // namespace
}  // namespace clearsky::cuda

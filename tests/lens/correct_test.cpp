// Correct kernels, of every kind that is easy to suspect: the lens says nothing.

#include "seen.hpp"

namespace clearsky::test {
namespace {

using namespace clearsky::cuda;

template <class Run>
void nothing_found(Run&& run) {
  for (const simt::Copies copies : {simt::Copies::late, simt::Copies::early})
    for (const simt::Order order : {simt::Order::forward, simt::Order::reverse, simt::Order::random}) {
      const simt::UseSettings use({.order = order, .seed = 3, .copies = copies});
      const std::string text = all_texts(errors_of(run));
      CAPTURE(text);
      CHECK(text.empty());
    }
}

/// Tiles of 256 floats come one ahead of their use; the row ends inside of one.
__global__ void sums_of_tiles(const float* from, float* out, int count) {
  CLEARSKY_DYNAMIC_SHARED(float, tiles);
  const int t = int(threadIdx.x), rounds = (count + 255) / 256;
  const auto fetch = [&](int round) {
    const int i = round * 256 + 4 * t, valid = count - i < 0 ? 0 : count - i > 4 ? 4 : count - i;
    cp_async16(tiles + round % 2 * 256 + 4 * t, valid == 0 ? from : from + i, 4 * valid);
  };
  fetch(0);
  cp_commit();
  float sum = 0;
  for (int round = 0; round < rounds; ++round) {
    if (round + 1 < rounds) fetch(round + 1);
    cp_commit();
    cp_wait<1>();
    __syncthreads();
    for (int i = 0; i < 4; ++i) sum += tiles[round % 2 * 256 + i * 64 + (t + 17) % 64];
    __syncthreads();
  }
  out[t] = sum;
}

__global__ void block_reduction(const float* from, float* out) {
  CLEARSKY_SHARED(float, warps, [8]);
  const unsigned t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
  const float in_warp = warp_sum(from[i]);
  if (t % 32 == 0) warps[t / 32] = in_warp;
  __syncthreads();
  float sum = t < blockDim.x / 32 ? warps[t] : 0.0f;
  if (t < 32) sum = warp_sum(sum);
  if (t == 0) out[blockIdx.x] = sum;
}

/// Lanes exchange through shared memory with __syncwarp alone, twice in the same place.
__global__ void turns_in_a_warp(const float* from, float* out) {
  CLEARSKY_SHARED(float, rows, [4][32]);
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float v = from[threadIdx.x];
  for (int round = 0; round < 3; ++round) {
    rows[warp][lane] = v;
    __syncwarp();
    v = rows[warp][31 - lane];
    __syncwarp();
  }
  out[threadIdx.x] = v;
}

/// Four tiles of eight lanes, each with a mask and a row of its own; tile 3 does one round less than the others.
__global__ void tiles_of_a_warp(float* out) {
  CLEARSKY_SHARED(float, rows, [4][8]);
  const unsigned lane = threadIdx.x % 8, tile = threadIdx.x / 8, mask = 0xffu << 8 * tile;
  float v = float(threadIdx.x);
  for (unsigned round = 0; round < 5 - tile / 3; ++round) {
    rows[tile][lane] = v;
    __syncwarp(mask);
    v = rows[tile][(lane + 1) % 8] + __shfl_xor_sync(mask, v, 3, 8);
    __syncwarp(mask);
  }
  out[threadIdx.x] = v;
}

/// What some lanes read, others write after both met, in two steps: 0 meets 1, 1 meets 2.
__global__ void passed_on_in_a_warp(float* out) {
  CLEARSKY_SHARED(float, value, [1]);
  const unsigned t = threadIdx.x;
  if (t == 0) value[0] = 1;
  if (t < 2) __syncwarp(0x3);
  float v = 0;
  if (t == 1) v = value[0];
  if (t == 1 || t == 2) __syncwarp(0x6);
  if (t == 2) value[0] = 2;
  out[t] = v;
}

/// Lanes that leave early read before the others write.
__global__ void some_leave_early(float* out) {
  CLEARSKY_SHARED(float, row, [64]);
  const unsigned t = threadIdx.x;
  row[t] = 1;
  __syncthreads();
  out[t] = row[63 - t];
  __syncwarp();
  if (t % 32 >= 20) return;
  __syncthreads();
  row[63 - t] = 2;
}

__global__ void histogram(const int* values, int* counts) {
  CLEARSKY_SHARED(int, bins, [16]);
  const unsigned t = threadIdx.x;
  if (t < 16) bins[t] = 0;
  __syncthreads();
  atomicAdd(&bins[values[blockIdx.x * 64 + t] % 16], 1);
  __syncthreads();
  if (t < 16) atomicAdd(&counts[t], bins[t]);
}

/// A warp counts with atomics and looks after it met.
__global__ void warp_counts(int* out) {
  CLEARSKY_SHARED(int, count, [1]);
  if (threadIdx.x == 0) count[0] = 0;
  __syncwarp();
  if (threadIdx.x % 3 == 0) atomicAdd(&count[0], 1);
  __syncwarp();
  out[threadIdx.x] = count[0];
}

/// Neighbours write the halves of one word, and blocks too.
__global__ void halves_of_words(bfloat16* out) {
  CLEARSKY_SHARED(bfloat16, row, [34]);
  const unsigned t = threadIdx.x;
  row[t] = to_bfloat16(float(t));
  __syncthreads();
  out[blockIdx.x * 33 + t] = row[32 - t];
}

struct Big {
  float v[24];
};
constexpr float kTable[4] = {1, 2, 3, 4};

/// Arguments, locals that are too large for registers, constants, and a pointer to a local.
__global__ void locals(const Big big, float* out) {
  float values[32];
  for (int i = 0; i < 32; ++i) values[i] = big.v[i % 24] + kTable[(threadIdx.x + unsigned(i)) % 4];
  float* p = values + threadIdx.x;
  out[threadIdx.x] = *p + float(blockDim.x + gridDim.x + blockIdx.x);
}

__global__ void fragments(const bfloat16* from, float* out) {
  CLEARSKY_SHARED(bfloat16, a, [16][24]);
  for (int i = 0; i < 8; ++i)
    a[threadIdx.x / 2][threadIdx.x % 2 * 8 + unsigned(i)] = from[threadIdx.x * 8 + unsigned(i)];
  __syncthreads();
  uint32_t x[4], y[2];
  ldmatrix_x4(x, &a[threadIdx.x % 16][threadIdx.x / 16 * 8]);
  ldmatrix_x2(y, &a[threadIdx.x % 8][threadIdx.x / 8 % 2 * 8]);
  float d[4] = {};
  mma_m16n8k16(d, x, y, d);
  for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + unsigned(i)] = d[i];
}

TEST_CASE("lens: correct kernels show nothing") {
  const std::vector<float> ones(1024, 1.0f);
  const std::vector<int> numbers(1024, 5);
  DeviceArray<float> from(ones.data(), 1024);
  DeviceArray<int> values(numbers.data(), 1024);
  nothing_found([&] {
    DeviceArray<float> exact(ones.data(), 601), out(64);
    launch(sums_of_tiles, 1, 64, 2048, nullptr, exact.data(), out.data(), 601);
  });
  nothing_found([&] {
    DeviceArray<float> out(64);
    launch(block_reduction, 4, 256, 0, nullptr, from.data(), out.data());
  });
  nothing_found([&] {
    DeviceArray<float> out(128);
    launch(turns_in_a_warp, 1, 128, 0, nullptr, from.data(), out.data());
    launch(tiles_of_a_warp, 1, 32, 0, nullptr, out.data());
    launch(passed_on_in_a_warp, 1, 32, 0, nullptr, out.data());
    launch(some_leave_early, 1, 64, 0, nullptr, out.data());
    launch(turns_in_a_warp, 1, 64, 0, nullptr, out.data(), out.data());
  });
  nothing_found([&] {
    DeviceArray<int> counts(numbers.data(), 16), out(32);
    launch(histogram, 16, 64, 0, nullptr, values.data(), counts.data());
    launch(warp_counts, 1, 32, 0, nullptr, out.data());
  });
  nothing_found([&] {
    DeviceArray<bfloat16> out(66);
    launch(halves_of_words, 2, 33, 0, nullptr, out.data());
  });
  nothing_found([&] {
    DeviceArray<float> out(32);
    launch(locals, 1, 32, 0, nullptr, Big{}, out.data());
  });
  nothing_found([&] {
    const std::vector<bfloat16> zeros(256, to_bfloat16(0));
    DeviceArray<bfloat16> a(zeros.data(), 256);
    DeviceArray<float> out(128);
    launch(fragments, 1, 32, 0, nullptr, a.data(), out.data());
  });
}

}  // namespace
}  // namespace clearsky::test

// A study in three steps, and one that goes wrong: the transpose of a (kSize, kSize) matrix of floats.
// docs/kernels/README.md goes through its output. To study a kernel of yours, copy this file and run: bash
// examples/kernel_study/study.sh YOUR_FILE.cpp

#include "study.hpp"

namespace clearsky::cuda {
namespace {

constexpr int kSize = 256, kTile = 32, kRows = 8;

/// Neighbouring threads read neighbours, and write a column: each float into a sector of its own.
/// grid (kSize / kTile, kSize / kTile), block (kTile, kRows), for all four
__global__ void __launch_bounds__(kTile* kRows) transpose_naive(const float* in, float* out) {
  const int x = int(blockIdx.x) * kTile + int(threadIdx.x);
  for (int i = int(threadIdx.y); i < kTile; i += kRows) {
    const int y = int(blockIdx.y) * kTile + i;
    out[x * kSize + y] = in[y * kSize + x];
  }
}

/// Through a tile of shared memory, which has Stride floats in a row: both sides are rows now. With 32 floats, all of a
/// column lie in one bank; with 33, each in another.
template <int Stride>
__global__ void __launch_bounds__(kTile* kRows) transpose_tile(const float* in, float* out) {
  CLEARSKY_SHARED(float, tile, [kTile][Stride]);
  const int x = int(threadIdx.x), row = int(blockIdx.y) * kTile, column = int(blockIdx.x) * kTile;
  for (int i = int(threadIdx.y); i < kTile; i += kRows) tile[i][x] = in[(row + i) * kSize + column + x];
  __syncthreads();
  for (int i = int(threadIdx.y); i < kTile; i += kRows) out[(column + i) * kSize + row + x] = tile[x][i];
}

/// Wrong: a warp may read what the others have not written yet.
__global__ void __launch_bounds__(kTile* kRows) transpose_without_barrier(const float* in, float* out) {
  CLEARSKY_SHARED(float, tile, [kTile][kTile + 1]);
  const int x = int(threadIdx.x), row = int(blockIdx.y) * kTile, column = int(blockIdx.x) * kTile;
  for (int i = int(threadIdx.y); i < kTile; i += kRows) tile[i][x] = in[(row + i) * kSize + column + x];
  for (int i = int(threadIdx.y); i < kTile; i += kRows) out[(column + i) * kSize + row + x] = tile[x][i];
}

bool is_transpose(const std::vector<float>& in, const DeviceArray<float>& out) {
  std::vector<float> got(in.size());
  out.download(got.data());
  for (int y = 0; y < kSize; ++y)
    for (int x = 0; x < kSize; ++x)
      if (got[size_t(x * kSize + y)] != in[size_t(y * kSize + x)]) return false;
  return true;
}

int study_all() {
  std::vector<float> values(kSize * kSize);
  for (size_t i = 0; i < values.size(); ++i) values[i] = float(i);
  const DeviceArray<float> in(values.data(), kSize * kSize);
  const dim3 grid(kSize / kTile, kSize / kTile), block(kTile, kRows);
  int wrong = 0;
  const auto look_at = [&](const char* title, void (*kernel)(const float*, float*)) {
    const DeviceArray<float> out(kSize * kSize);
    wrong += study::look_at(title, [&] { launch(kernel, grid, block, 0, nullptr, in.data(), out.data()); });
    if (!is_transpose(values, out)) {
      std::printf("the result is wrong\n");
      ++wrong;
    }
  };
  look_at("naive", transpose_naive);
  look_at("through a shared tile", transpose_tile<kTile>);
  look_at("through a padded tile", transpose_tile<kTile + 1>);
  const DeviceArray<float> out(kSize * kSize);
  const int errors = study::look_at(
      "without a barrier", [&] { launch(transpose_without_barrier, grid, block, 0, nullptr, in.data(), out.data()); });
  if (errors == 0) std::printf("the lens is blind\n");
  return errors == 0 ? wrong + 1 : wrong;
}

}  // namespace
}  // namespace clearsky::cuda

int main() {
  return clearsky::cuda::study_all() == 0 ? 0 : 1;
}

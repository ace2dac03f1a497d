// A study of a convolution: 3 x 3, channels last, zeros around the image; from one thread per value to the library's
// kernel. docs/kernels/convolution.md goes through its output.
//
//     y[p, o] = sum over taps (i, j) and channels c of x[p + (i - 1, j - 1), c] weight[o, i, j, c]

#include "clearsky/cuda/kernels/conv.cuh"
#include "study.hpp"

namespace clearsky::cuda {
namespace {

constexpr int kSide = 16, kPixels = kSide * kSide, kChannels = 32, kOutputs = 64;
constexpr int kSteps = 9 * kChannels;  // products that are added for one value: taps, and channels in each

struct Arguments {
  const float* x;       // (kSide, kSide, kChannels)
  const float* weight;  // (kOutputs, 3, 3, kChannels)
  float* y;             // (kSide, kSide, kOutputs)  written
};

/// The image under step `step` of a pixel's window; null in the padding.
__host__ __device__ __forceinline__ const float* under_window(const float* x, int pixel, int step) {
  const int tap = step / kChannels, row = pixel / kSide + tap / 3 - 1, column = pixel % kSide + tap % 3 - 1;
  if (row < 0 || row >= kSide || column < 0 || column >= kSide) return nullptr;
  return x + (row * kSide + column) * kChannels + step % kChannels;
}

// 1. A thread per value.

/// Neighbouring threads have neighbouring outputs of one pixel: they read the same image, and weights that lie kSteps
/// floats apart.
/// grid (kPixels kOutputs / 256), block 256
__global__ void __launch_bounds__(256) convolution_plain(const Arguments p) {
  const int at = int(blockIdx.x) * 256 + int(threadIdx.x), pixel = at / kOutputs, output = at % kOutputs;
  float sum = 0;
  for (int step = 0; step < kSteps; ++step) {
    const float* under = under_window(p.x, pixel, step);
    if (under == nullptr) continue;
    const float x = *under;
    const float weight = p.weight[output * kSteps + step];
    sum += x * weight;
  }
  p.y[at] = sum;
}

// 2. Tiles in shared memory: y (pixels, outputs) as a product of x's windows (pixels, steps) and the weights (outputs,
//    steps), kDepth steps at a time.

constexpr int kTile = 64, kDepth = 16, kThreads = 256;

/// A block has kTile pixels and outputs; its threads are 16 x 16, and thread (i, j) has pixels 4 i ... 4 i + 3 and
/// outputs 4 j ... 4 j + 3.
/// grid (kPixels / kTile, kOutputs / kTile), block kThreads
__global__ void __launch_bounds__(kThreads) convolution_tiles(const Arguments p) {
  CLEARSKY_SHARED(float, x, [kDepth][kTile]);
  CLEARSKY_SHARED(float, weight, [kDepth][kTile]);
  const int thread = int(threadIdx.x), i = thread / 16, j = thread % 16;
  const int first_pixel = int(blockIdx.x) * kTile, first_output = int(blockIdx.y) * kTile;
  float sums[4][4] = {};
  for (int first = 0; first < kSteps; first += kDepth) {
    for (int e = thread; e < kTile * kDepth; e += kThreads) {
      const int line = e / kDepth, step = e % kDepth;  // neighbouring threads read neighbouring steps
      const float* under = under_window(p.x, first_pixel + line, first + step);
      x[step][line] = under == nullptr ? 0.0f : *under;
      weight[step][line] = p.weight[(first_output + line) * kSteps + first + step];
    }
    __syncthreads();
    for (int step = 0; step < kDepth; ++step) {
      float a[4], b[4];
      for (int r = 0; r < 4; ++r) a[r] = x[step][4 * i + r];
      for (int c = 0; c < 4; ++c) b[c] = weight[step][4 * j + c];
      for (int r = 0; r < 4; ++r)
        for (int c = 0; c < 4; ++c) sums[r][c] += a[r] * b[c];
    }
    __syncthreads();  // nobody reads these tiles any more
  }
  for (int r = 0; r < 4; ++r)
    for (int c = 0; c < 4; ++c) p.y[(first_pixel + 4 * i + r) * kOutputs + first_output + 4 * j + c] = sums[r][c];
}

// 3. Sixteen bytes at a time, no bank conflicts, and copies that overlap with work.

/// Where a step of a line lies in a tile. Lines lie one after the other, in pieces of 16 bytes whose order turns with
/// the line: so the same piece of eight neighbouring lines fills all banks, and so do two whole neighbouring lines.
__device__ __forceinline__ int place(int line, int step) {
  return line * kDepth + (step / 4 ^ line / 2 % 4) * 4 + step % 4;
}

/// Lines lie as in global memory, so that cp.async can copy 16 bytes at a time. Thread (i, j) has pixels i, i + 16, ...
/// and outputs j, j + 16, ...: what neighbouring threads read lies in different banks, what they write side by side. Of
/// Stages pairs of tiles one is multiplied while the others arrive.
///
/// grid (kPixels / kTile, kOutputs / kTile), block kThreads
template <int Stages>
__global__ void __launch_bounds__(kThreads, 2) convolution_pipeline(const Arguments p) {
  CLEARSKY_SHARED(float, x, [Stages][kTile * kDepth]);
  CLEARSKY_SHARED(float, weight, [Stages][kTile * kDepth]);
  const int thread = int(threadIdx.x), i = thread / 16, j = thread % 16;
  const int first_pixel = int(blockIdx.x) * kTile, first_output = int(blockIdx.y) * kTile;
  const auto fetch = [&](int tile) {
    const int line = thread / 4, step = thread % 4 * 4, at = place(line, step), first = tile * kDepth + step;
    if (tile < kSteps / kDepth) {
      const float* under = under_window(p.x, first_pixel + line, first);  // with its three neighbours
      cp_async16(&x[tile % Stages][at], under == nullptr ? p.x : under, under == nullptr ? 0 : 16);
      cp_async16(&weight[tile % Stages][at], p.weight + (first_output + line) * kSteps + first);
    }
    cp_commit();  // behind the last tile an empty group, so that the wait below is right in every round
  };
  float sums[4][4] = {};
  for (int tile = 0; tile < Stages - 1; ++tile) fetch(tile);
  for (int tile = 0; tile < kSteps / kDepth; ++tile) {
    fetch(tile + Stages - 1);
    cp_wait<Stages - 1>();
    __syncthreads();  // everyone's part of this pair has arrived
    for (int step = 0; step < kDepth; step += 4) {
      float4 a[4], b[4];
      for (int r = 0; r < 4; ++r) a[r] = ld4(&x[tile % Stages][place(i + 16 * r, step)]);
      for (int c = 0; c < 4; ++c) b[c] = ld4(&weight[tile % Stages][place(j + 16 * c, step)]);
      for (int r = 0; r < 4; ++r)
        for (int c = 0; c < 4; ++c) sums[r][c] += a[r].x * b[c].x + a[r].y * b[c].y + a[r].z * b[c].z + a[r].w * b[c].w;
    }
    __syncthreads();  // nobody reads this pair any more: the next round fetches into it
  }
  for (int r = 0; r < 4; ++r)
    for (int c = 0; c < 4; ++c) p.y[(first_pixel + i + 16 * r) * kOutputs + first_output + j + 16 * c] = sums[r][c];
}

// 4. The library's kernel, and the study.

ConvShape library_shape() {
  ConvShape s{};
  s.batch = 1, s.height = s.width = s.out_height = s.out_width = kSide;
  s.channels = kChannels, s.outputs = kOutputs, s.groups = 1;
  s.window_height = s.window_width = 3;
  s.stride_height = s.stride_width = s.padding_height = s.padding_width = s.dilation = 1;
  return s;
}

int study_all() {
  const std::vector<float> x = study::draw(kPixels * kChannels, 1), weight = study::draw(kOutputs * kSteps, 2);
  std::vector<double> expected, magnitude;  // of the sums, and of the sums of |products|
  int64_t products = 0;
  for (int pixel = 0; pixel < kPixels; ++pixel)
    for (int output = 0; output < kOutputs; ++output) {
      double sum = 0, absolute = 0;
      for (int step = 0; step < kSteps; ++step) {
        const float* under = under_window(x.data(), pixel, step);
        if (under == nullptr) continue;
        const double product = double(*under) * weight[size_t(output * kSteps + step)];
        sum += product, absolute += std::abs(product), ++products;
      }
      expected.push_back(sum), magnitude.push_back(absolute);
    }
  // A factor that is rounded to bfloat16 is off by at most 2^-9 of it.
  const double exact_factors = study::float_sum_bound(kSteps);
  const double rounded_factors = std::pow(1 + std::ldexp(1.0, -9), 2) * (1 + exact_factors) - 1;
  const auto allowed = [&](double bound) {
    std::vector<double> all = magnitude;
    for (double& value : all) value *= bound;
    return all;
  };

  const DeviceArray<float> device_x(x.data(), int64_t(x.size())), device_weight(weight.data(), int64_t(weight.size()));
  study::Versions versions(4 * (int64_t(x.size() + weight.size()) + kPixels * kOutputs), 2 * products);
  const auto look_at = [&](const char* title, study::Show show, double bound, auto&& convolve) {
    const DeviceArray<float> y(kPixels * kOutputs);
    versions.look_at(title, show, [&] { convolve(Arguments{device_x.data(), device_weight.data(), y.data()}); });
    versions.check(y, expected, allowed(bound));
  };
  const auto library = [](Precision precision) {
    return [=](const Arguments& p) {
      conv2d_forward({p.x, p.weight, nullptr, p.y, library_shape()}, precision, nullptr);
    };
  };
  const dim3 grid(kPixels / kTile, kOutputs / kTile);
  using study::Show;
  look_at("plain", Show::lines, exact_factors,
          [](const Arguments& p) { launch(convolution_plain, kPixels * kOutputs / 256, 256, 0, nullptr, p); });
  look_at("tiles", Show::lines, exact_factors,
          [&](const Arguments& p) { launch(convolution_tiles, grid, kThreads, 0, nullptr, p); });
  look_at("pipeline of 1", Show::sums, exact_factors,
          [&](const Arguments& p) { launch(convolution_pipeline<1>, grid, kThreads, 0, nullptr, p); });
  look_at("pipeline of 2", Show::lines, exact_factors,
          [&](const Arguments& p) { launch(convolution_pipeline<2>, grid, kThreads, 0, nullptr, p); });
  look_at("library, float32", Show::sums, exact_factors, library(Precision::float32));
  look_at("library, tf32", Show::sums, rounded_factors, library(Precision::tf32));
  look_at("library, bfloat16", Show::sums, rounded_factors, library(Precision::bfloat16));
  return versions.compare();
}

}  // namespace
}  // namespace clearsky::cuda

int main() {
  return clearsky::cuda::study_all() == 0 ? 0 : 1;
}

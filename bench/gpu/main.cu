// Times every kernel on a device, next to cuBLAS and cuDNN where they are linked, and compares it with the CPU's.
//
//     gpu_benchmarks [COMMIT]   prints JSON
//     gpu_benchmarks --check    tiny shapes, differences alone; compiled as C++ the kernels run on the CPU
//     (clearsky/simt)
//
// Exit status 1 where a difference is beyond its bound, 77 without a device, with one line.

#include <cstring>

#include "harness.hpp"

namespace clearsky::cuda::bench {
namespace {

void measure_all(Harness& h) {
  measure_convolutions(h);
  measure_products(h);
  measure_attention(h);
  measure_fusion(h);
  measure_rows(h);
  measure_losses(h);
  measure_images(h);
  measure_elementwise(h);
  measure_training(h);
}

#ifdef __CUDACC__
void print_head(const char* commit, double copy_rate) {
  cudaDeviceProp device;
  int driver = 0;
  check_cuda(cudaGetDeviceProperties(&device, 0), "gpu_benchmarks");
  check_cuda(cudaDriverGetVersion(&driver), "gpu_benchmarks");
#ifdef CLEARSKY_WITH_CUBLAS
  const char* const cublas = "true";
#else
  const char* const cublas = "false";
#endif
#ifdef CLEARSKY_WITH_CUDNN
  const char* const cudnn = "true";
#else
  const char* const cudnn = "false";
#endif
  std::printf(
      "{\"device\": \"%s\", \"compute\": \"%d.%d\", \"driver\": %d, \"compiler\": \"nvcc %d.%d\", \"commit\": \"%s\", "
      "\"cublas\": %s, \"cudnn\": %s, \"copy_bytes_per_s\": %.4g, \"rows\": [",
      device.name, device.major, device.minor, driver, __CUDACC_VER_MAJOR__, __CUDACC_VER_MINOR__, commit, cublas,
      cudnn, copy_rate);
}
#endif

int run(bool check, [[maybe_unused]] const char* commit) {
  Harness h(check);
  try {
#ifdef __CUDACC__
    if (!check) print_head(commit, h.measure_copy());
#endif
    measure_all(h);
  } catch (const std::exception& e) {
    if (!check) std::printf("\n], \"broke_off\": \"%s\"}\n", h.now().c_str());
    std::fprintf(stderr, "gpu_benchmarks: at %s: %s\n", h.now().c_str(), e.what());
    return 1;
  }
  if (!check) std::printf("\n]}\n");
#ifndef __CUDACC__
  if (simt::GlobalMemory::global().overruns() != 0) return 1;  // it has said where
#endif
  if (!h.within()) std::fprintf(stderr, "gpu_benchmarks: differences beyond their bounds\n");
  return h.within() ? 0 : 1;
}

}  // namespace
}  // namespace clearsky::cuda::bench

int main(int argc, char** argv) {
  const bool check = argc > 1 && std::strcmp(argv[1], "--check") == 0;
#ifdef __CUDACC__
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    std::printf("skipped: no CUDA device; run this where there is one\n");
    return 77;
  }
#else
  if (!check) {
    std::printf("skipped: compiled without CUDA, where times mean nothing; use --check\n");
    return 77;
  }
#endif
  return clearsky::cuda::bench::run(check, argc > 1 ? argv[1] : "unknown");
}

#define DOCTEST_CONFIG_IMPLEMENT
#include <cuda_runtime_api.h>
#include <doctest/doctest.h>

#include <cstdio>

int main(int argc, char** argv) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);  // writes nothing when it fails
  if (status != cudaSuccess || count == 0) {
    std::printf("skipped: no CUDA device (%s); run this where there is one\n",
                status == cudaSuccess ? "none found" : cudaGetErrorString(status));
    return 77;
  }
  return doctest::Context(argc, argv).run();
}

// Reads lines "arch registers threads static_shared dynamic_shared" and prints the share of a multiprocessor's warps
// that can be resident, by the rules in the toolkit's cuda_occupancy.h. Needs no device.

#include <cuda_occupancy.h>

#include <cstdio>

int main() {
  int arch = 0, registers = 0, threads = 0;
  size_t fixed = 0, dynamic = 0;
  while (std::scanf("%d %d %d %zu %zu", &arch, &registers, &threads, &fixed, &dynamic) == 5) {
    cudaOccDeviceProp device{};
    device.computeMajor = arch / 10;
    device.computeMinor = arch % 10;
    device.maxThreadsPerBlock = 1024;
    device.maxThreadsPerMultiprocessor = 2048;
    device.regsPerBlock = device.regsPerMultiprocessor = 65536;
    device.warpSize = 32;
    // CUDA C++ Programming Guide, "Technical Specifications per Compute Capability": A100, H100.
    device.sharedMemPerBlock = 48 << 10;
    device.sharedMemPerMultiprocessor = size_t(arch >= 90 ? 228 : 164) << 10;
    device.sharedMemPerBlockOptin = size_t(arch >= 90 ? 227 : 163) << 10;
    device.reservedSharedMemPerBlock = 1 << 10;
    device.numSms = arch >= 90 ? 132 : 108;
    cudaOccFuncAttributes kernel{};
    kernel.maxThreadsPerBlock = 1024;
    kernel.numRegs = registers;
    kernel.sharedSizeBytes = fixed;
    kernel.partitionedGCConfig = PARTITIONED_GC_OFF;
    kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    kernel.maxDynamicSharedSizeBytes = device.sharedMemPerBlockOptin;
    const cudaOccDeviceState state{};
    cudaOccResult result{};
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, dynamic) !=
        CUDA_OCC_SUCCESS) {
      std::fprintf(stderr, "occupancy: sm_%d refuses %d registers, %d threads, %zu + %zu bytes\n", arch, registers,
                   threads, fixed, dynamic);
      return 1;
    }
    const int warps = (threads + 31) / 32 * result.activeBlocksPerMultiprocessor;
    std::printf("%.4f\n", warps / 64.0);
  }
}

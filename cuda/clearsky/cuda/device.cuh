#pragma once
// The device's meaning of what portable.cuh offers. Compiled by nvcc only.

#ifndef __CUDACC__
#error "clearsky/cuda/device.cuh is for nvcc; include clearsky/cuda/portable.cuh"
#endif

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>
#include <utility>

#include "clearsky/core/error.hpp"

/// CLEARSKY_SHARED(float, tile, [64][65]); declares static shared memory.
#define CLEARSKY_SHARED(type, name, dims) __shared__ __align__(16) type name dims
/// CLEARSKY_DYNAMIC_SHARED(float, tiles); a pointer to the dynamic shared memory of the launch.
#define CLEARSKY_DYNAMIC_SHARED(type, name)                                 \
  extern __shared__ __align__(128) unsigned char clearsky_dynamic_shared[]; \
  type* name = reinterpret_cast<type*>(clearsky_dynamic_shared)

// The instructions below came with sm_80. The host's pass over this file, which compiles no device code, skips them
// too.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define CLEARSKY_SM_80 1
#elif defined(__CUDA_ARCH__)
#error "clearsky: kernels need sm_80 or later; use nvcc -arch=sm_80"
#else
#define CLEARSKY_SM_80 0
#endif

// The other meaning is simt's, on_cpu: one program may hold both.
#define CLEARSKY_MEANING on_device

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using Stream = cudaStream_t;
using bfloat16 = __nv_bfloat16;
using half = __half;

__device__ __forceinline__ float to_float(bfloat16 v) {
  return __bfloat162float(v);
}
__device__ __forceinline__ float to_float(half v) {
  return __half2float(v);
}
__device__ __forceinline__ bfloat16 to_bfloat16(float v) {
  return __float2bfloat16_rn(v);
}
__device__ __forceinline__ half to_half(float v) {
  return __float2half_rn(v);
}
/// Two neighbours in memory, the first in the low half, as the matrix instructions read them.
__device__ __forceinline__ uint32_t pack(bfloat16 low, bfloat16 high) {
  return uint32_t(__bfloat16_as_ushort(low)) | uint32_t(__bfloat16_as_ushort(high)) << 16;
}

/// One access of 8 or 16 bytes.
template <class Vector, class T>
__device__ __forceinline__ Vector load_vector(const T* p) {
  static_assert(sizeof(Vector) == 8 || sizeof(Vector) == 16);
  return *reinterpret_cast<const Vector*>(p);
}
template <class Vector, class T>
__device__ __forceinline__ void store_vector(T* p, const Vector& v) {
  static_assert(sizeof(Vector) == 8 || sizeof(Vector) == 16);
  *reinterpret_cast<Vector*>(p) = v;
}
__device__ __forceinline__ float4 ld4(const float* p) {
  return load_vector<float4>(p);
}
__device__ __forceinline__ int4 ld4(const int* p) {
  return load_vector<int4>(p);
}
__device__ __forceinline__ void st4(float* p, const float4& v) {
  store_vector(p, v);
}
__device__ __forceinline__ void st4(int* p, const int4& v) {
  store_vector(p, v);
}
/// As st4, for global memory, and one access in any surroundings: where the path divides before it, nvcc has been seen
/// to make four stores of the other.
__device__ __forceinline__ void st4_global(float* p, const float4& v) {
  __stwb(reinterpret_cast<float4*>(p), v);
}

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return uint32_t(__cvta_generic_to_shared(p));
}

/// Copies 16 bytes from global to shared memory by the time of a wait; of these the first `valid` are read, the rest is
/// filled with zeros.
__device__ __forceinline__ void cp_async16([[maybe_unused]] void* to, [[maybe_unused]] const void* from,
                                           [[maybe_unused]] int valid = 16) {
#if CLEARSKY_SM_80
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid)
               : "memory");
#endif
}
__device__ __forceinline__ void cp_async4([[maybe_unused]] void* to, [[maybe_unused]] const void* from,
                                          [[maybe_unused]] int valid = 4) {
#if CLEARSKY_SM_80
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid)
               : "memory");
#endif
}
/// Ends a group of this thread's copies.
__device__ __forceinline__ void cp_commit() {
#if CLEARSKY_SM_80
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
/// Waits for all of this thread's groups but the last `Newest`. Other threads see the copies after a barrier.
template <int Newest>
__device__ __forceinline__ void cp_wait() {
#if CLEARSKY_SM_80
  asm volatile("cp.async.wait_group %0;" ::"n"(Newest) : "memory");
#endif
}

/// Rounded to the 10 bits after the point that the tensor cores read, ties away from zero.
__device__ __forceinline__ uint32_t to_tf32([[maybe_unused]] float v) {
  uint32_t bits = 0;
#if CLEARSKY_SM_80
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(v));
#endif
  return bits;
}

/// d (16, 8) = a (16, 16) b (16, 8) + c (16, 8): bfloat16 factors, float sums; d may be c.
__device__ __forceinline__ void mma_m16n8k16([[maybe_unused]] float (&d)[4], [[maybe_unused]] const uint32_t (&a)[4],
                                             [[maybe_unused]] const uint32_t (&b)[2],
                                             [[maybe_unused]] const float (&c)[4]) {
#if CLEARSKY_SM_80
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
#endif
}
/// d (16, 8) = a (16, 8) b (8, 8) + c (16, 8): tf32 factors (see to_tf32), float sums; d may be c.
__device__ __forceinline__ void mma_m16n8k8([[maybe_unused]] float (&d)[4], [[maybe_unused]] const uint32_t (&a)[4],
                                            [[maybe_unused]] const uint32_t (&b)[2],
                                            [[maybe_unused]] const float (&c)[4]) {
#if CLEARSKY_SM_80
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
#endif
}

// Matrices of 8 x 8 16-bit elements from shared memory; lane 8 i + r gives the address of row r of matrix i.
#if CLEARSKY_SM_80
#define CLEARSKY_LDMATRIX(form, registers, ...) \
  asm volatile("ldmatrix.sync.aligned.m8n8." form:__VA_ARGS__ : "r"(shared_address(row)) : "memory")
#else
#define CLEARSKY_LDMATRIX(form, registers, ...) (void)row, (void)r
#endif
__device__ __forceinline__ void ldmatrix_x1(uint32_t (&r)[1], const void* row) {
  CLEARSKY_LDMATRIX("x1.shared.b16 {%0}, [%1];", r, "=r"(r[0]));
}
__device__ __forceinline__ void ldmatrix_x2(uint32_t (&r)[2], const void* row) {
  CLEARSKY_LDMATRIX("x2.shared.b16 {%0,%1}, [%2];", r, "=r"(r[0]), "=r"(r[1]));
}
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  CLEARSKY_LDMATRIX("x4.shared.b16 {%0,%1,%2,%3}, [%4];", r, "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]));
}
__device__ __forceinline__ void ldmatrix_x1_trans(uint32_t (&r)[1], const void* row) {
  CLEARSKY_LDMATRIX("x1.trans.shared.b16 {%0}, [%1];", r, "=r"(r[0]));
}
__device__ __forceinline__ void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row) {
  CLEARSKY_LDMATRIX("x2.trans.shared.b16 {%0,%1}, [%2];", r, "=r"(r[0]), "=r"(r[1]));
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
  CLEARSKY_LDMATRIX("x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];", r, "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]));
}
#undef CLEARSKY_LDMATRIX

inline void check_cuda(cudaError_t status, const char* what) {
  CLEARSKY_CHECK(DeviceError, status == cudaSuccess, what, ": ", cudaGetErrorString(status), " (CUDA error ",
                 int(status), "); check the sizes and that a device for sm_80 or later is there");
}

/// Lets a kernel use more than 48 KiB of dynamic shared memory.
/// @throws DeviceError when no block can have that much
template <class... Parameters>
void allow_shared(void (*kernel)(Parameters...), size_t bytes) {
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)), "allow_shared");
}

/// Queues a kernel on a stream and returns without waiting.
/// @throws DeviceError when the launch is refused
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), const dim3& grid, const dim3& block, size_t shared_bytes, Stream stream,
            Arguments&&... arguments) {
  kernel<<<grid, block, shared_bytes, stream>>>(std::forward<Arguments>(arguments)...);
  check_cuda(cudaGetLastError(), "launch");
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

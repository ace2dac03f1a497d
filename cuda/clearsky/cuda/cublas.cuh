#pragma once
// Products of matrices by cuBLAS, with the argument struct of cuda::gemm: for comparisons, and for who wants them. The
// library's own headers do not include this one: it needs nvcc, and a program that links cublas.
//
// cuBLAS's matrices have contiguous columns, the tensors here have contiguous rows. Read the other way round a matrix
// is its transpose, and c^T = b^T a^T, so the factors change places and nothing is copied.

#ifndef __CUDACC__
#error "clearsky/cuda/cublas.cuh is for nvcc"
#endif

#include <cublas_v2.h>

#include "clearsky/core/device.hpp"
#include "clearsky/cpu/gemm.hpp"
#include "clearsky/cuda/portable.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

inline void check_cublas(cublasStatus_t status, const char* what) {
  CLEARSKY_CHECK(DeviceError, status == CUBLAS_STATUS_SUCCESS, what, ": cuBLAS error ", int(status),
                 "; check the sizes and that a device is there");
}

/// cuBLAS for one host thread. Making one takes long and allocates: keep it.
class Cublas {
 public:
  Cublas() { check_cublas(cublasCreate(&handle_), "Cublas"); }
  ~Cublas() { cublasDestroy(handle_); }
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;

  /// c = a b, float factors (float32) or factors read with 10 bits after the point (tf32). Returns without waiting.
  /// @throws ValueError  for a bias, another precision, or a factor of which neither rows nor columns are contiguous
  void gemm(const cpu::Gemm<float>& p, Precision precision, Stream stream) const {
    if (p.batch * p.m * p.n == 0) return;
    CLEARSKY_CHECK(ValueError, p.bias == nullptr && precision != Precision::bfloat16, "Cublas: a product with ",
                   p.bias == nullptr ? "no bias" : "a bias", " in ", precision,
                   "; use cuda::gemm, or no bias and float32 or tf32");
    const Factor a = factor(p.a_row, p.a_column, p.m, p.k), b = factor(p.b_row, p.b_column, p.k, p.n);
    check_cublas(cublasSetStream(handle_, stream), "Cublas");
    const float one = 1, zero = 0;
    const cublasComputeType_t compute =
        precision == Precision::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    check_cublas(cublasGemmStridedBatchedEx_64(handle_, b.operation, a.operation, p.n, p.m, p.k, &one, p.b, CUDA_R_32F,
                                               b.pitch, p.b_batch, p.a, CUDA_R_32F, a.pitch, p.a_batch, &zero, p.c,
                                               CUDA_R_32F, p.n, p.m * p.n, p.batch, compute, CUBLAS_GEMM_DEFAULT),
                 "Cublas: gemm");
  }

 private:
  struct Factor {
    cublasOperation_t operation;
    int64_t pitch;
  };
  /// A (rows, columns) matrix. Contiguous rows are the columns of the transpose that cuBLAS wants: no operation.
  static Factor factor(int64_t row, int64_t column, int64_t rows, int64_t columns) {
    const bool along_rows = column == 1 || columns <= 1, along_columns = row == 1 || rows <= 1;
    CLEARSKY_CHECK(ValueError, along_rows || along_columns, "Cublas: a factor (", rows, ", ", columns,
                   ") with strides ", row, " and ", column,
                   "; one of them must be 1: copy the matrix, or use cuda::gemm");
    const bool plain = along_rows && (rows <= 1 || row >= columns);
    const int64_t pitch = plain ? (rows <= 1 ? columns : row) : (columns <= 1 ? rows : column);
    return {plain ? CUBLAS_OP_N : CUBLAS_OP_T, pitch < 1 ? 1 : pitch};
  }
  cublasHandle_t handle_ = nullptr;
};

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING

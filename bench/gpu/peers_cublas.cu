// cuBLAS as a peer of our matrix products.

#include "clearsky/cpu/copy.hpp"
#include "clearsky/cuda/cublas.cuh"
#include "clearsky/cuda/kernels/copy.cuh"
#include "peers.hpp"

namespace clearsky::cuda::bench {
namespace {

/// One for the program: making one takes long.
cublasHandle_t handle_on(Stream stream) {
  static const cublasHandle_t handle = [] {
    cublasHandle_t made = nullptr;
    check_cublas(cublasCreate(&made), "cublas_peer");
    return made;
  }();
  check_cublas(cublasSetStream(handle, stream), "cublas_peer");
  return handle;
}

/// Factors in bfloat16, sums and result in float: what our bfloat16 product does with float factors.
class NarrowProduct {
 public:
  explicit NarrowProduct(const cpu::Gemm<float>& p)
      : p_(p),
        a_(p.batch * p.m * p.k),
        b_(p.batch * p.k * p.n),
        turned_a_(p.a_column != 1),
        turned_b_(p.b_column != 1) {
    CLEARSKY_CHECK(ValueError,
                   p.bias == nullptr && (p.a_column == 1 || p.a_row == 1) && (p.b_column == 1 || p.b_row == 1),
                   "cublas_peer: a bias, or a factor without contiguous rows or columns; use dense ones and no bias");
    narrow(p.a, a_);
    narrow(p.b, b_);
    synchronize(nullptr);
  }

  /// cuBLAS reads columns: it computes c^T = b^T a^T.
  void operator()(Stream stream) const {
    const float one = 1, zero = 0;
    const cublasHandle_t handle = handle_on(stream);
    check_cublas(cublasGemmStridedBatchedEx_64(
                     handle, turned_b_ ? CUBLAS_OP_T : CUBLAS_OP_N, turned_a_ ? CUBLAS_OP_T : CUBLAS_OP_N, p_.n, p_.m,
                     p_.k, &one, b_.data(), CUDA_R_16BF, turned_b_ ? p_.b_column : p_.b_row, p_.b_batch, a_.data(),
                     CUDA_R_16BF, turned_a_ ? p_.a_column : p_.a_row, p_.a_batch, &zero, p_.c, CUDA_R_32F, p_.n,
                     p_.m * p_.n, p_.batch, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                 "cublas_peer");
  }

 private:
  static void narrow(const float* from, const DeviceArray<BFloat16>& to) {
    copy(cpu::Copy<float, BFloat16>{from, Shape{1}, to.data(), Shape{1}, Shape{to.size()}}, nullptr);
  }
  cpu::Gemm<float> p_;
  DeviceArray<BFloat16> a_, b_;
  bool turned_a_, turned_b_;
};

}  // namespace

Peer cublas_peer(const cpu::Gemm<float>& p, Precision precision) {
  Peer peer{.name = "cublas"};
  try {
    synchronize(nullptr);
    if (precision == Precision::bfloat16) {
      const auto product = std::make_shared<NarrowProduct>(p);
      peer.work = [product](Stream s) { (*product)(s); };
    } else {
      static const Cublas* const cublas = new Cublas;  // ditto; it outlives the device's context
      peer.work = [p, precision](Stream s) { cublas->gemm(p, precision, s); };
    }
  } catch (const std::exception& e) {
    peer.refusal = e.what();
  }
  return peer;
}

}  // namespace clearsky::cuda::bench

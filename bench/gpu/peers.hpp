#pragma once
// The peers: cuBLAS and cuDNN, where they were found at configuration. Arguments point to device memory, which must
// live as long as the peer does. Conversions to bfloat16 are done here, outside of what is timed.

#include "clearsky/cpu/conv.hpp"
#include "clearsky/cpu/gemm.hpp"
#include "clearsky/cpu/softmax.hpp"
#include "harness.hpp"

namespace clearsky::cuda::bench {

#ifdef CLEARSKY_WITH_CUBLAS
/// Factors and sums as our precision has them; the result is float.
Peer cublas_peer(const cpu::Gemm<float>& p, Precision precision);
#else
inline Peer cublas_peer(const cpu::Gemm<float>&, Precision) {
  return {};
}
#endif

#ifdef CLEARSKY_WITH_CUDNN
/// The fastest of what cuDNN finds for images, weights and results in channels-last float (float32 without tensor
/// cores, or tf32) or bfloat16. In bfloat16 the result is bfloat16 as well, and stays in memory of the peer.
Peer cudnn_peer(const cpu::Conv2dForward<float>& p, Precision precision);
Peer cudnn_peer(const cpu::Conv2dDataGradient<float>& p, Precision precision);
Peer cudnn_peer(const cpu::Conv2dWeightGradient<float>& p, Precision precision);
/// For inner = 1.
Peer cudnn_peer(const cpu::Softmax<float>& p);
/// dx from y and dy, as our softmax_backward's.
Peer cudnn_softmax_backward_peer(const float* y, const float* dy, float* dx, int64_t rows, int64_t classes,
                                 bool logarithm);
#else
template <class... Arguments>
Peer cudnn_peer(const Arguments&...) {
  return {};
}
inline Peer cudnn_softmax_backward_peer(const float*, const float*, float*, int64_t, int64_t, bool) {
  return {};
}
#endif

}  // namespace clearsky::cuda::bench

#pragma once
// One step of Adam or AdamW for all parameters of a model at once: hundreds of tensors, most of them tiny, would cost
// more in launches than in work.
//
//     g <- scale g + l2 p      m <- m + (1 - beta1) (g - m)      v <- beta2 v + (1 - beta2) g^2
//     p <- keep p - rate m / (root_scale sqrt(v) + eps)      a <- a + average_share (p - a)
//
// a is a running average of the weights, and may be left out.
// Source: Kingma, Ba, "Adam", ICLR 2015, algorithm 1; Loshchilov, Hutter, "Decoupled Weight Decay Regularization",
// ICLR 2019, algorithm 2. What the letters stand for: clearsky/cpu/update.hpp.

#include "clearsky/cpu/update.hpp"
#include "clearsky/cuda/portable.cuh"

namespace clearsky::cuda::inline CLEARSKY_MEANING {

using AdamStep = cpu::AdamStep<float>;
using AdamTensor = cpu::AdamTensor<float>;

inline constexpr int64_t kAdamBlock = 1024;  ///< elements of the common axis that one block takes

/// Where the tensors of an update lie in a block of the axis, and which of its elements are this thread's.
///
///     each_in_block<Threads>(layout, [&](int64_t tensor, const auto& each) {
///       const Record r = records[tensor];                  // once per tensor
///       each([&](int64_t element) { ... });
///     });
///
/// Block b takes [b kAdamBlock, (b + 1) kAdamBlock), each thread four elements that stand Threads apart.
template <int Threads, class Body>
__device__ __forceinline__ void each_in_block(const cpu::UpdateLayout& layout, Body&& body) {
  const int64_t first = int64_t(blockIdx.x) * kAdamBlock;
  // The last tensor that starts at or before `first`: the same search in each thread, from a cache.
  int64_t low = 0, high = layout.tensors;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (layout.starts[middle] <= first) low = middle;
    else high = middle;
  }
  for (int64_t index = low; index < layout.tensors && layout.starts[index] < first + kAdamBlock; ++index) {
    const int64_t start = layout.starts[index], count = layout.counts[index];
    body(index, [&](auto&& each) {
      for (int64_t at = first + threadIdx.x; at < first + kAdamBlock; at += Threads) {
        const int64_t i = at - start;
        if (i < 0 || i >= count) continue;
        each(i);
      }
    });
  }
}

/// grid (ceil(length / kAdamBlock)), block Threads
template <int Threads>
__global__ void __launch_bounds__(Threads) adam_step_blocks(const AdamStep s) {
  each_in_block<Threads>(s.layout, [&](int64_t index, const auto& each) {
    const AdamTensor t = s.tensors[index];
    const auto follow = [&](int64_t i, float p) {
      const float a = t.average[i];
      t.average[i] = a + (p - a) * s.average_share;
    };
    if (t.gradient == nullptr) {
      if (t.average != nullptr) each([&](int64_t i) { follow(i, t.value[i]); });
      return;
    }
    each([&](int64_t i) {
      const float p = t.value[i];
      const float g = t.gradient[i] * s.grad_scale + p * t.l2;
      const float m = t.mean[i] + (g - t.mean[i]) * s.one_minus_beta1;
      const float v = t.square[i] * s.beta2 + g * g * s.one_minus_beta2;
      t.mean[i] = m;
      t.square[i] = v;
      const float next = p * t.keep - m * t.rate / (sqrtf(v) * t.root_scale + s.eps);
      t.value[i] = next;
      if (t.average != nullptr) follow(i, next);
    });
  });
}

/// Returns without waiting. The layout and the tensors' records are read on the device.
/// @param length  of the common axis: layout.starts[layout.tensors], which the host cannot read there
inline void adam_step(const AdamStep& s, int64_t length, Stream stream) {
  if (s.layout.tensors == 0 || length == 0) return;
  launch(adam_step_blocks<256>, blocks_of(length, kAdamBlock), 256, 0, stream, s);
}

}  // namespace clearsky::cuda::inline CLEARSKY_MEANING
